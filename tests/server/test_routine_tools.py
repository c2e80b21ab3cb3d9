"""The tools of routines and runs, as a session meets them: created, shown, explained, started, called off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions.desk import Desk
from tests.server.desks import ADMIN, LEDGER, REVIEWER, SESSION, Asker, Clock, client_of, desk_at
from tests.server.joined_minions import join_minion

TOOLS = [
    "list_minions", "create_routine", "list_routines", "get_routine", "update_routine", "delete_routine",
    "run_routine", "explain_routine", "rotate_routine_token", "list_runs", "get_run", "cancel_run",
]  # fmt: skip
B1, B2, B3, B4 = (f"040.001.0{number}" for number in range(1, 5))
NIGHTLY = {"name": "nightly", "content": "Fix the top bug.", "cron_expression": "0 2 * * *"}
SAID = {"timezone": "Europe/Berlin", "engine": "script"}


def play(
    folder: Path, scene: Callable[[Desk, Asker], Awaitable[Any]], mode: str = "auto", who: Any = SESSION,
    clock: Clock | None = None,
) -> Any:  # fmt: skip
    """What a scene answers, of a client of an HQ without minions or routines."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk, client_of(desk, who, mode) as asker:
            return await scene(desk, asker)

    return asyncio.run(played())


async def walk(asker: Asker, *elastic: str, outcome: str = "success", **said: Any) -> str:
    """A run of `nightly` that a session performs to its end, with these elastic steps; its id."""
    run = str((await asker.ask("ledger_start_run", routine="nightly"))["run"])
    for block, codes in ((B2, ["SCR-CLONE-REPO"]), (B3, elastic), (B4, ["SCR-PUSH-BRANCH"])):
        await asker.ask("ledger_start_block", run=run, block=block)
        steps = [{"code": code, **said} for code in codes]
        await asker.ask("ledger_log_step", run=run, block=block, steps=steps)
        await asker.ask("ledger_finish_block", run=run, block=block)
    await asker.ask("ledger_finish_run", run=run, outcome=outcome)
    return run


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.promise("HQ-1")
def test_a_routine_created_says_whether_it_fires_when_next_and_who_is_told(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        notify = [{"slack": "team"}, {"command": ["mail", "me"]}]
        alone = await asker.ask("create_routine", **NIGHTLY, notify=notify)
        assert (alone["will_fire"], alone["minion"]) == (False, None)
        assert alone["why_not"] == "No minion has joined this HQ, so nothing starts it."
        assert alone["told_when_it_fails"] == "Slack, by the webhook in the secret team and the command mail"
        assert "its minion's counts" in alone["warnings"][0]
        await join_minion(desk, "alice", **SAID)
        made = await asker.ask("create_routine", **NIGHTLY)
        assert (made["will_fire"], made["why_not"]) == (True, None)
        assert (made["minion"], made["engine"]) == ("alice", "script")
        assert made["next"] == [f"2026-04-0{day}T02:00:00+02:00" for day in (2, 3, 4)]
        assert made["schedules"] == [{"schedule": "0 2 * * *", "words": "every day at 2:00, Europe/Berlin"}]
        assert made["told_when_it_fails"] == "nobody will be told if this fails"
        assert (made["cost_estimate"], made["cost_note"]) == (
            None, "It has no model, so its runs cost nothing.",
        )  # fmt: skip
        for more, words in (
            ({"paused": True}, "It is paused."),
            ({"cron_expression": ""}, "It has no schedule: it runs when somebody asks for it."),
        ):
            said = {**NIGHTLY, "name": f"n{len(words)}", **more}
            answer = await asker.ask("create_routine", **said)
            assert (answer["will_fire"], answer["why_not"]) == (False, words)
            assert answer["do"]

    play(tmp_path, scene, mode)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_routines_whole_life_through_its_tools(tmp_path: Path, mode: str) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        await join_minion(desk, "alice", **SAID)
        made = await asker.ask("create_routine", **NIGHTLY, limits={"dollars": 3}, repositories=[], effects=[])
        whole = await asker.ask("get_routine", routine=made["id"][:12])
        assert (whole["name"], whole["document"]["limits"]["dollars"]) == ("nightly", 3)
        assert (whole["document"]["repositories"], whole["document"]["effects"]) == ([], [])
        paused = await asker.ask("update_routine", routine="nightly", changes={"paused": True})
        assert (paused["changed"], paused["revision"], paused["will_fire"]) == (["paused"], 2, False)
        listed = await asker.ask("list_routines")
        (shown,) = listed["routines"]
        assert (shown["name"], shown["paused"], shown["will_fire"], shown["minion"]) == (
            "nightly", True, False, "alice",
        )  # fmt: skip
        (minion,) = (await asker.ask("list_minions"))["minions"]
        assert (minion["name"], minion["timezone"], minion["routines"]) == ("alice", "Europe/Berlin", 1)
        asked = {"routine": "nightly", "text": '{"alert": 1}', "client_key": "k"}
        run = (await asker.ask("run_routine", **asked))["run"]
        assert (await asker.ask("run_routine", **asked))["run"] == run
        assert (await asker.ask("explain_routine", routine="nightly"))["sentence"] == (
            f"It is paused; {run} waits for its minion since 2026-04-01T09:00:00.000Z."
        )
        assert (await asker.ask("cancel_run", run=run))["state"] == "cancelled"
        assert (await asker.ask("rotate_routine_token", routine="nightly"))["token"].startswith("hq_fire_")
        assert (await asker.ask("delete_routine", routine="nightly"))["runs_kept"] == 1
        assert (await asker.refused("get_routine", routine="nightly"))["code"] == "no_such_routine"
        kept = await asker.ask("list_runs", routine=made["id"])
        assert [(each["id"], each["state"]) for each in kept["runs"]] == [(run, "cancelled")]

    play(tmp_path, scene, mode)


def test_a_session_has_these_tools_and_other_scopes_do_not(tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}

    async def scene(desk: Desk, _: Asker) -> None:
        for who in (SESSION, ADMIN, LEDGER, REVIEWER):
            async with client_of(desk, who) as asker:
                seen[who.scope] = set(await asker.tools())

    play(tmp_path, scene)
    assert set(TOOLS) <= seen["session"]
    assert set(TOOLS) <= seen["admin"]
    assert not set(TOOLS) & seen["reviewer"]
    # Whoever performs a routine finds it, and looks at and calls off the runs.
    assert set(TOOLS) & seen["ledger"] == {"list_routines", "list_runs", "get_run", "cancel_run"}


def test_the_description_says_where_a_routine_runs(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> str:
        return next(
            tool.description for tool in (await asker.client.list_tools()).tools if tool.name == "create_routine"
        )

    words = play(tmp_path, scene)
    assert "on the user's own machine and survives closing Claude" in words


def test_a_prompt_is_taken_as_it_is_written_though_it_is_json(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> str:
        await asker.ask("create_routine", name="a", content='{"do": ["this"]}')
        return str((await asker.ask("get_routine", routine="a"))["document"]["content"])

    assert play(tmp_path, scene) == '{"do": ["this"]}'


def test_a_run_is_shown_whole_with_its_blocks_steps_and_chain(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        await asker.ask("create_routine", **NIGHTLY)
        run = await walk(asker, "LLM-EXECUTE-PROMPT", "LLM-VERIFY-OUTPUT")
        shown = await asker.ask("get_run", run=run)
        assert [(b["block"], b["state"], [s["code"] for s in b["steps"]]) for b in shown["blocks"]] == [
            (B1, "completed", ["TSK-VALIDATE-TRIGGER"]), (B2, "completed", ["SCR-CLONE-REPO"]),
            (B3, "completed", ["LLM-EXECUTE-PROMPT", "LLM-VERIFY-OUTPUT"]), (B4, "completed", ["SCR-PUSH-BRANCH"]),
        ]  # fmt: skip
        assert [step["kind"] for step in shown["steps_of_no_block"]] == ["report"]
        assert (shown["fingerprint"], shown["canonical_fingerprint"]) == ("T:f87a829f", "T:36a61784")
        assert (shown["conformance"], shown["drift"]) == ("drift", "benign")
        assert shown["first_difference"] == [B3, None, "LLM-VERIFY-OUTPUT"]
        steps = sum(len(block["steps"]) for block in shown["blocks"]) + 1
        assert shown["chain"]["entries"] == shown["events"] + steps
        assert len(shown["chain"]["head"]) == 64
        last = shown["blocks"][3]["steps"][0]["entry"]
        later = await asker.ask("get_run", run=run, after=last)
        assert [block["steps"] for block in later["blocks"]] == [[], [], [], []]
        assert (len(later["steps_of_no_block"]), later["after"]) == (1, None)

    play(tmp_path, scene, who=ADMIN)


def test_a_long_run_is_shown_in_parts(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        await asker.ask("create_routine", **NIGHTLY)
        run = await walk(asker, "LLM-EXECUTE-PROMPT")
        begun = (await asker.ask("ledger_start_run", routine="nightly"))["run"]
        await asker.ask("ledger_start_block", run=begun, block=B2)
        for _ in range(6):
            calls = [{"code": "git", "kind": "tool_call"} for _ in range(100)]
            await asker.ask("ledger_log_step", run=begun, block=B2, steps=calls)
        first = await asker.ask("get_run", run=begun)
        rest = await asker.ask("get_run", run=begun, after=first["after"])
        parts = [sum(len(block["steps"]) for block in part["blocks"]) for part in (first, rest)]
        assert (parts, rest["after"]) == ([500, 101], None)
        assert (await asker.ask("get_run", run=run))["after"] is None

    play(tmp_path, scene, who=ADMIN)


def test_runs_are_listed_newest_first_and_gone_on_with(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        await join_minion(desk, "alice")
        for name in ("a", "b"):
            await asker.ask("create_routine", name=name, content="Do it.")
        runs = [(await asker.ask("run_routine", routine=name))["run"] for name in ("a", "b", "a", "a")]
        await asker.ask("cancel_run", run=runs[0])
        pages, before = [], None
        while True:
            page = await asker.ask("list_runs", limit=3, before=before)
            pages.append([each["id"] for each in page["runs"]])
            before = page["before"]
            if before is None:
                break
        assert pages == [[runs[3], runs[2], runs[1]], [runs[0]]]
        mine = await asker.ask("list_runs", routine="a", state="queued")
        assert [each["id"] for each in mine["runs"]] == [runs[3], runs[2]]
        assert (await asker.refused("list_runs", limit=201))["code"] == "out_of_range"
        assert (await asker.refused("list_runs", routine="nowhere"))["code"] == "no_such_routine"

    play(tmp_path, scene)


def test_routines_are_listed_by_name_in_parts_and_by_minion(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        await asker.ask("create_routine", name="z", content="Do it.")
        await join_minion(desk, "alice")
        for name in ("c", "a", "b"):
            await asker.ask("create_routine", name=name, content="Do it.")
        part = await asker.ask("list_routines", limit=2, skip=1)
        assert ([each["name"] for each in part["routines"]], part["total"]) == (["b", "c"], 4)
        assert (await asker.ask("list_routines", minion="alice"))["total"] == 3
        assert (await asker.refused("list_routines", minion="bob"))["code"] == "no_such_minion"
        assert (await asker.ask("list_minions"))["routines_without_minion"] == 1

    play(tmp_path, scene)


def test_why_a_routine_did_not_run_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    async def scene(desk: Desk, asker: Asker) -> None:
        await join_minion(desk, "alice", **SAID)
        await asker.ask("create_routine", **NIGHTLY)
        said = await asker.ask("explain_routine", routine="nightly")
        assert said["sentence"] == "It is due next 2026-04-02T02:00:00+02:00; it has not run yet."
        assert (said["do"], len(said["next"])) == ("nothing needs doing", 3)
        run = await walk(asker, "LLM-VERIFY-OUTPUT", outcome="failure")
        said = await asker.ask("explain_routine", routine="nightly")
        assert said["sentence"] == (
            f"It is due next 2026-04-02T02:00:00+02:00; its last run {run} (2026-04-01T09:00:00.000Z) failed: "
            f"first difference in {B3}: LLM-EXECUTE-PROMPT was due, LLM-VERIFY-OUTPUT was taken."
        )
        assert said["do"] == f"get_run {run} shows its steps"
        assert said["last_run"]["first_difference"] == [B3, "LLM-EXECUTE-PROMPT", "LLM-VERIFY-OUTPUT"]

    play(tmp_path, scene, who=ADMIN)


def test_what_earlier_runs_cost_is_the_estimate_of_the_next(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker) -> None:
        await asker.ask("create_routine", **NIGHTLY)
        await walk(asker, "LLM-EXECUTE-PROMPT")
        assert (await asker.ask("get_routine", routine="nightly"))["cost_estimate"] is None
        for dollars in (0.1, 0.2):
            await walk(asker, "LLM-EXECUTE-PROMPT", cost={"dollars": dollars})
        shown = await asker.ask("get_routine", routine="nightly")
        # Each of them names its cost for three steps.
        month = {"month_runs": 30, "month_dollars": 13.5}
        assert shown["cost_estimate"] == {"dollars": 0.45, "most": 0.6, "runs": 2, **month}
        note = "The mean of 2 earlier runs; $13.50 a month (30 runs); a run is stopped at $1."
        assert shown["cost_note"] == note

    play(tmp_path, scene, who=ADMIN)
