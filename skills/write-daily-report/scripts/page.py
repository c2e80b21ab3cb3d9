"""Writes the report as Markdown that reads well as it stands in a terminal and as a chat message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from git_history import Commit, Period
from plain_text import code_span, shown, width
from tally import TOP_LEVEL, BranchShare, Noted, Share, Tally

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DETAILED_REPOSITORIES = 4
LISTED_REPOSITORIES = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in one repository; `tip` says whether its branch has commits, `previous` is the last one
    before a period without any."""

    name: str
    branch: str
    asked_branch: str | None
    tip: bool
    tally: Tally
    merged_from_before: int
    branches: Sequence[BranchShare]
    previous: Commit | None

    @property
    def active(self) -> bool:
        """Whether anything happened in the period, on any branch."""
        return bool(self.tally.total.commits or self.tally.merges or self.branches)


@dataclass(frozen=True, slots=True)
class Frame:
    """The period, the zone its times are shown in, and the zone's name."""

    period: Period
    zone: tzinfo
    zone_name: str

    def day(self, seconds: int) -> str:
        """A moment as `Fri 20 Nov 09:12`, with the year when it is not the report's."""
        moment = self._local(seconds)
        if moment is None:
            return "an impossible date"
        now = self._local(self.period.end)
        year = f" {moment.year}" if now is None or moment.year != now.year else ""
        return f"{DAYS[moment.weekday()]} {moment.day} {MONTHS[moment.month - 1]}{year} {moment:%H:%M}"

    def span(self, first: int, last: int) -> str:
        """Two moments, the day of the second left out when it is the day of the first."""
        start, end = self._local(first), self._local(last)
        same = start is not None and end is not None and start.date() == end.date()
        return f"{self.day(first)} to {end:%H:%M}" if same else f"{self.day(first)} to {self.day(last)}"

    def _local(self, seconds: int) -> datetime | None:
        try:
            return datetime.fromtimestamp(seconds, UTC).astimezone(self.zone)
        except (OverflowError, OSError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Caps:
    """How many of each kind a repository may show, so that the whole report stays under 60 lines."""

    authors: int
    areas: int
    commits: int
    branches: int


ALONE = Caps(authors=8, areas=8, commits=8, branches=5)
AMONG_QUIET_ONES = Caps(authors=6, areas=6, commits=6, branches=3)
ONE_OF_TWO = Caps(authors=3, areas=3, commits=3, branches=1)
ONE_OF_MANY = Caps(authors=3, areas=3, commits=2, branches=2)


def write_page(all_findings: Sequence[Findings], frame: Frame) -> str:
    """The whole report; `all_findings` has at least one repository."""
    if len(all_findings) == 1:
        only = all_findings[0]
        title = f"# {shown(only.name)}: {achieved(only.tally)}"
        return _joined([title, _period(frame), *_body(only, frame, ALONE)])
    active = [findings for findings in all_findings if findings.active]
    active.sort(key=lambda found: (-found.tally.total.commits, -found.tally.total.lines, found.name))
    parts = [f"# {overall(all_findings)}", _period(frame)]
    for found in active[:DETAILED_REPOSITORIES]:
        parts.append(f"## {shown(found.name)}: {achieved(found.tally)}")
        if len(active) == 1:
            parts.extend(_body(found, frame, AMONG_QUIET_ONES))
        elif len(all_findings) == 2:
            parts.extend(_body(found, frame, ONE_OF_TWO))
        else:
            parts.extend(_short_body(found, frame))
    rest = [*active[DETAILED_REPOSITORIES:], *(found for found in all_findings if not found.active)]
    if rest:
        lines = [f"- {shown(found.name)}: {_in_a_line(found, frame)}" for found in rest[:LISTED_REPOSITORIES]]
        lines.extend(_and_more(len(rest) - len(lines), "repositories"))
        parts.append("## The others" if active else "")
        parts.append("\n".join(lines))
    return _joined(parts)


def achieved(tally: Tally) -> str:
    """`14 commits by 3 authors`, plain."""
    authors = tally.ranked_authors()
    if not authors:
        return f"no commits, {count(tally.merges, 'merge')}" if tally.merges else "no commits"
    by = shown(authors[0].name) if len(authors) == 1 else f"{len(authors)} authors"
    return f"{count(tally.total.commits, 'commit')} by {by}"


def overall(all_findings: Sequence[Findings]) -> str:
    """`19 commits by 4 authors in 2 of 3 repositories`, plain."""
    commits = sum(found.tally.total.commits for found in all_findings)
    if not commits:
        return f"No commits in {len(all_findings)} repositories"
    authors = {name for found in all_findings for name in found.tally.authors}
    busy = sum(1 for found in all_findings if found.tally.total.commits)
    places = f"{busy} of {len(all_findings)}" if busy < len(all_findings) else str(busy)
    return f"{count(commits, 'commit')} by {count(len(authors), 'author')} in {places} repositories"


def count(number: int, noun: str) -> str:
    """`1 commit`, `1,204 commits`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _period(frame: Frame) -> str:
    return f"_{frame.span(frame.period.first, frame.period.end)}, {frame.zone_name}_"


def _body(found: Findings, frame: Frame, caps: Caps) -> list[str]:
    authors, areas = found.tally.ranked_authors(), found.tally.ranked_areas()
    return [
        _sentence(found, frame),
        _table("Author", authors, caps.authors) if len(authors) > 1 else "",
        _table("Area", areas, caps.areas) if len(areas) > 1 else "",
        _commits(found.tally, caps.commits),
        _branches(found, frame, caps.branches),
    ]


def _short_body(found: Findings, frame: Frame) -> list[str]:
    tally, caps = found.tally, ONE_OF_MANY
    authors = [f"{shown(share.name)} {share.commits:,}" for share in tally.ranked_authors()]
    areas = [f"{_area(share)} {share.commits:,}" for share in tally.ranked_areas()]
    branches = [f"{code_span(share.name)} {share.commits:,}" for share in found.branches]
    lines = [
        _inline_list("Authors", authors, caps.authors) if len(authors) > 1 else "",
        _inline_list("Areas", areas, caps.areas) if len(areas) > 1 else "",
        *(_commit_line(note, tally) for note in tally.ranked_commits()[: caps.commits]),
        _inline_list("Other branches", branches, caps.branches) if branches else "",
    ]
    return [_sentence(found, frame), "\n".join(line for line in lines if line)]


def _sentence(found: Findings, frame: Frame) -> str:
    tally = found.tally
    if not tally.total.commits and not tally.merges:
        return _capital(_nothing(found, frame))
    total = tally.total
    said = []
    if total.commits:
        files = f"{count(len(total.files), 'file')}, {_lines(total.added, total.removed)} lines"
        areas = tally.ranked_areas()
        busiest = f", busiest in {_place(areas[0])}" if len(areas) > 1 else ""
        only = f", all in {_place(areas[0])}" if len(areas) == 1 else ""
        said.append(f"**{files}**{busiest}{only}.")
    said.extend([_times(tally, frame), _asides(found), _dominant(tally), _other_branch(found)])
    return " ".join(sentence for sentence in said if sentence)


def _times(tally: Tally, frame: Frame) -> str:
    if tally.first is None or tally.last is None:
        return ""
    if tally.first == tally.last:
        return f"Committed {frame.day(tally.first)}."
    return f"First commit {frame.span(tally.first, tally.last).replace(' to ', ', last ', 1)}."


def _asides(found: Findings) -> str:
    tally = found.tally
    said = []
    if tally.merges:
        earlier = found.merged_from_before
        brought = f" that brought in {count(earlier, 'earlier commit')}" if earlier else ""
        said.append(count(tally.merges, "merge") + brought)
    if tally.binary_files:
        said.append(count(len(tally.binary_files), "binary file") + " (no lines counted)")
    if tally.without_changes_known:
        cut = count(tally.without_changes_known, "commit")
        said.append(f"the changes of {cut} at the edge of this shallow clone are not known")
    return _capital("; ".join(said)) + "." if said else ""


def _dominant(tally: Tally) -> str:
    """Names the one file, such as a lock file, that makes up most of the lines: it misleads otherwise."""
    if tally.largest_file is None or len(tally.total.files) < 3:
        return ""
    path, added, removed = tally.largest_file
    if added + removed < 200 or 2 * (added + removed) <= tally.total.lines:
        return ""
    return f"{code_span(path)} alone is {_lines(added, removed)} of that."


def _other_branch(found: Findings) -> str:
    if not found.asked_branch or found.asked_branch == found.branch:
        return ""
    return f"There is no branch {code_span(found.asked_branch)}: this is {code_span(found.branch)}."


def _nothing(found: Findings, frame: Frame) -> str:
    if not found.tip:
        return "no commit yet." if found.branches else "the repository has no commits yet."
    since = frame.day(frame.period.first)
    on_branch = f" on {code_span(found.branch)}" if found.branches else ""
    last = found.previous
    if last is None:
        return f"no commits{on_branch} since {since}; all commits here are dated later than this report."
    days = (frame.period.end - last.at) // 86_400
    ago = f" ({count(days, 'day')} ago)" if days else ""
    said = f"{code_span(last.subject)} by {shown(last.author)}, {frame.day(last.at)}{ago}."
    return f"no commits{on_branch} since {since}; the last one was {said}"


def _in_a_line(found: Findings, frame: Frame) -> str:
    total = found.tally.total
    if total.commits:
        return f"{achieved(found.tally)}, {_lines(total.added, total.removed)} lines"
    return achieved(found.tally) if found.tally.merges else _nothing(found, frame).rstrip(".")


def _table(title: str, shares: Sequence[Share], cap: int) -> str:
    rows = [[title, "Commits", "Files", "Lines"]]
    for share in shares[:cap]:
        name = _area(share) if title == "Area" else shown(share.name)
        rows.append([name, *_numbers(share)])
    more = shares[cap:]
    if more:
        rows.append([f"and {len(more)} more", *_numbers(_together(more, commits=title == "Author"))])
    widths = [max(width(row[column]) for row in rows) for column in range(4)]
    rule = ["-" * (widths[0] + 2), *("-" * (size + 1) + ":" for size in widths[1:])]
    lines = [_row(row, widths) for row in rows]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    blanks = [" " * (size - width(cell)) for cell, size in zip(cells, widths, strict=True)]
    numbers = [blank + cell for blank, cell in zip(blanks[1:], cells[1:], strict=True)]
    return "| " + " | ".join([cells[0] + blanks[0], *numbers]) + " |"


def _numbers(share: Share) -> list[str]:
    commits = f"{share.commits:,}" if share.commits else ""
    return [commits, f"{len(share.files):,}", _lines(share.added, share.removed)]


def _together(shares: Sequence[Share], *, commits: bool) -> Share:
    """The sum of shares; commits only where no commit is in two of them (an author's, not an area's)."""
    return Share(
        "more",
        sum(share.commits for share in shares) if commits else 0,
        sum(share.added for share in shares),
        sum(share.removed for share in shares),
        set().union(*(share.files for share in shares)),
    )


def _inline_list(title: str, named: Sequence[str], cap: int) -> str:
    more = f" and {len(named) - cap} more" if len(named) > cap else ""
    return f"- {title}: {', '.join(named[:cap])}{more}"


def _commits(tally: Tally, cap: int) -> str:
    if not tally.noted:
        return ""
    if len(tally.noted) <= cap:
        newest_first = sorted(tally.noted, key=lambda note: -note.at)
        return "\n".join(["**Commits**", *(_commit_line(note, tally) for note in newest_first)])
    title = f"**Noteworthy** ({cap} of {len(tally.noted):,})"
    return "\n".join([title, *(_commit_line(note, tally) for note in tally.ranked_commits()[:cap])])


def _commit_line(note: Noted, tally: Tally) -> str:
    why = f"**{note.why}** " if note.why else ""
    by = f"{shown(note.author)}, " if len(tally.authors) > 1 else ""
    size = f"{_lines(note.added, note.removed)} in {count(note.files, 'file')}" if note.files else "no files"
    return f"- {note.sha[:8]} {why}{code_span(note.subject)} ({by}{size})"


def _branches(found: Findings, frame: Frame, cap: int) -> str:
    if not found.branches:
        return ""
    lines = ["**On other branches**"]
    for share in found.branches[:cap]:
        people = sorted(share.authors, key=lambda name: (-share.authors[name], name))
        by = shown(people[0]) if len(people) == 1 else f"{shown(people[0])} and {len(people) - 1} more"
        commits = count(share.commits, "commit")
        lines.append(f"- {code_span(share.name)}: {commits} by {by}, last {frame.day(share.last)}")
    return "\n".join(lines + _and_more(len(found.branches) - cap, "branches"))


def _and_more(number: int, noun: str) -> list[str]:
    return [f"- and {number} more {noun}"] if number > 1 else ["- and 1 more"] if number == 1 else []


def _area(share: Share) -> str:
    return share.name if share.name == TOP_LEVEL else code_span(share.name)


def _place(share: Share) -> str:
    return "the top level" if share.name == TOP_LEVEL else code_span(share.name)


def _lines(added: int, removed: int) -> str:
    return f"+{added:,} −{removed:,}"  # noqa: RUF001 - a minus sign as wide as the plus


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
