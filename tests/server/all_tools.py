"""Every tool of HQ in one sitting, as a session, a ledger and a reviewer would use them: whatever lies between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.server.desks import Asker, desk_at
from tests.server.joined_minions import join_minion

_SKILL = "---\nname: tell-weather\ndescription: Tells the weather of a day.\n---\nSay what the weather is.\n"


async def prepare(folder: Path) -> None:
    """A home with a minion, `alice`, that has joined."""
    async with desk_at(folder) as desk:
        await join_minion(desk, "alice", timezone="Europe/Berlin", engine="script")


class Sitting:
    """Calls tools by name and notes which; an answer that is a refusal fails the test."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.called: set[str] = set()

    async def ask(self, tool: str, **arguments: Any) -> Any:
        """What a tool answers."""
        self.called.add(tool)
        return await self.asker.ask(tool, **arguments)

    async def play(self) -> set[str]:
        """Use every tool, and look at what it says; the tools that were called."""
        await self._routines()
        await self._ledger()
        await self._gaps_and_decisions()
        await self._definitions()
        return self.called

    async def _routines(self) -> None:
        assert [each["name"] for each in (await self.ask("list_minions"))["minions"]] == ["alice"]
        made = await self.ask("create_routine", name="nightly", content="Triage.", cron_expression="0 3 * * *")
        assert (made["will_fire"], len(made["next"])) == (True, 3)
        assert (await self.ask("list_routines"))["total"] == 1
        changed = await self.ask("update_routine", routine="nightly", changes={"paused": True})
        assert changed["will_fire"] is False
        shown = await self.ask("get_routine", routine=made["id"])
        assert (shown["document"]["name"], shown["document"]["paused"]) == ("nightly", True)
        assert (await self.ask("explain_routine", routine="nightly"))["will_fire"] is False
        token = (await self.ask("rotate_routine_token", routine="nightly"))["token"]
        assert token.startswith("hq_fire_")
        run = (await self.ask("run_routine", routine="nightly", text="now"))["run"]
        assert [each["id"] for each in (await self.ask("list_runs", routine="nightly"))["runs"]] == [run]
        assert (await self.ask("cancel_run", run=run))["state"] == "cancelled"
        assert (await self.ask("get_run", run=run))["verdict"] == "skipped"
        await self.ask("delete_routine", routine="nightly")
        assert (await self.ask("list_routines"))["total"] == 0

    async def _ledger(self) -> None:
        await self.ask("create_routine", name="triage", content="Triage the alert.")
        begun = await self.ask("ledger_start_run", routine="triage", trigger="api", external_session="cse_1")
        for block in begun["blocks"][1:]:
            about = {"run": begun["run"], "block": block["block"]}
            await self.ask("ledger_start_block", **about)
            await self.ask("ledger_log_step", **about, steps=[{"code": code} for code in block["canonical"]])
            await self.ask("ledger_finish_block", **about)
        ended = await self.ask("ledger_finish_run", run=begun["run"], outcome="success", summary="Triaged.")
        assert (ended["state"], ended["conformance"]) == ("completed", "conformant")

    async def _gaps_and_decisions(self) -> None:
        lack = {"gap_type": "skill", "requested_code": "LLM-SUM", "description": "It cannot sum up."}
        for _ in range(5):
            gap = await self.ask("record_gap", **lack)
        assert gap["priority"] == "high"
        assert (await self.ask("list_gaps"))["gaps"][0]["frequency"] == 5
        said = await self.ask("resolve_gap", gap="LLM-SUM", resolution="propose", reason="Publish a skill.")
        waiting = (await self.ask("list_decisions"))["decisions"]
        assert [each["id"] for each in waiting] == [said["decision"]]
        told = await self.ask("decide", decision=said["decision"])
        assert (told["state"], told["note"].startswith("Nothing was decided.")) == ("open", True)

    async def _definitions(self) -> None:
        found = await self.ask("find_process", text="gap")
        assert "WF-GAP-ANNEAL" in str(found)
        assert len((await self.ask("list_variants", process="WF-ROUTINE-EXEC"))["variants"]) == 3
        skill = await self.ask("publish_skill", files={"SKILL.md": _SKILL})
        assert (skill["skill"], skill["version"]) == ("tell-weather", 1)
        assert "weather" in (await self.ask("get_skill", name="tell-weather"))["text"]
        assert [each["name"] for each in (await self.ask("list_skills"))["skills"]] == ["tell-weather"]
