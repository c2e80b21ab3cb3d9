"""Has the daemon do what a person asked for, and says in a sentence what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from minion.config import Home
from minion.daemon_client import connected, silent
from minion.spelling import plain
from minion.tui.aside import aside
from server.contract.refusals import Refusal, Refused


class Notify(Protocol):
    """Tells the person in front of the screen something, as Textual's `notify` does."""

    def __call__(
        self, message: str, *, severity: Literal["information", "warning", "error"] = "information",
        timeout: float | None = None, markup: bool = True,
    ) -> None:  # fmt: skip
        """Show a message for some seconds."""


class Steering:
    """Asks the home's daemon; refuses where none runs, for then the terminal view only looks."""

    def __init__(self, home: Home, notify: Notify, called: Callable[[str], str]) -> None:
        self._called = called
        self._notify = notify
        self._home = home

    async def ask(self, verb: str, params: Mapping[str, Any], *, done: str) -> Any:
        """What the daemon answers, after `done` was said; None where it refused, which is said."""
        try:
            answer = await aside(lambda: self._ask(verb, params))
        except Refusal as refusal:
            says = f"{plain(refusal.sentence)} hint: {plain(self._called(refusal.hint))}"
            self._notify(says, severity="error", markup=False, timeout=12)
            return None
        if done:
            self._notify(done, markup=False)
        return answer

    def _ask(self, verb: str, params: Mapping[str, Any]) -> Any:
        client = connected(self._home)
        if client is None:
            raise silent(self._home) or Refused(
                "no_daemon", "No daemon runs this minion, so this view only looks.", hint="minion up"
            )
        with client:
            return client.ask(verb, params)
