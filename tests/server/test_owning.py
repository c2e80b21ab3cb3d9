"""Who owns a home, how others reach the owner, and what commands refuse."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from server.asking import ask, over_http
from server.cli import hq
from server.config import (
    Address,
    HqHome,
    _unusable,
    address_of,
    door_open,
    is_owned,
    owned,
    public_url,
    read_holder,
)
from server.contract.refusals import BadUse, Refusal
from server.serving import bind
from server.storage.migrations import back_up, create
from tests.waiting import wait_until

pytestmark = pytest.mark.promise("HQ-3")


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as refused:
        work()
    return refused.value.code


def own(home: HqHome, command: str = "a test") -> None:
    with owned(home, command):
        pass


def command(home: HqHome, *arguments: str) -> object:
    return hq.main(["--home", str(home.root), *arguments], prog_name="hq", standalone_mode=False)


def test_who_comes_second_is_refused_with_the_owners_name_and_leaves_it_there(tmp_path: Path) -> None:
    home = HqHome(tmp_path / "hq")
    with owned(home, "hq serve") as lock:
        lock.say(url="http://127.0.0.1:1")
        for _ in range(2):
            assert code_of(lambda: own(home)) == "home_held"
            holder = read_holder(home)
            assert holder is not None
            assert (holder["command"], holder["url"], is_owned(home)) == ("hq serve", "http://127.0.0.1:1", True)
    assert (is_owned(home), read_holder(home)) == (False, None)
    own(home)


def test_who_only_looks_whether_a_home_is_owned_keeps_nobody_from_owning_it(tmp_path: Path) -> None:
    home, stop = HqHome(tmp_path / "hq"), threading.Event()
    own(home)

    def look() -> None:
        while not stop.is_set():
            is_owned(home)

    looking = [threading.Thread(target=look) for _ in range(2)]
    for each in looking:
        each.start()
    try:
        for _ in range(100):
            own(home)
    finally:
        stop.set()
        for each in looking:
            each.join()


def test_an_owner_is_reached_only_while_it_owns_and_serves(tmp_path: Path) -> None:
    home = HqHome(tmp_path / "hq")
    assert address_of(home) is None
    with owned(home, "hq serve") as lock, door_open(home, "secret"):
        assert address_of(home) is None  # it serves nobody yet
        lock.say(url="http://127.0.0.1:1")
        assert address_of(home) == Address("http://127.0.0.1:1", "secret")
        assert home.door_token.stat().st_mode & 0o777 == 0o600
    assert (address_of(home), home.door_token.exists()) == (None, False)


def test_a_folder_or_port_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert code_of(lambda: own(HqHome(tmp_path / "file" / "hq"))) == "home_unusable"
    with closing(bind(0)) as taken:
        taken.listen()
        assert code_of(lambda: bind(taken.getsockname()[1])) == "port_taken"


@pytest.mark.parametrize(
    ("number", "helps"),
    [
        (errno.ENOSPC, "free space on its disk, or"), (errno.EROFS, "see to it that you may write there, or"),
        (errno.EACCES, "see to it that you may write there, or"), (errno.ENOTDIR, "give another folder"),
    ],
    ids=["full", "read-only", "no right", "no folder"],
)  # fmt: skip
def test_the_hint_of_a_home_that_cannot_be_used_says_what_helps(number: int, helps: str) -> None:
    refusal = _unusable(HqHome(Path("/srv/hq")), OSError(number, os.strerror(number)))
    assert (refusal.code, refusal.hint.startswith(helps)) == ("home_unusable", True)
    assert refusal.hint.endswith("give another folder with --home")


def test_a_command_waits_for_an_owner_that_is_only_starting_and_goes_through_it(tmp_path: Path) -> None:
    home, told = HqHome(tmp_path / "hq"), []
    body = b'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"done": true}'

    def asked() -> None:
        told.append(ask(home, "hq token", "token.list", {}, who="me", starts_s=60))

    with owned(home, "hq serve") as lock:
        with pytest.raises(Refusal) as refused:  # it does not wait for ever
            ask(home, "hq token", "token.list", {}, who="me", starts_s=0.01)
        assert (refused.value.code, "`hq serve` (process" in refused.value.sentence) == ("home_held", True)
        waiting = threading.Thread(target=asked)
        waiting.start()
        with _answering(body) as url, door_open(home, "secret"):
            lock.say(url=url)
            assert wait_until(lambda: not waiting.is_alive(), 30)
    assert told == [{"done": True}]


def test_a_command_does_not_wait_for_an_owner_that_never_serves(tmp_path: Path) -> None:
    home = HqHome(tmp_path / "hq")
    with owned(home, "hq restore"):
        assert code_of(lambda: ask(home, "hq token", "token.list", {}, who="me", starts_s=3600)) == "home_held"


@pytest.mark.parametrize(
    ("said", "is_good"),
    [
        ("https://hq.example.com", True), ("http://hq.lan:8080", True), ("https://[fd00::1]:8443", True),
        ("HTTPS://HQ.example.com", True), ("nonsense", False), ("hq.example.com", False), ("https://", False),
        ("ftp://hq.example.com", False), ("https://hq.example.com/hq", False), ("https://a:b@hq.lan", False),
        ("https://hq.lan?x=1", False), ("https://hq.lan#x", False), ("https://hq.lan:0", False),
        ("https://hq.lan:70000", False), ("https://hq.lan:", False), ("https://hq lan", False),
        ("https://hq.lan\n", False), ("https://-hq.lan", False), ("https://hq.lan//", False),
    ],
)  # fmt: skip
def test_a_public_address_is_scheme_host_and_port_alone(
    said: str, is_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in (said, f"{said}/"):
        monkeypatch.setenv("HQ_PUBLIC_URL", text)
        if is_good:
            assert public_url() == said
            continue
        with pytest.raises(BadUse) as caught:
            public_url()
        assert (caught.value.code, caught.value.exit_code) == ("bad_public_url", 2)
    monkeypatch.setenv("HQ_PUBLIC_URL", "")
    assert public_url() is None


def test_who_answers_nothing_or_something_strange_is_told_as_such() -> None:
    with _answering(b"") as url:
        assert code_of(lambda: over_http(Address(url, "x"), "token.create", {})) == "hq_silent"
    with _answering(b"HTTP/1.0 500 No\r\n\r\n<html>") as url:
        assert code_of(lambda: over_http(Address(url, "x"), "token.create", {})) == "hq_strange"
    with pytest.raises(ConnectionRefusedError):
        over_http(Address(url, "x"), "token.create", {})


@pytest.mark.promise("AUD-1")
def test_a_checkpoint_that_is_not_there_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    home = HqHome(tmp_path)
    create(home.store)
    gone = str(tmp_path / "no" / "last.json")
    assert code_of(lambda: command(home, "verify", "--against", gone)) == "no_checkpoint_file"
    assert code_of(lambda: command(home, "verify", "--checkpoint", gone)) == "checkpoint_failed"


@pytest.mark.promise("AUD-2")
def test_a_store_is_replaced_only_where_somebody_agrees(tmp_path: Path) -> None:
    home = HqHome(tmp_path)
    create(home.store)
    back_up(home.store, tmp_path / "b.db")
    assert code_of(lambda: command(home, "restore", str(tmp_path / "b.db"))) == "not_agreed"
    assert list(tmp_path.glob("*before*")) == []


@contextmanager
def _answering(body: bytes) -> Iterator[str]:
    """Somebody at a port of loopback who answers one call with these bytes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listening, listening.accept()[0] as peer:
            peer.recv(65_536)
            peer.sendall(body)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65_536):  # what is left unread would break the answer off
                pass

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread.join()
