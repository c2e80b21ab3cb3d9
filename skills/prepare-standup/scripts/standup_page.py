"""Writes the standup as short bullets by person that a team can read out."""

from collections.abc import Sequence
from dataclasses import dataclass

from people import Done, Findings, Person, Work
from plain_text import code_span, shown
from wording import Clock, capital, capped, count, lines_changed, listed, no_commit, page_of, section

MOST_PEOPLE = 9
SUBJECTS, SUBJECTS_OF_ONE = 3, 12
BRANCHES = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """The clock, the first second of the period, and how many days without a commit make a branch stale."""

    clock: Clock
    first: int
    stale_days: int


@dataclass(frozen=True, slots=True)
class Standup:
    """Who is told of; `wanted` is the name that was asked for, None for everybody."""

    found: Sequence[Findings]
    people: Sequence[Person]
    told: Sequence[Person]
    wanted: str | None

    @property
    def several(self) -> bool:
        """Whether the repository of a thing must be named."""
        return len(self.found) > 1

    @property
    def commits(self) -> int:
        """The commits of those told of."""
        return sum(len(person.done) for person in self.told)

    @property
    def place(self) -> str:
        """`shop`, or `3 repositories`."""
        return (
            count(len(self.found), "repository", "repositories")
            if self.several
            else shown(self.found[0].name)
        )


def write_page(standup: Standup, frame: Frame) -> str:
    """The whole standup, at most 60 lines for a team."""
    told = standup.told
    alone = len(told) == 1 and standup.wanted is not None
    clock = frame.clock
    parts = [f"# {title(standup)}", f"_{clock.span(frame.first, clock.now)}, {clock.zone_name}_"]
    if not told:
        parts.append(_nobody(standup, frame))
    parts.extend(_person(person, standup, frame, alone=alone) for person in told[:MOST_PEOPLE])
    rest = told[MOST_PEOPLE:]
    if rest:
        commits = count(sum(len(person.done) for person in rest), "commit")
        parts.append(f"And {count(len(rest), 'more person', 'more people')}: {commits}.")
    if standup.wanted is None:
        parts.append(_left_over(standup, frame))
    parts.append(_unknown(standup))
    return page_of(parts)


def title(standup: Standup) -> str:
    """`Standup: 5 commits by 2 people in shop`, plain."""
    told, commits = standup.told, count(standup.commits, "commit")
    if standup.wanted is not None:
        names = listed([shown(person.name) for person in told], 3) or code_span(standup.wanted)
        return f"Standup for {names}: {commits if told else 'nothing'} in {standup.place}"
    if not told:
        return f"Standup: nothing new in {standup.place}"
    return f"Standup: {commits} by {count(len(told), 'person', 'people')} in {standup.place}"


def stale_elsewhere(standup: Standup) -> list[Work]:
    """Stale branches of people who are not told of, the longest untouched first."""
    quiet = [person for person in standup.people if person not in standup.told]
    return sorted((work for person in quiet for work in person.stale), key=lambda work: work.branch.last)


def _person(person: Person, standup: Standup, frame: Frame, *, alone: bool) -> str:
    several = standup.several
    progress = [_in_progress(work, frame, several=several) for work in person.work]
    watch = _watch(person, frame, several=several)
    bullets = [
        *_done(person, frame, several=several, alone=alone),
        f"- In progress: {'; '.join(_some(progress))}" if progress else "",
        f"- Watch: {'; '.join(watch)}" if watch else "",
    ]
    return section(shown(person.name), [bullet for bullet in bullets if bullet])


def _done(person: Person, frame: Frame, *, several: bool, alone: bool) -> list[str]:
    when = _when(person, frame)
    merges = f"{count(person.merges, 'merge')}" if person.merges else ""
    if not person.done:
        return [f"- {when}: {merges or 'no commit'}"]
    said = f"{count(len(person.done), 'commit')} ({lines_changed(person.added, person.removed)})"
    where = _where(person, several=several)
    said = ", ".join(part for part in (said, merges, where) if part)
    largest = sorted(person.done, key=lambda done: (-done.lines, -done.at))
    if not alone:
        subjects = [_subject(done, several=several) for done in largest]
        return [f"- {when}: {said}: {listed(subjects, SUBJECTS)}"]
    newest = sorted(person.done, key=lambda done: -done.at)
    lines = [f"  - {_subject(done, several=several)}" for done in newest]
    more = len(lines) - SUBJECTS_OF_ONE
    return [f"- {when}: {said}", *lines[:SUBJECTS_OF_ONE], *([f"  - and {more:,} more"] if more > 0 else [])]


