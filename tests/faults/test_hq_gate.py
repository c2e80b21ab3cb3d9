"""The gate of a real HQ, counted: Host × Origin (F15), tokens (F14), slow and endless requests (as F13)."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.actions import entrust
from server.actions.authorize import may_fire
from server.actions.desk import Desk
from server.contract.digest import instant
from server.storage.access_store import caller_of
from server.storage.token_store import digest_of_token
from tests.server.desks import ADMIN, add_routine, desk_at
from tests.server.servers import Served, served, told

TRIALS_SLOW = 200
LARGEST_GROWTH = 64 * 1024 * 1024
WAIT_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """An HQ that answers."""
    with served(tmp_path / "hq") as up:
        yield up


def status_of(url: str, path: str, headers: list[tuple[str, str]]) -> int:
    """What a request with just these headers is answered with."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=WAIT_S)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def printed(title: str, trials: int, wrong: int) -> None:
    """Trials, failures and, where there was none, the 95 % upper bound of their rate."""
    bound = "" if wrong else f", bound {3 / trials:.2%}"
    print(f"\n{title}: {trials} trials, {wrong} failures{bound}")


@pytest.mark.heavy
@pytest.mark.faults
@pytest.mark.promise("WEB-1")
def test_of_192_pairs_of_host_and_origin_only_hqs_own_come_in(server: Served) -> None:
    port = urlsplit(server.url).port
    token = told(server.home, "token", "create", "--scope", "admin", "--name", "f15")["token"]
    hosts = {
        f"127.0.0.1:{port}": True, f"localhost:{port}": True, f"[::1]:{port}": True,
        "127.0.0.1": False, "evil.example": False, f"evil.example:{port}": False,
        f"127.0.0.1:{port}.evil.example": False, f"127.0.0.1:{port}@evil.example": False,
    }  # fmt: skip
    origins = {
        "": True, f"http://127.0.0.1:{port}": True, f"http://LOCALHOST:{port}": True,
        "null": False, "https://evil.example": False, f"https://127.0.0.1:{port}": False,
        "http://127.0.0.1": False, f"http://127.0.0.1:{port}.evil.example": False,
    }  # fmt: skip
    trials, wrong = 0, []
    for host, own_host in hosts.items():
        for origin, own_page in origins.items():
            for path, good in (("/healthz", 200), ("/metrics", 200), ("/mcp", 406)):
                headers = [("Host", host), ("Authorization", f"Bearer {token}")]
                headers += [("Origin", origin)] if origin else []
                status = status_of(server.url, path, headers)
                trials += 1
                if own_host and own_page:
                    wrong += [] if status == good else [(host, origin, path, status)]
                else:
                    wrong += [] if status == (403 if own_host else 421) else [(host, origin, path, status)]
    printed("Host × Origin × path", trials, len(wrong))
    assert (trials, wrong) == (192, [])


async def fires(desk: Desk, text: str, routine: str) -> bool:
    """Whether the holder of a token may fire a routine, as HQ knows them."""
    caller = await desk.read(caller_of, str(digest_of_token(text)), now=instant(desk.clock()))
    return caller is not None and may_fire(caller, routine)


async def crossed(desk: Desk, number: int) -> tuple[int, list[Any], list[str]]:
    """Every token against every routine, revoked and rotated ones too: trials, what was wrong, all texts."""
    routines = [(await add_routine(desk, f"routine-{n:02}")).id for n in range(number)]

    async def do(action: Any, *arguments: Any, **more: Any) -> dict[str, Any]:
        said: dict[str, Any] = await desk.database.transact(action, ADMIN, *arguments, **more, now=desk.clock())
        return said

    made = [await do(entrust.create_token, "ci", "fire", routine=each) for each in routines]
    wrong: list[Any] = []
    for token in made:
        for routine in routines:
            if await fires(desk, token["token"], routine) != (token["bound_to"] == routine):
                wrong.append((token["id"], routine))
    rotated = [await do(entrust.rotate_token, each["id"]) for each in made]
    for routine, before, after in zip(routines, made, rotated, strict=True):
        both = [await fires(desk, each["token"], routine) for each in (before, after)]
        wrong += [] if both == [True, True] else [("rotated", routine, both)]
    for before in made:
        await do(entrust.revoke_token, before["id"])
    for routine, before, after in zip(routines, made, rotated, strict=True):
        both = [await fires(desk, each["token"], routine) for each in (before, after)]
        wrong += [] if both == [False, True] else [("revoked", routine, both)]
    return number * number + 2 * number, wrong, [each["token"] for each in (*made, *rotated)]


