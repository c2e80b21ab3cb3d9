"""A small forge on loopback: the part of GitHub's REST API which effects use, with its failure modes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import serving


class Forge(ThreadingHTTPServer):
    """Keeps pull requests and comments; `mood` decides how it answers what would make one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made: list[dict[str, Any]] = []
        self.seen: list[tuple[str, str, str | None]] = []
        self.mood = "well"

    @property
    def api(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Forge

    def do_GET(self) -> None:
        self._note()
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if self.server.mood == "blind":
            self._answer(500, {"message": "try later"})
            return
        own = [item for item in self.server.made if urlsplit(item["url"]).path == parts.path]
        if own:
            self._answer(200, own[0])
            return
        found = [item for item in self.server.made if item["path"] == parts.path]
        if "head" in asked:
            head = asked["head"][0].partition(":")[2]
            found = [item for item in found if item["head"] == head and item["base"] == asked["base"][0]]
        if "page" in asked:
            size, page = int(asked["per_page"][0]), int(asked["page"][0])
            found = found[size * (page - 1) : size * page]
        self._answer(200, found)

    def do_POST(self) -> None:
        self._note()
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mood = self.server.mood
        if mood == "refusing":
            self._answer(422, {"message": "Validation Failed", "seen": self.headers["Authorization"]})
            return
        if mood != "dropping before":
            number = len(self.server.made) + 1
            url = f"{self.server.api if mood != 'astray' else 'http://127.0.0.1:9'}/repos/acme/shop/made/{number}"
            page = {"html_url": f"{self.server.api}/page/{number}", "url": url}
            self.server.made.append({**wish, "path": urlsplit(self.path).path, **page})
        if mood.startswith("dropping"):
            self.connection.close()
            return
        self._answer(201, self.server.made[-1])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test looks at `seen`."""

    def _note(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers["Authorization"]))

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def forge() -> Iterator[Forge]:
    """A running forge, ended with the block."""
    with serving(Forge()) as server:
        yield server
