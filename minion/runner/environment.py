"""The environment of a routine: what its setup script leaves in `/environment`, made once and kept for later runs.

    HOME/environments/  KEY/       what the script left; later runs see it read-only
                        KEY.json   when it was made, and the variables it gives: there once KEY is whole
                        KEY.lock   locked by whoever uses KEY (shared) or makes it anew (alone)
                        KEY.new/   being made

The workspace is not there while it is made: what is kept must not depend on one run's.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from minion.runner.blocks import BlockFailed
from minion.runner.doorway import Doorway
from minion.runner.environment_store import Kept, Lock, Shelf
from minion.runner.environment_variables import BadVariables, variables_of
from minion.sandbox.bubblewrap import Bind, Envelope
from minion.sandbox.tool_client import TOOL_HOST, ToolHost, ToolResult
from minion.wire import Order
from server.contract.digest import digest_bytes, digest_of, parse_instant

Level = Literal["info", "warning", "error"]
Log = Callable[[Level, str], Awaitable[None]]

INSIDE: Final = "/environment"
# A script that is to work without a sandbox, too, says this for /environment.
PLACE_VARIABLE: Final = "MINION_ENVIRONMENT"
SCRIPT_INSIDE: Final = "/setup/script.sh"
BUILD_S: Final = 300.0
LOOK_S: Final = 2.0
OUTPUT_BYTES: Final = 4 * 1024 * 1024
LAST_WORDS: Final = 300
FRESH_FOR: Final = timedelta(days=7)
WAIT_S: Final = 0.2
_HINT: Final = "see the run's log, mend environment.setup, and run the routine again"


@dataclass(frozen=True, slots=True)
class Site:
    """Where an environment is made: the run's order and its doorway, the variables of every tool host.

    `redact` takes secrets out of a text that is kept; `log` writes to the run's log. `now` is a UTC instant,
    `build_s` the most seconds that a script may take.
    """

    order: Order
    doorway: Doorway
    variables: Mapping[str, str]
    sandboxed: bool
    now: str
    redact: Callable[[Any], Any]
    log: Log
    build_s: float = BUILD_S


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that is ready: its folder, where a session sees it, and the variables that it gives."""

    kept: Kept
    path: str
    variables: Mapping[str, str]

    @property
    def binds(self) -> tuple[Bind, ...]:
        """What of it an envelope has."""
        return (Bind(str(self.kept.folder), INSIDE),) if self.path == INSIDE else ()

    async def let_go(self) -> None:
        """Use it no more; until then nobody takes it away."""
        self.kept.close()


def environments_of(order: Order) -> Path:
    """The folder of all environments of the home that a run belongs to: a run's folder is HOME/runs/RUN."""
    return Path(order.run_dir).parent.parent / "environments"


async def prepare(site: Site) -> Environment | None:
    """The routine's environment: the one that is kept, or made now; None when it has no setup script.

    Of runs that need the same one at once the first makes it, and the others wait and use it. Raises
    `BlockFailed` when the script fails, and `SandboxUnusable`.
    """
    said = site.order.routine.get("environment") or {}
    script = said.get("setup")
    if not script:
        return None
    shelf = Shelf(environments_of(site.order), _key(site, script, said))
    waiting = False
    while (kept := await _used_or_made(site, shelf, script)) is None:
        if not waiting:
            await site.log("info", "Another run makes this environment: waiting for it.")
        waiting = True
        await asyncio.sleep(WAIT_S)
    path = INSIDE if site.sandboxed else str(kept.folder)
    return Environment(kept, path, kept.variables)


async def _used_or_made(site: Site, shelf: Shelf, script: str) -> Kept | None:
    """A fresh one that is kept, or a new one; None while another run makes it."""
    kept = shelf.use()
    if kept is None or not _is_fresh(kept, site.now):
        if kept is not None:
            kept.close()
        lock = shelf.alone()
        if lock is not None:
            return await _alone(site, shelf, script, lock)
        kept = shelf.use()  # somebody makes it, or uses one that is too old: the old one is there in the end
    if kept is not None:
        await _said_again(site, kept)
    return kept


async def _alone(site: Site, shelf: Shelf, script: str, lock: Lock) -> Kept:
    try:
        kept = shelf.held(lock)
        if kept is None or not _is_fresh(kept, site.now):
            return await _make(site, shelf, script, lock)
        lock.share()  # another run has made it a moment ago
        await _said_again(site, kept)
        return kept
    except BaseException:
        lock.close()
        raise


def _is_fresh(kept: Kept, now: str) -> bool:
    # One from the future was made by a wrong clock; an hour is what clocks are put right by.
    return timedelta(hours=-1) <= parse_instant(now) - kept.made_at < FRESH_FOR


