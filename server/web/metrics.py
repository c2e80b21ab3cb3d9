"""What HQ counts of itself, in the text format that Prometheus reads."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func, select

from server.storage.database import Connection
from server.storage.tables import DECISIONS, EVENTS, GAPS, RUNS, STEP_LOG
from server.web.gate import OPEN, SEEN, App, Receive, Scope, Send
from server.web.rates import Rates

log = logging.getLogger(__name__)
# Asked again and again by machines; of interest only when it goes wrong.
_ROUTINE: Final = OPEN | {"/metrics"}
# What is told of each table that is counted.
_HELD: Final = {
    "runs": "Runs in the store, by state.", "gaps": "Gaps in the store, by state.",
    "decisions": "Decisions in the store, by state.", "step_log": "Step logs that were ever written.",
    "events": "Events that were ever written.",
}  # fmt: skip
_REFUSED: Final = 400
_FAILED: Final = 500


@dataclass(slots=True)
class Metrics:
    """Counts requests by path and status, and the seconds they took, and logs each of them.

    `paths` are those that are there: any other has no name of its own, for anybody could make up any number.
    """

    paths: frozenset[str]
    # Of those whom nobody knows only so many a minute are logged: they are counted all the same.
    turned_away: Rates = field(default_factory=lambda: Rates(a_minute=60, burst=60))

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def measured(self, app: App) -> App:
        """The application, counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            seen: dict[str, str] = {}
            begun, status = time.perf_counter(), _FAILED

            async def noted(message: dict[str, Any]) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                await send(message)

            try:
                return await app({**scope, SEEN: seen}, receive, noted)
            finally:
                path, seconds = scope["path"], time.perf_counter() - begun
                named = path if path in self.paths else "other"
                self.requests[(named, status)] += 1
                self.seconds[named] += seconds  # type: ignore[assignment]
                token = seen.get("token")
                well = status < _REFUSED and path in OPEN
                if token is not None or well or not self.turned_away.wait_s(""):
                    _log(scope["method"], path, status, seconds, token)

        return counted

    def counts(self, connection: Connection) -> dict[str, dict[str, int]]:
        """What the store holds, by state (a query)."""
        found: dict[str, dict[str, int]] = {}
        for table in (RUNS, GAPS, DECISIONS):
            query = select(table.c.state, func.count()).group_by(table.c.state)
            found[table.name] = {row[0]: int(row[1]) for row in connection.execute(query)}
        for table in (STEP_LOG, EVENTS):
            found[table.name] = {"": int(connection.execute(select(func.max(table.c.position))).scalar() or 0)}
        return found

    def text(self, held: dict[str, dict[str, int]]) -> str:
        """All of it as text."""
        lines = _head("requests_total", "counter", "Requests by path and status.")
        lines += [
            f'hq_requests_total{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(self.requests.items())
        ]
        lines += _head("request_seconds_total", "counter", "Seconds that requests took, by path.")
        lines += [f'hq_request_seconds_total{{path="{p}"}} {n:.6f}' for p, n in sorted(self.seconds.items())]
        for name, states in held.items():
            lines += _head(name, "gauge", _HELD[name])
            lines += [f"hq_{name}{_label(state)} {number}" for state, number in sorted(states.items())]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, help_: str) -> list[str]:
    return [f"# HELP hq_{name} {help_}", f"# TYPE hq_{name} {kind}"]


def _log(method: str, path: str, status: int, seconds: float, token: str | None) -> None:
    usual = logging.DEBUG if path in _ROUTINE else logging.INFO
    level = logging.ERROR if status >= _FAILED else logging.WARNING if status >= _REFUSED else usual
    if log.isEnabledFor(level):
        ms = round(seconds * 1000, 2)
        said = {"method": method, "path": path, "status": status, "ms": ms, "token": token}
        log.log(level, "request", extra={"said": said})


def _label(state: str) -> str:
    return f'{{state="{state}"}}' if state else ""
