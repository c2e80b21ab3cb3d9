"""The minion API on a real socket: who may ask, what comes back, and what no client can do to it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.daemon.hub import Asker, Hub
from minion.daemon.local_api import listening
from minion.daemon_client import DaemonClient, connected
from minion.owner import Owner
from minion.params import Params
from minion.socket_place import choose_place, noted_place
from minion.verbs import do
from server.contract.refusals import BadUse, NotFound, Refused
from tests.minion.clockwork import turn

pytestmark = pytest.mark.promise("DMN-11")
PATIENCE_S = 20.0


async def echo(verb: str, params: Mapping[str, Any], asker: Asker) -> Any:
    """Answers with what was asked; `wait` waits until the asker is gone, `events` tells three events first."""
    if verb == "refuse":
        raise Refused("no", "It is not allowed.", hint="do not ask")
    if verb == "break":
        raise ZeroDivisionError
    if verb == "wait":
        await asker.gone.wait()
        params["heard"].append("gone")
    if verb == "events":
        for number in range(3):
            asker.tell({"number": number})
    return {"verb": verb, "params": {key: value for key, value in params.items() if key != "heard"}}


class Place:
    """A socket in a folder, and clients of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def client(self) -> DaemonClient:
        """A client of the product's own kind."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_S)
        connection.connect(str(self.path))
        return DaemonClient(connection)

    def raw(self, *lines: bytes) -> list[dict[str, Any]]:
        """What is answered to these bytes until the other side, or this one after a moment, has no more to say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.path))
            connection.sendall(b"".join(lines))
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                return [json.loads(line) for line in answers]


Answer = Callable[[str, Mapping[str, Any], Asker], Awaitable[Any]]


@asynccontextmanager
async def place(folder: Path, answer: Answer) -> AsyncIterator[Place]:
    """The API at a socket in `folder`."""
    path = folder / "api.sock"
    async with listening(path, answer):
        yield Place(path)


def asked(folder: Path, use: Callable[[Place], Any]) -> Any:
    """What a client's function gives back, while the echo answers."""

    async def act() -> Any:
        async with place(folder, echo) as there:
            return await asyncio.to_thread(use, there)

    return asyncio.run(act())


def test_a_request_is_answered_with_its_result_after_its_events(tmp_path: Path) -> None:
    def use(there: Place) -> Any:
        heard: list[Any] = []
        with there.client() as client:
            answer = client.ask("events", {"a": 1}, on_event=heard.append)
            again = client.ask("plain", {})
        return heard, answer, again

    heard, answer, again = asked(tmp_path, use)
    assert heard == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert answer == {"verb": "events", "params": {"a": 1}}
    assert again["verb"] == "plain"


def test_a_refusal_arrives_as_the_refusal_that_it_was(tmp_path: Path) -> None:
    def use(there: Place) -> Any:
        with there.client() as client, pytest.raises(Refused) as refused:
            client.ask("refuse", {})
        return refused.value

    refusal = asked(tmp_path, use)
    assert (refusal.code, refusal.sentence, refusal.hint) == ("no", "It is not allowed.", "do not ask")


def test_a_defect_in_a_verb_is_told_without_its_inside_and_the_next_request_works(tmp_path: Path) -> None:
    def use(there: Place) -> Any:
        with there.client() as client:
            with pytest.raises(BadUse) as refused:
                client.ask("break", {})
            return refused.value, client.ask("plain", {})

    refusal, answer = asked(tmp_path, use)
    assert refusal.code == "bad_request"
    assert "ZeroDivisionError" in refusal.sentence
    assert answer["verb"] == "plain"


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n", b"[]\n", b"{}\n", b'{"v":2,"id":1,"verb":"plain"}\n', b'{"v":1,"verb":"plain"}\n',
        b'{"v":1,"id":1,"verb":7}\n', b'{"v":1,"id":1,"verb":"plain","params":[]}\n', b"\xff\xfe\n",
        b"[" * 20_000 + b"\n",
    ],
    ids=("words", "list", "empty", "version", "no id", "verb", "params", "bytes", "deep"),
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_goes_on(tmp_path: Path, line: bytes) -> None:
    good = b'{"v":1,"id":9,"verb":"plain","params":{}}\n'
    answers = asked(tmp_path, lambda there: there.raw(line, good))
    told = {answer["id"]: answer for answer in answers}
    bad = next(answer for answer in answers if "refusal" in answer)
    assert bad["refusal"]["code"] == "bad_request"
    assert told[9]["result"]["verb"] == "plain"


