"""A request out of the runner ends within its time, and what is known of it is told honestly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minion.runner.outbound import Answer, NoAnswer, NotSent, request


@contextmanager
def dripping(first: bytes) -> Iterator[str]:
    """The address of a server that answers `first` at once, and then a letter now and then without an end."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                try:
                    connection.sendall(first)
                    while not done.wait(0.02):
                        connection.sendall(b"x")
                except OSError:
                    pass  # it was cut off, as it should be

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nok",
    ],
    ids=["no status", "no end of headers", "no end of a body", "a body that is never whole"],
)
def test_a_server_that_drips_is_cut_off_and_nothing_is_claimed_of_it(first: bytes) -> None:
    with dripping(first) as url, pytest.raises(NoAnswer):
        request("POST", url, body=b"{}", headers={}, whole_s=0.2)


def test_an_answer_that_is_whole_in_time_is_taken() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as url:
        assert request("POST", url, body=b"{}", headers={}, whole_s=20) == Answer(200, "ok")


def test_a_host_that_no_name_can_have_was_never_reached() -> None:
    with pytest.raises(NotSent, match="no such host"):
        request("POST", "https://hooks..example/x", body=b"{}", headers={})
