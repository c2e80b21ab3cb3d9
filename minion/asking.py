"""Has a thing done by who owns the home: its daemon if one runs, else this process for as long as it takes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from minion.config import Config, Home, held, holder_of
from minion.daemon_client import DAEMON, DaemonClient, connected, silent
from server.contract.refusals import Refusal, Refused

if TYPE_CHECKING:
    from minion.wire import Event

OnEvent = Callable[[Mapping[str, Any]], None]
# What is said of a run that such a signal stopped.
STOPPED: Final[Mapping[int, str]] = {
    signal.SIGINT: "stopped from the terminal",
    signal.SIGTERM: "ended by a signal (SIGTERM)",
}
# What has a run performed, and so is told of it before anything else.
_RUNS: Final = ("run", "run.resume")
# A daemon that has the lock answers a moment later; one that ends lets go of it.
_PATIENCE_S: Final = 5.0


def ask(
    home: Home, verb: str, params: Mapping[str, Any], *, command: str, alert: Callable[[str], None],
    on_event: OnEvent | None = None, begin: Callable[[], Config] | None = None,
) -> Any:  # fmt: skip
    """The answer to a verb, whoever owns the home. Raises what the verb refuses.

    `command` is what the lock names while this process owns the home; `alert` hears what the owner must know;
    `begin` makes a home that is not there.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        client = connected(home)
        if client is not None:
            with client:
                return asked(client, verb, params, home=home, alert=alert, on_event=on_event)
        try:
            return _at_hand(home, verb, params, command, alert, on_event or (lambda _: None), begin)
        except Refused as refusal:
            _wait_for_daemon(home, refusal, until)


@contextmanager
def beside(home: Home, command: str) -> Iterator[DaemonClient | None]:
    """A connection to the daemon that owns the home; where none does, own it and give None.

    For files that a daemon only reads: it need not be asked to change them, and nobody else changes them now.
    Raises `Refused` while another command owns the home.
    """
    with contextlib.ExitStack() as stack:
        until = time.monotonic() + _PATIENCE_S
        while (client := connected(home)) is None:
            try:
                stack.enter_context(held(home, command))
            except Refused as refusal:
                _wait_for_daemon(home, refusal, until)
            else:
                break
        yield stack.enter_context(client) if client is not None else None


def asked(
    client: DaemonClient, verb: str, params: Mapping[str, Any], *, home: Home, alert: Callable[[str], None],
    on_event: OnEvent | None = None,
) -> Any:  # fmt: skip
    """What a daemon answers; alerts on the way go to `alert`. SIGINT and SIGTERM stop a run that was told of."""
    runs: list[str] = []

    def take(event: Mapping[str, Any]) -> None:
        if "alert" in event:
            alert(str(event["alert"]))
            return
        if verb in _RUNS and not runs:
            runs.append(str(event["run"]))
        if on_event is not None:
            on_event(event)

    def stop(number: int, _frame: FrameType | None) -> None:
        if not runs:
            raise KeyboardInterrupt
        # The answer is still being read here: somebody else must ask.
        threading.Thread(target=_cancel, args=(home, client, runs[0], STOPPED[number])).start()

    with _handled(stop) if verb in _RUNS else contextlib.nullcontext():
        return client.ask(verb, params, on_event=take)


def _wait_for_daemon(home: Home, refusal: Refused, until: float) -> None:
    """Wait a moment where a daemon holds the home that does not answer yet, or not any more.

    Raises `refusal` for whatever else is in the way, and that the daemon is silent when it is so for too long.
    """
    holder = holder_of(home)
    if refusal.code != "home_held" or holder is None or holder[1] != DAEMON:
        raise refusal
    if time.monotonic() > until:
        raise (silent(home) or refusal) from refusal
    time.sleep(0.05)


def _cancel(home: Home, waiting: DaemonClient, run_id: str, why: str) -> None:
    client = connected(home)
    if client is None:
        return
    try:
        with client:
            client.ask("cancel", {"run": run_id, "why": why})
    except Refusal as refusal:  # it may have ended meanwhile
        if refusal.code == "daemon_silent":
            waiting.leave()


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in STOPPED}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _at_hand(
    home: Home, verb: str, params: Mapping[str, Any], command: str, alert: Callable[[str], None],
    on_event: OnEvent, begin: Callable[[], Config] | None,
) -> Any:  # fmt: skip
    """Own the home and do it here. SIGINT and SIGTERM stop a run in good order instead of leaving it behind."""
    import asyncio

    from minion.app import opened
    from minion.clock import utc_now
    from minion.daemon.hub import Asker
    from minion.owner import Owner
    from minion.verbs import do

    def heard(run_id: str, event: Event) -> None:
        on_event({"run": run_id, "type": event.type, "block": event.block, "data": event.data})

    async def work() -> Any:
        async with opened(home, command, clock=utc_now, alert=alert, on_event=heard, begin=begin) as minion:
            asked = asyncio.ensure_future(do(Owner(minion), verb, params, Asker(on_event)))

            def stop(number: int) -> None:
                under_way = minion.supervisor.under_way
                for run_id in under_way:
                    minion.supervisor.cancel(run_id, STOPPED[number])
                if not under_way:
                    asked.cancel()

            loop = asyncio.get_running_loop()
            for number in STOPPED if verb in _RUNS else ():
                loop.add_signal_handler(number, stop, number)
            return await asked

    try:
        return asyncio.run(work())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