def where(folder: Path, texts: list[str]) -> list[str]:
    """The files of a folder in which the secret part of one of these tokens stands."""
    secret = [text.rpartition("_")[2].encode() for text in texts]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(each in path.read_bytes() for each in secret)]


@pytest.mark.heavy
@pytest.mark.faults
@pytest.mark.promise("MCP-1")
def test_of_2600_tokens_and_routines_only_the_diagonal_fires(tmp_path: Path) -> None:
    async def scene() -> tuple[int, list[Any], list[str]]:
        async with desk_at(tmp_path) as desk:
            trials, wrong, texts = await crossed(desk, 50)
            wrong += where(tmp_path, texts)  # while the store is open, with its WAL
            return trials, wrong, texts

    trials, wrong, texts = asyncio.run(scene())
    wrong += where(tmp_path, texts)
    printed("tokens × routines", trials, len(wrong))
    assert (trials, wrong) == (2600, [])


@pytest.mark.heavy
@pytest.mark.faults
@pytest.mark.promise("MCP-1")
def test_no_token_is_in_the_store_or_the_log_of_an_hq_that_was_asked_with_it(server: Served) -> None:
    made = [
        told(server.home, "token", "create", "--scope", scope, "--name", f"n{number}")["token"]
        for number in range(5) for scope in ("admin", "session", "ledger", "reviewer")
    ]  # fmt: skip
    host = ("Host", urlsplit(server.url).netloc)
    for text in made:
        for path in ("/metrics", f"/nowhere/{text}", f"/metrics?token={text}"):
            status_of(server.url, path, [host, ("Authorization", f"Bearer {text}")])
            status_of(server.url, path, [host, ("Authorization", f"Bearer {text[:-1]}")])
    found = where(server.home, made) + where(server.errors.parent, made)
    printed("tokens looked for in store, WAL and log", len(made), len(found))
    assert found == []
    assert '"event": "request"' in server.log()


@pytest.mark.heavy
@pytest.mark.faults
@pytest.mark.promise("WEB-1")
def test_hundreds_of_requests_that_never_end_cost_little_and_keep_nobody_out(server: Served) -> None:
    place = urlsplit(server.url)
    status = Path(f"/proc/{server.process.pid}/status")

    def resident() -> int:
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    before, wrong = resident(), 0
    beginning = f"POST /mcp HTTP/1.1\r\nHost: {place.netloc}\r\n".encode()
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection((place.hostname or "", place.port or 0), WAIT_S))
            for _ in range(TRIALS_SLOW)
        ]
        for number, each in enumerate(held):
            each.sendall(beginning + (b"Content-Length: 100\r\n\r\n{" if number % 2 else b"X-Slow: "))
            if number % 10 == 0:
                wrong += status_of(server.url, "/healthz", [("Host", place.netloc)]) != 200
        for each in held[::2]:  # those whose head never came are cut off; the others wait for their body
            each.settimeout(WAIT_S)
            with contextlib.suppress(ConnectionError):
                wrong += each.recv(1) != b""
        wrong += status_of(server.url, "/healthz", [("Host", place.netloc)]) != 200
        grown = resident() - before
    printed(f"slow requests (memory grew by {grown / 2**20:.1f} MiB)", TRIALS_SLOW, wrong)
    assert wrong == 0
    assert grown < LARGEST_GROWTH
