"""Real Claude Code connects to HQ: added by hand over stdio, and over HTTP with a token from a file."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from tests.claude_code.laptops import SPEAKS, each_version, laptop, needs_claude_code
from tests.claude_code.overhearing import relay
from tests.messages_api import use
from tests.server.desks import SESSION, client_of, desk_at
from tests.server.servers import HQ, Caller, Served, served, told

pytestmark = [pytest.mark.heavy, needs_claude_code]


def tools_of_a_session(folder: Path) -> set[str]:
    """The tools that HQ shows a session."""

    async def asked() -> set[str]:
        async with desk_at(folder) as desk, client_of(desk, SESSION) as asker:
            return set(await asker.tools())

    return asyncio.run(asked())


@pytest.mark.promise("CLA-1")
@each_version
def test_claude_code_that_was_told_of_hq_connects_over_stdio_and_has_the_tools_of_a_session(
    tmp_path: Path, version: str
) -> None:
    asking = [use("mcp__hq__list_routines"), use("mcp__hq__resolve_gap", gap="LLM-SUM", resolution="decline")]
    with laptop(tmp_path, version, asking) as user:
        added = user.claude("mcp", "add", "--scope", "user", "hq", "--", str(HQ), "mcp")
        assert added.returncode == 0, added.stderr
        listed = user.claude("mcp", "list")
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith("hq:")]
        assert (f"{HQ} mcp" in line, line.endswith("Connected")) == (True, True), listed.stdout
        sitting = user.sit("Which routines are there?", allowed=["mcp__hq__*"])
        assert sitting.servers == {"hq": "connected"}
        assert sitting.tools_of("hq") == tools_of_a_session(tmp_path)
        assert user.seen() == sitting.data() == [{"routines": [], "total": 0}]
        (refused,) = user.api.results(failed=True)
        assert "mcp__hq__resolve_gap" in refused
        # It had no home named: HQ's own is below the user's, as without Claude Code.
        assert (user.home / ".local/share/minion-hq/hq.db").exists()


def proposed(server: Served) -> str:
    """A decision that waits for a person."""
    create = ("token", "create", "--name", "test", "--scope")
    made = [told(server.home, *create, scope)["token"] for scope in ("ledger", "reviewer")]
    ledger, reviewer = (Caller(server.url, token) for token in made)
    with closing(ledger), closing(reviewer):
        gap = ledger.call("record_gap", gap_type="skill", requested_code="LLM-SUM", description="It lacks this.")
        said = reviewer.call("resolve_gap", gap=gap["gap"], resolution="propose", reason="Publish a skill.")
    return str(said["decision"])


@pytest.mark.promise("CLA-1")
@each_version
def test_claude_code_connects_over_http_with_a_token_from_a_file_and_decides_nothing(
    tmp_path: Path, version: str
) -> None:
    home = tmp_path / "hq"
    token = told(home, "token", "create", "--scope", "session", "--name", "laptop")["token"]
    with relay() as between, served(home, HQ_PUBLIC_URL=between.url) as server:
        between.port = int(server.url.rpartition(":")[2])
        decision = proposed(server)
        asking = [use("mcp__hq__list_minions"), use("mcp__hq__decide", decision=decision)]
        with laptop(tmp_path, version, asking, [use("mcp__hq__resolve_gap")]) as user:
            place = {"type": "http", "url": f"{between.url}/mcp", "headers": {"Authorization": f"Bearer {token}"}}
            options = ["--mcp-config", str(user.servers_file(hq=place)), "--strict-mcp-config"]
            sitting = user.sit("Approve it.", *options, allowed=["mcp__hq__*"], ENABLE_TOOL_SEARCH="false")
            assert sitting.servers == {"hq": "connected"}
            session = tools_of_a_session(tmp_path / "another")
            assert sitting.tools_of("hq") == session
            assert not {"resolve_gap", "ledger_start_run"} & session
            # The model is offered these, and nobody else's.
            assert {name for name in user.api.tools() if name.startswith("mcp__")} == {
                f"mcp__hq__{name}" for name in session
            }
            minions, pointed = user.seen()
            assert minions == {"minions": [], "routines_without_minion": 0}
            assert (pointed["state"], pointed["link"]) == ("open", f"{between.url}/decisions/{decision}")
            assert pointed["note"].startswith("Nothing was decided.")
            (refused,) = user.api.results(failed=True)
            assert "mcp__hq__resolve_gap" in refused
        assert between.spoken() == {SPEAKS[version]}
        (waiting,) = told(home, "decisions")["decisions"]
        assert (waiting["id"], waiting["state"]) == (decision, "open")
        assert server.stop() == 0
    assert [line for line in server.log().splitlines() if '"level": "error"' in line or "Traceback" in line] == []
