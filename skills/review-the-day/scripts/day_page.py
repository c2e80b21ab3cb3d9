"""Writes the review of a day, with a checklist for the next one."""

from collections.abc import Sequence
from dataclasses import dataclass

from changed_files import FileShare
from day import Findings
from file_kinds import is_generated
from plain_text import code_span, shown
from wording import Clock, capital, capped, count, lines_changed, listed, no_commit, page_of, section

# A file changed by less is not worth a second look.
WORTH_A_LOOK = 20
BRANCH_TASKS = 3
MOST_TASKS, MOST_TASKS_OF_MANY = 8, 5
DETAILED_REPOSITORIES = 2
LISTED_REPOSITORIES = 5


@dataclass(frozen=True, slots=True)
class Caps:
    """How many lines each part of a repository may have, so that the whole page stays under 60 lines."""

    branches: int
    files: int
    shared: int
    untested: int


ALONE = Caps(branches=6, files=6, shared=5, untested=4)
ONE_OF_MANY = Caps(branches=2, files=2, shared=0, untested=0)


@dataclass(frozen=True, slots=True)
class Frame:
    """The clock and the first second of the day."""

    clock: Clock
    first: int


def write_page(all_findings: Sequence[Findings], frame: Frame) -> str:
    """The whole review; `all_findings` has at least one repository."""
    clock = frame.clock
    parts = [f"# {title(all_findings, frame)}", f"_{clock.span(frame.first, clock.now)}, {clock.zone_name}_"]
    busy = [found for found in all_findings if found.commits or found.merges]
    busy.sort(key=lambda found: (-len(found.commits), found.name))
    alone = len(all_findings) == 1
    for found in busy[:DETAILED_REPOSITORIES]:
        parts.append("" if alone else f"## {shown(found.name)}: {_achieved([found])}")
        parts.extend(_body(found, clock, ALONE if alone else ONE_OF_MANY))
    rest = [*busy[DETAILED_REPOSITORIES:], *(found for found in all_findings if found not in busy)]
    if alone and rest:
        parts.append(capital(_quiet(rest[0], clock)) + ".")
    elif rest:
        lines = [f"- {shown(found.name)}: {_in_a_line(found, clock)}" for found in rest]
        shown_lines = capped(lines, LISTED_REPOSITORIES, "repositories")
        parts.append(section("The others", shown_lines) if busy else "\n".join(shown_lines))
    tasks = [f"- [ ] {task}" for task in checklist(all_findings)]
    parts.append(section("For tomorrow", capped(tasks, MOST_TASKS if alone else MOST_TASKS_OF_MANY)))
    return page_of(parts)


def title(all_findings: Sequence[Findings], frame: Frame) -> str:
    """`shop on Fri 20 Nov: 5 commits by 2 people`, plain."""
    alone = len(all_findings) == 1
    place = shown(all_findings[0].name) if alone else f"{len(all_findings)} repositories"
    return f"{place} on {frame.clock.day(frame.first)}: {_achieved(all_findings)}"


def checklist(all_findings: Sequence[Findings]) -> list[str]:
    """What the day leaves to do, each line one thing that the page shows above."""
    several = len(all_findings) > 1
    tasks: list[tuple[int, str]] = []
    for found in all_findings:
        place = f"{shown(found.name)}: " if several else ""
        for branch in found.touched[:BRANCH_TASKS]:
            tasks.append((0, f"{place}finish or merge {code_span(branch.name)}"))
        more = len(found.touched) - BRANCH_TASKS
        if more > 0:
            tasks.append((0, f"{place}finish or merge {count(more, 'more branch', 'more branches')}"))
        for commit in found.unfinished[:2]:
            tasks.append((1, f"{place}come back to {commit.sha[:8]} {code_span(commit.subject)}"))
        if found.marks:
            marked = count(found.marks, "line")
            tasks.append(
                (2, f"{place}go through the {marked} added today that {_is(found.marks)} marked to do")
            )
        if found.untested:
            number = count(len(found.untested), "commit")
            tasks.append((3, f"{place}see whether {number} without a test {_need(len(found.untested))} one"))
        for item in found.shared[:2]:
            tasks.append(
                (4, f"{place}agree on {code_span(item.name)}: {listed(_people(item), 3)} changed it")
            )
        for item in _large(found)[:1]:
            tasks.append((5, f"{place}read {code_span(item.name)} once more"))
    tasks.sort(key=lambda task: task[0])
    return [capital(text) if not several else text for _, text in tasks]


