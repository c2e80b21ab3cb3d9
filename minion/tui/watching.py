"""Hears that a home has changed: from its daemon, or where none runs by looking at its files now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from minion.config import Home
from minion.daemon_client import DaemonClient, connected
from server.contract.refusals import Refusal

# How often files are looked at while no daemon says what happens: some `stat`s, which cost nothing to speak of.
_LOOK_S: Final = 1.0


class Watcher:
    """Calls `tell` from a thread of its own whenever the home has changed, between `begin` and `end`."""

    def __init__(self, home: Home, tell: Callable[[], None]) -> None:
        self._home = home
        self._tell = tell
        self._ended = threading.Event()
        self._client: DaemonClient | None = None
        self._guard = threading.Lock()

    def begin(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()
        with self._guard:
            if self._client is not None:
                self._client.leave()

    def _run(self) -> None:
        seen = self._look()
        while not self._ended.is_set():
            client = connected(self._home)
            if client is not None:
                self._listen(client)
                self._say()
            now = self._look()
            if now != seen:
                seen = now
                self._say()
            self._ended.wait(_LOOK_S)
            if client is not None:
                self._say()  # its process is there a moment longer than its connection

    def _listen(self, client: DaemonClient) -> None:
        """Hear the daemon until it goes away."""
        with self._guard:
            if self._ended.is_set():
                return
            self._client = client
        try:
            with client:
                client.ask("watch", {}, on_event=lambda _: self._say())
        except Refusal:
            return  # it went away, says nothing, or is of a version that cannot tell
        finally:
            with self._guard:
                self._client = None

    def _say(self) -> None:
        if not self._ended.is_set():
            self._tell()

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when somebody writes the store, takes the home, or puts a routine's file there."""
        store = self._home.store
        files = (
            store, store.with_name(store.name + "-wal"), store.with_name("lock"), self._home.socket_file,
            self._home.routines, self._home.config_file,
        )  # fmt: skip
        return tuple(_state_of(path) for path in files)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns
