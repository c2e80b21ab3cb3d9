"""Minions of a test that say hello and beat, by the actions of HQ's door for minions."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.actions import handing_out, joining
from server.actions.desk import Desk
from server.actions.watch import watch
from server.contract.digest import instant
from server.contract.joining import Beat, Goodbye, Have, Hello
from server.storage.access_store import Caller
from tests.server.desks import Clock
from tests.server.joined_minions import act, events


@dataclass(frozen=True, slots=True)
class Heard:
    """A minion that HQ hears of when the test says so."""

    desk: Desk
    name: str
    id: str

    @property
    def caller(self) -> Caller:
        """Whom HQ takes it for."""
        return Caller(f"tok_{self.name}", self.name, "minion", self.name)

    async def hello(self, **said: Any) -> dict[str, Any]:
        """Join, or say anew who it is."""
        hello = Hello(minion=self.id, name=self.name, **{"version": "0.5.0", "timezone": "UTC", **said})
        answer: dict[str, Any] = await act(self.desk, joining.join, hello, who=self.caller, version="test")
        return answer

    async def beat(self, **said: Any) -> None:
        """Say how it stands."""
        beat = Beat.model_validate_json(json.dumps({"minion": self.id, **said}))
        await act(self.desk, joining.beat, beat, who=self.caller)

    async def leave(self) -> None:
        """Say goodbye."""
        await act(self.desk, joining.goodbye, Goodbye(minion=self.id), who=self.caller)

    async def given(self) -> list[str]:
        """The names of the routines that HQ has for it."""
        have = Have(minion=self.id)
        said = await self.desk.read(joining.differences, self.caller, have)
        assert await act(self.desk, handing_out.told, have, said["cursor"], who=self.caller)
        return [each["document"]["name"] for each in said["routines"]]

    async def orders(self) -> list[dict[str, Any]]:
        """The orders that HQ has for it."""
        said = await act(self.desk, handing_out.hand_out, Beat(minion=self.id), who=self.caller)
        found: list[dict[str, Any]] = said["orders"]
        return found

    async def take(self, order: str) -> None:
        """Take an order."""
        await self.beat(settled=[{"order": order, "state": "taken"}])


def minion(desk: Desk, name: str = "alice", number: int = 0) -> Heard:
    """A minion that has not joined yet; `number` tells those of one name apart."""
    return Heard(desk, name, str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name} {number}")))


def due(routine: str, moment: datetime, grace_s: float = 60) -> dict[str, str]:
    """A slot as a minion names it."""
    until = moment + timedelta(seconds=grace_s)
    return {"routine": routine, "due": instant(moment), "grace_until": instant(until)}


async def look(desk: Desk, *ways: str, begins: bool = False) -> None:
    """Have HQ look which minions are silent."""
    await desk.database.transact(watch, ways, begins=begins, now=desk.clock())


async def look_for(desk: Desk, clock: Clock, *ways: str, **more: float) -> None:
    """Let time pass in which HQ looks each minute, which is often enough."""
    until = clock() + timedelta(**more)
    while clock() < until:
        clock.pass_(seconds=min(60, (until - clock()).total_seconds()))
        await look(desk, *ways)


async def told(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """The events that say that a minion fell silent, or is back."""
    return [each for each in await events(desk) if each[0] in ("minion.silent", "minion.heard")]
