"""What HQ counts of itself, in the text format that Prometheus reads."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from server.storage.database import Connection
from server.storage.tables import DECISIONS, EVENTS, GAPS, RUNS, STEP_LOG
from server.web.gate import App, Receive, Scope, Send


@dataclass(slots=True)
class Metrics:
    """Counts requests by path and status, and the seconds they took."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def measured(self, app: App) -> App:
        """The application, counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            begun, status = time.perf_counter(), 500

            async def noted(message: dict[str, Any]) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = int(message["status"])
                await send(message)

            try:
                return await app(scope, receive, noted)
            finally:
                # A path that is not there has no name of its own: anybody could make as many as they like.
                path = scope["path"] if status not in (404, 405) else "other"
                self.requests[(path, status)] += 1
                self.seconds[path] += time.perf_counter() - begun  # type: ignore[assignment]

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
        lines = ["# TYPE hq_requests_total counter"]
        lines += [
            f'hq_requests_total{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(self.requests.items())
        ]
        lines.append("# TYPE hq_request_seconds_total counter")
        lines += [f'hq_request_seconds_total{{path="{p}"}} {n:.6f}' for p, n in sorted(self.seconds.items())]
        for name, states in held.items():
            lines.append(f"# TYPE hq_{name} gauge")
            lines += [f"hq_{name}{_label(state)} {number}" for state, number in sorted(states.items())]
        return "\n".join(lines) + "\n"


def _label(state: str) -> str:
    return f'{{state="{state}"}}' if state else ""
