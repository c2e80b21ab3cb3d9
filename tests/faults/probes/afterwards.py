"""What the host does with a workspace after an attack: as the runner does, or as somebody without its care."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

from minion.engines.base import StagedEffect
from minion.runner.checks import check_before_delivery
from minion.runner.effects import EffectDesk
from minion.runner.safe_files import read_beneath
from minion.runner.workspace import Workspace
from minion.wire import Order
from tests.faults.probes.host import Host, git
from tests.faults.probes.probe import Probe

PUSHES: Final = 8
TAKES: Final = 40
READS: Final = 4_000
CHECKS: Final = 400
NAIVE: Final = 400
LOOKS: Final = 100_000
PATHS: Final = ("shop/up/secrets.json", "shop/deep/home/secrets.json", "shop/deep", "shop/../../secrets.json")
SETTINGS: Final = (".claude", ".mcp.json", ".git")


async def afterwards(probe: Probe, order: Order, workspace: Workspace, host: Host, *, naive: bool) -> list[str]:
    """Lines that say what came out by it: canaries as they stand, `REACHED` with what else there is."""
    if probe.after == "push":
        return _naive_push(probe, order, workspace, host) if naive else await _push(probe, order, workspace, host)
    if probe.after == "take":
        return _naive_take(probe, workspace) if naive else _take(probe, order, workspace)
    if probe.after == "expect":
        return _naive_check(workspace) if naive else await _check(order, workspace)
    return []


async def _push(probe: Probe, order: Order, workspace: Workspace, host: Host) -> list[str]:
    desk, found = EffectDesk.of(order, {}, []), list[str]()
    before = _refs(host)
    for number in range(PUSHES if "raced" in probe.name else 1):
        branch = f"claude/{probe.name}-{Path(order.run_dir).name}-{number}".replace("_", "-")
        for place in (host.shop, host.barn):
            wish = StagedEffect("push", f"{place.name}:{branch}", "Body.", title="Title")
            done = await desk.perform(desk.take(wish, workspace, task=1), workspace)
            if done.state == "delivered":
                found += _pushed(host, place, branch)
    found += [] if _refs(host) == before else ["REACHED another branch"]
    return found


def _pushed(host: Host, place: Path, branch: str) -> list[str]:
    """What a branch holds that it must not: canaries but for the repository's own, settings that are new."""
    whole = git("archive", "--format=tar", branch, cwd=place)
    secret = [text for name, text in host.canaries.items() if name != "settings" and text.encode() in whole]
    changed = git("diff", "--name-only", "main", branch, cwd=place).decode().splitlines()
    return [f"{text}" for text in secret] + [f"REACHED {path}" for path in changed if _is_settings(path)]


def _is_settings(path: str) -> bool:
    return any(part.casefold() in SETTINGS for part in path.split("/"))


def _refs(host: Host) -> bytes:
    lines = [line for place in (host.shop, host.barn) for line in git("for-each-ref", cwd=place).splitlines()]
    return b"\n".join(line for line in lines if b"refs/heads/claude/" not in line)


def _naive_push(probe: Probe, order: Order, workspace: Workspace, host: Host) -> list[str]:
    repository = workspace.repositories[0]
    files, private = repository.files, f"--git-dir={repository.git_dir}"
    if "raced" in probe.name or "swapped" in probe.name:
        for _ in range(NAIVE):
            git(private, f"--work-tree={files}", "add", "--all", cwd=files)
            objects = git(private, "cat-file", "--batch-all-objects", "--batch", cwd=files)
            found = [text for name, text in host.canaries.items() if name != "settings"]
            found = [text for text in found if text.encode() in objects]
            if found:
                return [f"{text}" for text in found]
        return []
    before = set(git(private, "ls-files", cwd=files).decode().splitlines())
    env = {"PATH": f"{files}:{os.environ['PATH']}", "HOME": f"{order.run_dir}/scratch", **_person()}
    lines = ["add -A", "commit -qm x", f"{private} --work-tree={files} add -A"]
    for cwd in (files, files / "src"):
        for line in lines if cwd.is_dir() else ():
            # Found by the PATH of its own environment, as a program is that somebody starts there.
            subprocess.run(["git", *line.split()], cwd=cwd, env=env, capture_output=True, check=False, timeout=60)
    after = set(git(private, "ls-files", cwd=files).decode().splitlines())
    return [f"REACHED {path}" for path in after - before if _is_settings(path)]


def _person() -> dict[str, str]:
    names = {"NAME": "Ada", "EMAIL": "ada@example.org"}
    return {f"GIT_{who}_{what}": said for who in ("AUTHOR", "COMMITTER") for what, said in names.items()}


def _take(probe: Probe, order: Order, workspace: Workspace) -> list[str]:
    desk, found = EffectDesk.of(order, {}, []), set[str]()
    raced = "raced" in probe.name
    paths = ("shop/d/secrets.json",) if raced else PATHS
    for _ in range(TAKES if raced else 1):
        for path in paths:
            found.add(desk.take(StagedEffect("file", "x.md", path=path), workspace, task=1).body)
    for _ in range(READS if raced else 1):
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                found.add(read_beneath(workspace.root, path, 1_000_000).decode())
    return [f"{text}" for text in found]


def _naive_take(probe: Probe, workspace: Workspace) -> list[str]:
    found = set[str]()
    for _ in range(READS):
        for path in ("shop/d/secrets.json",) if "raced" in probe.name else PATHS:
            with contextlib.suppress(OSError):
                found.add((workspace.root / path).read_text())
    return [f"{text}" for text in found]


async def _check(order: Order, workspace: Workspace) -> list[str]:
    """A check that holds says that a file of the host is there."""
    for _ in range(CHECKS):
        check = await check_before_delivery({"file": "shop/*/secrets.json"}, None, workspace, [])  # type: ignore[arg-type]
        if check is not None and check.state == "passed":
            return [f"REACHED {check.detail}"]
    return []


def _naive_check(workspace: Workspace) -> list[str]:
    for _ in range(LOOKS):
        if Path(workspace.root, "shop/one/secrets.json").exists():
            return ["REACHED by following"]
    return []
