"""`hq mcp`: MCP over stdin and stdout, for a Claude session of this machine."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import click

from server.commands.context import home_of, login_name

if TYPE_CHECKING:
    import asyncio

_SCOPES = ("session", "ledger", "reviewer", "admin")


@click.command("mcp")
@click.option("--scope", "scopes", type=click.Choice(_SCOPES), multiple=True, default=("session",),
              show_default=True, help="What the session may do; give it again for more.")  # fmt: skip
@click.pass_context
def command(ctx: click.Context, scopes: tuple[str, ...]) -> None:
    """Answer MCP over stdin and stdout, for a Claude session of this machine.

    Where an HQ of this home runs already, the session joins it. Where none does, this process owns the home, and
    answers at a free port of this machine too, so that others join it; when it ends, one of them takes over.
    Stdout carries the protocol alone. A session sees the tools of its scope.

    Tell Claude Code of it with `claude mcp add hq -- hq mcp`.

    \b
    Examples:
      hq mcp
      hq mcp --scope session --scope ledger
      hq --home /srv/hq mcp
    """
    from importlib.metadata import version

    from server.commands.life import run_until_told

    home, who, scope = home_of(ctx), login_name(), "+".join(sorted(set(scopes)))

    async def relaying(stop: asyncio.Event) -> None:
        from server.at_hand import AtHand
        from server.relaying import Relay

        at_hand = AtHand(home, scope, who, version("minion-hq"))
        try:
            # Before the first message, so that a home that cannot be had is said at once.
            await at_hand.address()
            await Relay(at_hand, out).run(lines_of(stop))
        finally:
            await at_hand.close()

    out = _protocol_alone()
    # What goes well is no business of whoever shows a session its server's stderr.
    run_until_told(relaying, log="warning")


def _protocol_alone() -> Callable[[bytes], None]:
    """What writes to stdout as it was; what anything else prints goes to stderr from here on."""
    sys.stdout.flush()
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def out(line: bytes) -> None:
        wire.write(line)
        wire.flush()

    return out


async def lines_of(stop: asyncio.Event) -> AsyncIterator[bytes]:
    """The lines of stdin until it ends, or until `stop`."""
    import asyncio

    loop, lines = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

    def read() -> None:
        for line in iter(sys.stdin.buffer.readline, b""):
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    async def stopped() -> None:
        await stop.wait()
        lines.put_nowait(None)

    watching = asyncio.ensure_future(stopped())
    threading.Thread(target=read, name="hq stdin", daemon=True).start()
    try:
        while (line := await lines.get()) is not None:
            yield line
    finally:
        watching.cancel()
