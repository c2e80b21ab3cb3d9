"""Machines of users with a real Claude Code on them: a HOME of their own, and a scripted model behind it.

`make test-heavy` installs what `package-lock.json` beside this says, where the machine has npm. No binary ever
finds anything of this machine around it, and the way out of loopback ends at the scripted model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.messages_api import Block, MessagesApi, scripted
from tests.server.servers import HQ

PLACE: Final = Path(sys.prefix) / "claude_code" / "node_modules"
# Make leaves it behind when npm is through.
READY: Final = Path(sys.prefix) / ".ready-claude-code"
# Each binary, and the revision of MCP that it speaks with a server that speaks both.
SPEAKS: Final = {"2.1.330": "2026-07-28", "2.1.197": "2025-11-25"}
# Those whose model is shown the names of tools only, and loads what it needs.
DEFERS: Final = frozenset({"2.1.330"})
OVER_S: Final = 90.0
_QUIET: Final = {
    "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "ANTHROPIC_API_KEY": "sk-ant-of-a-test",
    # However busy the machine is, a session begins when its servers are there.
    "MCP_CONNECTION_NONBLOCKING": "0", "MCP_CONNECT_TIMEOUT_MS": "60000", "MCP_TIMEOUT": "60000",
    "CLAUDE_CODE_MCP_STARTUP_WAIT_MS": "60000",
}  # fmt: skip


def binary(version: str) -> Path:
    """Where a Claude Code is."""
    return PLACE / f"claude-code-{version}" / "claude"


def why_not() -> str:
    """Why Claude Code cannot be run here; empty where it can."""
    if not READY.exists():
        return "Claude Code is not installed (`make test-heavy` does that where npm is)"
    missing = [version for version in SPEAKS if not binary(version).exists()]
    return f"there is no Claude Code {' or '.join(missing)} for this kind of machine" if missing else ""


needs_claude_code = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is here")
each_version = pytest.mark.parametrize("version", SPEAKS)


@dataclass(frozen=True, slots=True)
class Sitting:
    """What a session of Claude Code said, event by event, and how it ended."""

    events: Sequence[dict[str, Any]]

    @property
    def begun(self) -> dict[str, Any]:
        """The event with which it began: its tools, its servers."""
        return next(each for each in self.events if (each["type"], each.get("subtype")) == ("system", "init"))

    @property
    def ended(self) -> dict[str, Any]:
        """The event with which it ended."""
        (last,) = [each for each in self.events if each["type"] == "result"]
        return last

    @property
    def servers(self) -> dict[str, str]:
        """How it stands with each MCP server, by name."""
        return {each["name"]: each["status"] for each in self.begun["mcp_servers"]}

    def tools_of(self, server: str) -> set[str]:
        """The tools of an MCP server that it has, without the prefix."""
        prefix = f"mcp__{server}__"
        return {name.removeprefix(prefix) for name in self.begun["tools"] if name.startswith(prefix)}

    def data(self) -> list[Any]:
        """The structured content of each answer of an MCP tool, in order."""
        answers = [each.get("tool_use_result") for each in self.events if each["type"] == "user"]
        structured = [each.get("structuredContent") for each in answers if isinstance(each, dict)]
        return [each for each in structured if each is not None]

    def refused(self) -> list[str]:
        """The tools that the user's rules did not let it call."""
        return [each["tool_name"] for each in self.ended["permission_denials"]]


@dataclass(frozen=True, slots=True)
class Laptop:
    """A user's machine with one Claude Code, whose model says a script."""

    home: Path
    version: str
    api: MessagesApi

    def claude(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of `claude`, performed to its end in an empty folder."""
        work, temporary = self.home / "work", self.home / "tmp"
        for folder in (work, temporary):
            folder.mkdir(exist_ok=True)
        around = {
            **_QUIET, "HOME": str(self.home), "TMPDIR": str(temporary), "LANG": "C.UTF-8",
            "PATH": f"{HQ.parent}:/usr/local/bin:/usr/bin:/bin", "ANTHROPIC_BASE_URL": self.api.url,
            # Whatever it asks for beyond this machine ends there, and is noted.
            "HTTP_PROXY": self.api.url, "HTTPS_PROXY": self.api.url, "NO_PROXY": "127.0.0.1,localhost", **settings,
        }  # fmt: skip
        return subprocess.run(
            [str(binary(self.version)), *words], cwd=work, env=around, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=OVER_S, check=False,
        )  # fmt: skip

    def sit(self, prompt: str, *options: str, allowed: Sequence[str] = (), **settings: str) -> Sitting:
        """A session with one prompt that ends well; `allowed` are the tools that nobody need be asked about."""
        lets = ["--allowedTools", ",".join(allowed)] if allowed else []
        words = ["-p", prompt, "--output-format", "stream-json", "--verbose", *options, *lets]
        done = self.claude(*words, **settings)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        sitting = Sitting([json.loads(line) for line in done.stdout.splitlines()])
        assert (sitting.ended["subtype"], sitting.ended["is_error"]) == ("success", False), sitting.ended
        return sitting

    def servers_file(self, **servers: dict[str, Any]) -> Path:
        """A file of MCP servers, for `--mcp-config`; tokens are in it and on no command line."""
        file = self.home / "servers.json"
        file.touch(0o600)
        file.write_text(json.dumps({"mcpServers": servers}))
        return file

    def seen(self) -> list[Any]:
        """What the model was shown of each answer that is JSON, in order."""
        return [json.loads(words) for words in self.api.results() if words.startswith("{")]


@contextmanager
def laptop(folder: Path, version: str, *script: Sequence[Block]) -> Iterator[Laptop]:
    """A user's machine; at the end it is looked at that nothing was asked for beyond it."""
    home = folder / "laptop"
    home.mkdir()
    with scripted(*script) as api:
        yield Laptop(home, version, api)
        beyond = [path for path in api.paths if path.startswith("CONNECT") or "://" in path]
        assert beyond == [], beyond
