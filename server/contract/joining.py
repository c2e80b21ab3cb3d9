"""What a minion and HQ say to each other beside orders and reports: who it is, what it has, how it stands.

HQ never calls a minion: a minion asks, and HQ's answers carry what it has for it (DESIGN §5.6, §7). Both sides
keep and ignore fields that they do not know; a message carries the protocol's number (DESIGN §4).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .documents import WireMessage, WirePart
from .orders import Key, Order
from .spelling import DecisionId, MinionId, Moment, RoutineId, RunId, Slug
from .wire import LONGEST_WAIT_S, MOST_REPORTS

_Line = Annotated[str, Field(max_length=200)]
_Words = Annotated[str, Field(max_length=1000)]
_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Hello(WireMessage):
    """Who a minion is, as it joins and whenever its daemon starts; its name is the one its token was made for.

    `timezone` is an IANA name, `notify` what is told where a routine says nothing, `wire` the newest protocol that
    it speaks. `engines`, `skills` and `connectors` are what it has of its own, where it says so.
    """

    minion: MinionId
    name: Slug
    version: _Line
    timezone: _Line
    engine: _Line | None = None
    roles: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    notify: tuple[dict[str, Any], ...] = ()
    engines: Annotated[tuple[_Line, ...], Field(max_length=50)] | None = None
    skills: Annotated[tuple[Slug, ...], Field(max_length=1000)] | None = None
    connectors: Annotated[tuple[Slug, ...], Field(max_length=200)] | None = None


class Welcome(WireMessage):
    """HQ's answer to `Hello`. `epoch` names this store: with another one a minion begins from nothing."""

    hq_version: str
    epoch: str
    joined_at: Moment


class Have(WireMessage):
    """What a minion has of HQ's: its routines' and skills' digests, and how far it has heard (`epoch:seq`)."""

    minion: MinionId
    cursor: _Line | None = None
    routines: Annotated[dict[RoutineId, _Digest], Field(max_length=10_000)] = Field(default_factory=dict)
    skills: Annotated[dict[Slug, _Digest], Field(max_length=1000)] = Field(default_factory=dict)


class HeldRoutine(WirePart):
    """A routine that a minion is to have: its admitted document and which version it is.

    `handled_until` is up to when another one, that had it before, saw to its slots.
    """

    id: RoutineId
    document: dict[str, Any]
    digest: _Digest
    revision: int
    handled_until: Moment | None = None


class HeldSkill(WirePart):
    """A skill that its routines run, as files by relative path."""

    name: Slug
    version: int
    digest: _Digest
    files: dict[str, str]


class Differences(WireMessage):
    """What a minion has to change to have what HQ has for it: all of it or nothing, then it is at `cursor`.

    `missing` are skills that its routines name and HQ does not have: the minion's own, or nobody's.
    """

    cursor: str
    routines: tuple[HeldRoutine, ...] = ()
    gone: tuple[RoutineId, ...] = ()
    skills: tuple[HeldSkill, ...] = ()
    missing: tuple[str, ...] = ()


class Settled(WirePart):
    """What became of an order: `taken` is kept by the minion, which will do it; `refused` says why it will not."""

    order: Key
    state: Literal["taken", "refused"]
    why: _Words | None = None


class SlotAtRisk(WirePart):
    """A slot that is due and has not begun; `grace_until` is when it counts as missed."""

    routine: Slug
    due: Moment
    grace_until: Moment


class RoutineTrouble(WirePart):
    """Why a routine that HQ gave a minion is not in force there."""

    routine: RoutineId
    sentence: _Words
    hint: _Words | None = None


class Hold(WirePart):
    """What waits on a minion for a person; `digest` is of the question and of all that it is about.

    `about` is what a person should know before they answer. HQ reads its `changes`, what each part that changed
    was and is now: `{"skill:NAME": {"from": DIGEST, "to": DIGEST}}`, null where it was not or is not there.
    """

    id: DecisionId
    kind: _Line
    routine: Slug
    question: _Words
    about: dict[str, Any]
    digest: _Digest
    opened_at: Moment


class Beat(WireMessage):
    """How a minion stands, and what it waits for: HQ answers when it has something, or after `wait_s`.

    At `cursor` it has, and goes by, all that HQ had for it then. `released` are routines that it does not start by
    itself any more, and up to when it saw to their slots; `held` all that waits there for a person.
    """

    minion: MinionId
    cursor: _Line | None = None
    wait_s: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S)] = 0.0
    running: Annotated[tuple[RunId, ...], Field(max_length=200)] = ()
    next_due: SlotAtRisk | None = None
    health: _Words | None = None
    settled: Annotated[tuple[Settled, ...], Field(max_length=500)] = ()
    released: Annotated[dict[RoutineId, Moment], Field(max_length=10_000)] = Field(default_factory=dict)
    troubles: Annotated[tuple[RoutineTrouble, ...], Field(max_length=100)] = ()
    held: Annotated[tuple[Hold, ...], Field(max_length=100)] = ()


class Goodbye(WireMessage):
    """A minion leaves: its routines stay at HQ, without a minion. Its token lets it join again."""

    minion: MinionId


class Question(WirePart):
    """What HQ would like to know of a routine just now: `why` it runs or does not, today or at a time of day."""

    id: Key
    kind: Literal["why"]
    routine: Slug
    at: _Line | None = None


class News(WireMessage):
    """What HQ has for a minion; `cursor` is HQ's: another one than the minion's says that it should ask anew."""

    cursor: str
    orders: tuple[Order, ...] = ()
    questions: tuple[Question, ...] = ()


class Answers(WireMessage):
    """What a minion says to HQ's questions, by the question's id; `refused` where it cannot say."""

    minion: MinionId
    answers: Annotated[dict[Key, dict[str, Any]], Field(max_length=50)]


class Reports(WireMessage):
    """Reports of runs (`reports.RunReport`), oldest first; each revision of a run is taken once.

    Each is read by itself: one that HQ cannot read holds up no other.
    """

    minion: MinionId
    reports: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MOST_REPORTS)]


class Refusal(WirePart):
    """A report that HQ does not take, and will not however often it comes; `id` is what it called itself."""

    id: Annotated[str, Field(max_length=64)]
    code: str
    sentence: str


class Receipt(WireMessage):
    """What HQ has on its disk of the reports that came: their runs and revisions, and what it refuses."""

    taken: tuple[tuple[RunId, int], ...] = ()
    refused: tuple[Refusal, ...] = ()
