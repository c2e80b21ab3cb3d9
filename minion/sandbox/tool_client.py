"""The trusted end of a tool host: starts one, asks it to run commands, and ends it with all it started.

What comes back is as untrusted as the commands are, so that a host which breaks the protocol is killed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minion.sandbox.bubblewrap import Envelope, command
from minion.sandbox.rlimits import rlimits
from server.contract.quota import Limits

TOOL_HOST = Path(__file__).with_name("tool_host.py")
PROTOCOL = 1
LINE_MOST = 1024 * 1024  # bytes; the host's own lines stay below 70 KiB
STDERR_MOST = 48 * 1024  # bytes; the host keeps so much of its end
REASON_MOST = 400  # characters of bubblewrap's own words
CLOSE_S = 5.0
# Beyond a request's own timeout: TERM, KILL, giving up and draining take 3 s, the rest is for a slow machine.
GRACE_S = 10.0


class SandboxUnusable(Exception):
    """The tool host could not be started as asked; the text says why, in bubblewrap's words if it spoke."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How one command ended.

    `exit` is its code, or None when it failed otherwise: `why` then says how (not found, timeout, signal 9,
    killed, tool host died). `stdout` is at most `max_bytes`, and `truncated` counts the bytes beyond them;
    `stderr` is the end of it, and `dropped` counts the bytes before that.
    """

    exit: int | None
    stdout: bytes
    stderr: bytes
    truncated: int
    why: str | None
    duration_ms: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _End:
    """The last message of a request."""

    exit: int | None
    truncated: int
    dropped: int
    why: str | None


class _Nonsense(Exception):
    """The host said something that the protocol does not have."""


class _Call:
    """A request under way: what came for it, checked, until its last message."""

    def __init__(self, max_bytes: int) -> None:
        self.allowance = {"stdout": max_bytes, "stderr": STDERR_MOST}
        self.inbox: asyncio.Queue[tuple[str, bytes] | _End] = asyncio.Queue()

    def take(self, message: dict[str, Any]) -> bool:
        """Queue one message; True when it was the last. Raises `_Nonsense`."""
        if "stream" in message:
            stream, text = message["stream"], message.get("b64")
            if stream not in ("stdout", "stderr") or not isinstance(text, str):
                raise _Nonsense("output without a stream")
            body = base64.b64decode(text, validate=True)
            self.allowance[stream] -= len(body)
            if self.allowance[stream] < 0:
                raise _Nonsense("more output than was asked for")
            self.inbox.put_nowait((stream, body))
            return False
        code, why = message.get("exit"), message.get("why")
        truncated, dropped = message.get("truncated"), message.get("dropped")
        if not (code is None or (isinstance(code, int) and 0 <= code <= 255)):
            raise _Nonsense("an exit code that is none")
        if not isinstance(truncated, int) or not isinstance(dropped, int) or min(truncated, dropped) < 0:
            raise _Nonsense("an end that is none")
        if not (why is None or isinstance(why, str)):
            raise _Nonsense("a reason that is none")
        why = None if code is not None else why or "no reason given"
        self.inbox.put_nowait(_End(code, truncated, dropped, why))
        return True


class ToolHost:
    """A running tool host; make one with `start`, end it with `close` (on every path)."""

    def __init__(
        self, process: asyncio.subprocess.Process, env: Mapping[str, str], *, sandboxed: bool
    ) -> None:
        self.sandboxed = sandboxed
        self._process = process
        self._env = dict(env)
        self._calls: dict[int, _Call] = {}
        self._last_id = 0
        self._dead: str | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._afterwards: list[Callable[[], Awaitable[None]]] = []

    @classmethod
    async def start(
        cls, envelope: Envelope, *, sandboxed: bool, log_path: Path, start_timeout_s: float = 10.0,
        limits: Limits | None = None,
    ) -> ToolHost:  # fmt: skip
        """Start a host in `envelope`, or without a sandbox with only its `env` (and the machine's own paths).

        `limits`: what the kernel is to hold it, and all that it starts, to.
        Call it from the main thread: the host dies with the thread that started it. Its stderr goes to
        `log_path` (made 0600). Raises `SandboxUnusable` when bubblewrap is missing or fails, when the
        envelope asks for too much, or when no host says that it is ready within `start_timeout_s`; `OSError`
        when the log cannot be opened.
        """
        argv = _sandboxed_argv(envelope) if sandboxed else _plain_argv()
        if limits is not None:
            bounds = rlimits(limits, sandboxed=sandboxed)
            argv += ["--limits", ",".join(f"{number}={most}" for number, most in bounds.items())]
        log, said_before = _open_log(log_path)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # bubblewrap clears the environment of the command, not its own, which /proc would show.
                env={} if sandboxed else dict(envelope.env),
                cwd="/",
                limit=LINE_MOST,
                start_new_session=True,
            )
        except OSError as failure:
            raise SandboxUnusable(f"{argv[0]} could not be started: {failure.strerror}") from None
        finally:
            os.close(log)
        host = cls(process, envelope.env, sandboxed=sandboxed)
        try:
            await host._expect_ready(start_timeout_s, log_path, said_before)
        finally:
            if host._reader is None:
                await host.close()
        return host

    @property
    def pid(self) -> int:
        """The process id (on this side) of the host, or of the bubblewrap that holds it."""
        return self._process.pid

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_s: float,
        max_bytes: int,
        on_output: Callable[[str, bytes], None] | None = None,
        session: bool = False,
    ) -> ToolResult:
        """Run one command in `cwd` (a path inside) and wait for its end; several may run at once.

        `env` is added to the envelope's. `on_output(stream, bytes)` is called as stdout comes, and last with the
        end of stderr. `session`: of stdout beyond `max_bytes` the end is kept, as `stderr`, and what the command
        leaves in the background may print on, unheard. A cancelled call ends the command. Never raises for what
        the command or the host does: see `ToolResult`.
        """
        told = {"argv": list(argv), "stdin": stdin, "env": {**self._env, **(env or {})}, "session": session}
        return await self._ask({"op": "run", "cwd": cwd, **told}, timeout_s, max_bytes, on_output)

    async def file(
        self, call: Mapping[str, Any], *, cwd: str, timeout_s: float, max_bytes: int
    ) -> ToolResult:
        """Have one call of `file_tools` answered in `cwd` (a path inside), as `run` has a command.

        `stdout` is then its answer, one JSON object of at most `max_bytes`; what is wrong with a call is in there.
        """
        told = {"op": "file", "call": dict(call), "cwd": cwd}
        return await self._ask(told, timeout_s, max_bytes, None)

    async def _ask(
        self,
        told: dict[str, Any],
        timeout_s: float,
        max_bytes: int,
        on_output: Callable[[str, bytes], None] | None,
    ) -> ToolResult:
        """Send one request and gather what comes for it, until its last message."""
        started = time.perf_counter()
        self._last_id += 1
        key, call = self._last_id, _Call(max_bytes)
        output: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        if self._dead is not None:
            return _result(output, _End(None, 0, 0, self._dead), started)
        self._calls[key] = call
        request = {"id": key, **told, "timeout_s": timeout_s, "max_bytes": max_bytes}
        limit = asyncio.timeout(timeout_s + GRACE_S)
        try:
            async with limit:
                await self._send(request)
                while not isinstance(item := await call.inbox.get(), _End):
                    output[item[0]].append(item[1])
                    if on_output is not None:
                        on_output(*item)
        except TimeoutError:
            if not limit.expired():
                raise
            item = _End(None, 0, 0, "tool host does not answer")
            self._fail("tool host does not answer")
        finally:
            if self._calls.pop(key, None) is not None and self._dead is None:
                self._write({"id": key, "op": "kill"})
        return _result(output, item, started)

    def afterwards(self, call: Callable[[], Awaitable[None]]) -> None:
        """Have what belongs to the host end with it: `call` is awaited by `close`, once the host is gone."""
        self._afterwards.append(call)

    async def close(self) -> None:
        """Kill the host and all it started, and wait for it; may be called often, and while cancelled."""
        if self._closing is None:
            self._dead = self._dead or "tool host closed"
            self._kill()
            self._closing = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self._closing)

    async def _expect_ready(self, within_s: float, log_path: Path, said_before: int) -> None:
        line = b""
        with contextlib.suppress(TimeoutError, ValueError):
            async with asyncio.timeout(within_s):
                line = await _stdout(self._process).readline()
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or message.get("ready") is not True:
            await self.close()
            words = _words(log_path, said_before)
            raise SandboxUnusable(words or "the tool host ended, or was silent, before it was ready")
        if message.get("v") != PROTOCOL:
            raise SandboxUnusable(f"the tool host speaks version {message.get('v')!r}, not {PROTOCOL}")
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        """Hand every message to its call until the host is gone, then end what still waits."""
        stdout = _stdout(self._process)
        why = "tool host died"
        try:
            while line := await stdout.readline():
                self._dispatch(line)
        except (_Nonsense, ValueError, RecursionError) as wrong:  # ValueError: no JSON, base64 or line end
            why = f"tool host broke the protocol: {wrong}"[:300]
        except ConnectionError:
            pass
        finally:
            self._fail(why)

    def _dispatch(self, line: bytes) -> None:
        message = json.loads(line)
        if not isinstance(message, dict):
            raise _Nonsense("a message that is no object")
        key = message.get("id")
        # A key without a call: the rest of what a cancelled call had to say.
        if isinstance(key, int) and key in self._calls and self._calls[key].take(message):
            del self._calls[key]

    def _fail(self, why: str) -> None:
        """Count the host as dead: end it and every call that waits for it."""
        self._dead = self._dead or why
        self._kill()
        for call in self._calls.values():
            call.inbox.put_nowait(_End(None, 0, 0, self._dead))
        self._calls.clear()

    async def _send(self, message: dict[str, Any]) -> None:
        self._write(message)
        with contextlib.suppress(ConnectionError):  # the reader sees the end too and says so to every call
            await _stdin(self._process).drain()

    def _write(self, message: dict[str, Any]) -> None:
        _stdin(self._process).write(json.dumps(message).encode() + b"\n")

    def _kill(self) -> None:
        """Begin the end at once. Sandboxed: its death takes the whole pid namespace along; else EOF asks."""
        if self.sandboxed and self._process.returncode is None:
            # Not by `Process.kill`: it asks whether the child has ended, and may so take its exit status away from
            # asyncio's watcher, which then warns of an unknown child.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        _stdin(self._process).close()

    async def _end(self) -> None:
        """Wait for the end; without a sandbox, a host that does not come to it is killed with its group."""
        loop = asyncio.get_running_loop()
        reading = self._reader or loop.create_task(self._read())
        waiting: set[asyncio.Task[Any]] = {reading, loop.create_task(self._process.wait())}
        _, late = await asyncio.wait(waiting, timeout=CLOSE_S)
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            _, late = await asyncio.wait(late, timeout=CLOSE_S)
        for task in late:
            task.cancel()
        for call in self._afterwards:
            await call()


def _result(output: dict[str, list[bytes]], end: _End, started: float) -> ToolResult:
    elapsed = int((time.perf_counter() - started) * 1000)
    stdout, stderr = b"".join(output["stdout"]), b"".join(output["stderr"])
    return ToolResult(end.exit, stdout, stderr, end.truncated, end.why, elapsed, end.dropped)


def _python() -> str:
    """The interpreter behind a virtual environment: the environment's own folder is not bound."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def _sandboxed_argv(envelope: Envelope) -> list[str]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnusable("bwrap is not installed")
    try:
        return command(envelope, bwrap=bwrap, python=_python(), tool_host=str(TOOL_HOST))
    except ValueError as wrong:
        raise SandboxUnusable(str(wrong)) from None


def _plain_argv() -> list[str]:
    return [_python(), "-I", "-S", str(TOOL_HOST), "--parent", str(os.getpid())]


def _open_log(path: Path) -> tuple[int, int]:
    """The log opened for appending, and its size so far; a symlink in its place is refused."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.fchmod(log, 0o600)
    return log, os.fstat(log).st_size


def _words(path: Path, start: int) -> str:
    """What was said in the log since `start`, on one line, capped."""
    with path.open("rb") as file:
        file.seek(start)
        return " ".join(file.read(4096).decode("utf-8", "replace").split())[:REASON_MOST]


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None  # noqa: S101  # it was asked for as a pipe
    return process.stdin


def _stdout(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None  # noqa: S101  # it was asked for as a pipe
    return process.stdout
