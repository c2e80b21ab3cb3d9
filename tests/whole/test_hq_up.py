"""`hq up`: HQ and this machine's minion by one command, told in lines that can be typed again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from minion.config import Home, holder_of
from minion.hq.membership import file_of
from tests.server.servers import HQ, UP_S, environment, hq, told
from tests.waiting import wait_until
from tests.whole.homes import make_home, run_process

pytestmark = pytest.mark.heavy
LAST = "To keep HQ without a terminal"


@contextmanager
def up(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`hq up` in a folder, until it has said everything; and what it says."""
    said = folder / "said"
    argv = [str(HQ), "up", "--port", str(port), "--minion-home", str(folder / "home")]
    # Named by the environment, which what Claude starts later does not inherit.
    env = {**environment(), "HOME": str(folder), "XDG_RUNTIME_DIR": "/nowhere", "HQ_HOME": str(folder / "hq")}
    with said.open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        assert wait_until(lambda: LAST in said.read_text() or process.poll() is not None, UP_S), said.read_text()
        assert process.poll() is None, said.read_text()
        yield process, said
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(UP_S)
        _end_minion(Home(folder / "home"))


def _end_minion(home: Home) -> None:
    holder = holder_of(home) if home.root.exists() else None
    if holder is not None:
        os.kill(holder[0], signal.SIGKILL)
        assert wait_until(lambda: run_process(home, "status", "--json").json()["pid"] is None, UP_S)


@pytest.fixture
def port() -> int:
    """A port that is free just now."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@pytest.mark.promise("JOI-7")
def test_one_command_begins_a_minion_joins_it_and_says_what_stays(tmp_path: Path, port: int) -> None:
    home = Home(tmp_path / "home")
    with up(tmp_path, port) as (process, said):
        text = said.read_text()
        assert f"HQ answers at http://127.0.0.1:{port}" in text
        assert "begun, joined, and up" in text
        (line,) = [line for line in text.splitlines() if "claude mcp add" in line]
        words = shlex.split(line)[1:]
        # What Claude starts inherits nothing, so the home is named; and no token stands in it.
        where = ["--home", str(tmp_path / "hq"), "mcp"]
        assert words == ["claude", "mcp", "add", "--scope", "user", "hq", "--", str(HQ), *where]
        token = json.loads(file_of(home).read_bytes())["token"]
        assert token not in text
        minions = told(tmp_path / "hq", "minions")["minions"]
        assert len(minions) == 1
        status = run_process(home, "status", "--json").json()
        assert (status["hq"]["linked"], status["minion"]["name"]) == (True, minions[0]["name"])
        process.send_signal(signal.SIGINT)
        assert process.wait(UP_S) == 0
        assert run_process(home, "status", "--json").json()["pid"] == status["pid"]
        # Once more: the same minion with the same token, and HQ hears it again.
        with up(tmp_path, port) as (_, again):
            assert "joined before" in again.read_text()
            assert json.loads(file_of(home).read_bytes())["token"] == token


@pytest.mark.promise("JOI-7")
def test_a_minion_that_is_there_is_taken_and_one_of_another_hq_is_left_alone(tmp_path: Path, port: int) -> None:
    home = make_home(tmp_path, name="carol")
    with up(tmp_path, port) as (_, said):
        assert "carol" in said.read_text()
        beside = hq(tmp_path / "hq", "up", "--minion-home", str(home.root))
        assert (beside.returncode, "HQ runs already" in beside.stderr) == (0, True)
        assert "joined before" in beside.stdout
        # By hand, for no other HQ is there to be joined.
        made = json.loads(file_of(home).read_bytes())
        run_process(home, "down")
        file_of(home).write_text(json.dumps(made | {"url": "http://127.0.0.1:9"}))
        with closing(sqlite3.connect(home.store)) as db, db:
            db.execute("UPDATE meta SET value = 'http://127.0.0.1:9' WHERE key = 'hq'")
        elsewhere = hq(tmp_path / "hq", "up", "--minion-home", str(home.root))
        assert "has joined another HQ, http://127.0.0.1:9" in elsewhere.stdout
        assert "minion --home" in elsewhere.stdout
        assert json.loads(file_of(home).read_bytes())["url"] == "http://127.0.0.1:9"


@pytest.mark.promise("JOI-7")
def test_a_store_of_hqs_that_is_gone_is_no_reason_to_join_by_hand(tmp_path: Path, port: int) -> None:
    home = make_home(tmp_path, name="carol")
    with up(tmp_path, port):
        first = json.loads(file_of(home).read_bytes())["token"]
    for path in (tmp_path / "hq").iterdir():
        if path.is_file():
            path.unlink()
    with up(tmp_path, port) as (_, said):
        assert "carol" in said.read_text()
        assert json.loads(file_of(home).read_bytes())["token"] != first
        assert [each["name"] for each in told(tmp_path / "hq", "minions")["minions"]] == ["carol"]
