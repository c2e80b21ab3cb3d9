"""The runner's line to the daemon: events go to the run folder first, then out; acks and cancels come in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minion.clock import Clock
from minion.engines.base import Stop
from minion.wire import INLINE_BYTES, Answer, Event, WireError, waits_for_ack
from server.contract.digest import canonical_json, digest_bytes, instant
from server.contract.redaction import Redactor


class DaemonLost(Exception):
    """The daemon's end of the pipe is gone: the run must stop, nothing more may be done."""


class DaemonLink:
    """Numbers, redacts, keeps and sends events; knows what was acknowledged and whether to stop.

    Events are appended to `events.ndjson` of the run folder (0600), in a run that goes on after the `seq`th, whose
    line ends at `size`. `cancel_reason` is None until the daemon cancels; `lost` is set when its pipe closes.
    """

    def __init__(
        self, run_dir: Path, *, out_fd: int, redactor: Redactor, clock: Clock,
        seq: int = 0, size: int | None = None,
    ) -> None:  # fmt: skip
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(run_dir / "events.ndjson", flags, 0o600)
        if size is not None:
            os.ftruncate(self._file, size)  # half a line of a runner that was killed while it wrote
        self._bodies = run_dir / "bodies"
        self._out = out_fd
        self._redactor = redactor
        self._clock = clock
        self._seq = seq
        self._acked: set[int] = set()
        self._news = asyncio.Condition()
        self.lost = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.cancel_reason: str | None = None
        # What a session outside the tool host reported to the daemon.
        self.claim: Mapping[str, Any] | None = None
        self._refused: Stop | None = None

    async def listen(self, answers: asyncio.StreamReader) -> None:
        """Take the daemon's answers until its pipe closes; then `lost` is set."""
        try:
            while line := await answers.readline():
                await self._take(Answer.read(line))
        except (WireError, ValueError):
            # A daemon that talks nonsense cannot be obeyed any more than a dead one.
            pass
        finally:
            self.lost.set()
            async with self._news:
                self._news.notify_all()

    async def emit(self, type_: str, data: Mapping[str, Any], *, block: str | None = None) -> Event:
        """Record an event and send it; for `effect.intent`, `report`, `run.finished` and the usage of a model call
        wait for the commit.

        Raises `DaemonLost` when the daemon is gone: an effect whose intent is not committed must not happen.
        """
        clean = {key: self._inline(type_, key, value) for key, value in self._redactor.data(dict(data)).items()}
        self._seq += 1
        event = Event(self._seq, instant(self._clock()), type_, block, clean)
        line = event.line()
        _write_all(self._file, line)
        try:
            _write_all(self._out, line)
        except OSError as error:
            self.lost.set()
            raise DaemonLost from error
        if waits_for_ack(type_, event.data):
            async with self._news:
                await self._news.wait_for(lambda: event.seq in self._acked or self.lost.is_set())
            if event.seq not in self._acked:
                raise DaemonLost
        return event

    def refused(self) -> Stop | None:
        """Why the daemon lets no further model call be made; None as long as it does."""
        return self._refused

    def redact(self, value: Any, /, *, shapes: bool = True) -> Any:
        """A JSON value as it may be kept, shown and handed on; without `shapes` known secrets alone are out."""
        return self._redactor.data(value, shapes=shapes)

    async def _take(self, answer: Answer) -> None:
        async with self._news:
            if answer.type == "ack":
                self._acked.add(answer.seq)
                if answer.reason:
                    self._refused = Stop(answer.reason, answer.answer)
            elif answer.type == "report":
                self.claim = json.loads(answer.answer)
            elif answer.type == "cancel" and self.cancel_reason is None:
                self.cancel_reason = answer.reason
                self.cancelled.set()
            self._news.notify_all()

    def _inline(self, type_: str, key: str, value: Any) -> Any:
        """A long text or collection moves to a file of the run folder; its path, digest and beginning stay."""
        if not isinstance(value, str | dict | list):
            return value
        written = canonical_json(value)
        # What counts is the event's line: a control character takes six bytes of JSON.
        if len(written.encode("utf-8", "replace")) <= INLINE_BYTES:
            return value
        text, suffix = (value, "txt") if isinstance(value, str) else (written, "json")
        body = text.encode("utf-8", "replace")
        self._bodies.mkdir(mode=0o700, exist_ok=True)
        path = self._bodies / f"{self._seq + 1:06d}-{type_}-{key}.{suffix}"
        path.unlink(missing_ok=True)  # of a runner that was killed before it told of it
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(body)
        start = text[:2000]
        return {"file": f"bodies/{path.name}", "digest": digest_bytes(body), "bytes": len(body), "start": start}


def _write_all(fd: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(fd, view) :]
