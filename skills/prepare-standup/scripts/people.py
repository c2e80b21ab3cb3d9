"""Gathers what each person did in a period, works on now, and should watch, over all repositories."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from branches import OpenBranch
from git_history import Commit
from plain_text import clean, decoded

REVERT = 'Revert "'


@dataclass(frozen=True, slots=True)
class Done:
    """A commit as a standup names it; `lines` are those added and removed together."""

    repository: str
    sha: str
    at: int
    subject: str
    lines: int


@dataclass(frozen=True, slots=True)
class Work:
    """A branch somebody works on; `conflicts` are the paths that do not merge, None if unknown."""

    repository: str
    into: str
    branch: OpenBranch
    conflicts: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Reverted:
    """The subject of a commit that was taken back, and whose it was, None when that is not known."""

    subject: str
    whose: str | None


@dataclass(slots=True)
class Person:
    """One author's part of the standup; `areas` counts commits by top-level folder, repository first."""

    name: str
    done: list[Done] = field(default_factory=list)
    merges: int = 0
    added: int = 0
    removed: int = 0
    areas: Counter[tuple[str, str]] = field(default_factory=Counter)
    work: list[Work] = field(default_factory=list)
    stale: list[Work] = field(default_factory=list)
    reverted: list[Reverted] = field(default_factory=list)
    marks: int = 0

    @property
    def active(self) -> bool:
        """Whether there is anything to tell the team: a stale branch alone is not."""
        return bool(self.done or self.merges or self.work)

    @property
    def bot(self) -> bool:
        """Whether the name says that this is a program."""
        return self.name.endswith("[bot]")


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in one repository; `branches` are those not merged into `branch`, which has
    commits if `tip`; `newest` is the last commit on any branch when the period had none."""

    name: str
    branch: str
    tip: bool
    commits: Sequence[Commit]
    branches: Sequence[OpenBranch]
    conflicts: Mapping[str, tuple[str, ...]] | None
    marks: Mapping[str, int] | None
    newest: Commit | None


def gather(found: Iterable[Findings], *, stale_before: int) -> list[Person]:
    """Everybody found, people before programs, most commits first.

    A branch whose last commit was made before `stale_before` (seconds since 1970) is stale.
    """
    people: dict[str, Person] = {}
    for repository in found:
        _take_commits(people, repository)
        for branch in repository.branches:
            conflicts = None if repository.conflicts is None else repository.conflicts.get(branch.tip)
            work = Work(repository.name, repository.branch, branch, conflicts)
            owner = people.setdefault(branch.owner, Person(branch.owner))
            (owner.stale if branch.last < stale_before else owner.work).append(work)
        for name, number in (repository.marks or {}).items():
            people.setdefault(name, Person(name)).marks += number
    return sorted(people.values(), key=_rank)


def matching(people: Sequence[Person], wanted: str) -> list[Person]:
    """Those whose name is `wanted` or has it as whole words, capitals aside; else those who contain it."""
    sought = wanted.casefold()
    words = [person for person in people if f" {sought} " in f" {person.name.casefold()} "]
    return words or [person for person in people if sought in person.name.casefold()]


def _take_commits(people: dict[str, Person], found: Findings) -> None:
    for commit in found.commits:
        person = people.setdefault(commit.author, Person(commit.author))
        if commit.parents > 1:
            person.merges += 1
            continue
        added = sum(change.added for change in commit.changes)
        removed = sum(change.removed for change in commit.changes)
        person.added, person.removed = person.added + added, person.removed + removed
        person.done.append(Done(found.name, commit.sha, commit.at, commit.subject, added + removed))
        folders = {change.path.partition(b"/")[0] for change in commit.changes if b"/" in change.path}
        person.areas.update((found.name, clean(decoded(folder), 40) + "/") for folder in folders)
        if commit.subject.startswith(REVERT):
            subject = commit.subject.removeprefix(REVERT).removesuffix('"')
            person.reverted.append(Reverted(subject, _author_of(subject, found.commits)))


def _author_of(subject: str, commits: Sequence[Commit]) -> str | None:
    """Who made the commit of the period with this subject, which may have been cut."""
    cut = subject.endswith("…")
    for commit in commits:
        if commit.subject == subject or (cut and commit.subject.startswith(subject[:-1])):
            return commit.author
    return None


def _rank(person: Person) -> tuple[bool, int, int, str]:
    return (person.bot, -len(person.done), -len(person.work), person.name)