def _achieved(all_findings: Sequence[Findings]) -> str:
    commits = sum(len(found.commits) for found in all_findings)
    merges = sum(found.merges for found in all_findings)
    if not commits:
        return f"no commits, {count(merges, 'merge')}" if merges else "no commits"
    authors = {name for found in all_findings for name in found.authors}
    by = shown(next(iter(authors))) if len(authors) == 1 else f"{len(authors)} people"
    return f"{count(commits, 'commit')} by {by}"


def _body(found: Findings, clock: Clock, caps: Caps) -> list[str]:
    large = [
        f"- {code_span(item.name)}: {lines_changed(item.added, item.removed)} in "
        f"{count(sum(item.commits.values()), 'commit')}{_by(item, found)}"
        for item in _large(found)
    ]
    shared = [f"- {code_span(item.name)}: {listed(_people(item), 4)}" for item in found.shared]
    return [
        _sentence(found),
        section(f"Not merged into {code_span(found.branch)}", capped(_open(found, clock), caps.branches)),
        section("Worth a second look", large[: caps.files]),
        section("Changed by several people", capped(shared, caps.shared)),
        _tests(found, caps),
    ]


def _sentence(found: Findings) -> str:
    added, removed = found.lines
    said = [f"**{count(len(found.files), 'file')}, {lines_changed(added, removed)} lines**"]
    elsewhere = sum(found.of_day(branch) for branch in found.touched)
    if elsewhere:
        whole = elsewhere == len(found.commits)
        said.append(f"{'all' if whole else count(elsewhere, 'commit')} on branches not merged yet")
    if found.merges:
        said.append(count(found.merges, "merge"))
    if found.cut_off:
        cut = count(found.cut_off, "commit")
        said.append(f"the changes of {cut} at the edge of this shallow clone are not known")
    if found.marks is None:
        said.append("too many commits to look for lines marked to do")
    return "; ".join(said) + "."


def _open(found: Findings, clock: Clock) -> list[str]:
    lines = []
    for branch in found.touched:
        today = found.of_day(branch)
        by = listed([shown(name) for name, _ in branch.authors.most_common()], 2)
        begun = f", begun {clock.ago(branch.first)}" if len(branch.commits) > today else ""
        whole = f"{today:,} of " if len(branch.commits) > today else ""
        commits, last = count(len(branch.commits), "commit"), clock.local(branch.last)
        at = f", last {last:%H:%M}" if last is not None else ""
        lines.append(f"- {code_span(branch.name)}: {whole}{commits} today by {by}{begun}{at}")
    return lines


def _tests(found: Findings, caps: Caps) -> str:
    if not found.code_commits:
        return ""
    code, tests = count(found.code_files, "file"), count(found.test_files, "file")
    commits, tested = count(found.code_commits, "commit"), found.code_commits - len(found.untested)
    head = f"- {code} of code and {tests} of tests changed; {tested:,} of {commits} to code touched a test"
    lines = [
        f"- no test in {item.commit.sha[:8]} {code_span(item.commit.subject)} "
        f"({shown(item.commit.author)}, {count(item.lines, 'line')} of code)"
        for item in found.untested
    ]
    return section("Tests beside code", [head, *capped(lines, caps.untested, "without a test")])


def _large(found: Findings) -> list[FileShare]:
    return [item for item in found.files if item.lines >= WORTH_A_LOOK and not is_generated(item.path)]


def _by(item: FileShare, found: Findings) -> str:
    return f" by {listed(_people(item), 3)}" if len(found.authors) > 1 else ""


def _people(item: FileShare) -> list[str]:
    return [shown(name) for name in item.authors]


def _quiet(found: Findings, clock: Clock) -> str:
    last = found.newest
    if last is None:
        return no_commit(found.tip)
    by = f"{code_span(last.subject)} by {shown(last.author)}, {clock.moment(last.at)} ({clock.ago(last.at)})"
    return f"no commit today on any branch; the last one was {by}"


def _in_a_line(found: Findings, clock: Clock) -> str:
    return _achieved([found]) if found.commits or found.merges else _quiet(found, clock)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _need(number: int) -> str:
    return "needs" if number == 1 else "need"
