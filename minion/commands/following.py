"""Follows a run to its end, whoever performs it: what is shown comes from the store, each event once and in order.

The daemon says when something happens, so that it shows at once; without a daemon the store is looked at again
and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from minion.config import Home
from minion.daemon_client import LOST, DaemonClient, connected
from minion.store.local_db import read_only
from minion.store.run_events import EventReader
from minion.store.run_history import whole_run
from server.contract.refusals import Refused
from server.contract.run import has_ended

# How often a store is looked at when nobody says that something happened.
_LOOK_S: Final = 0.3
# What the daemon tells of is committed a moment later: so long it is waited for, and looked for so often.
_COMMIT_S: Final = 0.3
_GLANCE_S: Final = 0.01

Show = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], None]


def follow(home: Home, run_id: str, show: Show) -> None:
    """Hand the events of a run to `show`, with its effects, as they come; returns when the run has ended."""
    following = _Following(home, run_id, show)
    ended = following.look()
    while not ended:
        client = connected(home)
        if client is not None:
            with client:
                following.listen(client)
        ended = following.look()
        if not ended:  # no daemon performs it, or it went away
            time.sleep(_LOOK_S)


class _Following:
    """One run being followed: how far it was shown."""

    def __init__(self, home: Home, run_id: str, show: Show) -> None:
        self._home = home
        self._run_id = run_id
        self._show = show
        self._events = EventReader(run_id)

    def look(self) -> bool:
        """Show what was written down since; whether the run has ended, and all of it was shown."""
        with read_only(self._home.store) as db:
            db.execute("BEGIN")  # the state and the events of one moment: an end shows its last event
            run = whole_run(db, self._run_id)
            events = self._events.more(db)
        if events:
            self._show(events, run["effects"])
        return has_ended(run["state"])

    def listen(self, client: DaemonClient) -> None:
        """Show what the daemon tells of, until the run has ended or the daemon has."""
        try:
            client.ask("tail", {"run": self._run_id}, on_event=self._told)
        except Refused as refusal:
            if refusal.code not in LOST:
                raise

    def _told(self, said: Mapping[str, Any]) -> None:
        """Something happened: it is shown as soon as the store has it."""
        until = time.monotonic() + _COMMIT_S
        while True:
            self.look()
            if self._events.seq >= (said.get("seq") or 0) or time.monotonic() > until:
                return
            time.sleep(_GLANCE_S)
