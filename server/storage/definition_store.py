"""What HQ has been told to have run: minions, their routines with every version, published skills."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, insert, select, update

from server.contract.digest import canonical_json, digest_of
from server.contract.refusals import NotFound, Refused
from server.storage.database import Connection
from server.storage.epoch import definitions_changed
from server.storage.tables import MINIONS, ROUTINE_HISTORY, ROUTINES, SKILLS

_BY_ID: Final = select(ROUTINES).where(ROUTINES.c.id == bindparam("text"), ROUTINES.c.removed_at.is_(None))
_BY_NAME: Final = select(ROUTINES).where(ROUTINES.c.name == bindparam("text"), ROUTINES.c.removed_at.is_(None))


@dataclass(frozen=True, slots=True)
class HeldRoutine:
    """A routine as HQ has it: its admitted document, which minion is to run it, and which version this is.

    `handled_until`: up to when others saw to its slots. `released_by` is the minion that must let go of it before
    anybody else starts it by itself, which it has once it goes by the definitions at `released_seq`; `given_seq`
    is the number of the change by which its minion was given it, or the one that must let go of it.
    """

    id: str
    name: str
    minion_id: str | None
    document: Mapping[str, Any]
    digest: str
    revision: int
    created_at: str
    changed_at: str
    handled_until: str | None
    given_seq: int
    released_by: str | None
    released_seq: int | None

    def as_reference(self) -> dict[str, Any]:
        """What a run keeps of its routine."""
        return {"id": self.id, "name": self.name, "minion_id": self.minion_id}


def find_routine(connection: Connection, text: str, *, minion_id: str | None = None) -> HeldRoutine:
    """The routine of this name, id or beginning of an id. Raises `NotFound`, `Refused` where several fit."""
    found = list(connection.execute(_BY_ID, {"text": text}))
    if not found:
        found = list(connection.execute(_BY_NAME, {"text": text}))
        found = [row for row in found if minion_id in (None, row.minion_id)]
    if not found and text.startswith("trig_") and len(text) > len("trig_"):
        between = (ROUTINES.c.id > text, ROUTINES.c.id < text + "~", ROUTINES.c.removed_at.is_(None))
        found = list(connection.execute(select(ROUTINES).where(*between).limit(2)))
    if len(found) > 1:
        ids = ", ".join(row.id for row in found[:4])
        raise Refused("ambiguous_routine", f"Several routines are called {text[:60]}.", hint=f"give an id: {ids}")
    if not found:
        raise NotFound("no_such_routine", f"There is no routine {text[:60]}.", hint="list_routines shows them")
    return held_of(found[0])


def routine_of_id(connection: Connection, routine_id: str) -> HeldRoutine | None:
    """The routine of this whole id that is in use; None where there is none."""
    row = connection.execute(_BY_ID, {"text": routine_id}).one_or_none()
    return None if row is None else held_of(row)


def list_routines(connection: Connection, *, minion_id: str | None = None) -> list[HeldRoutine]:
    """The routines in use, by name; of one minion if asked."""
    query = select(ROUTINES).where(ROUTINES.c.removed_at.is_(None)).order_by(ROUTINES.c.name, ROUTINES.c.id)
    if minion_id is not None:
        query = query.where(ROUTINES.c.minion_id == minion_id)
    return [held_of(row) for row in connection.execute(query)]


def keep_routine(
    connection: Connection,
    routine_id: str,
    document: Mapping[str, Any],
    *,
    minion_id: str | None,
    by: str,
    now: str,
    handled_until: str | None = None,
    released_by: str | None = None,
) -> HeldRoutine:
    """Keep a routine, new or changed, and its version; one that says what it said before stays as it is.

    Without `handled_until` that of before stays, or `now` counts. `released_by` is who must let go of it first.
    """
    digest = digest_of(dict(document))
    before = connection.execute(select(ROUTINES).where(ROUTINES.c.id == routine_id)).one_or_none()
    if (
        before is not None
        and before.removed_at is None
        and (before.digest, before.minion_id) == (digest, minion_id)
    ):
        return held_of(before)
    values = {
        "name": document["name"], "minion_id": minion_id, "document": canonical_json(dict(document)),
        "digest": digest, "changed_at": now, "removed_at": None, "scheduled_by": document["scheduled_by"],
        "released_by": released_by,
    }  # fmt: skip
    revision = 1 if before is None else before.revision + 1
    seq = _note(connection, routine_id, revision, values["document"], digest, by=by, now=now)
    values |= {"changed_seq": seq, "released_seq": None if released_by is None else seq}
    # Who is to have it once another one let go is given it only then.
    waits = released_by is not None or (before is not None and before.released_by is not None)
    if before is None or (before.minion_id != minion_id and not waits):
        values["given_seq"] = seq
    if before is not None and before.released_by == released_by:
        values["released_seq"] = before.released_seq
    if handled_until is not None or before is None:
        values["handled_until"] = handled_until or now
    if before is None:
        fresh = {"id": routine_id, "revision": 1, "created_by": by, "created_at": now}
        connection.execute(insert(ROUTINES), {**fresh, **values})
    else:
        connection.execute(update(ROUTINES).where(ROUTINES.c.id == routine_id).values(revision=revision, **values))
    return find_routine(connection, routine_id)


def remove_routine(connection: Connection, routine: HeldRoutine, *, by: str, now: str) -> None:
    """Take a routine out of use; its runs and versions stay."""
    revision = routine.revision + 1
    seq = _note(connection, routine.id, revision, None, None, by=by, now=now)
    changes = {"removed_at": now, "changed_at": now, "revision": revision, "changed_seq": seq}
    query = update(ROUTINES).where(ROUTINES.c.id == routine.id)
    connection.execute(query.values(**changes, released_by=None, released_seq=None))


def left_behind(connection: Connection, minion_id: str) -> list[HeldRoutine]:
    """The routines that no minion has since the one of this id had them, and that nobody changed after."""
    before = ROUTINE_HISTORY.alias()
    query = (
        select(ROUTINES, before.c.document.label("had"))
        .join(before, (before.c.routine_id == ROUTINES.c.id) & (before.c.revision == ROUTINES.c.revision - 1))
        .where(ROUTINES.c.minion_id.is_(None), ROUTINES.c.removed_at.is_(None))
        .order_by(ROUTINES.c.name, ROUTINES.c.id)
    )
    found = [row for row in connection.execute(query) if row.had is not None]
    return [held_of(row) for row in found if json.loads(row.had).get("minion_id") == minion_id]


def list_minions(connection: Connection) -> list[Row[Any]]:
    """The minions that have joined and not left, by name."""
    return list(connection.execute(select(MINIONS).where(MINIONS.c.left_at.is_(None)).order_by(MINIONS.c.name)))


def find_minion(connection: Connection, text: str) -> Row[Any]:
    """The minion of this name or id. Raises `NotFound`."""
    query = select(MINIONS).where((MINIONS.c.id == text) | (MINIONS.c.name == text), MINIONS.c.left_at.is_(None))
    row = connection.execute(query).one_or_none()
    if row is None:
        hint = "list_minions shows those that have joined"
        raise NotFound("no_such_minion", f"There is no minion {text[:60]}.", hint=hint)
    return row


def keep_skill(connection: Connection, skill: Mapping[str, Any], *, by: str, now: str) -> Row[Any]:
    """Keep a version of a skill; what was published before, to the byte, is that version."""
    before = connection.execute(select(SKILLS).where(SKILLS.c.digest == skill["digest"])).one_or_none()
    if before is None:
        version = newest_version(connection, skill["name"]) + 1
        row = {**skill, "version": version, "published_by": by, "published_at": now}
        connection.execute(insert(SKILLS), row)
        definitions_changed(connection)
    return connection.execute(select(SKILLS).where(SKILLS.c.digest == skill["digest"])).one()


def newest_version(connection: Connection, name: str) -> int:
    """The number of a skill's newest version; 0 where none was published."""
    newest = select(func.max(SKILLS.c.version)).where(SKILLS.c.name == name)
    return int(connection.execute(newest).scalar() or 0)


