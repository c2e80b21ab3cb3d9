"""Why a routine runs or does not: by HQ's word, and by its minion's, which is asked and answers within seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.actions.desk import Desk
from server.actions.explain import explain_routine
from server.actions.publish import create_routine
from server.actions.questions import Questions
from tests.server.desks import Asker, Clock
from tests.server.joined_minions import act
from tests.server.test_joining import ALICE, BOB, Door, door_of, play
from tests.server.test_publish import at_desk
from tests.server.wired_minions import WiredMinion

NIGHTLY = {"name": "nightly", "content": "Sum up.", "cron_expression": "0 2 * * *"}
WHY = {
    "routine": "nightly", "at": "2026-04-01T02:00:00+02:00", "state": "broken", "fix": "minion up",
    "sentence": "It was due Wed 2026-04-01 02:00, and no daemon ran the minion.",
    "links": [
        {"name": "due", "state": "holds", "words": "It was due.", "fix": None},
        {"name": "daemon", "state": "broken", "words": "None ran.", "fix": None}, {"state": "not-reached"}, "odd",
    ],
}  # fmt: skip


class Daemon:
    """What alice's daemon does at HQ's door: she syncs, listens, and answers what she is asked."""

    def __init__(self, door: Door, answer: dict[str, Any] | None) -> None:
        self.door, self.answer = door, answer
        self.asked: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.too_early = False

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            news = await self.door.ask("poll", cursor=self.cursor, wait_s=20.0)
            self.asked += news["questions"]
            # What is not taken in yet nothing can be said of.
            self.too_early = self.too_early or bool(news["questions"] and news["cursor"] != self.cursor)
            for question in news["questions"] if self.answer is not None else ():
                await self.door.ask("answers", answers={question["id"]: self.answer})
            if news["cursor"] != self.cursor:
                self.cursor = (await self.door.ask("sync"))["cursor"]


@asynccontextmanager
async def listening(door: Door, answer: dict[str, Any] | None) -> AsyncIterator[Daemon]:
    """A daemon at the door, which answers this, or nothing."""
    daemon = Daemon(door, answer)
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.promise("GIV-5")
def test_the_minion_is_asked_and_its_answer_is_what_is_said(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        await asker.ask("create_routine", **NIGHTLY)
        with_secret = f"{WHY['sentence']} Token ghp_abcdefghijklmnopqrst."
        async with listening(door, {**WHY, "sentence": with_secret}) as daemon:
            await door.ask("poll")
            said = await asker.ask("explain_routine", routine="nightly", at="2:00")
            assert said["sentence"] == f"{WHY['sentence']} Token [redacted]."
            assert said["do"] == "on alice: minion up"
            assert (said["minion_says"]["answered"], said["minion_says"]["state"]) == (True, "broken")
            assert said["minion_says"]["links"] == [{"name": "daemon", "state": "broken", "words": "None ran."}]
            (question,) = daemon.asked
            assert (question["kind"], question["routine"], question["at"]) == ("why", "nightly", "2:00")

    play(tmp_path, scene)


@pytest.mark.promise("GIV-5")
def test_a_minion_that_does_not_answer_is_said_not_to_and_what_hq_knows_stands(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        await asker.ask("create_routine", **NIGHTLY)
        said = await asker.ask("explain_routine", routine="nightly")  # she does not listen: nobody waits for her
        assert said["sentence"] == "It is due next 2026-04-02T02:00:00+02:00; it has not run yet."
        assert said["minion_says"]["says"] == "alice did not answer; it was last seen just now."
        async with listening(door, {"refused": "it could not be looked at"}):
            await door.ask("poll")
            said = await asker.ask("explain_routine", routine="nightly")
            assert said["minion_says"]["says"] == (
                "alice cannot say (it could not be looked at); it was last seen just now."
            )

    play(tmp_path, scene)


@pytest.mark.promise("GIV-5")
def test_a_routine_just_created_is_asked_about_once_its_minion_has_it(tmp_path: Path) -> None:
    async def scene(_: Desk, asker: Asker, door: Door, __: int) -> None:
        await door.hello()
        async with listening(door, WHY) as daemon:
            await door.ask("poll")
            made = await asker.ask("create_routine", **NIGHTLY)
            assert (made["will_fire"], made["minion_says"]["sentence"]) == (True, WHY["sentence"])
            assert (len(daemon.asked), daemon.too_early) == (1, False)
            paused = await asker.ask("update_routine", routine="nightly", changes={"paused": True})
            assert (paused["why_not"], paused["minion_says"]["answered"]) == ("It is paused.", True)
            said = await asker.ask("explain_routine", routine="nightly")
            assert said["sentence"] == "It is paused; it has not run yet."

    play(tmp_path, scene)


def test_nobody_answers_for_another_minion_and_nothing_that_nobody_asked(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Asker, door: Door, port: int) -> None:
        await door.hello()
        waiting = asyncio.create_task(desk.questions.why(ALICE, "nightly", within_s=20))
        assert (await door.ask("poll", cursor="behind"))["questions"] == []
        (question,) = (await door.ask("poll", cursor=(await door.ask("sync"))["cursor"], wait_s=5.0))["questions"]
        async with door_of(desk, port, BOB, "bob") as bob:
            await bob.hello("bob")
            assert (await bob.ask("answers", answers={question["id"]: WHY}))["taken"] == 0
            bob.minion = ALICE
            assert (await bob.refused("answers", answers={question["id"]: WHY}))[1] == "not_this_minion"
        assert (await door.ask("answers", answers={"q_other_1": WHY}))["taken"] == 0
        # Each question is handed out once: a minion that cannot answer it is not kept busy with it.
        assert (await door.ask("poll", cursor=(await door.ask("sync"))["cursor"]))["questions"] == []
        assert (await door.ask("answers", answers={question["id"]: WHY}))["taken"] == 1
        assert (await waiting or {})["fix"] == "minion up"

    play(tmp_path, scene)


def test_no_more_questions_wait_for_a_minion_than_it_can_be_asked() -> None:
    async def asked() -> None:
        questions = Questions()
        answers = [questions.why("m", "nightly", within_s=0.0) for _ in range(21)]
        assert await asyncio.gather(*answers) == [None] * 21
        assert questions.take("m") == []
        many = asyncio.gather(*(questions.why("m", "nightly", within_s=20) for _ in range(21)))
        rung = asyncio.Event()
        questions.rings(lambda: len(questions) == 20 and rung.set())
        await rung.wait()
        asked = questions.take("m")
        assert questions.answered("m", {each["id"]: WHY for each in asked}) == len(asked) == 20
        assert (await many).count(None) == 1

    asyncio.run(asked())


@pytest.mark.parametrize(
    ("hello", "fields", "why_not"),
    [
        ({"engines": ("script",)}, {"engine": "claude-code"}, "The engine claude-code is not installed on alice."),
        ({"engines": ("script",)}, {"engine": "auto"}, None),
        ({"skills": ("one",)}, {"pipeline": ("one", "two")}, "Neither HQ nor alice has the skill two."),
        ({"connectors": ()}, {"connectors": ("linear",)}, "alice has no connector linear."),
        ({}, {"connectors": ("linear",), "pipeline": ("two",), "engine": "claude-code"}, None),
    ],
)
def test_what_a_routine_needs_and_its_minion_lacks_is_told_before_it_fails(
    tmp_path: Path, hello: dict[str, Any], fields: dict[str, Any], why_not: str | None
) -> None:
    async def scene(desk: Desk) -> None:
        await WiredMinion(desk, "alice").hello(**hello)
        said = await act(desk, create_routine, NIGHTLY | fields)
        assert (said["why_not"], said["will_fire"]) == (why_not, why_not is None)
        if not hello:
            assert "HQ has no skill two: alice must have it itself." in said["warnings"]

    at_desk(tmp_path, scene)


@pytest.mark.parametrize(
    ("hello", "fields", "warned"),
    [
        ({"engines": ("script",)}, {}, True),
        ({"engines": ("script",)}, {"engine": "auto"}, True),
        ({"engines": ("script",)}, {"pipeline": ("one",)}, False),
        ({"engines": ("claude-code", "script")}, {}, False),
        ({"engines": ("claude-code", "script")}, {"engine": "script"}, True),
    ],
)
def test_a_prompt_that_no_model_will_read_is_warned_of(
    tmp_path: Path, hello: dict[str, Any], fields: dict[str, Any], warned: bool
) -> None:
    async def scene(desk: Desk) -> None:
        await WiredMinion(desk, "alice").hello(**hello)
        said = await act(desk, create_routine, NIGHTLY | fields)
        partial = "A prompt needs a model, and the engine script has none: its runs will be partial."
        assert (partial in said["warnings"]) is warned

    at_desk(tmp_path, scene)


def test_what_a_minion_complains_of_is_why_a_routine_does_not_run(tmp_path: Path) -> None:
    clock = Clock()

    async def scene(desk: Desk) -> None:
        alice = await WiredMinion(desk, "alice").hello()
        routine = (await act(desk, create_routine, NIGHTLY))["id"]
        await alice.sync()
        says = "A routine nightly is here already."
        await alice.poll(troubles=[{"routine": routine, "sentence": says, "hint": "rename one of them"}])
        said = await explain_routine(desk, "nightly")
        assert (said["will_fire"], said["do"]) == (False, "rename one of them")
        assert said["sentence"].startswith("alice says of it: A routine nightly is here already; ")
        await alice.poll()
        assert (await explain_routine(desk, "nightly"))["will_fire"] is True

    at_desk(tmp_path, scene, clock)