def test_a_line_without_its_end_is_no_request(tmp_path: Path) -> None:
    assert asked(tmp_path, lambda there: there.raw(b'{"v":1,"id":1,"verb":"plain","params":{}}')) == []


def test_what_a_client_asked_for_is_finished_though_it_goes_away(tmp_path: Path) -> None:
    heard: list[str] = []

    async def act() -> None:
        async def answer(verb: str, params: Mapping[str, Any], asker: Asker) -> Any:
            return await echo(verb, {**params, "heard": heard}, asker)

        async with place(tmp_path, answer) as there:
            reader, writer = await asyncio.open_unix_connection(there.path)
            writer.write(b'{"v":1,"id":1,"verb":"wait","params":{}}\n{"v":1,"id":2,"verb":"plain","params":{}}\n')
            said = [json.loads(await reader.readline()) for _ in range(3)]
            assert said[:2] == [{"id": 1, "begun": True}, {"id": 2, "begun": True}]
            assert (said[2]["id"], "result" in said[2]) == (2, True)
            writer.close()
            await writer.wait_closed()

    asyncio.run(act())
    assert heard == ["gone"]


def test_what_a_client_gave_up_before_it_was_begun_is_never_done(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(verb: str, params: Mapping[str, Any], asker: Asker) -> Any:
        asked.append(verb)
        return await echo(verb, params, asker)

    def give_up(there: Place) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(there.path))
            connection.sendall(b'{"v":1,"id":1,"verb":"given up","params":{}}\n')

    def ask(there: Place) -> None:
        with there.client() as client:
            client.ask("plain", {})

    async def act() -> None:
        async with place(tmp_path, answer) as there:
            give_up(there)  # while whoever answers does nothing else
            await asyncio.to_thread(ask, there)

    asyncio.run(act())
    assert asked == ["plain"]


def test_a_client_that_does_not_read_is_let_go_and_costs_no_memory(tmp_path: Path) -> None:
    told: list[int] = []

    async def flood(verb: str, params: Mapping[str, Any], asker: Asker) -> Any:
        for number in range(2000):
            asker.tell({"text": "x" * 10_000})
            told.append(number)
            if asker.gone.is_set():
                break
            await turn()

    async def act() -> None:
        async with place(tmp_path, flood) as there:
            _, writer = await asyncio.open_unix_connection(there.path)
            writer.write(b'{"v":1,"id":1,"verb":"flood","params":{}}\n')
            await asyncio.wait_for(_until(lambda: bool(told) and told[-1] > 100), PATIENCE_S)
            await asyncio.wait_for(_until(lambda: told[-1] < 1999), PATIENCE_S)
            writer.close()

    asyncio.run(act())
    assert told[-1] < 1999


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await turn()


def test_the_socket_is_this_users_alone(tmp_path: Path) -> None:
    def use(there: Place) -> int:
        return stat.S_IMODE(there.path.stat().st_mode)

    assert asked(tmp_path, use) & 0o077 == 0


def test_the_place_of_the_socket_is_noted_short_enough_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:  # a test's own folder may be too deep
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        path = choose_place(home)
        assert path.parent == Path(runtime)
        assert noted_place(home) == path
        assert connected(home) is None
    deep = tmp_path / ("d" * 100)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert len(os.fsencode(choose_place(home))) <= 103


def test_a_runtime_folder_that_others_can_enter_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    runtime.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    assert choose_place(home).parent != runtime


def test_an_unknown_verb_and_a_missing_parameter_are_refused() -> None:
    owner: Any = Owner(None)  # type: ignore[arg-type]
    asker = Asker(lambda _: None)
    with pytest.raises(NotFound) as unknown:
        asyncio.run(do(owner, "fly", {}, asker))
    assert unknown.value.code == "no_such_verb"
    with pytest.raises(BadUse) as missing:
        Params({"name": 7}).text("name")
    assert missing.value.code == "bad_request"
    with pytest.raises(BadUse):
        Params({"body": "not base64!"}).bytes("body")
    with pytest.raises(Refused) as nobody:
        asyncio.run(do(owner, "status", {}, asker))
    assert nobody.value.code == "no_daemon"


def test_a_listener_that_is_too_slow_is_told_so_and_let_go() -> None:
    async def act() -> tuple[int, bool]:
        hub = Hub()
        with hub.listening() as ear:
            for number in range(5000):
                hub.tell({"number": number})
            heard = 0
            while await ear.next() is not None:
                heard += 1
            return heard, ear.lagged

    assert asyncio.run(act()) == (1024, True)