def find_skill(connection: Connection, name: str, *, version: int | None = None) -> Row[Any]:
    """A version of a skill, else its newest. Raises `NotFound`."""
    query = select(SKILLS).where(SKILLS.c.name == name).order_by(SKILLS.c.version.desc()).limit(1)
    row = connection.execute(query if version is None else query.where(SKILLS.c.version == version)).one_or_none()
    if row is None:
        which = f" in version {version}" if version is not None else ""
        says = f"No skill {name[:60]} was published{which}."
        raise NotFound("no_such_skill", says, hint="list_skills shows what there is")
    return row


def newest_skill(connection: Connection, name: str) -> Row[Any] | None:
    """The newest version of a skill; None where none was published."""
    query = select(SKILLS).where(SKILLS.c.name == name).order_by(SKILLS.c.version.desc()).limit(1)
    return connection.execute(query).one_or_none()


def skill_of_digest(connection: Connection, digest: str) -> Row[Any] | None:
    """The version of a skill that has this digest; None where none was published."""
    return connection.execute(select(SKILLS).where(SKILLS.c.digest == digest)).one_or_none()


def list_skills(connection: Connection) -> list[Row[Any]]:
    """The newest version of each published skill, by name; without the archives."""
    newest = select(SKILLS.c.name, func.max(SKILLS.c.version).label("newest")).group_by(SKILLS.c.name).subquery()
    both = (SKILLS.c.name == newest.c.name) & (SKILLS.c.version == newest.c.newest)
    listed = [column for column in SKILLS.c if column.name != "archive"]
    return list(connection.execute(select(*listed).join(newest, both).order_by(SKILLS.c.name)))


def _note(
    connection: Connection, routine_id: str, revision: int, document: str | None, digest: str | None, *,
    by: str, now: str,
) -> int:  # fmt: skip
    """Keep a version; the number that the change has among those of the definitions."""
    row = {
        "routine_id": routine_id,
        "revision": revision,
        "document": document,
        "digest": digest,
        "by": by,
        "at": now,
    }
    connection.execute(insert(ROUTINE_HISTORY), row)
    return definitions_changed(connection)


def held_of(row: Row[Any]) -> HeldRoutine:
    """A row of the routines as what it holds."""
    return HeldRoutine(
        row.id, row.name, row.minion_id, json.loads(row.document), row.digest, row.revision, row.created_at,
        row.changed_at, row.handled_until, row.given_seq, row.released_by, row.released_seq,
    )  # fmt: skip