def _when(person: Person, frame: Frame) -> str:
    clock = frame.clock
    midnight = clock.midnight()
    today = {done.at >= midnight for done in person.done}
    if frame.first < clock.midnight(1):
        return f"Since {clock.day(frame.first)}"
    return "Today" if today == {True} else "Yesterday and today" if today == {True, False} else "Yesterday"


def _where(person: Person, *, several: bool) -> str:
    ranked = sorted(person.areas, key=lambda area: (-person.areas[area], area))
    named = [(f"{shown(repository)} " if several else "") + code_span(area) for repository, area in ranked]
    return f"in {listed(named, 2)}" if named else ""


def _subject(done: Done, *, several: bool) -> str:
    return f"{shown(done.repository)} {code_span(done.subject)}" if several else code_span(done.subject)


def _named(work: Work, *, several: bool) -> str:
    name = code_span(work.branch.name)
    return f"{shown(work.repository)} {name}" if several else name


def _in_progress(work: Work, frame: Frame, *, several: bool) -> str:
    branch, clock = work.branch, frame.clock
    others = len(branch.authors) - 1
    shared = f", with {count(others, 'other person', 'other people')}" if others else ""
    commits = count(len(branch.commits), "commit")
    when = f"begun {clock.ago(branch.first)}, last {clock.ago(branch.last)}"
    return f"{_named(work, several=several)} ({commits} not in {code_span(work.into)}, {when}{shared})"


def _watch(person: Person, frame: Frame, *, several: bool) -> list[str]:
    said = []
    for work in person.work:
        if work.conflicts:
            files = listed([code_span(path) for path in work.conflicts], 2)
            said.append(f"{_named(work, several=several)} conflicts with {code_span(work.into)} in {files}")
    said = _some(said)
    for reverted in person.reverted[:2]:
        whose = f" by {shown(reverted.whose)}" if reverted.whose not in (None, person.name) else ""
        said.append(f"reverted {code_span(reverted.subject)}{whose}")
    if len(person.reverted) > 2:
        said.append(f"{count(len(person.reverted) - 2, 'more revert')}")
    if person.marks:
        said.append(f"added {count(person.marks, 'line')} marked to do")
    if person.stale:
        stale = [f"{_named(work, several=several)} ({_untouched(work, frame)})" for work in person.stale]
        said.append(f"stale: {listed(stale, 2)}")
    return said


def _some(items: Sequence[str]) -> list[str]:
    more = len(items) - BRANCHES
    return [*items[:BRANCHES], *([f"and {more:,} more"] if more > 0 else [])]


def _untouched(work: Work, frame: Frame) -> str:
    return f"no commit for {count(frame.clock.age(work.branch.last), 'day')}"


def _left_over(standup: Standup, frame: Frame) -> str:
    """Stale branches of people who did nothing lately, told once for all of them."""
    stale = stale_elsewhere(standup)
    lines = [
        f"- {_named(work, several=standup.several)} by {shown(work.branch.owner)}, {_untouched(work, frame)}"
        for work in stale
    ]
    number = count(len(stale), "stale branch", "stale branches")
    return section(f"Watch: {number} of people not named above", capped(lines, BRANCHES))


def _nobody(standup: Standup, frame: Frame) -> str:
    since = frame.clock.moment(frame.first)
    if standup.wanted is not None:
        active = [shown(person.name) for person in standup.people if person.active]
        others = f" Active: {listed(active, 6)}." if active else " Nor did anybody else."
        nobody = (
            f"Nobody named {code_span(standup.wanted)} made a commit since {since} or has a branch in work."
        )
        return nobody + others
    lines = []
    for found in standup.found:
        last, said = found.newest, no_commit(found.tip)
        if last is not None:
            when = f"{frame.clock.moment(last.at)} ({frame.clock.ago(last.at)})"
            said = f"the last commit was {code_span(last.subject)} by {shown(last.author)}, {when}"
        lines.append(f"- {shown(found.name)}: {said}" if standup.several else capital(f"{said}."))
    return "\n".join([f"No commit since {since}, and no branch in work.", *capped(lines, 8, "repositories")])


def _unknown(standup: Standup) -> str:
    told = {person.name for person in standup.told}
    said = []
    if any(f.conflicts is None and any(branch.owner in told for branch in f.branches) for f in standup.found):
        said.append(
            "whether branches merge cleanly could not be tried here (it takes git 2.38 and a whole clone)"
        )
    if any(found.marks is None for found in standup.found):
        said.append("there are too many commits to look for lines marked to do")
    return f"_Not looked at: {'; '.join(said)}._" if said else ""
