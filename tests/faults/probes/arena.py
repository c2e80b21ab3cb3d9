"""Lays out real runs on a host of canaries, has probes attack from inside, and prints which of them got out.

`python -m tests.faults.probes.arena` with a plan on stdin, as the user whose host it is to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from minion.doctor.trial import trial_order
from minion.engines.base import Stage
from minion.engines.workbench import Workbench
from minion.runner.ledger import NoLedger
from minion.runner.stage import set_stage
from minion.runner.workspace import Workspace, lay_out
from minion.sandbox.tool_client import TOOL_HOST
from minion.wire import Order, OrderedRepository, OrderedSkill
from tests.faults.probes.afterwards import afterwards
from tests.faults.probes.catalogue import PROBES
from tests.faults.probes.host import Host, gone, running
from tests.faults.probes.probe import Probe

NOW: Final = "2026-11-22T09:00:00.000Z"
ATTACK_S: Final = 30.0
# How long a control is given to show on the host what it did.
SHOWS_S: Final = 3.0
CODE: Final = sysconfig.get_path("stdlib")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is laid out: what it is called inside, and the tools of its session."""

    order: Order
    workspace: Workspace
    stage: Stage
    bench: Workbench

    @property
    def folder(self) -> Path:
        """The run's folder on the host."""
        return Path(self.order.run_dir)


class Arena:
    """The runs on one host, and the two servers that their routine lists."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.ports: dict[str, int] = {}
        self.number = 0

    async def serve(self) -> None:
        """Open two web servers: one that sessions may use, one that only the controls do."""
        for name in ("allowed", "open"):
            await self._serve(name)

    async def _serve(self, name: str) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if name == "open":
                self.host.heard["open"] = self.host.heard.get("open", 0) + 1
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self.host.held.append(server)
        self.ports[name] = server.sockets[0].getsockname()[1]

    async def lay_out(self, network: str, *, sandboxed: bool = True) -> Run:
        """A run as the runner makes it, with more canaries in its folder."""
        host, self.number = self.host, self.number + 1
        order = trial_order(host.home / f"runs/run_{self.number}", engine="messages", now=NOW)
        listed = [f"127.0.0.1:{port}" for port in self.ports.values()]
        said = {"network": "none" if network == "none" else listed, "env": {"OWN": "1"}, "setup": None}
        extra = [OrderedSkill("planted", "LLM-X", str(place), "", None, pinned=False) for place in host.planted]
        shops = tuple(OrderedRepository(at.name, str(at), None, local=True) for at in (host.shop, host.barn))
        order = replace(
            order, routine={**order.routine, "environment": said}, skills=(*order.skills, *extra),
            repositories=shops,
            sandbox="required" if sandboxed else "none", effects=("push:*:claude/*", "file:*"),
            secrets_file=str(host.home / "secrets.json"), outbox_dir=str(host.home / "outbox/doctor"),
        )  # fmt: skip
        folder = Path(order.run_dir)
        for name in ("events", "transcript"):
            (folder / f"{name}.ndjson").write_text(f'{{"said": "{host.canary(name)}"}}\n')
        workspace = await lay_out(order)
        (folder / "git/shop.git/canary").write_text(host.canary("git"))
        stage = await set_stage(order, workspace, now=NOW, redact=lambda data: data, ledger=NoLedger())
        host.runs.append(folder)
        return Run(order, workspace, stage, Workbench(stage))

    def told(self, run: Run, probe: Probe, *, control: bool) -> dict[str, Any]:
        """What an attacker knows: every place and number, and none of the texts."""
        host, folder, inside = self.host, run.folder, run.stage.tools.sandboxed
        aimed = self.ports["open"] if control and probe.control == "open" else host.port("tcp")
        spelled = ("127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433")
        spelled += ("0x7f.1", "0177.0.0.1", "0.0.0.0", "[::]", "127.0.0.1.", "127.0.0.1%00", *host.addresses)
        metadata = ("169.254.169.254:80", "metadata.google.internal:80", "[fd00:ec2::254]:80", "0xa9fea9fe:80")
        root = "" if inside else str(folder)
        # The way to a Python in a home folder is no secret.
        way = [part for place in (CODE, sys.executable, sys.base_prefix) for part in Path(place).parts]
        return {
            "user": str(host.user), "home": str(host.home), "run": str(folder), "marks": str(host.marks),
            "repo": f"{root}/workspace/shop", "scratch": f"{root}/scratch",
            "host_repo": str(folder / "workspace/shop"), "host_scratch": str(folder / "scratch"),
            "history": ["/history/shop.git", str(folder / "history/shop.git")],
            "skills": ["/skills/send-to-slack", str(folder / "skills/send-to-slack")],
            "tool_host": ["/minion/sandbox/tool_host.py", str(TOOL_HOST)],
            "targets": [1, host.victim.pid] if inside else [host.victim.pid], "victim": host.victim.pid,
            "sandboxed": inside, "way": way, "host_name": os.uname().nodename, "marker": host.marker,
            "setuid": ["/skills/planted/id", *(str(place / "id") for place in host.planted)],
            "shared": host.shared, "shm_key": host.shm_key,
            "keyctl": host.keyctl, "key": host.key, "ring": host.ring,
            "tcp": host.port("tcp"), "tcp6": host.port("tcp6"), "udp": host.port("udp"),
            "addresses": host.addresses, "abstract": host.abstract, "socket": str(host.socket_file),
            "allowed": self.ports["allowed"], "forbidden": aimed,
            "far": [f"127.0.0.1:{aimed}"] if control else [f"{name}:{aimed}" for name in spelled],
            "metadata": [f"127.0.0.1:{aimed}"] if control else metadata,
        }  # fmt: skip

    async def attack(self, run: Run, probe: Probe, cwd: str, *, control: bool) -> list[str]:
        """How an attack got out: canaries that it printed, what it says it reached, what changed on the host."""
        host = self.host
        shutil.rmtree(run.folder / "scratch/.shell", ignore_errors=True)
        told, before = self.told(run, probe, control=control), host.state()
        place = told["repo"] if cwd == "workspace" else "/tmp"
        command = probe.command(run.stage.python, told, place)
        bare = control and probe.control == "bare"
        if bare:
            output = await self._bare(command, place)
        else:
            output = (await run.bench.call("bash", {"command": command}, timeout_s=ATTACK_S)).text
        for tool, given in probe.asked(told):
            output += "\n" + (await run.bench.call(tool, given, timeout_s=ATTACK_S)).text
        if probe.name == "poisoned-variables":
            if control:
                await run.bench.call("bash", {"command": "python3 -c 'import json'"}, timeout_s=ATTACK_S)
            output += "\nREACHED by variables" if (run.folder / "scratch/ran").exists() else ""
        output = "\n".join([output, *await afterwards(probe, run.order, run.workspace, host, naive=control)])
        if probe.name == "outlives":
            await run.stage.tools.close()
            output += "" if gone(host.marker, 0.2 if bare else SHOWS_S) else "\nREACHED a life after the run"
            for pid in running(host.marker):
                os.kill(pid, signal.SIGKILL)
        escaped = self._seen(output, before)
        until = asyncio.get_running_loop().time() + SHOWS_S
        while control and not escaped and asyncio.get_running_loop().time() < until:
            escaped = self._seen(output, before)
        return escaped

    def _seen(self, output: str, before: dict[str, object]) -> list[str]:
        found = [f"the text of {name}" for name, text in self.host.canaries.items() if text in output]
        found += [line for line in output.splitlines() if line.startswith("REACHED")]
        after = self.host.state()
        return found + [f"{name} changed" for name in {*before, *after} if before.get(name) != after.get(name)]

    async def _bare(self, command: str, cwd: str) -> str:
        """The same command by the same user, with all that this process hands down."""
        host = self.host
        os.set_inheritable(host.open_fd, True)
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, pass_fds=(host.open_fd,),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(ATTACK_S):
            return (await process.communicate())[0].decode("utf-8", "replace")


async def trials(arena: Arena, planned: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Every planned attack (probe, network, folder to begin in) in the sandbox of a real run."""
    results, runs = [], dict[str, Run]()
    for name, network, cwd in planned:
        probe = PROBES[name]
        run = await arena.lay_out(network) if probe.fresh else runs.get(network)
        run = run or runs.setdefault(network, await arena.lay_out(network))
        escaped = await arena.attack(run, probe, cwd, control=False)
        arena.host.mend()
        results.append({"probe": name, "network": network, "cwd": cwd, "escaped": escaped})
        if probe.fresh:
            await run.stage.tools.close()
            arena.host.runs.remove(run.folder)
    for run in runs.values():
        still = await run.bench.call("bash", {"command": "echo alive"}, timeout_s=ATTACK_S)
        assert still.text == "alive", still
        await run.stage.tools.close()
    return results


