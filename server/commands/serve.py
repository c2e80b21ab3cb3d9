"""`hq serve`: own the home and answer over HTTP until a signal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from server.commands.context import home_of, login_name, say

if TYPE_CHECKING:
    import asyncio

_PORT = 7717


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True,
              help="Port of 127.0.0.1 to listen at; 0 for any free one.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Say where as one JSON line on stdout, once it answers.")
@click.pass_context
def command(ctx: click.Context, port: int, as_json: bool) -> None:
    """Answer over HTTP: MCP at /mcp, decisions at /decisions, health at /healthz and /readyz, figures at /metrics.

    HQ listens on this machine alone. Whoever asks sends a token that `hq token create` made, for /metrics one of
    any scope but fire and minion; HQ_PUBLIC_URL=http(s)://HOST[:PORT] names the address under which it is reached
    through a proxy. It logs on stderr, from the level on that HQ_LOG=debug|info|warning|error says. SIGTERM and
    Ctrl-C end it in good order: what it acknowledged is kept, as it also is when it is killed.

    People are told once when a minion falls silent and a slot of it passes its grace, and once when it is back:
    by a command with the message on its stdin, HQ_ALERT_COMMAND='["mail", "-s", "HQ", "me"]' (a JSON list of
    words, run without a shell), by a Slack webhook, HQ_ALERT_SLACK_FILE=FILE (mode 600, its address alone), or
    both.

    \b
    Examples:
      hq serve
      hq serve --port 0 --json
      hq --home /srv/hq serve
    """
    from importlib.metadata import version

    from server.commands.life import run_until_told
    from server.config import alerts, public_url
    from server.telling import check

    home, who, public, told_by = home_of(ctx), login_name(), public_url(), alerts()
    check(told_by)

    def told(url: str) -> None:
        outside = f" and, through a proxy, at {public}" if public else ""
        say(f"HQ answers at {url}{outside}; its home is {home.root}.")
        if not told_by.ways:
            say("Nobody will be told if a minion falls silent: see HQ_ALERT_COMMAND in hq serve --help.")
        if as_json:
            where = {"url": url, "mcp": f"{url}/mcp", "public_url": public, "home": str(home.root)}
            click.echo(json.dumps(where))

    async def serving(stop: asyncio.Event) -> None:
        from server.app import opened
        from server.serving import serve

        async with opened(home, "hq serve") as (desk, lock):
            await serve(
                desk, lock, home, port=port, version=version("minion-hq"), who=who, told=told, stop=stop
            )

    run_until_told(serving)
