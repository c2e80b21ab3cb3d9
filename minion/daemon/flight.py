"""A runner at work: its process is started, what it says is taken in order, and it is gone at the end.

What it is told: the order, acks, a cancel. That its input closes tells it that nobody is there any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minion.daemon.caps import Passed, Watch, passed_telling, told_most
from minion.daemon.cgroups import Ground, Group
from minion.wire import EVENT_BYTES, Answer, Event, Order, WireError, waits_for_ack
from server.contract.digest import canonical_json
from server.contract.run import RunState

# After a cancel or timeout the runner has this long to close its session before it is killed.
GRACE_S: Final = 5.0
# The bytes in which a runner that said too much may still say how it ended.
_LAST_WORDS: Final = 1024 * 1024
# So many events may wait for their commit together.
_TOGETHER: Final = 64


async def _no_caps() -> tuple[str, str]:
    return "", ""


@dataclass(slots=True)
class Flight:
    """A runner's process, how it said the run ended, and why it was stopped, if it was.

    `take` writes one event down; an event is acknowledged when it returns. `watch` holds the run to its caps;
    `passed` is the cap for which it was stopped. `spend` says after a model call why no other may follow, and what
    helps; both empty when one may. `group` is the kernel's, where there can be one.
    """

    order: Order
    process: asyncio.subprocess.Process
    take: Callable[[Event], Awaitable[object]]
    watch: Watch
    group: Group | None = None
    passed: Passed | None = None
    end: RunState | None = None
    why: str | None = None
    hint: str | None = None
    stopped_for: str | None = None
    abandoned: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    spend: Callable[[], Awaitable[tuple[str, str]]] = _no_caps

    def stop(self, reason: str) -> None:
        """Ask the runner to stop; the first reason stays."""
        self.stopped_for = self.stopped_for or reason
        self.stopping.set()

    def hand_on(self, claim: Mapping[str, Any]) -> None:
        """Tell the runner what its session reported over the socket."""
        self._write(Answer("report", answer=canonical_json(dict(claim))).line())

    def overrun(self, passed: Passed) -> None:
        """Stop the run because it passed a cap, unless it is being stopped already."""
        if self.stopped_for is None:
            self.passed = passed
            self.stop(passed.why)

    def abandon(self, reason: str) -> None:
        """Have the runner end at once, as if nobody were there: the run is then interrupted."""
        self.abandoned = True
        self.stop(reason)

    async def attend(self) -> None:
        """Take events until the runner is done, silent for good, or stopped and out of grace.

        Raises `WireError` for a line that is no event, and what `take` raises.
        """
        reading = asyncio.ensure_future(self._read())
        stopping = asyncio.ensure_future(self.stopping.wait())
        watching = asyncio.ensure_future(self._watch())
        try:
            limit = self.order.limits.wall_clock_s
            await asyncio.wait({reading, stopping}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._bring_down(reading)
            if reading.done():
                await reading
        finally:
            for task in (reading, stopping, watching):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, WireError):
                    await task
        if self.end in (None, "failed") and self.stopped_for is None:
            # It may have run into a wall between two looks, and then its own words do not say so.
            self.passed = await asyncio.to_thread(self.watch.last_look)

    async def _watch(self) -> None:
        self.overrun(await self.watch.until_passed())

    async def _bring_down(self, reading: asyncio.Future[None]) -> None:
        """Have a runner that goes on come to its end; for a cap, all that is untrusted of it dies first."""
        if self.stopped_for is None:
            self.stopped_for = "timeout"
        if self.abandoned:
            self._hang_up()
        else:
            self._write(Answer("cancel", reason=self.stopped_for).line())
        if self.passed is not None:
            await asyncio.to_thread(self.watch.quell)
        await asyncio.wait({reading}, timeout=GRACE_S)

    async def gone(self) -> None:
        """Wait until the process has ended; one that does not is killed, and with it all of its group."""
        self._hang_up()
        # What it still says is thrown away: for asyncio a process has not ended while its pipe is full.
        draining = asyncio.ensure_future(self._drain())
        try:
            async with asyncio.timeout(GRACE_S if self.end is not None else 0.5):
                await self.process.wait()
        except TimeoutError:
            self._kill()
            await self.process.wait()
        finally:
            draining.cancel()
        if self.group is not None:
            await asyncio.to_thread(self.group.kill)

    async def _read(self) -> None:
        """Events in order: commits of those that need no answer may wait together with the next that does."""
        waiting: list[asyncio.Future[object]] = []
        told, most = 0, told_most(self.order.limits)
        stdout = self.process.stdout
        # A line without its end is the last of a runner that was killed while it spoke.
        while stdout is not None and (line := await stdout.readline()).endswith(b"\n"):
            event = Event.read(line)
            told += len(line)
            if told > most:
                self.overrun(passed_telling(self.order.limits, "events"))
            if told > most + _LAST_WORDS:
                self._kill()
                break
            waiting.append(asyncio.ensure_future(self.take(event)))
            if event.type == "run.finished":
                self.end, self.why, self.hint = (event.data[key] for key in ("state", "why", "hint"))
            answered = waits_for_ack(event.type, event.data)
            if answered or len(waiting) >= _TOGETHER:
                await asyncio.gather(*waiting)
                waiting.clear()
            if answered:
                why, hint = await self.spend() if event.type == "usage" else ("", "")
                self._write(Answer("ack", seq=event.seq, reason=why, answer=hint).line())
        await asyncio.gather(*waiting)

    async def _drain(self) -> None:
        while self.process.stdout is not None and await self.process.stdout.read(EVENT_BYTES):
            pass

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def _write(self, line: bytes) -> None:
        # A runner that is gone cannot be written to; its silence is noticed by the reader.
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    def _hang_up(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()


async def take_off(
    order: Order, take: Callable[[Event], Awaitable[object]], ground: Ground, *,
    spend: Callable[[], Awaitable[tuple[str, str]]],
) -> Flight:  # fmt: skip
    """Start the runner of an order, enclose it, and hand it the order.

    Raises `OSError` when no process can be started.
    """
    log = os.open(Path(order.run_dir) / "runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "minion.runner"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=order.run_dir,
            env={"PATH": order.search_path, "LC_ALL": "C.UTF-8"},
            limit=2 * EVENT_BYTES,
            # A terminal's Ctrl-C is for the supervisor, which then stops the run in good order.
            start_new_session=True,
        )
    finally:
        os.close(log)
    limits, memory = order.limits, order.limits.memory_bytes
    try:
        # Before it has its order: what it starts then is born in its group.
        group = await asyncio.to_thread(
            ground.enclose, group_name(order.run_id), process.pid, tasks=limits.tasks, memory_bytes=memory
        )
    except asyncio.CancelledError:
        process.kill()
        raise
    watch = Watch(limits, Path(order.run_dir), process.pid, group)
    flight = Flight(order, process, take, watch, group, spend=spend)
    flight._write(order.line())
    return flight


def group_name(run_id: str) -> str:
    """The name of a run's group, by which a later owner of the home finds it."""
    return f"minion-{run_id}"
