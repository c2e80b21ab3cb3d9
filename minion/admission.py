"""Admits documents (routines, skills, processes) by a child process, and remembers what was admitted.

The daemon and the command line never import pydantic (DESIGN §4): `minion.check` does, in a child that lives
for one batch. What it admitted is kept by digest, so an unchanged document costs a look-up.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from minion.store.admissions import Reader, look_up, look_up_now, remember
from server.contract.digest import canonical_json, digest_bytes
from server.contract.refusals import Refusal, Refused, refusal_from_data

if TYPE_CHECKING:
    from minion.store.writer import Writer

# Raise it whenever what is admitted, or how it is written out, changes: older answers are then not used.
VERSION: Final = 3
_SECONDS: Final = 60.0
# What came with the program was admitted when it was released: a fresh home needs no child for it.
RELEASED: Final = Path(__file__).with_name("bundled_admissions.json")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document as it lies in a file: `name` is its file's or folder's name, which some rules refer to.

    A skill that lies in no folder yet has an empty name.
    """

    kind: Literal["routine", "skill", "process"]
    name: str
    source: str
    body: bytes

    @property
    def digest(self) -> str:
        """What its admission is remembered by: everything that the answer depends on."""
        return digest_bytes(f"{self.kind}\n{self.name}\n".encode() + self.body)


@dataclass(frozen=True, slots=True)
class ScheduleCheck:
    """Has the child check a routine's schedules too: for the zone routines have by default, at an instant.

    With `past`, one that fires once may have passed: the routine was admitted before, here or elsewhere.
    """

    zone: str
    now: str
    past: bool = False


def admit_fresh(candidates: Sequence[Candidate], check: ScheduleCheck | None = None) -> list[dict[str, Any]]:
    """The admitted documents in the same order, from the child.

    Raises the first refusal, or `Refused` when the child cannot do its work. With `check`, a routine's answer
    carries `next`: the due instants of its schedules.
    """
    admitted = []
    for answer in answers_of(candidates, check):
        if isinstance(answer, Refusal):
            raise answer
        admitted.append(answer)
    return admitted


def answers_of(
    candidates: Sequence[Candidate], check: ScheduleCheck | None = None
) -> list[dict[str, Any] | Refusal]:
    """What the child says of each candidate in the same order: the admitted document, or its refusal.

    Raises `Refused` when the child cannot do its work.
    """
    documents = [
        {"kind": c.kind, "name": c.name, "source": c.source, "body": base64.b64encode(c.body).decode()}
        for c in candidates
    ]
    asked = None if check is None else {"zone": check.zone, "now": check.now, "past": check.past}
    return _asked({"check": asked, "documents": documents})


def changed(source: Path, body: bytes, changes: Mapping[str, Any]) -> bytes:
    """A routine's file with `changes`, new values by top-level key, and all else as it was written.

    Raises `BadDocument` when it is no routine, or would be none then; `Refused` as `admit_fresh` does.
    """
    said = {"kind": "change", "source": str(source), "body": base64.b64encode(body).decode(), "changes": changes}
    (answer,) = _asked({"check": None, "documents": [said]})
    if isinstance(answer, Refusal):
        raise answer
    return str(answer["body"]).encode()


