"""Routines as HQ keeps them: admitted, for a minion, each version kept, nothing of what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.actions.desk import Desk
from server.actions.entrust import create_token
from server.actions.fire import run_routine
from server.actions.publish import create_routine, delete_routine, update_routine
from server.actions.rotate import rotate_routine_token
from server.contract.refusals import Refusal
from server.storage.access_store import caller_of
from server.storage.definition_store import find_routine
from server.storage.tables import CALLS, ORDERS, ROUTINE_HISTORY, ROUTINES, RUNS, TOKENS
from server.storage.token_store import digest_of_token
from tests.server.desks import ADMIN, Clock, desk_at
from tests.server.joined_minions import act, events, join_minion, leave, rows

NIGHTLY = {
    "name": "nightly", "content": "Fix the top bug.", "cron_expression": "0 2 * * *", "timezone": "Europe/Berlin",
}  # fmt: skip


def at_desk(folder: Path, scene: Callable[[Desk], Awaitable[Any]], clock: Clock | None = None) -> Any:
    """What a scene at the desk of an HQ answers."""

    async def played() -> Any:
        async with desk_at(folder, clock) as desk:
            return await scene(desk)

    return asyncio.run(played())


async def refused(asked: Awaitable[Any]) -> str:
    """The code of a refusal, which has a sentence and a hint."""
    with pytest.raises(Refusal) as caught:
        await asked
    assert caught.value.sentence.endswith(".")
    assert caught.value.hint
    return caught.value.code


def test_a_routine_is_kept_as_a_minion_would_keep_it_with_its_event_and_version(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        owner = await join_minion(desk, "alice")
        made = await act(desk, create_routine, NIGHTLY)
        held = await desk.read(find_routine, "nightly")
        assert (held.id, held.minion_id, held.revision) == (made["id"], owner, 1)
        assert held.document["id"] == held.id
        assert held.document["minion_id"] == owner
        assert held.document["triggers"] == [
            {"type": "schedule", "cron": "0 2 * * *", "timezone": "Europe/Berlin"},
        ]
        assert held.document["limits"]["dollars"] == 1.0
        told = {"routine": held.id, "name": "nightly", "minion": owner, "digest": held.digest}
        told |= {"handled_until": "2026-04-01T09:00:00.000Z", "released_by": None}
        assert await events(desk) == [("routine.created", told)]
        assert [(row.revision, row.by) for row in await rows(desk, ROUTINE_HISTORY)] == [(1, "tok_session")]

    at_desk(tmp_path, scene)


def test_names_are_unique_per_minion(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        assert await refused(act(desk, create_routine, NIGHTLY)) == "routine_exists"
        await join_minion(desk, "alice")
        assert (await act(desk, create_routine, NIGHTLY))["minion"] == "alice"
        assert await refused(act(desk, create_routine, NIGHTLY)) == "routine_exists"
        await join_minion(desk, "bob")
        assert (await act(desk, create_routine, NIGHTLY, minion="bob"))["minion"] == "bob"
        nobodys = next(row.id for row in await rows(desk, ROUTINES) if row.minion_id is None)
        given = act(desk, update_routine, nobodys, {}, minion="bob")
        assert await refused(given) == "routine_exists"
        assert await refused(act(desk, update_routine, "nightly", {"paused": True})) == "ambiguous_routine"

    at_desk(tmp_path, scene)


def test_a_routine_is_for_the_minion_that_is_named_or_for_the_only_one(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        assert (await act(desk, create_routine, NIGHTLY))["minion"] is None
        alice = await join_minion(desk, "alice")
        assert (await act(desk, create_routine, {**NIGHTLY, "name": "a"}))["minion"] == "alice"
        await join_minion(desk, "bob")
        assert await refused(act(desk, create_routine, {**NIGHTLY, "name": "b"})) == "which_minion"
        nowhere = act(desk, create_routine, {**NIGHTLY, "name": "b"}, minion="carl")
        assert await refused(nowhere) == "no_such_minion"
        seed = {**NIGHTLY, "name": "b", "minion_id": alice}  # as in the file of a minion's own
        assert (await act(desk, create_routine, seed))["minion"] == "alice"
        assert (await act(desk, update_routine, "nightly", {}, minion="bob"))["minion"] == "bob"
        moved = await act(desk, update_routine, "nightly", {}, minion="alice")
        assert (moved["minion"], moved["moving"]["waits_for"]) == ("alice", "bob")
        assert (await act(desk, update_routine, "nightly", {}, minion="bob"))["moving"] is None
        again = await act(desk, update_routine, "nightly", {}, minion="bob")
        assert (again["revision"], again["changed"]) == (4, [])

    at_desk(tmp_path, scene)


def test_a_change_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        more = {"limits": {"turns": 7}, "triggers": [{"type": "schedule", "cron": "0 9 * * 1"}]}
        await act(desk, create_routine, {**NIGHTLY, **more})
        before = (await desk.read(find_routine, "nightly")).document
        said = {"limits": {"dollars": 2}, "cron_expression": "0 3 * * *"}
        assert (await act(desk, update_routine, "nightly", said))["changed"] == [
            "cron_expression", "limits", "triggers",
        ]  # fmt: skip
        after = (await desk.read(find_routine, "nightly")).document
        assert after["limits"] == {**before["limits"], "dollars": 2.0}
        assert [trigger["cron"] for trigger in after["triggers"]] == ["0 3 * * *", "0 9 * * 1"]
        moved = await act(desk, update_routine, "nightly", {"timezone": "Asia/Tokyo", "cron_expression": None})
        assert moved["schedules"] == [{"schedule": "0 9 * * 1", "words": "every Monday at 9:00, Asia/Tokyo"}]
        unsaid = {"name", "content", "repositories", "expect", "watch", "paused"}
        now = (await desk.read(find_routine, "nightly")).document
        assert {name: now[name] for name in unsaid} == {name: before[name] for name in unsaid}
        assert [row.revision for row in await rows(desk, ROUTINE_HISTORY)] == [1, 2, 3]

    at_desk(tmp_path, scene)


def test_a_change_that_says_what_was_said_is_no_version_and_no_event(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        answer = await act(desk, update_routine, "nightly", {"content": NIGHTLY["content"], "paused": False})
        assert (answer["revision"], answer["changed"]) == (1, [])
        assert [type_ for type_, _ in await events(desk)] == ["routine.created"]

    at_desk(tmp_path, scene)


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"cron_expression": "0 25 * * *"}, "bad_schedule", "`cron_expression`"),
        ({"cron_expression": "0 0 30 2 *"}, "bad_schedule", "`cron_expression`"),
        ({"triggers": [{"type": "once", "at": "2026-03-01T09:00"}]}, "bad_schedule", "`triggers[0].at`"),
        ({"triggers": [{"type": "schedule", "cron": "0 9 * *"}]}, "bad_schedule", "`triggers[0].cron`"),
        ({"timezone": "Europe/Berlim"}, "unknown_zone", "`timezone`"),
        ({"limits": {"dollar": 1}}, "unknown_key", "`limits.dollar`"),
        ({"prompt": "x"}, "unknown_key", "`prompt`"),
        ({"content": None}, "nothing_to_do", "`content`"),
        ({"paused": None}, "wrong_type", "`paused`"),
        ({"expect": [{"file": "a", "contains": "b"}]}, "not_exactly_one", "`expect[0]`"),
        ({"content": "Use sk-ant-abcdefgh12345."}, "secret_in_routine", "`content`"),
        ({"id": "trig_0100000000000000000000"}, "fixed_field", "id"),
        ({"name": "other"}, "fixed_field", "name"),
        ({"minion_id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427"}, "fixed_field", "minion_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_field_and_changes_nothing(
    tmp_path: Path, said: dict[str, Any], code: str, field: str
) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        with pytest.raises(Refusal) as caught:
            await act(desk, update_routine, "nightly", said)
        assert caught.value.code == code
        assert field in caught.value.sentence
        assert "sk-ant" not in str(caught.value)
        if not {"name", "minion_id"} & set(said):
            fresh = {**NIGHTLY, "name": "fresh", "timezone": None, **said}
            assert await refused(act(desk, create_routine, fresh)) == code
        assert (await desk.read(find_routine, "nightly")).revision == 1
        assert len(await rows(desk, ROUTINES)) == len(await events(desk)) == 1

    at_desk(tmp_path, scene)


def test_an_instant_that_has_passed_hinders_no_other_change(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        once = {"name": "once", "content": "Say it.", "triggers": [{"type": "once", "at": "2026-04-02T09:00"}]}
        assert (await act(desk, create_routine, once))["next"] == ["2026-04-02T09:00:00+00:00"]
        clock.pass_(days=3)
        answer = await act(desk, update_routine, "once", {"content": "Say it twice."})
        assert (answer["changed"], answer["next"]) == (["content"], [])

    at_desk(tmp_path, scene, clock)


def test_a_repeated_call_with_its_key_makes_one_routine(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        one = await act(desk, create_routine, NIGHTLY, client_key="k")
        assert await act(desk, create_routine, NIGHTLY, client_key="k") == one
        other = act(desk, create_routine, {**NIGHTLY, "paused": True}, client_key="k")
        assert await refused(other) == "client_key_reused"
        gone = await act(desk, delete_routine, "nightly", client_key="d")
        assert await act(desk, delete_routine, "nightly", client_key="d") == gone
        assert len(await rows(desk, ROUTINES)) == 1

    at_desk(tmp_path, scene)


def test_a_deleted_routine_leaves_its_runs_and_frees_its_name(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join_minion(desk, "alice")
        made = await act(desk, create_routine, NIGHTLY)
        run = (await act(desk, run_routine, desk.processes, "nightly"))["run"]
        token = (await act(desk, rotate_routine_token, "nightly"))["token"]
        gone = await act(desk, delete_routine, "nightly")
        assert (gone["cancelled_runs"], gone["revoked_tokens"], gone["runs_kept"]) == ([run], 1, 1)
        assert (gone["next"], gone["would_have_been_due"][0]) == ([], "2026-04-02T02:00:00+02:00")
        ended = [(row.state, row.why) for row in await rows(desk, RUNS)]
        assert ended == [("cancelled", "the routine was deleted")]
        assert [row.state for row in await rows(desk, ORDERS)] == ["cancelled"]
        digest = digest_of_token(token)
        assert digest is not None
        assert await desk.read(caller_of, digest, now="2026-04-01T09:00:00.001Z") is None
        assert await refused(act(desk, delete_routine, "nightly")) == "no_such_routine"
        assert (await act(desk, create_routine, NIGHTLY))["id"] != made["id"]
        assert [row.document is None for row in await rows(desk, ROUTINE_HISTORY)].count(True) == 1

    at_desk(tmp_path, scene)


def test_a_session_that_renews_a_routines_token_ends_none_of_an_operators(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await act(desk, create_routine, NIGHTLY)
        ours = await act(desk, create_token, "sentry", "fire", routine="nightly", who=ADMIN)
        for _ in range(3):
            await act(desk, rotate_routine_token, "nightly")
        live = [row for row in await rows(desk, TOKENS) if row.revoked_at is None]
        assert (len(live), ours["id"] in {row.id for row in live}) == (3, True)

    at_desk(tmp_path, scene)


def test_a_token_of_a_routine_is_shown_once_two_are_good_and_nothing_keeps_its_text(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        made = await act(desk, create_routine, NIGHTLY)
        shown = []
        for _ in range(3):
            shown.append(await act(desk, rotate_routine_token, "nightly"))
            clock.pass_(seconds=1)
        first, second, third = (each["token_id"] for each in shown)
        assert [each["also_good"] for each in shown] == [[], [first], [second]]
        assert shown[2]["revoked"] == [first]
        live = [row.id for row in await rows(desk, TOKENS) if row.revoked_at is None]
        assert sorted(live) == sorted([second, third])
        digest = digest_of_token(shown[2]["token"])
        assert digest is not None
        who = await desk.read(caller_of, digest, now="2026-04-01T09:01:00.000Z")
        assert who is not None
        assert (who.scope, who.bound_to) == ("fire", made["id"])
        kept = b"".join(path.read_bytes() for path in (tmp_path / "hq").iterdir() if path.is_file())
        assert not [each for each in shown if each["token"].encode() in kept]
        assert await rows(desk, CALLS) == []

    at_desk(tmp_path, scene, clock)


def test_a_routine_of_a_minion_that_left_says_so(tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await join_minion(desk, "alice")
        assert (await act(desk, create_routine, NIGHTLY))["will_fire"] is True
        await leave(desk, "alice")
        answer = await act(desk, update_routine, "nightly", {"content": "Fix two bugs."})
        assert (answer["will_fire"], answer["why_not"]) == (False, "Its minion alice has left this HQ.")

    at_desk(tmp_path, scene)
