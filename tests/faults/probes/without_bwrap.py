"""Asks for runs that need a sandbox where bubblewrap is missing or of no use, and prints what came of each."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from minion.doctor.trial import trial_order
from minion.runner.blocks import BlockFailed
from minion.runner.ledger import NoLedger
from minion.runner.stage import set_stage
from minion.runner.workspace import lay_out
from minion.wire import Order
from tests.faults.probes.arena import NOW

# What stands where bubblewrap should; None for nothing.
BROKEN: Final[Mapping[str, str | None]] = {
    "missing": None,
    "refuses": "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
    "older": "echo 'bwrap: Unknown option --disable-userns' >&2; exit 1",
    "silent": "exit 0",
    "killed": "kill -9 $$",
    "babbles": "echo '{\"ready\": \"perhaps\"}'",
}


def orders(folder: Path) -> Mapping[str, Order]:
    """Orders that may not run without a sandbox, by why; and `bundled`, which may, and says so."""
    environment = {"network": "none", "env": {}, "setup": None}
    found = {}
    for name in ("model", "setup", "command", "foreign", "bundled"):
        order = trial_order(folder / name, engine="messages" if name == "model" else "script", now=NOW)
        routine = {**order.routine, "environment": environment}
        if name == "setup":
            routine["environment"] = {**environment, "setup": "true"}
        if name == "command":
            routine["expect"] = [{"command": ["true"]}]
        skills = tuple(replace(skill, pinned=skill.pinned and name != "foreign") for skill in order.skills)
        found[name] = replace(order, routine=routine, skills=skills)
    return found


async def asked(order: Order) -> str:
    """What came of an order: `refused`, or the kind of tool host that was started."""
    workspace = await lay_out(order)
    try:
        stage = await set_stage(order, workspace, now=NOW, redact=lambda data: data, ledger=NoLedger())
    except BlockFailed as failed:
        return "refused" if failed.why.startswith("No sandbox can be used here") else failed.why
    await stage.tools.close()
    return "sandboxed" if stage.tools.sandboxed else "unsandboxed"


async def main() -> None:
    """Every order with every kind of bubblewrap that is none; and with the real one, as the control."""
    folder = Path(json.load(sys.stdin)["folder"])
    results: list[dict[str, Any]] = []
    usual = os.environ["PATH"]
    for kind, script in {"real": None, **BROKEN}.items():
        programs = folder / kind
        programs.mkdir()
        for name in ("git", "bash", "sh"):
            (programs / name).symlink_to(str(shutil.which(name, path=usual)))
        if script is not None:
            (programs / "bwrap").write_text(f"#!{programs}/sh\n{script}\n")
            (programs / "bwrap").chmod(0o755)
        os.environ["PATH"] = usual if kind == "real" else str(programs)
        (folder / "runs").mkdir(exist_ok=True)
        (folder / "runs" / kind).mkdir()
        for name, order in orders(folder / "runs" / kind).items():
            results.append({"kind": kind, "order": name, "came": await asked(order)})
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main())
