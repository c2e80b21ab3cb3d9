"""The report of a session that runs outside the tool host: taken over the socket from who holds its token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minion.app import Minion
from minion.daemon.hub import Asker
from minion.daemon.triggers import Trigger
from minion.owner import Owner
from minion.verbs import do
from minion.wire import Event
from server.contract.digest import new_id
from server.contract.refusals import BadUse, Refused
from tests.whole.homes import at_work, events_of, make_home, run_of, write_routine, write_secrets, write_skill

pytestmark = pytest.mark.heavy

SAID = {"outcome": "success", "summary": "All carts are counted.", "details": "one, two"}
SECRET = "hunter2-a-long-secret"


def reported(
    folder: Path, use: Callable[[Minion, str, str], Awaitable[Any]], script: str = 'answer(text="x")'
) -> tuple[dict[str, Any], Any, list[dict[str, Any]]]:
    """A run during whose skill `use` is called with its owner, id and token; the run, the answer, its reports."""
    home = make_home(folder)
    write_secrets(home, {"password": SECRET})
    write_skill(home, "act", script)
    write_routine(home, "task", "act")

    async def act() -> tuple[str, Any]:
        begun, answers = asyncio.Event(), list[Any]()

        def on_event(_run_id: str, event: Event) -> None:
            if event.type == "session.opened":
                begun.set()

        async with at_work(home, on_event=on_event) as minion:
            trigger = Trigger("manual", f"manual:{new_id('dec_')[4:]}", minion.clock())
            order, lock = await minion.prepare("task", trigger, engine=None, repository=None)
            performing = asyncio.ensure_future(minion.run(order, lock))
            await begun.wait()
            answers.append(await use(minion, order.run_id, order.report_token))
            await performing
            return order.run_id, answers[0]

    run_id, answer = asyncio.run(act())
    run = run_of(home, run_id)
    return run, answer, events_of(home, run, "report")


async def report(minion: Minion, run_id: str, token: str, said: Any) -> Any:
    """The verb, as the socket's server does it."""
    params = {"run": run_id, "token": token, "report": said}
    return await do(Owner(minion), "report", params, Asker(lambda _: None))


@pytest.mark.promise("RUN-6")
def test_a_report_over_the_socket_is_the_runs_report_once_and_without_secrets(tmp_path: Path) -> None:
    async def use(minion: Minion, run_id: str, token: str) -> list[Any]:
        told = {**SAID, "details": f"with {SECRET} and {token}"}
        first = await report(minion, run_id, token, told)
        again = await report(minion, run_id, token, told)
        with pytest.raises(Refused) as other:
            await report(minion, run_id, token, {**SAID, "summary": "Another."})
        return [first["taken"], again["taken"], other.value.code]

    run, answer, reports = reported(tmp_path, use, "import time; time.sleep(0.5)\nanswer(text='x')")
    assert answer == [True, False, "report_taken"]
    assert (run["outcome"], run["summary"]) == ("success", SAID["summary"])
    assert len(reports) == 1
    assert SECRET not in str(run) + str(reports)


@pytest.mark.promise("RUN-6")
def test_a_claim_over_the_socket_is_lowered_to_what_the_runner_saw(tmp_path: Path) -> None:
    async def use(minion: Minion, run_id: str, token: str) -> Any:
        return await report(minion, run_id, token, SAID)

    run, _, _ = reported(tmp_path, use, "import time; time.sleep(0.5)\nsys.exit(3)")
    assert (run["outcome"], run["state"]) == ("failure", "failed")


@pytest.mark.promise("RUN-6")
def test_a_report_that_was_taken_is_filed_though_the_runner_dies_and_none_is_taken_afterwards(
    tmp_path: Path,
) -> None:
    async def use(minion: Minion, run_id: str, token: str) -> Any:
        await report(minion, run_id, token, SAID)
        flight = minion.supervisor.flight_of(run_id)
        assert flight is not None
        flight.process.kill()
        await flight.process.wait()
        with pytest.raises(BadUse) as bad:
            await report(minion, run_id, token, {"outcome": "grand"})
        return bad.value.code

    run, answer, reports = reported(tmp_path, use, "import time; time.sleep(30)")
    assert answer == "bad_report"
    assert (run["state"], run["summary"], run["verdict"]) == ("interrupted", SAID["summary"], "unknown")
    assert [each["filed_by"] for each in reports] == ["supervisor"]


def test_nobody_reports_for_a_run_that_is_over_or_with_another_token(tmp_path: Path) -> None:
    async def use(minion: Minion, run_id: str, token: str) -> Any:
        with pytest.raises(Refused) as wrong:
            await report(minion, run_id, token[:-1] + "x", SAID)
        return wrong.value.code, minion, run_id, token

    _, (code, _, _, token), reports = reported(tmp_path, use, "import time; time.sleep(0.3)\nanswer(text='x')")
    assert code == "bad_token"
    assert len(token) == 64
    assert [each["filed_by"] for each in reports] == ["session"]
    assert Refused("run_over", "It has ended.", hint="show it").exit_code == 3
