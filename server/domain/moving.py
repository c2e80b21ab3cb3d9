"""Who starts a routine by itself, and what has to happen before somebody else does: pure.

Exactly one starts it: its minion, or HQ. Whoever takes over begins where the one before let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from server.contract.digest import instant, parse_instant
from server.domain.legible import ago

HQ: Final = "hq"
# A minion's clock may be ahead, and its word on slots with it; further than this it is no clock.
_FURTHEST_AHEAD: Final = timedelta(days=1)


def starter_of(document: Mapping[str, Any], minion_id: str | None) -> str | None:
    """Who starts a routine by its schedule: `hq`, the id of its minion; None where it has no minion."""
    if minion_id is None:
        return None
    return HQ if document["scheduled_by"] == HQ else minion_id


def is_rescheduled(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a routine is due at other times than before; one that goes on after a pause is, too."""
    resumed = bool(before["paused"]) and not after["paused"]
    return resumed or before["triggers"] != after["triggers"] or before["timezone"] != after["timezone"]


def let_go_at(begins: str, said: str | None, now: datetime) -> str:
    """Up to when the slots of a routine were seen to, by the word of the minion that let go of it (instants).

    `begins` is up to when they were seen to for sure; one that says nothing of a routine saw to no more.
    """
    if said is None:
        return begins
    word = min(parse_instant(said), now + _FURTHEST_AHEAD)
    return max(begins, instant(word))


def seen_words(name: str, seen_at: str | None, now: datetime) -> str:
    """When a minion was last heard of, as the beginning of a sentence."""
    return f"{name} was never seen" if seen_at is None else f"{name} was last seen {ago(seen_at, now)}"


def waits_words(old: str, seen_at: str | None, new: str, slots: Sequence[str], now: datetime) -> str:
    """What may still fire where, while a routine waits until `old` hears that it is somebody else's."""
    there = f"these slots may still fire there: {', '.join(slots)} and so on" if slots else "it may start it there"
    return f"{seen_words(old, seen_at, now)}; until it hears of this, {there}. {new} begins after that."


def lost_words(
    old: str, seen_at: str | None, new: str, past: Sequence[str], ahead: Sequence[str], now: datetime
) -> str:
    """Which slots may fire twice when a minion that was given up for lost is alive after all."""
    begun = f"{new} starts it from now on; {seen_words(old, seen_at, now)}."
    if not past and not ahead:
        return f"{begun} It is not due any more, so no slot of it can fire twice."
    twice = [f"those of meanwhile ({', '.join(past)})"] if past else []
    twice += [f"each one from now on ({', '.join(ahead)} and so on)"] if ahead else []
    both = " and ".join(twice)
    return f"{begun} If {old} is alive after all, slots may fire twice until it hears of this: {both}."
