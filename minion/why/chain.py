"""The links from due to delivered as data: what holds, what is broken, in words, and the command that mends it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

# In the order in which one follows from the other.
Name = Literal["due", "daemon", "slot", "engine", "run", "outcome", "delivery", "expect"]
NAMES: Final[tuple[Name, ...]] = ("due", "daemon", "slot", "engine", "run", "outcome", "delivery", "expect")
_OF_THE_RUN: Final = NAMES[4:]
# `off`: broken because somebody wants it so. `pending`: not there yet, and nothing is wrong so far.
State = Literal["holds", "pending", "off", "broken"]


@dataclass(frozen=True, slots=True)
class Link:
    """One link: `words` is a sentence; `fix` one command for a link that does not hold, where there is one."""

    name: Name
    state: State
    words: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The links of one instant of a routine, up to the first that does not hold. `at` has its zone's offset.

    `well` is what is said where all of them hold, `opening` what stands before what is said of a run.
    """

    routine: str
    at: str | None
    links: tuple[Link, ...]
    well: str = ""
    opening: str = ""

    @property
    def end(self) -> Link:
        """The first link that does not hold, else the last."""
        return self.links[-1]

    @property
    def sentence(self) -> str:
        """What is to be said of it: what the first link that does not hold says, or that all hold."""
        end = self.end
        if end.state == "holds" and self.well:
            return self.well
        if self.opening and end.name in _OF_THE_RUN:
            return f"{self.opening}{end.words[:1].lower()}{end.words[1:]}"
        return end.words

    def as_data(self) -> dict[str, Any]:
        """As `minion why --json` prints it: every link, those that were not reached too."""
        known = {link.name: link for link in self.links}
        links = []
        for name in NAMES:
            link = known.get(name)
            state, words, fix = (link.state, link.words, link.fix) if link else ("not-reached", None, None)
            links.append({"name": name, "state": state, "words": words, "fix": fix})
        return {
            "routine": self.routine, "at": self.at, "state": self.end.state, "sentence": self.sentence,
            "fix": self.end.fix, "links": links,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the store: `now` (aware UTC), the minion's zone and engine, its daemon, its files.

    `daemon` is that part of the minion's standing (`minion.standing`), None where none runs; `files` are the names
    of the routines that have a file, `secrets` those of the secrets that are kept.
    """

    now: datetime
    zone: str
    engine: str
    daemon: Mapping[str, Any] | None
    files: Collection[str]
    secrets: Collection[str] = ()


def zone_of(document: Mapping[str, Any], default: str) -> tzinfo:
    """The zone that a routine's times are told in."""
    named = next((trigger["timezone"] for trigger in document["triggers"] if trigger["timezone"]), None)
    return ZoneInfo(document["timezone"] or named or default)


def day_and_time(moment: datetime, zone: tzinfo) -> str:
    """An instant as people read it, in a zone."""
    return moment.astimezone(zone).strftime("%a %Y-%m-%d %H:%M")
