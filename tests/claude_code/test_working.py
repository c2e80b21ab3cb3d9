"""A session of real Claude Code at work with HQ: a routine for a minion, gaps counted, a resource read."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.claude_code.laptops import SPEAKS, Laptop, Sitting, each_version, laptop, needs_claude_code
from tests.claude_code.overhearing import over_stdio, spoken_over_stdio
from tests.messages_api import Block, text, use
from tests.server.servers import HQ, Caller, Served, served, told

pytestmark = [pytest.mark.heavy, needs_claude_code]
ROUTINE = {
    "name": "nightly-triage", "content": "Triage the newest alerts.", "cron_expression": "0 3 * * 1-5",
    "expect": [{"contains": "alert"}], "client_key": "once",
}  # fmt: skip
GAP = {"gap_type": "step", "requested_code": "LLM-SUMMARIZE-ALERT", "description": "It cannot sum up an alert."}
HQ_TOOLS = "mcp__hq__*"


@dataclass(frozen=True, slots=True)
class Place:
    """An HQ that is served, and a laptop whose Claude Code joins it over stdio."""

    server: Served
    user: Laptop
    folder: Path

    def sit(self, prompt: str, *allowed: str) -> Sitting:
        """A session that knows this HQ alone."""
        place = over_stdio(self._log, str(HQ), "--home", str(self.server.home), "mcp")
        options = ["--mcp-config", str(self.user.servers_file(hq=place)), "--strict-mcp-config"]
        return self.user.sit(prompt, *options, allowed=[HQ_TOOLS, *allowed])

    def spoke(self, revision: str) -> bool:
        """Whether it spoke this revision first, and then none but the older, as it does where HQ starts slowly."""
        first, *later = spoken_over_stdio(self._log)
        return first == revision and set(later) <= {min(SPEAKS.values())}

    def token(self, scope: str, name: str) -> str:
        """A new token."""
        made = told(self.server.home, "token", "create", "--scope", scope, "--name", name)
        return str(made["token"])

    def ask(self, tool: str, **said: Any) -> dict[str, Any]:
        """What HQ answers to another client."""
        with closing(Caller(self.server.url, self.token("session", "test"))) as caller:
            return caller.call(tool, **said)

    @property
    def _log(self) -> Path:
        return self.folder / "said.ndjson"


@contextmanager
def place(folder: Path, version: str, *script: list[Block]) -> Iterator[Place]:
    """An HQ and a laptop."""
    with served(folder / "hq") as server, laptop(folder, version, *script) as user:
        yield Place(server, user, folder)


def as_minion(there: Place, token: str, verb: str, **said: Any) -> dict[str, Any]:
    """What HQ answers to a minion."""
    at = urlsplit(there.server.url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(at.hostname or "", at.port, timeout=30)) as connection:
        connection.request("POST", f"/v1/minion/{verb}", json.dumps(said), headers)
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, found
        return found


@pytest.mark.promise("CLA-2")
@each_version
def test_a_session_creates_a_routine_for_a_minion_and_is_told_when_it_fires(tmp_path: Path, version: str) -> None:
    minion = str(uuid.uuid4())
    with place(tmp_path, version, [text("I keep it."), use("mcp__hq__create_routine", **ROUTINE)]) as there:
        token = there.token("minion", "alice")
        hello = {"name": "alice", "version": "1", "timezone": "Europe/Berlin", "engine": "script"}
        as_minion(there, token, "join", minion=minion, **hello)
        sitting = there.sit("Triage alerts every weekday at three in the night.")
        (seen,) = there.user.seen()
        assert [seen] == sitting.data()
        assert (seen["will_fire"], seen["minion"], len(seen["next"])) == (True, "alice", 3)
        assert all(instant[10:].startswith("T03:00:00+0") for instant in seen["next"])
        held = there.ask("get_routine", routine="nightly-triage")
        assert (held["id"], held["document"]["minion_id"]) == (seen["id"], minion)
        assert {name: held["document"][name] for name in ("content", "cron_expression")} == {
            name: ROUTINE[name] for name in ("content", "cron_expression")
        }
        (handed,) = as_minion(there, token, "sync", minion=minion)["routines"]
        assert (handed["id"], handed["digest"]) == (seen["id"], held["digest"])
        assert there.spoke(SPEAKS[version])


@pytest.mark.promise("CLA-3")
@each_version
def test_a_gap_that_a_session_records_five_times_is_high_before_its_eyes(tmp_path: Path, version: str) -> None:
    script = [[use("mcp__hq__record_gap", **GAP)] for _ in range(5)]
    with place(tmp_path, version, *script) as there:
        sitting = there.sit("Say what you lack.")
        seen = there.user.seen()
        assert seen == sitting.data()
        assert [(each["frequency"], each["priority"], each["escalated_to"]) for each in seen] == [
            (1, "low", None), (2, "low", None), (3, "medium", "medium"), (4, "medium", None), (5, "high", "high"),
        ]  # fmt: skip
        (gap,) = there.ask("list_gaps")["gaps"]
        assert (gap["requested_code"], gap["frequency"], gap["priority"]) == ("LLM-SUMMARIZE-ALERT", 5, "high")
        assert there.spoke(SPEAKS[version])


@pytest.mark.promise("CLA-4")
@each_version
def test_a_session_lists_the_resources_of_hq_and_reads_what_is_in_one(tmp_path: Path, version: str) -> None:
    script = [
        [use("mcp__hq__record_gap", **GAP), use("ListMcpResourcesTool", server="hq")],
        [use("ReadMcpResourceTool", server="hq", uri="hq://gaps")],
        [use("ReadMcpResourceTool", server="hq", uri="hq://processes/WF-ROUTINE-EXEC")],
    ]
    with place(tmp_path, version, *script) as there:
        there.sit("What do runs lack?", "ListMcpResourcesTool", "ReadMcpResourceTool")
        assert there.user.api.results(failed=True) == []
        recorded, listed, gaps, process = map(json.loads, there.user.api.results())
        assert {"hq://runs", "hq://gaps"} == {each["uri"] for each in listed}
        (content,) = gaps["contents"]
        assert (content["uri"], content["mimeType"]) == ("hq://gaps", "application/json")
        assert [each["id"] for each in json.loads(content["text"])["gaps"]] == [recorded["gap"]]
        (content,) = process["contents"]
        assert json.loads(content["text"])["blocks"][0]["code"] == "040.001.01"
