"""The MCP Inspector's command line against HQ: over HTTP and over stdio, in both revisions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.programs import needs_programs, run
from tests.server.servers import HQ, hq, served, told

pytestmark = [pytest.mark.heavy, needs_programs, pytest.mark.promise("MCP-3")]
INSPECTOR = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
GAP = {"gap_type": "skill", "requested_code": "LLM-SUM", "description": "It cannot sum up."}
ERAS = ["legacy", "modern"]
# How the inspector ends when a tool answered with an error.
TOOL_ERROR = 5


class Inspector:
    """The inspector with one server in its file of servers (a token is in the file, not on a command line)."""

    def __init__(self, folder: Path, era: str, server: dict[str, Any]) -> None:
        folder.mkdir()
        self._folder, self._era = folder, era
        (folder / "servers.json").write_text(json.dumps({"mcpServers": {"hq": server}}))

    def ask(self, method: str, *arguments: str, status: int = 0) -> dict[str, Any]:
        """The result that it prints of a method."""
        ended, out, err = asyncio.run(
            run(
                INSPECTOR, "--cli", "--config", "servers.json", "--server", "hq", "--protocol-era", self._era,
                "--format", "json", "--quiet", "--method", method, *arguments, home=self._folder,
            )
        )  # fmt: skip
        assert ended == status, err
        result: dict[str, Any] = json.loads(out)["result"]
        return result

    def call(self, tool: str, status: int = 0, **said: Any) -> dict[str, Any]:
        """What a tool answers."""
        return self.ask("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(said), status=status)


def look(inspector: Inspector, scope: str) -> None:
    """List the tools, record a gap, and read it back."""
    # `--strict` ends badly where a schema says what some clients cannot read.
    tools = {each["name"]: each for each in inspector.ask("tools/list", "--strict")["tools"]}
    assert {"record_gap", "list_gaps"} <= tools.keys()
    assert ("create_routine" in tools) is (scope == "session")
    assert "resolve_gap" not in tools
    assert {"gap_type", "requested_code"} <= tools["record_gap"]["inputSchema"]["properties"].keys()
    recorded = inspector.call("record_gap", **GAP)["structuredContent"]
    assert (recorded["requested_code"], recorded["frequency"]) == ("LLM-SUM", 1)
    (read,) = inspector.ask("resources/read", "--uri", "hq://gaps")["contents"]
    assert (read["uri"], read["mimeType"]) == ("hq://gaps", "application/json")
    assert [each["id"] for each in json.loads(read["text"])["gaps"]] == [recorded["gap"]]


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_calls_and_reads_over_http(tmp_path: Path, era: str) -> None:
    home = tmp_path / "hq"
    with served(home) as server:
        token = told(home, "token", "create", "--scope", "session", "--name", "inspector")["token"]
        place = {"type": "streamable-http", "url": f"{server.url}/mcp"}
        inspector = Inspector(tmp_path / "one", era, {**place, "headers": {"Authorization": f"Bearer {token}"}})
        look(inspector, "session")
        refused = inspector.call("record_gap", TOOL_ERROR, **{**GAP, "gap_type": "wish"})
        assert refused["structuredContent"]["code"] == "unknown_choice"
        names = {each["name"] for each in inspector.ask("prompts/list")["prompts"]}
        assert names == {"schedule", "triage_gaps"}


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_calls_and_reads_over_stdio(tmp_path: Path, era: str) -> None:
    home = tmp_path / "hq"
    words = ["--home", str(home), "mcp", "--scope", "ledger"]
    look(Inspector(tmp_path / "one", era, {"type": "stdio", "command": str(HQ), "args": words}), "ledger")
    assert hq(home, "verify").returncode == 0
