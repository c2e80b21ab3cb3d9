"""Real processes of `hq` for tests: a command performed, HQ served at a port of its own, calls over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.waiting import wait_until

HQ: Final = Path(sys.executable).with_name("hq")
UP_S: Final = 60.0
REVISION: Final = "2026-07-28"


def environment() -> dict[str, str]:
    """What the processes find around them: nothing of whose machine this is."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
    return {**kept, "HOME": "/nonexistent"}


def hq(home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A command of `hq`, performed to its end."""
    argv = [str(HQ), "--home", str(home), *arguments]
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=UP_S, env=environment(), check=False
    )


def told(home: Path, *arguments: str) -> Any:
    """The JSON document that a command prints; a refusal fails the test."""
    done = hq(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(slots=True)
class Served:
    """An HQ that answers over HTTP."""

    home: Path
    process: subprocess.Popen[bytes]
    errors: Path
    url: str

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        self.process.kill()
        self.process.wait(UP_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """A signal, and the status it ended with."""
        self.process.send_signal(number)
        return self.process.wait(UP_S)

    def log(self) -> str:
        """What it said on stderr."""
        return self.errors.read_text(errors="replace")


def start(home: Path, **settings: str) -> Served:
    """An HQ of a home that answers at a free port; `settings` are in its environment."""
    home.mkdir(parents=True, exist_ok=True)
    said, errors = home.with_name(f"{home.name}.out"), home.with_name(f"{home.name}.err")
    with said.open("wb") as out, errors.open("ab") as err:
        process = subprocess.Popen(
            [str(HQ), "--home", str(home), "serve", "--port", "0", "--json"], env={**environment(), **settings},
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
    up = wait_until(lambda: said.read_bytes().endswith(b"\n") or process.poll() is not None, UP_S)
    if not up or process.poll() is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(UP_S)
        raise AssertionError(f"hq serve does not answer: {errors.read_text(errors='replace')[-2000:]}")
    return Served(home, process, errors, json.loads(said.read_text())["url"])


@contextmanager
def served(home: Path, **settings: str) -> Iterator[Served]:
    """An HQ of a home that answers; killed at the end if it is still there."""
    server = start(home, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


class Caller:
    """A client with one token and one connection, that calls tools in the revision without sessions."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        self._token = token
        self._number = 0

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers. Raises `OSError` or `HTTPException` where nobody does."""
        self._number += 1
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        message = {
            "jsonrpc": "2.0", "id": self._number, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta},
        }  # fmt: skip
        headers = {
            "authorization": f"Bearer {self._token}", "content-type": "application/json",
            "accept": "application/json, text/event-stream", "mcp-protocol-version": REVISION,
            "mcp-method": "tools/call", "mcp-name": tool,
        }  # fmt: skip
        self._connection.request("POST", "/mcp", json.dumps(message), headers)
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200, said
        result: dict[str, Any] = said["result"]
        assert not result.get("isError"), result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        self._connection.request("GET", path, headers={"authorization": f"Bearer {self._token}"})
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