async def _said_again(site: Site, kept: Kept) -> None:
    kept.lock.touch()
    old = "" if _is_fresh(kept, site.now) else ", though it is old: other runs use it at this moment"
    await site.log("info", f"The environment made at {kept.made_text} is used again{old}.")


async def _make(site: Site, shelf: Shelf, script: str, lock: Lock) -> Kept:
    """Run the script, and keep what it left. The caller holds the shelf's place alone."""
    await site.log("info", "The setup script is run: its result is kept for later runs.")
    # Programs write where they lie into what they install: without a sandbox that must be the place itself.
    folder = await asyncio.to_thread(shelf.begin, in_place=not site.sandboxed)
    try:
        await _run_script(site, folder, shelf.script(script))
        variables = variables_of(folder)
        most, size = site.order.limits.disk_bytes, await asyncio.to_thread(shelf.size_of, folder)
        if size > most:
            raise _too_large(size, most)
        kept = await asyncio.to_thread(shelf.keep, folder, site.now, variables, lock)
    except BadVariables as error:
        await asyncio.to_thread(shelf.give_up, folder)
        raise BlockFailed(f"The file env that the setup script left {error}.", hint=_HINT) from None
    except BaseException:
        await asyncio.shield(asyncio.to_thread(shelf.give_up, folder))
        raise
    await asyncio.to_thread(shelf.prune)
    return kept


async def _run_script(site: Site, folder: Path, script: Path) -> None:
    """Run the script in a tool host of its own. Raises `BlockFailed` when it does not end well."""
    place, file = (INSIDE, SCRIPT_INSIDE) if site.sandboxed else (str(folder), str(script))
    env = {
        **site.variables,
        "PATH": f"{place}/bin:{site.variables['PATH']}",
        "HOME": f"{place}/home",
        "TMPDIR": f"{place}/tmp",  # noqa: S108 - a folder of its own: /tmp in a sandbox is small
        PLACE_VARIABLE: place,
    }
    binds = (Bind(str(folder), INSIDE, writable=True), Bind(str(script), SCRIPT_INSIDE))
    host = await site.doorway.start(Envelope(binds=binds, env=env), sandboxed=site.sandboxed)
    try:
        result = await _within_the_cap(site, folder, host, file, place)
    finally:
        await host.close()
    said = result.stdout.decode("utf-8", "replace")
    # The line that was cut in two may hold half a secret, which nobody would know as one.
    output = str(site.redact(said[: said.rfind("\n") + 1] if result.truncated else said))
    cut = f"\n({result.truncated:,} bytes more were cut off)" if result.truncated else ""
    failed = result.exit != 0
    if output.strip():
        await site.log("error" if failed else "info", f"The setup script said:\n{output}{cut}")
    if failed:
        raise BlockFailed(_sentence(result, output, site.build_s), hint=_HINT)


async def _within_the_cap(site: Site, folder: Path, host: ToolHost, file: str, place: str) -> ToolResult:
    """Run the script, with a look now and then at what it has written; it is ended when that is too much."""
    own = (site.order.routine.get("environment") or {}).get("env") or {}
    # One stream: what a program said before it failed stands before its failure.
    argv = ["bash", "-c", 'exec bash -eo pipefail "$0" 2>&1 < /dev/null', file]
    call = host.run(argv, cwd=place, env=own, timeout_s=site.build_s, max_bytes=OUTPUT_BYTES)
    work = asyncio.ensure_future(call)
    try:
        while not (await asyncio.wait({work}, timeout=LOOK_S))[0]:
            size = await asyncio.to_thread(Shelf.size_of, folder)
            if size > site.order.limits.disk_bytes:
                raise _too_large(size, site.order.limits.disk_bytes)
        return work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def _sentence(result: ToolResult, output: str, build_s: float) -> str:
    if result.why == "timeout":
        return f"The setup script was not done within {build_s:g} s."
    ended = f"ended with exit code {result.exit}" if result.exit is not None else f"did not end: {result.why}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    words = "".join(sign for sign in lines[-1] if sign.isprintable())[-LAST_WORDS:] if lines else ""
    return f"The setup script {ended}" + (f": {words}" if words else "") + ("" if words.endswith(".") else ".")


def _too_large(size: int, most: int) -> BlockFailed:
    hint = "have it leave less (caches in $HOME count), or raise limits.disk_bytes"
    return BlockFailed(f"The setup script wrote {size:,} bytes, and {most:,} are the most.", hint=hint)


def _key(site: Site, script: str, said: Mapping[str, Any]) -> str:
    """What an environment is kept by: all that its making depends on."""
    depends = {
        "script": script,
        "env": said.get("env") or {},
        "network": said.get("network", "none"),
        "tool_host": digest_bytes(TOOL_HOST.read_bytes()),
        "machine": platform.machine(),
        "python": [platform.python_version(), site.doorway.python],
        "sandboxed": site.sandboxed,
    }
    return digest_of(depends).removeprefix("sha256:")[:40]

