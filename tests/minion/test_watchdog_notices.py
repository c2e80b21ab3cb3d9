"""What the watchdog has sent, with a fixed clock: once, together, and again where it did not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from minion.config import Config, Home, default_home, reaching
from minion.daemon.courier import Outcome
from minion.store.alerts import prune_alerts
from server.contract.digest import canonical_json, parse_instant
from server.contract.run import RunState
from tests.minion.stored_runs import LATER, MINION_ID, NOW, looking, make_order
from tests.minion.watched import COMMAND, NAME, SLACK, Scene, played

SENT = Outcome("sent")


def test_what_opens_and_ends_before_anybody_was_told_is_one_thing_to_tell(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.slot("missed", 1)
        await scene.dog.take_in()
        await scene.slot("late", 2)
        (text,) = await scene.later()
        assert "missed the slot of" in text
        assert "runs again" in text
        assert "\n" not in text

    played(tmp_path, story)


@pytest.mark.promise("WAT-1")
def test_fifty_routines_that_fail_together_are_one_message(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for number in range(50):
            await scene.routine(f"job-{number:02}", notify=[SLACK, COMMAND] if number < 2 else [])
            await scene.slot("missed", 1, name=f"job-{number:02}")
        slack, command = await scene.later()
        assert slack.startswith("minion desk: 50 notices\n- job-00 missed")
        assert len(slack.splitlines()) == 1 + 20 + 1
        assert slack.endswith("- and 30 more: minion alerts --all")
        assert "job-01" in command
        assert "2 notices" in command
        told = scene.sent[1]["alert"]
        assert (told["v"], told["kind"], told["minion"], told["more"]) == (1, "alert", "desk", 0)
        assert [(one["routine"], one["kind"], one["state"]) for one in told["alerts"]] == [
            ("job-00", "slot_missed", "open"), ("job-01", "slot_missed", "open"),
        ]  # fmt: skip
        assert scene.unsent() == 0

    played(tmp_path, story)


def test_the_commands_of_a_notice_name_a_home_that_is_not_the_default_one(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.dog._called = partial(reaching, Home(Path("/srv/my home")))
        await scene.slot("missed", 1)
        (text,) = await scene.later()
        assert text.endswith(f"Look: minion --home '/srv/my home' why {NAME}")
        (told,) = scene.sent[0]["alert"]["alerts"]
        assert told["look"] == [f"minion --home '/srv/my home' why {NAME}"]

    played(tmp_path, story)
    assert reaching(default_home(), "minion alerts --all") == "minion alerts --all"


def test_messages_to_one_place_are_half_a_minute_apart(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine("other")
        await scene.run("failed")
        assert await scene.later(1) == []
        assert len(await scene.later(1)) == 1
        await scene.run("failed", "other")
        assert await scene.later(20) == []
        assert len(await scene.later(10)) == 1

    played(tmp_path, story)


@pytest.mark.promise("WAT-2")
def test_a_notice_that_cannot_be_sent_is_tried_again_with_growing_pauses_and_given_up_after_a_day(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        scene.answer = lambda _: Outcome("failed", "HTTP 500")
        await scene.run("failed")
        await scene.later(2)
        begun, tries = scene.now, [scene.now]
        while scene.dog.overview.next_try_at is not None:
            next_try = parse_instant(scene.dog.overview.next_try_at)
            assert await scene.later((next_try - scene.now).total_seconds() - 1) == []
            assert len(await scene.later(1)) == 1
            tries.append(scene.now)
        pauses = [(b - a).total_seconds() for a, b in pairwise(tries)]
        assert pauses[:5] == [30, 120, 600, 3600, 3600]
        assert 23 <= (tries[-1] - begun).total_seconds() / 3600 <= 24
        (told,) = scene.alerts()[0]["told"]
        assert (told["state"], told["problem"], told["tries"]) == ("given_up", "HTTP 500", len(tries))
        assert (scene.unsent(), scene.dog.standing()["unsent"]) == (1, 1)

    played(tmp_path, story)


@pytest.mark.promise("WAT-2")
def test_what_waited_for_a_webhook_to_come_back_goes_out_in_one_message(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.answer = lambda _: Outcome("failed", "no connection")
        await scene.run("failed")
        await scene.later(2)
        await scene.run("failed")
        await scene.run()
        await scene.later(30)
        assert scene.unsent() == 2
        scene.restart()
        scene.answer = lambda _: Outcome("sent")
        (text,) = await scene.later(300)
        assert "went wrong 2 times in a row" in text
        assert "is well again after 2 bad runs" in text
        assert (scene.unsent(), await scene.later(86_400)) == (0, [])

    played(tmp_path, story)


@pytest.mark.promise("WAT-2")
def test_a_kill_at_any_point_loses_no_alert_and_opens_none_twice(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.run("failed")
        scene.restart()  # before anything was taken in
        await scene.dog.take_in()
        scene.restart()  # before anything was sent

        class Killed(BaseException):
            pass

        def die(_: Mapping[str, Any]) -> Outcome:
            raise Killed

        scene.answer = die
        with pytest.raises(Killed):  # before it was written down that it was sent
            await scene.later()
        scene.restart()
        scene.answer = lambda _: Outcome("sent")
        assert len(await scene.later()) == 1
        scene.restart()
        assert await scene.later() == []
        assert len(scene.alerts(open_only=False)) == 1

    played(tmp_path, story)


def test_a_clock_that_was_set_back_holds_up_no_notice(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.run("failed")
        await scene.dog.take_in()
        scene.now -= timedelta(hours=5)
        assert len(await scene.later(0)) == 1

    played(tmp_path, story)


def test_who_is_told_is_the_routines_own_list_else_the_minions(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine("other", notify=[COMMAND])
        await scene.run("failed")
        await scene.run("failed", "other")
        await scene.later()
        assert [(item["way"], "other" in item["text"]) for item in scene.sent] == [(SLACK, False), (COMMAND, True)]

    played(tmp_path, story)


def test_an_alert_that_nobody_could_be_told_of_is_told_once_somebody_is_named(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.config = Config(MINION_ID, "desk")
        await scene.run("failed")
        assert (await scene.later(), scene.open()) == ([], [(NAME, "failing")])
        scene.config = Config(MINION_ID, "desk", notify=({"slack": "misspelt"},))
        scene.answer = lambda _: Outcome("missing", "there is no secret misspelt")
        scene.dog.stir(files=True)
        assert len(await scene.later()) == 1
        scene.config = Config(MINION_ID, "desk", notify=(SLACK,))
        scene.answer = lambda _: Outcome("sent")
        scene.dog.stir(files=True)
        await scene.later()
        assert [item["way"] for item in scene.sent] == [{"slack": "misspelt"}, SLACK]
        assert scene.unsent() == 0

    played(tmp_path, story)


@pytest.mark.promise("WAT-3")
def test_a_switch_is_called_at_the_start_and_at_the_end_of_each_run_well_or_badly(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"ping": "heart", "failures": 100})
        ends: tuple[RunState, ...] = ("completed", "failed", "cancelled")
        for end in ends:
            routine = {"id": "x", "name": NAME, "watch": {"ping": "heart"}}
            order = make_order(1000 + ends.index(end))
            scene.dog.run_began(type(order)(**{**_fields(order), "routine": routine}))
            await scene.dog.send_due()
            await scene.run(end)
            await scene.later(0)
        assert [(item["ping"], item["end"]) for item in scene.sent] == [
            ("heart", "/start"), ("heart", ""), ("heart", "/start"), ("heart", "/fail"), ("heart", "/start"),
        ]  # fmt: skip

    played(tmp_path, story)


@pytest.mark.promise("WAT-3")
def test_a_switch_without_its_secret_is_told_once_and_one_that_is_down_is_called_for_a_few_minutes(
    tmp_path: Path,
) -> None:
    async def story(scene: Scene) -> None:
        await scene.routine(watch={"ping": "heart"})
        scene.answer = lambda item: Outcome("missing", "there is no secret heart") if "ping" in item else SENT
        await scene.run()
        await scene.run()
        await scene.later(0)
        (text,) = await scene.later()
        assert "The dead-man's switch of morning-report cannot be called: there is no secret heart." in text
        scene.answer = lambda item: Outcome("failed", "HTTP 503") if "ping" in item else SENT
        scene.now = parse_instant(LATER)
        await scene.run()
        before = len(scene.sent)
        for _ in range(100):
            assert await scene.later(10) == []
        assert 3 <= len(scene.sent) - before <= 8
        scene.answer = lambda _: SENT
        scene.now = parse_instant(LATER)
        await scene.run()
        await scene.later(0)
        (text,) = await scene.later()
        assert text == "minion desk: The dead-man's switch of morning-report is called again."

    played(tmp_path, story)


@pytest.mark.heavy
def test_the_history_of_alerts_is_bounded(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        for _ in range(260):
            for state, hour in (("missed", 1), ("ran", 2)):
                slot = canonical_json({"due_at": NOW, "state": state, "count": 1, "why": None, "hour": hour})
                ref = f"{scene.routine_id(NAME)} x"
                await scene.writer.transact(lambda db, ref=ref, slot=slot: _seal(db, ref, slot))  # type: ignore[misc]
        await scene.later()
        await scene.writer.transact(lambda db: prune_alerts(db, keep=100))
        with looking(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM alerts").fetchone()[0] == 100
            assert db.execute("SELECT count(*) FROM notices").fetchone()[0] == 200

    played(tmp_path, story)


async def _seal(db: Any, ref: str, body: str) -> None:
    await db.execute("INSERT INTO home_chain (kind, ref, body, hash) VALUES ('slot', ?, ?, '')", (ref, body))


def _fields(order: Any) -> dict[str, Any]:
    return {name: getattr(order, name) for name in type(order).__dataclass_fields__}
