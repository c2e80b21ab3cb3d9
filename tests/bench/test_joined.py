"""What being joined costs: an idle minion's memory, an order's way to its runner, fifty minions, a full outbox."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from minion.hq.client import HqClient
from minion.hq.membership import Membership
from minion.store.local_db import read_only
from minion.store.outbox import report_of
from server.contract.digest import new_id, parse_instant
from tests.bench.processes import cpu_ms, memory_of
from tests.server import servers
from tests.whole.homes import write_routine, write_skill
from tests.whole.teams import Team, publish, soon, team

pytestmark = pytest.mark.bench
QUICK = 'answer(text="done")'
ORDERS = 40
MINIONS = 50
IDLE_S = 60.0
REPORTS = 10_000


def told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a figure."""
    with capsys.disabled():
        print(f"\n{text}")


def greet(made: Team, name: str) -> None:
    """A routine of HQ's that a minion goes by."""
    publish(made, "quick", QUICK)
    said = {"pipeline": ["quick"], "repositories": [], "options": {"sandbox": "none"}}
    made.call("create_routine", name="greet", minion=name, **said)
    daemon = made.daemons[name]
    assert soon(lambda: "greet" in [each["name"] for each in daemon.ask("status")["routines"]])


def test_an_idle_minion_that_has_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with team(tmp_path, "alice") as made:
        greet(made, "alice")
        run = made.call("run_routine", routine="greet")["run"]
        assert soon(lambda: made.reported(run)["state"] == "completed")
        pid = made.daemons["alice"].process.pid
        cpu = cpu_ms(pid)
        threading.Event().wait(IDLE_S)
        mb, spent = memory_of(pid)[0], cpu_ms(pid) - cpu
    told(capsys, f"idle joined minion: {mb:.1f} MB (goal 45), {100 * spent / 1000 / IDLE_S:.3f} % of a core")


def test_from_an_order_at_hq_to_its_runner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    took = []
    with team(tmp_path, "alice") as made:
        greet(made, "alice")
        caller = servers.Caller(made.hq.url, made.token)
        for _ in range(ORDERS):
            begun = time.time()
            run = caller.call("run_routine", routine="greet")["run"]
            ended = lambda: {each["id"] for each in made.runs_of("alice") if each["state"] == "completed"}  # noqa: E731
            assert soon(lambda: run in ended())  # noqa: B023 - asked at once
            with read_only(made.homes["alice"].store) as db:
                at = db.execute("SELECT started_at FROM runs WHERE id = ?", (run,)).fetchone()[0]
            took.append(1000 * (parse_instant(at).timestamp() - begun))
        caller.close()
    p95 = quantiles(took, n=20)[-1]
    told(capsys, f"{ORDERS} orders, HQ to runner started: p50 {median(took):.0f} ms (goal 150), p95 {p95:.0f} ms")


def test_fifty_minions_on_one_hq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with team(tmp_path) as made:
        pid = made.hq.process.pid
        alone = memory_of(pid)[0]
        tokens = [
            servers.told(made.hq.home, "token", "create", "--scope", "minion", "--name", f"m{n}")["token"]
            for n in range(MINIONS)
        ]
        spent, mb = asyncio.run(_waiting(made.hq.url, tokens, pid))
    share = 100 * spent / 1000 / IDLE_S
    told(capsys, f"{MINIONS} minions that wait: {share:.2f} % of a core, {mb:.1f} MB ({alone:.1f} alone)")


async def _waiting(url: str, tokens: list[str], pid: int) -> tuple[float, float]:
    """Have minions poll for a while; the milliseconds of CPU that HQ took for it, and its memory then."""
    loop = asyncio.get_running_loop()
    from concurrent.futures import ThreadPoolExecutor

    loop.set_default_executor(ThreadPoolExecutor(MINIONS + 2))
    clients = [HqClient(Membership(url, token), version="0") for token in tokens]
    ids = [f"0b0c4e6e-7d1f-4e0a-9c1e-0a1b2c3d{n:04x}" for n in range(MINIONS)]
    cursors = []
    for number, client in enumerate(clients):
        said = {"minion": ids[number], "name": f"m{number}", "version": "0", "timezone": "UTC"}
        await client.ask("join", said)
        cursors.append((await client.ask("sync", {"minion": ids[number]}))["cursor"])
    stop = asyncio.Event()

    async def poll(number: int) -> None:
        beat = {"minion": ids[number], "cursor": cursors[number], "wait_s": 25.0}
        while not stop.is_set():
            await clients[number].ask("poll", beat, wait_s=25.0)

    polls = [asyncio.create_task(poll(number)) for number in range(MINIONS)]
    before = cpu_ms(pid)
    await asyncio.wait(polls, timeout=IDLE_S)
    spent, mb = cpu_ms(pid) - before, memory_of(pid)[0]
    stop.set()
    for client in clients:
        client.close()
    await asyncio.gather(*polls, return_exceptions=True)
    return spent, mb


def test_an_outbox_of_ten_thousand_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with team(tmp_path) as made:
        home = made.add("alice")
        write_skill(home, "quick", QUICK)
        write_routine(home, "own", "quick", report_to_hq="steps")
        daemon = made.start("alice")
        run = daemon.run("own")
        assert soon(lambda: daemon.ask("status")["hq"]["reports"] == 0)
        report = made.call("get_run", run=run)
        assert report["state"] == "completed"
        assert daemon.stop() == 0
        _fill(home.store, run)
        daemon = made.start("alice")
        begun, answers = time.monotonic(), list[float]()
        caller = servers.Caller(made.hq.url, made.token)
        while daemon.ask("status")["hq"]["reports"]:
            asked = time.monotonic()
            caller.call("list_runs", limit=1)
            daemon.ask("live")
            answers.append(time.monotonic() - asked)
            threading.Event().wait(0.05)
            assert time.monotonic() - begun < 600
        took = time.monotonic() - begun
        caller.close()
        with sqlite3.connect(made.hq.home / "hq.db") as db:
            assert db.execute("SELECT count(*) FROM runs").fetchone()[0] == REPORTS + 1
    slowest = 1000 * max(answers)
    told(capsys, f"{REPORTS:,} reports drained in {took:.1f} s, {REPORTS / took:.0f}/s; "
         f"both answered meanwhile within {slowest:.0f} ms, p50 {1000 * median(answers):.0f} ms")  # fmt: skip


def _fill(store: Path, run: str) -> None:
    """Have ten thousand runs wait in the outbox of a minion that is down, each with a report of a real run."""
    with read_only(store) as db:
        report = {**(report_of(db, run) or {}), "gaps": list[Any]()}
    with sqlite3.connect(store) as db:
        for number in range(REPORTS):
            said = {**report, "id": new_id("run_"), "revision": 7, "summary": f"Number {number}."}
            db.execute("INSERT INTO outbox (run_id, body) VALUES (?, ?)", (said["id"], json.dumps(said)))
