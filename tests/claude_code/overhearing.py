"""What Claude Code and HQ say to each other, overheard: over stdio by `tee`, over HTTP by a relay between them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.serving import serving

_CHUNK: Final = 65_536
_HEADER: Final = re.compile(rb"^mcp-protocol-version: *([0-9-]+)\r$", re.MULTILINE | re.IGNORECASE)
_IN_BODY: Final = "io.modelcontextprotocol/protocolVersion"


def over_stdio(log: Path, *command: str) -> dict[str, Any]:
    """A server of a client's configuration: the command, with what it is told kept in a file."""
    return {"type": "stdio", "command": "/bin/sh", "args": ["-c", 'tee -a "$0" | "$@"', str(log), *command]}


def spoken_over_stdio(log: Path) -> list[str]:
    """The revisions that the client spoke, in order, each once: said with a request, or when the session began."""
    found: dict[str, None] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        params = json.loads(line).get("params") or {}
        said = (params.get("_meta") or {}).get(_IN_BODY, params.get("protocolVersion"))
        found |= {said: None} if said is not None else {}
    return list(found)


class Relay(socketserver.ThreadingTCPServer):
    """Takes connections to a port of this machine, and keeps what clients say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = 0
        self.said: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoken(self) -> set[str]:
        """The revisions that requests named in their heads."""
        return {revision.decode() for revision in _HEADER.findall(b"".join(self.said))}


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as there:
            back = threading.Thread(target=_pass_on, args=(there, self.request, None), daemon=True)
            back.start()
            _pass_on(self.request, there, self.server.said)
            back.join()


def _pass_on(here: socket.socket, there: socket.socket, kept: list[bytes] | None) -> None:
    """Hand on what comes until it ends, on either side."""
    with contextlib.suppress(OSError):
        while part := here.recv(_CHUNK):
            if kept is not None:
                kept.append(part)
            there.sendall(part)
    with contextlib.suppress(OSError):
        there.shutdown(socket.SHUT_WR)


@contextmanager
def relay() -> Iterator[Relay]:
    """A relay that listens; its `port` is where it leads, to be said before anybody comes."""
    with serving(Relay()) as server:
        yield server
