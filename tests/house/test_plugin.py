"""The plugin for Claude Code says of the product what is so: its version, its command, the tools, the skills."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from minion.skills.loader import bundled_names
from tests.house.size_rules import leftover_breaches
from tests.house.source_tree import ROOT, files
from tests.server.desks import SESSION, client_of, desk_at

PLUGIN = ROOT / "plugin"
SKILL = PLUGIN / "skills/schedule/SKILL.md"
PREFIX = "mcp__plugin_hq_hq__"
# The runner appends it to every run; no routine names it.
OURS_ALONE = "execution-report"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def tools_of_a_session(folder: Path) -> dict[str, bool]:
    """Each tool that HQ shows a session, and whether it only reads."""

    async def asked() -> dict[str, bool]:
        async with desk_at(folder) as desk, client_of(desk, SESSION) as asker:
            listed = (await asker.client.list_tools()).tools
            return {tool.name: bool(tool.annotations.read_only_hint) for tool in listed}

    return asyncio.run(asked())


def test_the_plugin_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    manifest = read(PLUGIN / ".claude-plugin/plugin.json")
    assert (manifest["name"], manifest["version"], manifest["license"]) == ("hq", project["version"], "MIT")


def test_the_marketplace_of_the_repository_offers_the_plugin_and_says_no_second_version() -> None:
    market = read(ROOT / ".claude-plugin/marketplace.json")
    (entry,) = market["plugins"]
    assert (market["name"], entry["name"], entry["source"]) == ("minion-hq", "hq", "./plugin")
    assert entry["description"] == read(PLUGIN / ".claude-plugin/plugin.json")["description"]
    assert "version" not in entry


def test_the_plugins_server_is_hq_from_the_path_and_gets_no_token() -> None:
    assert read(PLUGIN / ".mcp.json") == {"mcpServers": {"hq": {"command": "hq", "args": ["mcp"]}}}


def test_the_skill_names_tools_that_a_session_has_and_allows_only_those_that_read(tmp_path: Path) -> None:
    tools, text = tools_of_a_session(tmp_path), SKILL.read_text(encoding="utf-8")
    (allowed,) = re.findall(r"^allowed-tools: (.*)$", text, re.MULTILINE)
    assert [name for name in allowed.split() if not tools[name.removeprefix(PREFIX)]] == []
    verbs = {name.partition("_")[0] for name in tools}
    named = {word for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text) if word.partition("_")[0] in verbs}
    assert named <= tools.keys()
    assert {"create_routine", "list_routines", "run_routine", "update_routine", "explain_routine"} <= named


def test_the_skill_names_every_bundled_skill_and_no_other() -> None:
    named = re.findall(r"^ *\| `([a-z-]+)` \|", SKILL.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(bundled_names() - {OURS_ALONE})


@pytest.mark.parametrize("other", ["/loop", "CronCreate", "ScheduleWakeup", "/schedule"])
def test_the_skills_description_says_which_schedulers_it_is_not(other: str) -> None:
    header = SKILL.read_text(encoding="utf-8").split("---\n")[1]
    assert other in header.split("Not for", 1)[1]


def test_nothing_in_the_plugin_is_marked_as_unfinished() -> None:
    texts = [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files("plugin")]
    assert texts != []
    assert [breach for path, text in texts for breach in leftover_breaches(path, text)] == []
