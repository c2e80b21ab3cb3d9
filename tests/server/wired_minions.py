"""Minions as HQ meets them, at its actions: they take in what it has, say how they stand, let go of routines."""

from __future__ import annotations

import json
import uuid
from typing import Any

from server.actions import handing_out, joining, reporting
from server.actions.desk import Desk
from server.contract.digest import instant
from server.contract.joining import Beat, Have, Hello, Reports
from server.storage.access_store import Caller
from tests.server.joined_minions import act


class WiredMinion:
    """One minion; `routines` is what it goes by, `begins` from when on each of them is its own to start."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk, self.name = desk, name
        self.id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.caller = Caller(f"tok_{name}", name, "minion", bound_to=name)
        self.cursor: str | None = None
        self.routines: dict[str, dict[str, Any]] = {}
        self.begins: dict[str, str] = {}
        self.released: dict[str, str] = {}

    async def hello(self, zone: str = "UTC", **said: Any) -> WiredMinion:
        """Join, or say anew who this is."""
        hello = Hello(minion=self.id, name=self.name, version="0.5.0", timezone=zone, **said)
        await act(self.desk, joining.join, hello, version="0.5.0", who=self.caller)
        return self

    async def sync(self, *, adopt: bool = True) -> dict[str, Any]:
        """Be told what HQ has; with `adopt`, go by it, and note what is let go of and up to when."""
        have = Have(minion=self.id, routines={key: each["digest"] for key, each in self.routines.items()})
        while True:
            found: dict[str, Any] = await self.desk.read(joining.differences, self.caller, have)
            if await act(self.desk, handing_out.told, have, found["cursor"], who=self.caller):
                break
        if adopt:
            self._adopt(found)
        return found

    async def poll(self, *settled: dict[str, Any], **said: Any) -> dict[str, Any]:
        """Say how this stands, and hear what HQ has for it."""
        plain = {"cursor": self.cursor, "settled": settled, "released": self.released}
        beat = Beat.model_validate_json(json.dumps({"minion": self.id, **plain, **said}))
        await act(self.desk, joining.beat, beat, who=self.caller)
        found: dict[str, Any] = await act(self.desk, handing_out.hand_out, beat, who=self.caller)
        return found

    async def catch_up(self) -> None:
        """Take in all that HQ has, and say so."""
        await self.sync()
        await self.poll()

    async def report(self, *reports: dict[str, Any]) -> dict[str, Any]:
        """Report runs."""
        said = Reports.model_validate_json(json.dumps({"minion": self.id, "reports": reports}))
        found: dict[str, Any] = await act(
            self.desk, reporting.take_reports, self.desk.processes, said, who=self.caller
        )
        return found

    def starts(self) -> list[str]:
        """The names of the routines that it starts by itself."""
        return sorted(
            each["document"]["name"] for each in self.routines.values()
            if each["document"]["scheduled_by"] == "minion" and not each["document"]["paused"]
        )  # fmt: skip

    def _adopt(self, found: dict[str, Any]) -> None:
        before = {key for key, each in self.routines.items() if each["document"]["scheduled_by"] == "minion"}
        for gone in found["gone"]:
            del self.routines[gone]
        for each in found["routines"]:
            self.routines[each["id"]] = each
            self.begins[each["id"]] = each["handled_until"]
        after = {key for key, each in self.routines.items() if each["document"]["scheduled_by"] == "minion"}
        for key in before - after:
            self.released[key] = instant(self.desk.clock())
        for key in after:
            self.released.pop(key, None)
        self.cursor = found["cursor"]


def taken(order: dict[str, Any]) -> dict[str, Any]:
    """What a minion says of an order that it has taken."""
    return {"order": order["id"], "state": "taken"}


def refused(order: dict[str, Any], why: str) -> dict[str, Any]:
    """What a minion says of an order that it will not carry out."""
    return {"order": order["id"], "state": "refused", "why": why}