def as_written(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """What each routine's file says, and only that: its own keys in their order, no defaults.

    Raises the first refusal of a file that is no routine, or `Refused` as `admit_fresh` does.
    """
    documents = [
        {"kind": "as_written", "name": c.name, "source": c.source, "body": base64.b64encode(c.body).decode()}
        for c in candidates
    ]
    found = []
    for answer in _asked({"check": None, "documents": documents}):
        if isinstance(answer, Refusal):
            raise answer
        found.append(json.loads(answer["text"]))
    return found


def _asked(batch: Mapping[str, Any]) -> list[dict[str, Any] | Refusal]:
    argv = [sys.executable, "-I", "-m", "minion.check"]
    try:
        done = subprocess.run(
            argv, input=canonical_json(batch).encode(), capture_output=True, timeout=_SECONDS, cwd="/", check=False
        )
        answers = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Refused(
            "check_failed",
            f"The document check did not answer ({type(error).__name__}).",
            hint="try again; if it repeats, reinstall this program",
        ) from error
    return [
        refusal_from_data(answer["kind"], answer["refusal"]) if "refusal" in answer else answer["document"]
        for answer in answers
    ]


def answers_kept(db: Reader | None, candidates: Sequence[Candidate]) -> list[dict[str, Any] | Refusal]:
    """`answers_of`, for a reader of the store: what was admitted before needs no child, and nothing is kept."""
    keys = [(candidate.digest, VERSION, candidate.kind) for candidate in candidates]
    found: list[dict[str, Any] | Refusal | None] = [None] * len(keys)
    if db is not None:
        found[:] = look_up_now(db, keys)
    found = [
        _released(candidate) if answer is None else answer
        for candidate, answer in zip(candidates, found, strict=True)
    ]
    missing = [number for number, answer in enumerate(found) if answer is None]
    if missing:
        fresh = answers_of([candidates[number] for number in missing])
        for number, answer in zip(missing, fresh, strict=True):
            found[number] = answer
    return [answer for answer in found if answer is not None]


async def admit(writer: Writer, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """The admitted documents in the same order, remembered ones without a child.

    Raises the first refusal; nothing is remembered of a refused batch.
    """
    # A listing needs no event loop, and people wait for it.
    import asyncio

    keys = [(candidate.digest, VERSION, candidate.kind) for candidate in candidates]
    kept = await writer.transact(lambda db: look_up(db, keys))
    known = [
        _released(candidate) if document is None else document
        for candidate, document in zip(candidates, kept, strict=True)
    ]
    missing = [number for number, document in enumerate(known) if document is None]
    if missing:
        fresh = await asyncio.to_thread(admit_fresh, [candidates[number] for number in missing])
        for number, document in zip(missing, fresh, strict=True):
            known[number] = document
        new = [(keys[number], document) for number, document in zip(missing, fresh, strict=True)]
        await writer.transact(lambda db: remember(db, new))
    return [document for document in known if document is not None]


async def admit_each(writer: Writer, candidates: Sequence[Candidate]) -> list[dict[str, Any] | Refusal]:
    """Each candidate's admitted document or its refusal, remembered ones without a child; good ones are kept."""
    import asyncio

    keys = [(candidate.digest, VERSION, candidate.kind) for candidate in candidates]
    found: list[dict[str, Any] | Refusal | None] = list(await writer.transact(lambda db: look_up(db, keys)))
    missing = [number for number, answer in enumerate(found) if answer is None]
    if missing:
        fresh = await asyncio.to_thread(answers_of, [candidates[number] for number in missing])
        for number, answer in zip(missing, fresh, strict=True):
            found[number] = answer
        new = [(keys[n], answer) for n, answer in zip(missing, fresh, strict=True) if isinstance(answer, dict)]
        await writer.transact(lambda db: remember(db, new))
    return [answer for answer in found if answer is not None]


def _released(candidate: Candidate) -> dict[str, Any] | None:
    """The admitted form of a document that came with the program and is unchanged, None for any other."""
    said = _all_released().get(f"{candidate.kind} {candidate.digest}")
    return json.loads(said) if said is not None else None


@cache
def _all_released() -> Mapping[str, str]:
    """Canonical JSON by kind and digest; nothing when it is of another version of the admission."""
    said = json.loads(RELEASED.read_bytes())
    documents: Mapping[str, str] = said["documents"] if said["version"] == VERSION else {}
    return documents


def routine_candidate(path: Path, body: bytes) -> Candidate:
    """A routine file's content as a candidate."""
    return Candidate("routine", path.name, str(path), body)


def process_candidate(code: str, body: bytes) -> Candidate:
    """A process document as a candidate."""
    return Candidate("process", f"{code}.yaml", f"{code}.yaml", body)
