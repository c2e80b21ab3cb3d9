"""A webhook on loopback with real sockets: it answers by path and keeps what it was sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import serving

# Path → status, body. `/drop` closes the connection after the request, `/moved` sends elsewhere.
ANSWERS: dict[str, tuple[int, bytes]] = {
    "/ok": (200, b"ok"),
    "/other": (200, b"<html>welcome</html>"),
    "/created": (201, b"ok"),
    "/gone": (404, b"no_service"),
    "/broken": (500, b"internal error"),
}


class Webhook:
    """The server's address, the (path, JSON body) of every request it was sent, and the path of every GET.

    While it is `down` it answers nothing but 503.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_address[1]
        self.requests: list[tuple[str, Any]] = []
        self.got: list[str] = []
        self.down = False

    def url(self, path: str) -> str:
        """The address that is answered as `path` says; what follows a `?` is kept."""
        return f"http://127.0.0.1:{self.port}{path}"

    def texts(self, path: str) -> list[str]:
        """The message texts that came to a path."""
        return [body["text"] for asked, body in self.requests if asked.split("?")[0] == path]

@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that answers until the block ends; `/echo` answers 404 with the message and its own address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((self.path, json.loads(body)))
            path = self.path.split("?")[0]
            if path == "/drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, answer = ANSWERS.get(path, (404, f"{json.loads(body)['text']} {self.path}".encode()))
            if path == "/moved":
                status = 302
            if hook.down:
                status, answer = 503, b"down"
            self.send_response(status)
            if path == "/moved":
                self.send_header("Location", hook.url("/ok"))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            hook.got.append(self.path)
            self.send_response(503 if hook.down else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing on stderr."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        hook = Webhook(server)
        yield hook


def closed_port() -> int:
    """A port of loopback on which nobody listens (it was free a moment ago)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
