"""Why a routine did not run or will not: by what HQ knows, and what its minion says when it is asked just now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from server.actions.desk import Desk
from server.actions.preflight import explain
from server.contract.redaction import Redactor
from server.domain.moving import seen_words
from server.storage import definition_store, routine_facts
from server.storage.database import Connection

_LONGEST: Final = 1000
_MOST_PARTS: Final = 20
_REDACTOR: Final = Redactor()
# Of the links from due to delivered: the sentence says that these hold, and nobody looked at the others.
_SAY_NOTHING: Final = ("holds", "not-reached")


async def explain_routine(desk: Desk, routine: str, *, at: str | None = None) -> dict[str, Any]:
    """Why a routine did not run or will not, today or `at` a time of day, and what to do.

    Its minion is asked, and waited for a few seconds if it listens just now; `minion_says` is its answer, or that
    it gave none. What stands in the way at HQ comes first. Raises `NotFound`, `Refused`.
    """
    said = await desk.read(_known, routine, now=desk.clock())
    answer = await asked(desk, said, at=at)
    if answer is None or not answer["answered"]:
        return {**said, "minion_says": answer}
    if not said["will_fire"]:
        return {**said, "minion_says": answer}
    sentence, remedy = answer["sentence"] or said["sentence"], answer["do"] or said["do"]
    return {**said, "sentence": sentence, "do": remedy, "minion_says": answer}


async def asked(desk: Desk, said: Mapping[str, Any], *, at: str | None = None) -> dict[str, Any] | None:
    """What the minion of a routine says of it; that it did not answer where it did not; None where it has none.

    `said` names the routine by its `id`. One that does not listen just now is not waited for.
    """
    row = await desk.read(_minion_of, said["id"])
    if row is None or row.left_at is not None:
        return None
    found = None
    if desk.questions.listens(row.id):
        found = await desk.questions.why(row.id, said["name"], at=at)
    if found is not None and "refused" not in found:
        return _told(row.name, found)
    why = "did not answer" if found is None else f"cannot say ({_line(found['refused'])})"
    says = f"{row.name} {why}; {seen_words('it', row.seen_at, desk.clock())}."
    return {"minion": row.name, "answered": False, "seen_at": row.seen_at, "says": says}


def _known(connection: Connection, text: str, *, now: datetime) -> dict[str, Any]:
    return explain(connection, definition_store.find_routine(connection, text), now=now)


def _minion_of(connection: Connection, routine_id: str) -> Any:
    held = definition_store.routine_of_id(connection, routine_id)
    return None if held is None or held.minion_id is None else routine_facts.minion_of(connection, held.minion_id)


def _told(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a minion said, as far as it is of use: it may be another version, and its words are not HQ's."""
    fix = _line(found.get("fix"))
    return {
        "minion": name, "answered": True, "state": _line(found.get("state")), "at": _line(found.get("at")),
        "sentence": _line(found.get("sentence")), "do": f"on {name}: {fix}" if fix else None,
        "links": [each for each in _parts(found.get("links")) if each.get("state") not in _SAY_NOTHING],
        "preflight": _parts(found.get("preflight")),
    }  # fmt: skip


def _parts(found: Any) -> list[dict[str, str]]:
    """Named parts of an answer, those that are texts."""
    parts = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [
        {str(key)[:40]: _line(value) or "" for key, value in each.items() if isinstance(value, str)}
        for each in parts[:_MOST_PARTS]
    ]


def _line(text: Any) -> str | None:
    return _REDACTOR.text(text)[:_LONGEST] if isinstance(text, str) and text else None