async def controls(arena: Arena, names: Iterable[str]) -> list[dict[str, Any]]:
    """Every attack once where it must succeed; `possible` is false where this host lacks what it needs."""
    results = []
    plain, listed = await arena.lay_out("none", sandboxed=False), await arena.lay_out("list")
    for name in names:
        probe = PROBES[name]
        possible, escaped = arena.host.has(probe.needs), list[str]()
        if possible:
            run = {"bare": plain, "plain": plain, "open": listed}.get(probe.control)
            run = run or await arena.lay_out("none")
            escaped = await arena.attack(run, probe, "workspace", control=True)
            arena.host.mend()
            if run not in (plain, listed):
                await run.stage.tools.close()
                arena.host.runs.remove(run.folder)
        results.append({"probe": name, "possible": possible, "escaped": escaped})
    for run in (plain, listed):
        await run.stage.tools.close()
    return results


async def main() -> None:
    """Carry out the plan; the results as one JSON document."""
    plan = json.load(sys.stdin)
    host = Host(Path(plan["folder"]), os.environ["MINION_PROBE"])
    host.planted = tuple(Path(place) for place in plan["planted"])
    try:
        arena = Arena(host)
        await arena.serve()
        told = {"trials": await trials(arena, plan["trials"]), "controls": await controls(arena, plan["controls"])}
        print(json.dumps({**told, "uid": os.geteuid()}))
    finally:
        host.close()


if __name__ == "__main__":
    asyncio.run(main())
