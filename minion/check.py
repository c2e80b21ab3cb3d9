"""The child that admits and rewrites documents: reads candidates from stdin, prints canonical JSON, ends.

Run as `python -I -m minion.check`; the only part of the minion that imports pydantic and YAML.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from server.contract.digest import canonical_json, parse_instant
from server.contract.documents import admit, load_document
from server.contract.process import Process
from server.contract.process import admitted as admitted_process
from server.contract.refusals import BadDocument, Refusal
from server.contract.rewriting import rewritten
from server.contract.routine import Routine, check_schedules
from server.contract.routine import admitted as admitted_routine
from server.contract.schedule import next_slots
from server.contract.skill import admit_skill
from server.contract.skill import admitted as admitted_skill

SHOWN_SLOTS: Final = 3


def answer(document: Mapping[str, Any], check: Mapping[str, Any] | None) -> dict[str, Any]:
    """The answer for one candidate: `{"document": …}` or `{"kind": …, "refusal": …}`."""
    try:
        return {"document": _admitted(document, check)}
    except Refusal as refusal:
        return {"kind": type(refusal).__name__, "refusal": refusal.as_data()}


def _admitted(document: Mapping[str, Any], check: Mapping[str, Any] | None) -> dict[str, Any]:
    source, body = document["source"], base64.b64decode(document["body"])
    if document["kind"] == "change":
        return {"body": rewritten(body, document["changes"], source=source).decode()}
    if document["kind"] == "skill":
        return admitted_skill(admit_skill(body, folder=document["name"] or None, source=source))
    if document["kind"] == "process":
        return admitted_process(admit(Process, load_document(body, source=source), source=source))
    written = load_document(body, source=source)
    routine = admit(Routine, written, source=source)
    if document["kind"] == "as_written":
        return {"text": json.dumps(written)}  # in the order of the file, which canonical JSON has not
    if check is None:
        # Whatever is admitted can be scheduled; which zone and instant do not matter to that.
        check_schedules(routine, default_zone="UTC", now=datetime.min.replace(tzinfo=UTC), past=True)
        return admitted_routine(routine)
    now = parse_instant(check["now"])
    due = _due(routine, check["zone"], now, past=bool(check["past"]))
    return {**admitted_routine(routine), "next": due}


def _due(routine: Routine, zone: str, now: datetime, *, past: bool) -> list[str]:
    """The next instants of all schedules together, earliest first, each with its zone's offset."""
    schedules = check_schedules(routine, default_zone=zone, now=now, past=past)
    slots = [slot for schedule in schedules for slot in next_slots(schedule, now, SHOWN_SLOTS)]
    earliest = sorted(slots, key=lambda slot: slot.at)[:SHOWN_SLOTS]
    return [slot.at.isoformat() for slot in earliest]


def main() -> int:
    """Answer one batch; the exit status is 0 whenever it was answered, refusals included."""
    try:
        asked = json.load(sys.stdin.buffer)
        answers = [answer(document, asked["check"]) for document in asked["documents"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        refusal = BadDocument("bad_batch", f"The batch cannot be read: {error}.", hint="send {check, documents}")
        answers = [{"kind": "BadDocument", "refusal": refusal.as_data()}]
    sys.stdout.write(canonical_json(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
