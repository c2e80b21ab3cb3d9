"""Who starts routines by themselves: HQ and how far it saw to them, and minions that must let go of some.

A routine on its way from one that starts it to another is started by nobody else before the first let go of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import bindparam, delete, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from server.storage.database import Connection
from server.storage.definition_store import HeldRoutine, held_of
from server.storage.epoch import definitions_changed
from server.storage.tables import ROUTINES, SCHEDULES

_IN_USE: Final = ROUTINES.c.removed_at.is_(None)
_OF_HQ: Final = (
    # As the index says it: SQLite looks for the very words.
    select(ROUTINES).where(ROUTINES.c.scheduled_by == literal_column("'hq'"), _IN_USE).order_by(ROUTINES.c.id)
)
_WAITING_FOR: Final = (
    select(ROUTINES).where(ROUTINES.c.released_by == bindparam("minion"), _IN_USE).order_by(ROUTINES.c.id)
)
_ON_THEIR_WAY: Final = select(ROUTINES.c.id).where(
    ROUTINES.c.released_by.is_not(None), ROUTINES.c.released_by != bindparam("minion"), _IN_USE
)
_HANDLED: Final = select(SCHEDULES).where(SCHEDULES.c.routine_id == bindparam("routine"))


def routines_of_hq(connection: Connection) -> list[HeldRoutine]:
    """The routines that HQ starts by its own schedule, also those that wait until a minion let go of them."""
    return [held_of(row) for row in connection.execute(_OF_HQ)]


def waiting_for(connection: Connection, minion_id: str) -> list[HeldRoutine]:
    """The routines of which a minion must let go before others start them."""
    return [held_of(row) for row in connection.execute(_WAITING_FOR, {"minion": minion_id})]


def on_their_way(connection: Connection, *, but_by: str) -> set[str]:
    """The ids of the routines of which another minion than this one must let go first."""
    return {str(row.id) for row in connection.execute(_ON_THEIR_WAY, {"minion": but_by})}


def concerning(connection: Connection, minion_id: str, routine_ids: Collection[str]) -> list[str]:
    """Those of these routines that a minion has, or must let go of."""
    if not routine_ids:
        return []
    its = or_(ROUTINES.c.minion_id == minion_id, ROUTINES.c.released_by == minion_id)
    query = select(ROUTINES.c.id).where(ROUTINES.c.id.in_(list(routine_ids)), its, _IN_USE)
    return [str(row.id) for row in connection.execute(query)]


def release(connection: Connection, routine_id: str, *, handled_until: str) -> int:
    """Have a routine be let go of; its slots after this instant are of who has it now. The change's number.

    Only by that change its minion is given it: before, it was left out of all that it was told.
    """
    query = update(ROUTINES).where(ROUTINES.c.id == routine_id)
    seq = definitions_changed(connection)
    values = {"released_by": None, "released_seq": None, "handled_until": handled_until, "changed_seq": seq,
              "given_seq": seq}  # fmt: skip
    connection.execute(query.values(**values))
    return seq


def handled(connection: Connection, routine_id: str) -> dict[str, str]:
    """How far HQ saw to the slots of each trigger of a routine, as instants."""
    found = connection.execute(_HANDLED, {"routine": routine_id})
    return {str(row.trigger): str(row.handled_until) for row in found}


def advance(connection: Connection, routine_id: str, trigger: str, until: str) -> None:
    """Note how far HQ saw to the slots of a trigger."""
    query = upsert(SCHEDULES).values(routine_id=routine_id, trigger=trigger, handled_until=until)
    again = query.on_conflict_do_update(index_elements=["routine_id", "trigger"], set_={"handled_until": until})
    connection.execute(again)


def keep_handled(connection: Connection, routine_id: str, until: Mapping[str, str]) -> None:
    """Note how far HQ saw to each trigger of a routine that it has now, and forget those it has no more."""
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.routine_id == routine_id))
    for trigger in sorted(until):
        advance(connection, routine_id, trigger, until[trigger])
