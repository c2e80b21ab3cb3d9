"""Admission by a child process: what it answers, what is remembered of it, and what never is."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minion.admission import (
    VERSION,
    Candidate,
    ScheduleCheck,
    admit,
    admit_fresh,
    process_candidate,
    routine_candidate,
)
from minion.check import answer
from minion.routines.process_file import process_file
from minion.skills.loader import bundled_folder
from minion.store.writer import Writer
from server.contract.digest import canonical_json
from server.contract.refusals import BadDocument, Refused
from tests.minion.stored_runs import rows, with_store

NOW = "2026-01-05T09:00:00.000Z"
SEED = b"""{"name": "morning-report", "pipeline": ["write-daily-report", "send-to-slack"],
"content": "Write a daily report and post it to the team Slack channel", "cron_expression": "0 9 * * 1-5"}"""
BAD = b'{"name": "morning-report", "contnt": "x"}'


def routine(body: bytes, name: str = "r.json") -> Candidate:
    """A routine file's content as a candidate."""
    return routine_candidate(Path("/home") / name, body)


def skill(name: str = "send-to-slack") -> Candidate:
    """A bundled skill as a candidate, with a line more: as it is, it was admitted when it was released."""
    body = (bundled_folder() / name / "SKILL.md").read_bytes() + b"\nChanged.\n"
    return Candidate("skill", name, f"{name}/SKILL.md", body)


def remembered(folder: Path) -> list[tuple[Any, ...]]:
    """The kinds and digests of what is remembered."""
    return rows(folder, "SELECT kind, digest, version FROM admissions ORDER BY kind, digest")


@pytest.mark.promise("DOC-1")
def test_the_child_admits_the_seed_s_routine_a_skill_and_the_process_in_order() -> None:
    candidates = [routine(SEED), process_candidate("WF-ROUTINE-EXEC", process_file()), skill()]
    seed, process, slack = admit_fresh(candidates)
    assert (seed["name"], seed["pipeline"]) == ("morning-report", ["write-daily-report", "send-to-slack"])
    assert seed["triggers"] == [{"type": "schedule", "cron": "0 9 * * 1-5", "timezone": None}]
    assert [block["kind"] for block in process["blocks"]] == ["rigid", "rigid", "elastic", "rigid"]
    assert (slack["name"], slack["effects"]) == ("send-to-slack", ["message:slack"])


@pytest.mark.promise("DOC-3")
def test_a_schedule_is_checked_when_asked_and_its_next_instants_are_told() -> None:
    never = SEED.replace(b"0 9 * * 1-5", b"0 0 30 2 *")
    check = ScheduleCheck("Europe/Berlin", NOW)
    (seed,) = admit_fresh([routine(SEED)], check)
    assert seed["next"] == [
        "2026-01-06T09:00:00+01:00",
        "2026-01-07T09:00:00+01:00",
        "2026-01-08T09:00:00+01:00",
    ]
    with pytest.raises(BadDocument, match="cron_expression"):
        admit_fresh([routine(SEED), routine(never)], check)


@pytest.mark.promise("DOC-2")
def test_a_refusal_crosses_the_process_s_border_whole() -> None:
    with pytest.raises(BadDocument) as caught:
        admit_fresh([routine(SEED), routine(BAD, "bad.json")])
    assert caught.value.sentence.startswith("/home/bad.json: `contnt` is not a known key.")
    assert caught.value.hint.startswith("did you mean `content`?")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[1, 2", b"- &a [*a]", b"{}" * 10, b'{"name": NaN}'])
def test_what_is_no_document_is_answered_with_a_refusal(body: bytes) -> None:
    said = {"kind": "routine", "name": "r", "source": "r.json", "body": base64.b64encode(body).decode()}
    refusal = answer(said, None)
    assert refusal["kind"] == "BadDocument"
    assert refusal["refusal"]["hint"]


def test_what_was_admitted_is_answered_without_a_child(tmp_path: Path) -> None:
    candidate = routine(SEED)

    async def story(writer: Writer) -> tuple[Any, Any]:
        first = await admit(writer, [candidate])
        # Only the store can know this word: no child is asked again.
        planted = canonical_json({**first[0], "name": "planted"})
        await writer.transact(lambda db: db.execute("UPDATE admissions SET document = ?", (planted,)))
        return first, await admit(writer, [candidate])

    ((first,), (second,)) = with_store(tmp_path, story)
    assert (first["name"], second["name"]) == ("morning-report", "planted")
    assert remembered(tmp_path) == [("routine", candidate.digest, VERSION)]


def test_an_answer_of_another_version_is_not_used(tmp_path: Path) -> None:
    candidate = routine(SEED)

    async def story(writer: Writer) -> list[dict[str, Any]]:
        old = (candidate.digest, VERSION - 1, "routine", json.dumps({"name": "old"}))
        await writer.transact(lambda db: db.execute("INSERT INTO admissions VALUES (?, ?, ?, ?)", old))
        return await admit(writer, [candidate])

    assert [document["name"] for document in with_store(tmp_path, story)] == ["morning-report"]
    assert len(remembered(tmp_path)) == 2


def test_known_and_new_documents_come_back_in_the_order_asked(tmp_path: Path) -> None:
    names = ("execution-report", "send-to-slack", "write-daily-report")

    async def story(writer: Writer) -> list[dict[str, Any]]:
        await admit(writer, [skill("send-to-slack")])
        return await admit(writer, [skill(name) for name in names])

    assert [document["name"] for document in with_store(tmp_path, story)] == list(names)
    assert len(remembered(tmp_path)) == 3


@pytest.mark.promise("DOC-2")
def test_nothing_is_remembered_of_a_batch_with_a_refusal(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        with pytest.raises(BadDocument):
            await admit(writer, [routine(SEED), routine(BAD)])

    with_store(tmp_path, story)
    assert remembered(tmp_path) == []


def test_what_an_answer_depends_on_is_in_its_digest() -> None:
    body = b"---\nname: one\ndescription: Does one.\n---\n"
    candidates = [
        Candidate("skill", "one", "one/SKILL.md", body),
        Candidate("skill", "two", "two/SKILL.md", body),
        Candidate("routine", "one", "one/SKILL.md", body),
        Candidate("skill", "one", "one/SKILL.md", body + b"\n"),
    ]
    assert len({candidate.digest for candidate in candidates}) == 4
    moved = Candidate("skill", "one", "elsewhere/one/SKILL.md", body)
    assert moved.digest == candidates[0].digest


@pytest.mark.parametrize("asked", [b"", b'{"documents": [{}], "check": null}'])
def test_a_batch_that_cannot_be_read_is_answered_with_a_refusal(asked: bytes) -> None:
    argv = [sys.executable, "-I", "-m", "minion.check"]
    ended = subprocess.run(argv, input=asked, capture_output=True, timeout=60, check=True)
    (said,) = json.loads(ended.stdout)
    assert (said["kind"], said["refusal"]["code"]) == ("BadDocument", "bad_batch")
    assert ended.stderr == b""


def test_a_path_that_no_message_can_hold_is_refused_in_words() -> None:
    with pytest.raises(Refused) as caught:
        admit_fresh([Candidate("routine", "r", "/home/\udcff.json", SEED)])
    assert (caught.value.code, bool(caught.value.hint)) == ("check_failed", True)


def test_the_parent_imports_neither_pydantic_nor_yaml() -> None:
    script = "import minion.admission, sys; print([m for m in ('pydantic', 'yaml') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert ended.stdout == b"[]\n"
