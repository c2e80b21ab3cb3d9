"""The rules of DESIGN §4 as tables: where libraries, environment, clock and catching everything are at home."""

from __future__ import annotations

# Libraries that only these modules may import: a database has one room, a command line is a door, and a
# process that must stay small loads no document models.
AT_HOME: dict[str, tuple[str, ...]] = {
    "click": ("server.cli", "server.commands", "minion.cli", "minion.commands"),
    "sqlite3": ("server.storage", "server.queue", "minion.store"),
    "aiosqlite": ("minion.store",),
    "sqlalchemy": ("server",),
    "pydantic": ("server", "minion.check", "minion.admission"),
    "pydantic_core": ("server", "minion.check", "minion.admission"),
    "yaml": ("server", "minion.check", "minion.admission"),
    "mcp": ("server",),
    "anthropic": ("minion.engines",),
    "textual": ("minion.tui",),
}
READS_DOCUMENTS = ("minion.check", "minion.admission")

READS_ENVIRONMENT = frozenset(
    {"server/config.py", "minion/config.py", "minion/terminal.py", "minion/sandbox/tool_host.py"}
)
READS_CLOCK = frozenset({"server/clock.py", "minion/clock.py"})
CATCHES_ALL = frozenset(
    {
        "minion/always_on.py",
        "minion/due_runs.py",
        "minion/on_watch.py",
        "minion/daemon/local_api.py",
        "minion/cli.py",
        # What is caught there is raised where it is waited for.
        "minion/tui/aside.py",
        "server/cli.py",
        "server/storage/writing.py",
    }
)
