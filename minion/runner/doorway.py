"""Starts a tool host with the one way out that its routine's network leaves it: a door inside, a proxy here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from minion.runner.blocks import BlockFailed
from minion.runner.egress import Blocked, Proxy, Resolver
from minion.sandbox.bubblewrap import INSIDE_DOOR, INSIDE_EGRESS, Envelope
from minion.sandbox.tool_client import ToolHost
from server.contract.egress import Egress
from server.contract.quota import Limits

# In the sandbox's own network nobody else has taken it.
PORT: Final = 3128
OPEN_S: Final = 15.0
# A session may kill its own door, by accident too (`pkill python`); it gets so many new ones.
MOST_DOORS: Final = 20
AGAIN_S: Final = 0.2
LIFE_S: Final = 10_000_000.0
_HERE: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Doorway:
    """How a run's tool hosts are started: what they may reach, what holds them, where they say what is wrong.

    `socket` is where the proxy listens, `python` the interpreter inside. `egress` None: no network at all.
    """

    egress: Egress | None
    socket: Path
    log: Path
    python: str
    limits: Limits
    blocked: Blocked
    resolve: Resolver | None = None

    async def start(self, envelope: Envelope, *, sandboxed: bool) -> ToolHost:
        """A tool host in an envelope, with its door open; the door and the proxy end with it.

        Without a sandbox there is no wall to have a door in. Raises `SandboxUnusable`, and `BlockFailed` when
        the door cannot be opened.
        """
        if not sandboxed or self.egress is None:
            return await self._host(envelope, sandboxed=sandboxed)
        proxy = Proxy(self.egress, blocked=self.blocked, resolve=self.resolve)
        try:
            await proxy.open(self.socket)
            through = {**envelope.env, **variables(self.egress)}
            host = await self._host(replace(envelope, egress=str(self.socket), env=through), sandboxed=True)
        except BaseException:
            await proxy.close()
            raise
        host.afterwards(proxy.close)
        try:
            await self._open_door(host)
        except BaseException:
            await host.close()
            raise
        return host

    async def _host(self, envelope: Envelope, *, sandboxed: bool) -> ToolHost:
        return await ToolHost.start(envelope, sandboxed=sandboxed, log_path=self.log, limits=self.limits)

    async def _open_door(self, host: ToolHost) -> None:
        is_open = asyncio.Event()
        keeping = asyncio.get_running_loop().create_task(self._keep_door(host, is_open))

        async def let_go() -> None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

        host.afterwards(let_go)
        try:
            async with asyncio.timeout(OPEN_S):
                await is_open.wait()
        except TimeoutError:
            hint = "see tool_host.log in the run's folder, or write `network: none`"
            raise BlockFailed("The sandbox's way to the network could not be opened.", hint=hint) from None

    async def _keep_door(self, host: ToolHost, is_open: asyncio.Event) -> None:
        """Run the door for the host's life, again when it was killed."""
        argv = [self.python, "-I", "-S", INSIDE_DOOR, INSIDE_EGRESS, str(PORT)]
        for _ in range(MOST_DOORS):
            await host.run(
                argv, cwd="/", timeout_s=LIFE_S, max_bytes=100, on_output=lambda _stream, _said: is_open.set()
            )
            await asyncio.sleep(AGAIN_S)


def variables(egress: Egress) -> Mapping[str, str]:
    """What makes programs inside use the door; those that ask for nothing find no network.

    No ALL_PROXY: it would send through it what is no HTTP either, and is not understood by all alike. An address
    of this machine is the sandbox's own, unless it is listed.
    """
    listed = {pattern.host for pattern in egress.patterns}
    here = ",".join(name for name in _HERE if name not in listed)
    door = f"http://127.0.0.1:{PORT}"
    found = {name: door for lower in ("http_proxy", "https_proxy") for name in (lower, lower.upper())}
    return found | {"no_proxy": here, "NO_PROXY": here, "NODE_USE_ENV_PROXY": "1"}
