"""Has the daemon do what a person asked for, and says in a sentence what came of it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minion.config import Home
from minion.daemon_client import connected, silent
from minion.spelling import plain
from minion.tui.aside import aside
from server.contract.refusals import Refusal, Refused

if TYPE_CHECKING:
    from minion.tui.tui_app import MinionApp


class Steering:
    """Asks the home's daemon; refuses where none runs, for then the terminal view only looks."""

    def __init__(self, app: MinionApp, home: Home) -> None:
        self._app = app
        self._home = home

    async def ask(self, verb: str, params: Mapping[str, Any], *, done: str) -> Any:
        """What the daemon answers, after `done` was said; None where it refused, which is said."""
        try:
            answer = await aside(lambda: self._ask(verb, params))
        except Refusal as refusal:
            says = f"{plain(refusal.sentence)} hint: {plain(refusal.hint)}"
            self._app.notify(says, severity="error", markup=False, timeout=12)
            return None
        if done:
            self._app.notify(done, markup=False)
        return answer

    def _ask(self, verb: str, params: Mapping[str, Any]) -> Any:
        client = connected(self._home)
        if client is None:
            raise silent(self._home) or Refused(
                "no_daemon", "No daemon runs this minion, so this view only looks.", hint="minion up"
            )
        with client:
            return client.ask(verb, params)


def login_name() -> str:
    """Who steers, to be kept with an answer."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without an entry, as in some containers
        return f"user {os.getuid()}"
