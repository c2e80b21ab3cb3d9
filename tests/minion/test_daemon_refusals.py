"""What the daemon and its clients refuse, each with its code: a lost daemon, no place, a slot that has its end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.cli import minion as minion_command
from minion.config import Home, held
from minion.daemon.hub import Asker
from minion.daemon_client import DaemonClient, connected
from minion.owner import Owner
from minion.socket_place import choose_place
from minion.store.decisions import answer_decision
from minion.store.slots import settle
from minion.verbs import do
from server.contract.refusals import BadUse, NotFound, Refused
from tests.minion.clockwork import START, Clockwork, minutes, routine
from tests.whole.homes import at_work, make_home, run_cli


@contextmanager
def answering(
    folder: Path, answer: Callable[[socket.socket], None], *, connect: bool = True
) -> Iterator[DaemonClient]:
    """A client of somebody who treats its connection as `answer` does; without `connect`, another is to come."""
    path = folder / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if connect:
            client.connect(str(path))
        try:
            with DaemonClient(client) as asked:
                yield asked
        finally:
            thread.join()


@pytest.mark.parametrize(
    "answer", [b"", b"no json\n", b"[]\n", b'{"id":1}\n'], ids=("nothing", "words", "list", "empty")
)
def test_a_daemon_that_goes_away_or_talks_nonsense_is_told_as_gone(tmp_path: Path, answer: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(answer)

    with answering(tmp_path, speak) as client, pytest.raises(Refused) as refused:
        client.ask("status", {})
    assert refused.value.code == "daemon_gone"


def test_a_daemon_that_does_not_answer_in_time_is_told_as_gone(tmp_path: Path) -> None:
    over = threading.Event()
    with answering(tmp_path, lambda _: over.wait(20) and None) as client:
        try:
            with pytest.raises(Refused) as refused:
                client.ask("status", {}, timeout_s=0.05)
        finally:
            over.set()
    assert (refused.value.code, "did not answer within" in refused.value.sentence) == ("daemon_gone", True)


def test_a_daemon_that_gives_no_sign_is_named_with_the_command_that_ends_it(tmp_path: Path) -> None:
    home, over = Home(tmp_path), threading.Event()
    home.socket_file.write_text(f"{tmp_path / 's'}\n")
    with held(home, "minion up"), answering(tmp_path, lambda _: over.wait(20) and None, connect=False):
        try:
            client = connected(home)
            assert client is not None
            with client, pytest.raises(Refused) as refused:
                client.ask("run", {}, sign_s=0.05)
        finally:
            over.set()
    says = f"The daemon (process {os.getpid()}) does not answer: it is only just starting, or it hangs."
    assert (refused.value.code, refused.value.sentence) == ("daemon_silent", says)
    assert refused.value.hint == f"kill -KILL {os.getpid()} && sleep 1 && minion up"


def test_a_daemon_that_has_begun_may_take_longer_than_one_that_gives_no_sign(tmp_path: Path) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b'{"id":1,"begun":true}\n')
        threading.Event().wait(0.3)
        connection.sendall(b'{"id":1,"result":"done"}\n')

    with answering(tmp_path, speak) as client:
        assert client.ask("run", {}, sign_s=0.2) == "done"


def test_a_daemon_that_does_not_end_in_time_is_told_as_still_up(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    path = home.root / "s"
    home.socket_file.write_text(f"{path}\n")
    (home.root / "lock").write_text(json.dumps({"pid": os.getpid(), "command": "minion up"}))

    def speak(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(json.dumps({"id": 1, "result": {"pid": os.getpid()}}).encode() + b"\n")

    with answering(home.root, speak, connect=False):
        said = run_cli(home, "down", "--wait", "0.05")
    assert (said.code, "has not ended yet" in said.err) == (3, True)
    assert told_as("still_up") == 3


def told_as(code: str) -> int:
    """The exit code of what is refused so."""
    return Refused(code, "It is so.", hint="wait").exit_code


def test_where_no_folder_is_private_no_socket_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = tmp_path / ("x" * 80)
    open_to_all.mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(open_to_all))
    home = Home(open_to_all / "home")
    home.root.mkdir(mode=0o700)
    with pytest.raises(Refused) as refused:
        choose_place(home, folders=(open_to_all, home.root))
    assert refused.value.code == "no_socket_place"


def test_a_slot_comes_to_one_end_only(tmp_path: Path) -> None:
    works = Clockwork(tmp_path, routine("hourly", "0 * * * *"))

    async def scene() -> None:
        await works.up()
        try:
            await works.run_until(START + minutes(60))
            key = works.going[0].slot.key
            with pytest.raises(Refused) as refused:
                await works.writer.transact(lambda db: settle(db, "trig_hourly", key, "missed", now="now"))
            assert refused.value.code == "slot_settled"
        finally:
            await works.die()

    asyncio.run(scene())
    assert works.states() == ["ran"]


def test_an_answer_that_is_none_and_a_decision_that_is_not_there_are_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    async def scene() -> list[str]:
        async with at_work(home) as minion:
            said: dict[str, Any] = {"decision": "dec_01", "answer": "perhaps"}
            with pytest.raises(BadUse) as bad:
                await do(Owner(minion), "decide", said, Asker(lambda _: None))
            with pytest.raises(NotFound) as gone:
                await minion.writer.transact(
                    lambda db: answer_decision(db, "dec_01", "approve", by="me", now="now")
                )
            return [bad.value.code, gone.value.code]

    assert asyncio.run(scene()) == ["bad_answer", "no_such_decision"]


def test_an_effect_comes_out_delivered_or_failed_and_nothing_else(tmp_path: Path) -> None:
    async def scene() -> str:
        said: dict[str, Any] = {"effect": "eff_01", "state": "perhaps"}
        with pytest.raises(BadUse) as bad:
            await do(Owner(None), "settle", said, Asker(lambda _: None))  # type: ignore[arg-type]
        return bad.value.code

    assert asyncio.run(scene()) == "bad_settlement"


def test_unsettled_effects_are_listed_of_all_runs_or_one_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUse) as both:
        minion_command.main(
            ["--home", str(tmp_path), "effects", "last", "--unsettled"], prog_name="minion", standalone_mode=False
        )
    assert both.value.code == "two_listings"
