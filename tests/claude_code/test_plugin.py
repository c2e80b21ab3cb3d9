"""The plugin in real Claude Code: valid, installable, its skill is read and its server's tools answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.claude_code.laptops import DEFERS, Laptop, Sitting, each_version, laptop, needs_claude_code
from tests.house.source_tree import ROOT
from tests.messages_api import Block, text, use
from tests.server.servers import told

pytestmark = [pytest.mark.heavy, needs_claude_code]
PLUGIN = ROOT / "plugin"
OURS = "mcp__plugin_hq_hq__"
# How the skill begins, behind its header.
OPENS = "A routine is standing work"
ROUTINE = {"name": "team-commits", "pipeline": ["write-daily-report"], "cron_expression": "0 9 * * 1-5"}


@pytest.mark.promise("CLA-5")
@each_version
def test_the_plugin_and_its_marketplace_pass_the_validator_strictly(tmp_path: Path, version: str) -> None:
    with laptop(tmp_path, version) as user:
        for place in (PLUGIN, ROOT):
            done = user.claude("plugin", "validate", "--strict", str(place))
            assert (done.returncode, "Validation passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.promise("CLA-5")
@each_version
def test_the_plugin_installs_from_the_repository_and_its_server_connects(tmp_path: Path, version: str) -> None:
    with laptop(tmp_path, version) as user:
        for words in (("marketplace", "add", str(ROOT)), ("install", "hq@minion-hq")):
            done = user.claude("plugin", *words)
            assert done.returncode == 0, done.stdout + done.stderr
        listed = user.claude("mcp", "list", HQ_HOME=str(tmp_path / "hq"))
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith("plugin:hq:hq:")]
        assert ("hq mcp" in line, line.endswith("Connected")) == (True, True), listed.stdout


def loading(version: str, *tools: str) -> list[Block]:
    """What a model does first to have these tools of the plugin's server, as its skill says."""
    return [use("ToolSearch", query=f"select:{','.join(tools)}")] if version in DEFERS else [text("I look.")]


def sat(folder: Path, user: Laptop, prompt: str, *allowed: str) -> Sitting:
    """A session with the plugin from its folder, whose model has read the skill."""
    sitting = user.sit(prompt, "--plugin-dir", str(PLUGIN), allowed=allowed, HQ_HOME=str(folder / "hq"))
    assert sitting.servers == {"plugin:hq:hq": "connected"}
    assert {"name": "hq", "path": str(PLUGIN)}.items() <= sitting.begun["plugins"][0].items()
    assert OPENS in user.api.read()
    assert "ARGUMENTS: list" in user.api.read()
    return sitting


@pytest.mark.promise("CLA-5")
@each_version
def test_typing_the_skill_lets_the_model_look_and_asks_the_user_before_it_creates(
    tmp_path: Path, version: str
) -> None:
    wanted = [f"{OURS}list_routines", f"{OURS}create_routine"]
    look, create = use(wanted[0]), use(wanted[1], **ROUTINE)
    first = [*loading(version, *wanted), look, create]
    with laptop(tmp_path, version, first) as user:
        assert sat(tmp_path, user, "/hq:schedule list").refused() == wanted[1:]
        assert set(wanted) <= set(user.api.tools())
        assert user.seen() == [{"routines": [], "total": 0}]


@pytest.mark.promise("CLA-5")
@each_version
def test_the_model_finds_the_skill_by_its_description_and_creates_what_the_user_allows(
    tmp_path: Path, version: str
) -> None:
    read = use("Skill", skill="hq:schedule", args="list my routines")
    script = [read], [use(f"{OURS}create_routine", **ROUTINE)], [use(f"{OURS}list_routines")]
    with laptop(tmp_path, version, *script) as user:
        sitting = sat(tmp_path, user, "Send me my commits at nine.", "Skill", f"{OURS}*")
        assert sitting.refused() == []
        assert "hq:schedule: Create and look after routines" in str(user.api.asked[0]["messages"])
        made, listed = user.seen()
        assert (made["will_fire"], made["why_not"].startswith("No minion has joined this HQ")) == (False, True)
        assert [each["id"] for each in listed["routines"]] == [made["id"]]
    assert told(tmp_path / "hq", "verify")["intact"] is True
