"""The thin way to HQ, against servers that answer well, badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from minion.hq.away import HqAway
from minion.hq.client import HqClient
from minion.hq.membership import Membership
from server.contract.refusals import Refused

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}'
_FULL = b'{"error":{"code":"c","sentence":"Full.","hint":"wait"}}'
BUSY = b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n" % len(_FULL) + _FULL
ANSWER_S = 0.4
Play = Callable[[socket.socket], None]


@contextmanager
def server(*plays: Play) -> Iterator[tuple[str, list[bytes]]]:
    """A server that treats its connections one after another so; its address, and the requests that it read."""
    asked: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for play in plays:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    play(_Heard(connection, asked))  # type: ignore[arg-type]
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


class _Heard:
    """A connection of whose requests a note is made."""

    def __init__(self, connection: socket.socket, asked: list[bytes]) -> None:
        self._connection, self._asked = connection, asked

    def request(self) -> None:
        """Read one request whole."""
        text = b""
        while b"\r\n\r\n" not in text:
            text += self._more()
        head, _, body = text.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        self._asked.append(head + b"\r\n\r\n" + body)

    def _more(self) -> bytes:
        piece = self._connection.recv(65_536)
        if not piece:
            raise OSError
        return piece

    def say(self, text: bytes) -> None:
        """Send this."""
        self._connection.sendall(text)

    def wait_for_the_end(self) -> None:
        """Until the other side lets go."""
        while self._connection.recv(65_536):
            pass


def answering(*answers: bytes) -> Play:
    """Answers so many requests on one connection, then closes it."""

    def play(connection: socket.socket) -> None:
        heard: _Heard = connection  # type: ignore[assignment]
        for text in answers:
            heard.request()
            heard.say(text)

    return play


def silent(first: bytes = b"") -> Play:
    """Says this much and then nothing until the client lets go."""

    def play(connection: socket.socket) -> None:
        heard: _Heard = connection  # type: ignore[assignment]
        heard.request()
        heard.say(first)
        heard.wait_for_the_end()

    return play


def dripping(connection: socket.socket) -> None:
    """Sends a byte at a time, without end."""
    heard: _Heard = connection  # type: ignore[assignment]
    heard.request()
    heard.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    pause = threading.Event()
    while True:
        heard.say(b"x")
        pause.wait(0.02)


def client_of(url: str) -> HqClient:
    return HqClient(Membership(url, "T" * 40), version="0", answer_s=ANSWER_S)


def asked_once(url: str, verb: str = "poll") -> dict[str, object]:
    client = client_of(url)
    try:
        return asyncio.run(client.ask(verb, {"minion": "m"}))
    finally:
        client.close()


def test_a_question_is_a_post_with_the_token_in_its_header_and_json_in_its_body() -> None:
    with server(answering(OK)) as (url, asked):
        assert asked_once(url, "sync") == {"ok": True}
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/minion/sync HTTP/1.1\r\n")
    assert b"Authorization: Bearer " + b"T" * 40 in head
    assert json.loads(body) == {"protocol": 1, "minion": "m"}


def test_one_connection_serves_many_questions_and_a_new_one_where_it_was_closed_meanwhile() -> None:
    with server(answering(OK, OK), answering(OK)) as (url, asked):
        client = client_of(url)

        async def thrice() -> list[object]:
            return [await client.ask("poll", {}) for _ in range(3)]

        assert asyncio.run(thrice()) == [{"ok": True}] * 3
        client.close()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "no HQ"),
        (answering(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}"), "no HQ"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"), "no HQ"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "SSH"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ""),
        (silent(), "in time"),
        (silent(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "in time"),
        (dripping, "in time"),
        (answering(BUSY), "Full."),
    ],
    ids=["no JSON", "no error of HQ's", "no object", "another protocol", "cut off", "silence", "half an answer",
         "drop by drop", "HQ is in trouble"],
)  # fmt: skip
@pytest.mark.promise("JOI-5")
def test_whatever_answers_badly_or_not_in_time_counts_as_away(play: Play, words: str) -> None:
    with server(play, play) as (url, _):
        begun = time.monotonic()
        with pytest.raises(HqAway) as caught:
            asked_once(url)
        assert words in str(caught.value)
        # Not how fast it is, but that it ends at all: the server would go on for ever.
        assert time.monotonic() - begun < 20


def test_nobody_there_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HqAway):
        asked_once(f"http://127.0.0.1:{port}")


def test_what_hq_refuses_is_refused_in_its_words() -> None:
    body = json.dumps({"error": {"code": "not_this_minion", "sentence": "No.", "hint": "do this"}}).encode()
    text = b"HTTP/1.1 409 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with server(answering(text)) as (url, _), pytest.raises(Refused) as caught:
        asked_once(url)
    assert (caught.value.code, caught.value.hint) == ("not_this_minion", "do this")


def test_who_waits_is_let_go_when_they_are_cancelled_or_the_client_is_closed() -> None:
    async def cancelled(client: HqClient) -> None:
        assert await client.ask("poll", {}) == {"ok": True}
        task = asyncio.create_task(client.ask("poll", {}, wait_s=60.0))
        await asyncio.wait({task}, timeout=0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def closed(client: HqClient) -> None:
        assert await client.ask("poll", {}) == {"ok": True}
        task = asyncio.create_task(client.ask("poll", {}, wait_s=60.0))
        await asyncio.wait({task}, timeout=0.3)
        client.close()
        with pytest.raises(HqAway):
            await task
        with pytest.raises(HqAway):
            await client.ask("poll", {})

    def once(connection: socket.socket) -> None:
        answering(OK)(connection)
        silent()(connection)

    for play in (cancelled, closed):
        with server(once, silent()) as (url, asked):
            asyncio.run(play(client_of(url)))
        # Nobody asks again who has given up.
        assert len(asked) == 2
