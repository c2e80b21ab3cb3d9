"""Watches over minions: has people told once when one falls silent with a slot at risk, and once when it is back.

What is to be told lies in the store with the event that says why, so that neither a restart nor a way that fails
loses it; `server/telling.py` delivers it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from server.contract.digest import instant, parse_instant
from server.domain import silence
from server.domain.explanation import known_zone
from server.domain.silence import Awake, Given, Risks
from server.storage import definition_store, notice_store
from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine
from server.storage.event_store import append_event

WATCHER: Final = "hq"
# So many notices are sent at once, in one message of each way.
AT_ONCE: Final = 50
# A way that fails is tried again after this many seconds, and twice as many each time; then it is given up.
_AGAIN_S: Final = 30
_LONGEST_S: Final = 3600
_GIVEN_UP_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a notice as it was sent; `problem` says why it was not."""

    notice: int
    problem: str | None = None


def watch(connection: Connection, ways: Sequence[str], *, begins: bool, now: datetime) -> None:
    """Look which minions have fallen silent or are back; write it down, and whom to tell, by which `ways`.

    `begins`: HQ has only just been started. What it did not see while it was away itself is no silence.
    """
    joined = definition_store.list_minions(connection)
    if not joined:
        return
    hq = silence.awake(notice_store.awake_of(connection), now, begins=begins)
    notice_store.keep_awake(connection, hq)
    held: list[HeldRoutine] | None = None
    for row in joined:
        if row.silent_since is not None and (row.seen_at or "") > row.silent_since:
            _heard(connection, row, now=instant(now))
        elif row.silent_since is None and silence.is_quiet(_seen(row), hq):
            held = definition_store.list_routines(connection) if held is None else held
            risks = risks_of(row, held, hq)
            if risks.count:
                _silent(connection, row, risks, ways, now=instant(now))


def risks_of(row: Row[Any], held: Sequence[HeldRoutine], hq: Awake | None) -> Risks:
    """The slots of a minion that are at risk; `held` are all routines of HQ."""
    if hq is None or not silence.is_quiet(_seen(row), hq):
        return Risks()
    given = [
        Given(each.id, each.name, each.document, parse_instant(each.changed_at))
        for each in held if each.minion_id == row.id and each.released_by in (None, row.id)
    ]  # fmt: skip
    live, said = json.loads(row.live), json.loads(row.said)
    zone = known_zone(said.get("timezone"))
    return silence.slots_at_risk(_seen(row), hq, live.get("next_due"), given, zone=zone)


def end_silence(connection: Connection, row: Row[Any], *, now: str) -> None:
    """Nobody waits for a minion any more that has left: what was to be told of its silence is withdrawn."""
    if row.silent_since is not None:
        for notice in notice_store.notices_of(connection, _key("silent", row)):
            notice_store.end_notice(connection, notice.position, "withdrawn", now=now)


def due_notices(connection: Connection, ways: Sequence[str], *, now: datetime) -> list[Row[Any]]:
    """The notices that are to be sent now (a query).

    What waits for a way that is not set up waits on, until it is given up.
    """
    old = instant(now - _GIVEN_UP_AFTER)
    return notice_store.due_notices(connection, ways, now=instant(now), old=old, most=AT_ONCE)


def settle_notices(connection: Connection, sent: Sequence[Sent], *, now: datetime) -> list[int]:
    """Note what became of notices that were sent; which of them are given up."""
    at, given_up = instant(now), []
    waiting = notice_store.waiting_notices(connection, [each.notice for each in sent])
    for each in sent:
        row = waiting.get(each.notice)
        if row is None:
            continue  # its minion came back meanwhile, or left
        if each.problem is None:
            notice_store.end_notice(connection, row.position, "sent", now=at)
        elif now - parse_instant(row.made_at) >= _GIVEN_UP_AFTER:
            notice_store.end_notice(connection, row.position, "given up", now=at, problem=each.problem)
            given_up.append(row.position)
        else:
            later = now + timedelta(seconds=min(_LONGEST_S, _AGAIN_S * 2 ** min(row.tries, 10)))
            notice_store.try_again(connection, row.position, at=instant(later), problem=each.problem)
    return given_up


def _silent(connection: Connection, row: Row[Any], risks: Risks, ways: Sequence[str], *, now: str) -> None:
    since = instant(_seen(row))
    notice_store.set_silent(connection, row.id, since)
    slots = [each.as_data() for each in risks.slots]
    told: dict[str, Any] = {"minion": row.id, "name": row.name, "since": since, "slots": slots}
    append_event(connection, "minion.silent", {**told, "count": risks.count}, actor=WATCHER, now=now)
    text = silence.words_of_silence(row.name, _seen(row), slots, risks.count)
    notice_store.put_notice(connection, f"silent:{row.id}:{since}", ways, text, now=now)


def _heard(connection: Connection, row: Row[Any], *, now: str) -> None:
    """A minion is back: those who were told of its silence hear it; those who were not yet hear both in one."""
    notice_store.set_silent(connection, row.id, None)
    told = {"minion": row.id, "name": row.name, "since": row.silent_since, "heard": row.seen_at}
    append_event(connection, "minion.heard", told, actor=WATCHER, now=now)
    back = silence.words_of_return(row.name, str(row.silent_since), str(row.seen_at))
    for notice in notice_store.notices_of(connection, _key("silent", row)):
        notice_store.end_notice(connection, notice.position, "withdrawn", now=now)
        text = back if notice.state == "sent" else f"{notice.text} {back}"
        notice_store.put_notice(connection, _key("heard", row), [notice.way], text, now=now)


def _key(word: str, row: Row[Any]) -> str:
    return f"{word}:{row.id}:{row.silent_since}"


def _seen(row: Row[Any]) -> datetime:
    return parse_instant(row.seen_at or row.joined_at)
