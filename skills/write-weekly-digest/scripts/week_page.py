"""Writes the digest of a week as Markdown of at most 60 lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from git_history import Period
from plain_text import code_span, shown
from tally import TOP_LEVEL, Noted, Share, Tally
from week import Findings, commits_before
from wording import Clock, capital, capped, count, lines_changed, listed, no_commit, page_of, section, table

# Below this many, a percentage says more about the arithmetic than about the work.
ENOUGH_FOR_PERCENT = 10
DETAILED_REPOSITORIES = 2
LISTED_REPOSITORIES = 5


@dataclass(frozen=True, slots=True)
class Caps:
    """How many lines each part of a repository may have."""

    areas: int
    commits: int
    files: int
    branches: int


ALONE = Caps(areas=6, commits=6, files=5, branches=5)
ONE_OF_MANY = Caps(areas=0, commits=2, files=2, branches=1)


@dataclass(frozen=True, slots=True)
class Frame:
    """The clock and the week in whole seconds."""

    clock: Clock
    period: Period


def write_page(all_findings: Sequence[Findings], frame: Frame) -> str:
    """The whole digest; `all_findings` has at least one repository."""
    clock, period = frame.clock, frame.period
    parts = [f"# {title(all_findings)}", f"_{clock.span(period.first, period.end)}, {clock.zone_name}_"]
    if len(all_findings) == 1:
        only = all_findings[0]
        return page_of([*parts, *_body(only, clock, ALONE)])
    active = [found for found in all_findings if found.active]
    active.sort(key=lambda found: (-found.week.total.commits, found.name))
    for found in active[:DETAILED_REPOSITORIES]:
        parts.append(f"## {shown(found.name)}: {_achieved([found])}")
        parts.extend(_body(found, clock, ONE_OF_MANY))
    rest = [*active[DETAILED_REPOSITORIES:], *(found for found in all_findings if not found.active)]
    lines = [f"- {shown(found.name)}: {_in_a_line(found, clock)}" for found in rest]
    lines = capped(lines, LISTED_REPOSITORIES, "repositories")
    parts.append(section("The others", lines) if active else "\n".join(lines))
    return page_of(parts)


def title(all_findings: Sequence[Findings]) -> str:
    """`The week in shop: 14 commits by 3 authors`, plain."""
    several = len(all_findings) > 1
    place = f"{len(all_findings)} repositories" if several else shown(all_findings[0].name)
    return f"The week in {place}: {_achieved(all_findings)}"


def trend(noun: str, before: int, now: int) -> str:
    """`commits 10 → 14 (+40 %)`, the percentage only where it means something."""
    said = f"{noun} {before:,} → {now:,}"
    if before < ENOUGH_FOR_PERCENT or now == before:
        return said
    sign = "+" if now > before else "−"  # noqa: RUF001 - a minus sign as wide as the plus
    return f"{said} ({sign}{round(100 * abs(now - before) / before):,} %)"


def share_of(part: int, whole: int) -> str:
    """`3 of 14 (21 %)`, the percentage only where it means something."""
    percent = f" ({round(100 * part / whole)} %)" if whole >= ENOUGH_FOR_PERCENT else ""
    return f"{part:,} of {whole:,}{percent}"


def _achieved(all_findings: Sequence[Findings]) -> str:
    commits = sum(found.week.total.commits for found in all_findings)
    merges = sum(found.week.merges for found in all_findings)
    if not commits:
        return f"no commits, {count(merges, 'merge')}" if merges else "no commits"
    authors = {name for found in all_findings for name in found.week.authors}
    by = shown(next(iter(authors))) if len(authors) == 1 else f"{len(authors)} authors"
    return f"{count(commits, 'commit')} by {by}"


def _body(found: Findings, clock: Clock, caps: Caps) -> list[str]:
    return [
        _sentence(found, clock),
        _trend(found),
        "\n".join(line for line in (_people(found), _rhythm(found, clock), _tags(found, clock)) if line),
        _areas(found, caps.areas),
        _commits(found.week, caps.commits),
        _files(found, caps.files),
        _branches(found, clock, caps.branches),
    ]


def _sentence(found: Findings, clock: Clock) -> str:
    week = found.week
    if not found.tip:
        return "The repository has no commits yet."
    if not week.total.commits:
        return capital(_nothing(found, clock)) + "."
    total = week.total
    areas = week.ranked_areas()
    only = f", all in {_place(areas[0])}" if len(areas) == 1 else ""
    said = [f"**{count(len(total.files), 'file')}, {lines_changed(total.added, total.removed)} lines**{only}"]
    if week.merges:
        said.append(count(week.merges, "merge"))
    if week.binary_files:
        said.append(f"{count(len(week.binary_files), 'binary file')} (no lines counted)")
    if week.without_changes_known:
        cut = count(week.without_changes_known, "commit")
        said.append(f"the changes of {cut} at the edge of this shallow clone are not known")
    return "; ".join(said) + "."


def _nothing(found: Findings, clock: Clock) -> str:
    if found.week.merges:
        return f"nothing but {count(found.week.merges, 'merge')} on {code_span(found.branch)}"
    last = found.newest
    if last is None:
        return f"no commit this week; {no_commit(found.tip)}"
    by = f"{code_span(last.subject)} by {shown(last.author)}, {clock.moment(last.at)} ({clock.ago(last.at)})"
    return f"no commit on {code_span(found.branch)} this week; the last one on any branch was {by}"


def _trend(found: Findings) -> str:
    if found.before is None:
        return "The week before is not known: this clone is shallow." if found.week.total.commits else ""
    week, before = found.week, found.before
    if not week.total.commits and not before.total.commits:
        return "The week before had none either." if found.tip else ""
    said = [
        trend("commits", before.total.commits, week.total.commits),
        trend("authors", len(before.authors), len(week.authors)),
        trend("changed lines", before.total.lines, week.total.lines),
    ]
    return f"Compared with the week before: {'; '.join(said)}."


def _people(found: Findings) -> str:
    authors = [f"{shown(share.name)} {share.commits:,}" for share in found.week.ranked_authors()]
    if not authors:
        return ""
    new = [shown(name) for name in found.new_authors or ()]
    first_time = f"; new here: {listed(new, 4)}" if new else ""
    return f"- Authors: {listed(authors, 6)}{first_time}"


def _rhythm(found: Findings, clock: Clock) -> str:
    if not found.days:
        return ""
    most = max(found.days.values())
    busiest = [day for day, number in sorted(found.days.items()) if number == most]
    odd = f"; at night or on the weekend: {share_of(found.odd_hours, found.week.total.commits)}"
    named = [clock.date(day) for day in busiest]
    with_ = f"with {count(most, 'commit')}" + (" each" if len(named) > 1 else "")
    return f"- Busiest: {listed(named, 3)} {with_}{odd}"


def _tags(found: Findings, clock: Clock) -> str:
    tags = [f"{code_span(tag.name)} ({clock.day(tag.at)})" for tag in found.tags]
    return f"- Tagged: {listed(tags, 5)}" if tags else ""


def _areas(found: Findings, cap: int) -> str:
    areas = found.week.ranked_areas()
    if len(areas) < 2 or not cap:
        return ""
    rows = [["Area", "Commits", "Before", "Files", "Lines"]]
    rows.extend(_area_row(found, share) for share in areas[:cap])
    more = len(areas) - cap
    if more > 0:
        rows.append([f"and {more} more", "", "", "", ""])
    if found.before is None:
        rows = [[row[0], row[1], *row[3:]] for row in rows]
    return table(rows, numbers=len(rows[0]) - 1)


def _area_row(found: Findings, share: Share) -> list[str]:
    name = share.name if share.name == TOP_LEVEL else code_span(share.name)
    before = commits_before(found, share)
    lines = lines_changed(share.added, share.removed)
    return [name, f"{share.commits:,}", f"{before or 0:,}", f"{len(share.files):,}", lines]


def _place(share: Share) -> str:
    return "the top level" if share.name == TOP_LEVEL else code_span(share.name)


def _commits(week: Tally, cap: int) -> str:
    ranked = week.ranked_commits()
    several = len(week.authors) > 1
    return section("Commits worth a look", [_commit(note, several=several) for note in ranked[:cap]])


def _commit(note: Noted, *, several: bool) -> str:
    why = f"**{note.why}** " if note.why else ""
    by = f"{shown(note.author)}, " if several else ""
    size = (
        f"{lines_changed(note.added, note.removed)} in {count(note.files, 'file')}"
        if note.files
        else "no files"
    )
    return f"- {note.sha[:8]} {why}{code_span(note.subject)} ({by}{size})"


def _files(found: Findings, cap: int) -> str:
    if len(found.files) < 2:
        return ""
    lines = [
        f"- {code_span(item.name)}: {lines_changed(item.added, item.removed)} in "
        f"{count(sum(item.commits.values()), 'commit')}"
        for item in found.files[:cap]
    ]
    return section("Most changed files", lines)


def _branches(found: Findings, clock: Clock, cap: int) -> str:
    lines = [
        f"- {code_span(item.name)} by {shown(item.owner)}: open for {count(clock.age(item.first), 'day')}, "
        f"{count(len(item.commits), 'commit')}, last {clock.ago(item.last)}"
        for item in found.branches
    ]
    return section(f"Longest not merged into {code_span(found.branch)}", capped(lines, cap, "open"))


def _in_a_line(found: Findings, clock: Clock) -> str:
    if not found.tip:
        return "the repository has no commits yet"
    return _achieved([found]) if found.active else _nothing(found, clock)
