"""Gathers what a week did, the same length of time before it, and what is still open at its end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from branches import Branches, OpenBranch
from changed_files import FileShare, by_file
from git_history import Commit, Period, _seconds, _until
from plain_text import clean, decoded, name_of
from tally import Share, Tally, tally
from wording import Clock

NIGHT_BEGINS_AT_HOUR, NIGHT_ENDS_AT_HOUR = 22, 6


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag made in the week: its name, and when (a lightweight one: when its commit was made)."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Findings:
    """One repository's week. `before` is the time of the same length before it, None if unknown.

    `new_authors` have no earlier commit on the reported branch, None when that is not known; `days` counts
    commits by local day, `odd_hours` those made at night or on a weekend.
    """

    name: str
    branch: str
    tip: bool
    week: Tally
    before: Tally | None
    files: Sequence[FileShare]
    new_authors: Sequence[str] | None
    tags: Sequence[Tag]
    branches: Sequence[OpenBranch]
    newest: Commit | None
    days: Counter[date] = field(default_factory=Counter)
    odd_hours: int = 0

    @property
    def active(self) -> bool:
        """Whether anything happened on the reported branch."""
        return bool(self.week.total.commits or self.week.merges or self.tags)


class Weeks(Branches):
    """A repository's history, read for a week and the one before."""

    def new_authors(self, tip: str, week: Tally, first: int) -> list[str]:
        """Authors of the week without a commit made before `first`, by the size of what they did."""
        left = set(week.authors)
        if first > 0 and left:
            options = ["--no-patch", *_until(first)]
            for (name,), _ in self._log(options, ("%aN",), [tip], mailmap=tip):
                left.discard(name_of(name))
                if not left:
                    break
        return [share.name for share in week.ranked_authors() if share.name in left]

    def tags(self, period: Period) -> list[Tag]:
        """The tags of the period, the newest first."""
        layout = "--format=%(refname:short)%00%(creatordate:unix)%00"
        pieces = self._ask("for-each-ref", layout, "refs/tags").split(b"\0")
        found = [
            Tag(clean(decoded(name.lstrip(b"\n")).removeprefix("tags/"), 60), _seconds(at))
            for name, at in zip(pieces[::2], pieces[1::2], strict=False)
        ]
        return sorted(
            (tag for tag in found if period.first <= tag.at < period.end), key=lambda tag: (-tag.at, tag.name)
        )


def look_into(name: str, folder: str, branch: str | None, period: Period, clock: Clock) -> Findings:
    """All that one repository's history says of the week. Raises `HistoryUnreadable`."""
    history = Weeks(name, folder)
    reported, tip = history.branch_and_tip(branch)
    edge = history.shallow_edge()
    length = period.end - period.first
    both = Period(max(0, period.first - length), period.end)
    commits = list(history.commits(tip, both)) if tip else []
    recent = [commit for commit in commits if commit.at >= period.first]
    week = tally(recent, cut_off=edge)
    own = [commit.at for commit in recent if commit.parents < 2]
    moments = [moment for moment in map(clock.local, own) if moment is not None]
    return Findings(
        name=clean(name, 60),
        branch=reported,
        tip=tip is not None,
        week=week,
        # Where a shallow clone was cut off, the time before is not seen whole.
        before=None if edge else tally(commit for commit in commits if commit.at < period.first),
        files=by_file(recent),
        new_authors=None if edge or tip is None else history.new_authors(tip, week, period.first),
        tags=history.tags(period),
        branches=sorted(history.unmerged(tip, period.end), key=lambda item: (item.first, item.name)),
        newest=history.newest(tip, period.end) if not recent else None,
        days=Counter(moment.date() for moment in moments),
        odd_hours=sum(
            moment.weekday() >= 5 or not NIGHT_ENDS_AT_HOUR <= moment.hour < NIGHT_BEGINS_AT_HOUR
            for moment in moments
        ),
    )


def commits_before(found: Findings, area: Share) -> int | None:
    """How many commits an area had in the time before the week, None when that is not known."""
    if found.before is None:
        return None
    return next((share.commits for share in found.before.areas.values() if share.name == area.name), 0)
