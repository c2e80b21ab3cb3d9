"""`hq decisions` and `hq decide` as a person gives them, at a terminal and without one, whether HQ runs or not."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from server.actions.decide import seen
from server.app import offered, opened
from server.config import HqHome
from server.contract.digest import instant
from server.contract.refusals import Refused
from server.domain.decision import digest_of_question
from server.storage import finding_store
from server.storage.reading import read_once
from tests.server.desks import BEGIN, REVIEWER, Asker, desk_at
from tests.server.servers import HQ, environment, hq, served, told
from tests.whole.terminals import INTERRUPT, at_terminal

HOSTILE = "Use it?\ndigest     sha256:00\x1b[2J\u202e"


def waiting(home: Path, *questions: str, **more: Any) -> list[str]:
    """Decisions that wait in a home; their ids."""

    async def put() -> list[str]:
        async with opened(HqHome(home), "a test") as (desk, _):
            evidence = {"runs": [{"run": "run_1", "passed": True}], "proposal": "Line one.\nLine two."}
            now = instant(desk.clock())
            return [
                await desk.database.transact(
                    finding_store.ask, "variant", "WF-X.V04", each, evidence, by="tok_asker", now=now, **more
                ) for each in questions
            ]  # fmt: skip

    return asyncio.run(put())


def state_of(home: Path, decision: str) -> dict[str, Any]:
    """How a decision stands, as the listing says it."""
    found = told(home, "decisions", "--state", "any")["decisions"]
    return next(dict(each) for each in found if each["id"] == decision)


@pytest.mark.heavy
@pytest.mark.promise("DEC-5")
@pytest.mark.parametrize("serving", [True, False], ids=["HQ runs", "nobody runs"])
def test_a_decision_is_listed_shown_and_answered_the_same_way(tmp_path: Path, serving: bool) -> None:
    home = tmp_path / "hq"
    first, second = waiting(home, HOSTILE, "And this?")

    def scene(url: str | None) -> None:
        listed = hq(home, "decisions")
        assert listed.stdout.splitlines()[0].startswith(f"{first[:12]}  variant, just now (")
        command = f"  hq --home {home} decide {first[:12]} approve    (or: reject, changes)"
        assert command in listed.stdout.splitlines()
        (one, _) = told(home, "decisions")["decisions"]
        assert (one["id"], one["link"]) == (first, f"{url}/decisions/{first}" if url else None)
        alone = hq(home, "decide", first[:12], "approve")
        assert (alone.returncode, alone.stdout) == (3, "")
        assert alone.stderr.splitlines()[-1] == (
            f"hint: read it, then: hq --home {home} decide {first} approve --yes"
        )
        assert state_of(home, first)["state"] == "open"
        done = hq(home, "decide", first[:12], "approve", "--yes", "-m", "It passed.")
        assert (done.returncode, done.stdout) == (0, f"Approved ({first}).\n")
        assert (one["digest"] in done.stderr, "    │ Line two." in done.stderr) == (True, True)
        # What others wrote stands behind a bar, and acts on no terminal.
        assert "  │ digest     sha256:00\\u001b[2J\\u202e" in done.stderr.splitlines()
        kept = state_of(home, first)
        assert (kept["state"], kept["answered_by"], kept["why"]) == ("approved", "local:admin", "It passed.")
        assert f"  approved by {kept['answered_name']} (local:admin), " in hq(home, "decisions", "--state",
                                                                              "approved").stdout  # fmt: skip
        again = hq(home, "decide", first, "reject", "--yes")
        assert (again.returncode, f"hq: The decision {first} is approved already." in again.stderr) == (3, True)
        said = told(home, "decide", second, "reject", "--yes")
        assert (said["decision"], said["state"]) == (second, "rejected")
        assert hq(home, "decisions").stdout == "Nothing waits for a person.\n"

    if serving:
        with served(home) as server:
            scene(server.url)
            assert server.stop() == 0
    else:
        scene(None)
    with closing(sqlite3.connect(home / "hq.db")) as store:
        events = [
            json.loads(data)
            for type_, data in store.execute("SELECT type, data FROM events ORDER BY position")
            if type_ in ("decision.approved", "decision.rejected")
        ]
    assert [each["door"] for each in events] == ["cli", "cli"]
    assert told(home, "verify")["intact"] is True


@pytest.mark.heavy
@pytest.mark.promise("DEC-5")
def test_a_person_at_a_terminal_is_asked_and_only_a_yes_decides(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    (decision,) = waiting(home, "Use it?")
    argv = [str(HQ), "--home", str(home), "decide", decision[:12], "approve"]
    for line, status in (("", 130), ("n", 130), (INTERRUPT, 130), ("y", 0)):
        assert state_of(home, decision)["state"] == "open"
        with at_terminal(argv, env=environment(), cwd=tmp_path) as terminal:
            terminal.wait_for("Use it?")
            terminal.type("Approve? [y/N]: ", line)
            assert terminal.ended() == status, terminal.shown
            assert ("Nothing was decided." in terminal.shown) == (status == 130), terminal.shown
    assert state_of(home, decision)["state"] == "approved"


@pytest.mark.heavy
@pytest.mark.promise("DEC-5")
@pytest.mark.parametrize("well", [True, False], ids=["with its digest", "without its digest"])
def test_what_is_changed_while_the_person_reads_is_not_what_they_answer(tmp_path: Path, well: bool) -> None:
    home = tmp_path / "hq"
    (decision,) = waiting(home, "Use it?")
    (said,) = told(home, "decisions")["decisions"]
    other = digest_of_question(said["kind"], said["subject"], "Delete everything?", said["evidence"])
    digest = other if well else said["digest"]
    argv = [str(HQ), "--home", str(home), "decide", decision, "approve"]
    with at_terminal(argv, env=environment(), cwd=tmp_path) as terminal:
        terminal.wait_for("Approve? [y/N]: ")
        with closing(sqlite3.connect(home / "hq.db")) as store, store:
            store.execute("UPDATE decisions SET question = 'Delete everything?', digest = ?", (digest,))
        terminal.type("", "y")
        assert terminal.ended() == 3
        not_it = f"What was shown is not what {decision} asks."
        assert (not_it if well else f"The decision {decision} is not as it was asked.") in terminal.shown
    if not well:  # who is shown what was altered is not even asked
        again = hq(home, "decide", decision, "approve", "--yes")
        assert (again.returncode, "is not as it was asked." in again.stderr) == (3, True)
    assert state_of(home, decision)["state"] == "open"


@pytest.mark.heavy
def test_one_whose_time_is_over_is_expired_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    none = hq(home, "decisions")
    assert (none.returncode, "There is no store" in none.stderr) == (2, True)
    (late,) = waiting(home, "Use it?", expires_at=instant(BEGIN))
    assert hq(home, "decisions").stdout == "Nothing waits for a person.\n"
    assert "expired 2026-04-01" in hq(home, "decisions", "--state", "expired").stdout
    done = hq(home, "decide", late, "approve", "--yes")
    assert (done.returncode, f"The time to decide {late} is over." in done.stderr) == (3, True)
    missing = hq(home, "decide", "dec_01NONE", "approve", "--yes")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == (
        f"hq: There is no decision dec_01NONE.\nhint: hq --home {home} decisions --state any lists them all\n"
    )


def test_the_beginning_of_an_id_will_do_where_it_is_that_of_one_alone(tmp_path: Path) -> None:
    first, _ = waiting(tmp_path, "Use it?", "And this?")
    store = HqHome(tmp_path).store
    assert read_once(store, lambda connection: seen(connection, first[:12], now=BEGIN))["id"] == first
    with pytest.raises(Refused) as caught:
        read_once(store, lambda connection: seen(connection, "dec_01", now=BEGIN))
    assert caught.value.code == "ambiguous_decision"


@pytest.mark.promise("DEC-1")
def test_the_tool_says_where_a_person_decides_and_by_which_command(tmp_path: Path) -> None:
    (decision,) = waiting(tmp_path / "hq", "Use it?")

    async def scene(links: str | None) -> dict[str, Any]:
        async with desk_at(tmp_path) as desk:
            server = offered(desk, version="test", owner=REVIEWER, links=links)
            async with Client(server) as client:
                return await Asker(client).ask("decide", decision=decision)

    page = f"https://hq.example.com/decisions/{decision}"
    linked = asyncio.run(scene("https://hq.example.com"))
    assert (linked["link"], f"decides at {page}, signed in as themselves, or" in linked["note"]) == (page, True)
    said = asyncio.run(scene(None))
    assert (said["state"], said["link"]) == ("open", None)
    assert said["note"] == (
        f"Nothing was decided. A person decides with `hq decide {decision} approve` (or `reject` or `changes`) at "
        "a terminal of HQ's machine."
    )
