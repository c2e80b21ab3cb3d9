"""What people are to be told goes out by a command or a webhook, again where that fails; it is kept until then."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from server.actions.desk import Desk
from server.actions.watch import Sent, due_notices, settle_notices
from server.config import Alerts, alerts
from server.contract.digest import instant
from server.contract.refusals import Refusal
from server.storage import notice_store
from server.storage.database import Connection
from server.storage.overview import overview
from server.storage.reading import read_once
from server.storage.tables import NOTICES
from server.telling import check, telling
from tests.server.desks import Clock, desk_at
from tests.server.joined_minions import rows
from tests.waiting import wait_until
from tests.whole.webhooks import Webhook, closed_port, webhook

pytestmark = pytest.mark.promise("HQM-4")
SECONDS = 20.0


def play(folder: Path, scene: Callable[[Desk, Clock], Awaitable[None]]) -> None:
    async def played() -> None:
        clock = Clock()
        async with desk_at(folder, clock) as desk:
            await scene(desk, clock)

    asyncio.run(played())


async def put(desk: Desk, key: str, *ways: str) -> None:
    """Have something be told."""
    text = f"The minion <{key}> & its slots."
    await desk.database.transact(notice_store.put_notice, key, ways, text, now=instant(desk.clock()))


async def states(desk: Desk) -> list[tuple[str, str, int, str | None]]:
    """Of each notice its way, state, tries and problem."""
    return [(row.way, row.state, row.tries, row.problem) for row in await rows(desk, NOTICES)]


async def told_until(desk: Desk, how: Alerts, done: Callable[[], Any]) -> None:
    """Have people told until this is so; what is under way then comes to its end."""
    async with telling(desk, how, every_s=0.01):
        assert await asyncio.to_thread(wait_until, done, SECONDS)


def tried(folder: Path, way: str, times: int) -> Callable[[], bool]:
    """Whether the notices of a way were tried so often."""
    query = select(func.min(NOTICES.c.tries)).where(NOTICES.c.way == way)
    return lambda: read_once(folder / "hq" / "hq.db", lambda db: db.execute(query).scalar()) == times


def waits(connection: Connection) -> bool:
    """Whether anything waits to be told."""
    return connection.execute(select(func.count()).where(NOTICES.c.state == "waiting")).scalar() != 0


def noting(folder: Path, more: str = "") -> tuple[Alerts, Path]:
    """A command that appends what it is told to a file."""
    file = folder / "told"
    body = f"import sys; open({str(file)!r}, 'a').write(sys.stdin.read() + '--'); {more}"
    return Alerts((sys.executable, "-c", body)), file


def file_with(folder: Path, url: str) -> Path:
    """A private file that holds an address."""
    file = folder / "address"
    file.write_text(url + "\n")
    file.chmod(0o600)
    return file


def test_a_command_gets_what_waits_on_its_stdin_in_one_message(tmp_path: Path) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        how, file = noting(tmp_path)
        await put(desk, "alice", "command")
        await put(desk, "bob", "command")
        await told_until(desk, how, tried(tmp_path, "command", 1))
        assert file.read_text() == "The minion <alice> & its slots.\nThe minion <bob> & its slots.\n--"
        assert await states(desk) == [("command", "sent", 1, None), ("command", "sent", 1, None)]

    play(tmp_path, scene)


def test_a_webhook_is_posted_to_without_redirects_and_its_address_is_kept_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def scene(desk: Desk, clock: Clock) -> None:
        with webhook() as hook:
            how = Alerts(slack_file=file_with(tmp_path, hook.url("/moved?key=s3cr3tkey")))
            await put(desk, "alice", "slack")
            await told_until(desk, how, lambda: hook.requests)
            assert await states(desk) == [("slack", "waiting", 1, "HTTP 302")]
            await _goes_on(desk, clock, hook, how)
        held = (tmp_path / "hq" / "hq.db").read_bytes() + (tmp_path / "hq" / "hq.db-wal").read_bytes()
        ours = [str(record.__dict__) for record in caplog.records if record.name.startswith("server")]
        assert (b"s3cr3tkey" in held, "s3cr3tkey" in str(ours), len(ours) > 0) == (False, False, True)

    async def _goes_on(desk: Desk, clock: Clock, hook: Webhook, how: Alerts) -> None:
        file_with(tmp_path, hook.url("/ok?key=s3cr3tkey"))  # another one, while HQ runs
        clock.pass_(seconds=30)
        await told_until(desk, how, tried(tmp_path, "slack", 2))
        assert hook.texts("/ok") == ["The minion &lt;alice&gt; &amp; its slots."]
        assert await states(desk) == [("slack", "sent", 2, None)]

    play(tmp_path, scene)


def test_a_way_that_fails_is_tried_later_and_later_while_the_other_is_told(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        how, file = noting(tmp_path)
        gone = file_with(tmp_path, f"http://127.0.0.1:{closed_port()}/s3cr3t")
        both, pauses = Alerts(how.command, gone), []
        await put(desk, "alice", *both.ways)
        for tries in range(1, 10):
            await told_until(desk, both, tried(tmp_path, "slack", tries))
            (waiting,) = [row for row in await rows(desk, NOTICES) if row.way == "slack"]
            assert (waiting.state, waiting.problem) == ("waiting", "no answer (ConnectError)")
            before = clock()
            while instant(clock()) < waiting.next_at:
                clock.pass_(seconds=30)
            pauses.append((clock() - before).total_seconds())
        assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
        assert file.read_text().count("alice") == 1
        said = (await desk.read(overview))["notices"]
        assert said["states"] == {"sent": 1, "waiting": 1}
        assert (said["trouble"]["way"], said["trouble"]["problem"]) == ("slack", "no answer (ConnectError)")

    play(tmp_path, scene)


def test_what_could_not_be_told_for_a_day_is_given_up_and_shown(tmp_path: Path) -> None:
    async def scene(desk: Desk, clock: Clock) -> None:
        await put(desk, "alice", "command")
        clock.pass_(days=1)
        given_up = await desk.database.transact(settle_notices, [Sent(1, "it fails")], now=clock())
        assert (given_up, await states(desk)) == ([1], [("command", "given up", 0, "it fails")])
        assert (await desk.read(overview))["notices"]["trouble"]["state"] == "given up"
        # A way that is set up by nobody is asked for no more, then.
        await put(desk, "bob", "slack")
        assert await desk.read(due_notices, (), now=clock()) == []
        assert [row.way for row in await desk.read(due_notices, ("slack",), now=clock())] == ["slack"]
        clock.pass_(days=1)
        await told_until(desk, Alerts(), lambda: not read_once(tmp_path / "hq" / "hq.db", waits))
        assert (await states(desk))[1] == ("slack", "given up", 0, "this way is not set up")
        # What came to its end meanwhile stays as it is.
        assert await desk.database.transact(settle_notices, [Sent(1)], now=clock()) == []
        assert (await states(desk))[0][1] == "given up"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("body", "problem"),
    [("import sys; sys.exit(3)", "ended with exit code 3"), (None, "cannot be run: No such file or directory")],
    ids=["fails", "missing"],
)
def test_why_a_command_failed_is_said(tmp_path: Path, body: str | None, problem: str) -> None:
    async def scene(desk: Desk, _: Clock) -> None:
        argv = (sys.executable, "-c", body) if body is not None else (str(tmp_path / "none"),)
        await put(desk, "alice", "command")
        await told_until(desk, Alerts(argv), tried(tmp_path, "command", 1))
        assert (await states(desk))[0][3] == f"{argv[0]} {problem}"

    play(tmp_path, scene)


@pytest.mark.heavy
def test_a_command_that_goes_on_as_hq_stops_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def begun() -> bool:
        return pid.exists() and pid.read_text().endswith(".")

    async def scene(desk: Desk, _: Clock) -> None:
        later = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}.'); time.sleep(600)"
        how, _file = noting(tmp_path, later)
        await put(desk, "alice", "command")
        await told_until(desk, how, begun)
        assert (await states(desk))[0][1] == "waiting"

    play(tmp_path, scene)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text().rstrip(".")), 0)


def test_settings_that_are_no_good_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(do: Callable[[], object]) -> str:
        with pytest.raises(Refusal) as said:
            do()
        assert "s3cr3t" not in str(said.value)
        return said.value.code

    for text in ("mail me", "[]", '"mail"', '["mail", 3]', '[""]', '["a\\u0000b"]', "[" * 10_000):
        monkeypatch.setenv("HQ_ALERT_COMMAND", text)
        assert code(alerts) == "bad_alert_command"
    monkeypatch.setenv("HQ_ALERT_COMMAND", json.dumps(["mail", "-s", "HQ"]))
    monkeypatch.setenv("HQ_ALERT_SLACK_FILE", str(tmp_path / "address"))
    said = alerts()
    assert (said.command, said.ways) == (("mail", "-s", "HQ"), ("command", "slack"))
    assert code(lambda: check(said)) == "alert_file_unreadable"
    for url in ("", "http://a.example/s3cr3t", "ftp://a/s3cr3t", "https://u:s3cr3t@a/", "https://a/ s3cr3t"):
        file_with(tmp_path, url)
        assert code(lambda: check(said)) == "bad_alert_file"
    for url in ("https://a.example/s3cr3t", "http://127.0.0.1:9/s3cr3t", "http://[::1]:9/", "http://localhost/"):
        file = file_with(tmp_path, url)
        check(said)
    file.chmod(0o644)
    assert (code(lambda: check(said)), stat.S_IMODE(file.stat().st_mode)) == ("alert_file_open", 0o644)
