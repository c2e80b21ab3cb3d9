"""`minion status`: how the minion stands now."""

from __future__ import annotations

import click

from minion.commands.context import home_of, print_json
from minion.config import load_config
from minion.daemon_client import connected
from server.contract.refusals import Refused


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show how the minion stands: its daemon, what runs, what is due.

    \b
    Examples:
      minion status
      minion status --json
    """
    home = home_of(ctx)
    load_config(home)
    client = connected(home)
    if client is None:
        raise Refused("no_daemon", "No daemon runs this minion.", hint="minion up")
    with client:
        live = client.ask("status", {})
    if as_json:
        print_json(live)
        return
    click.echo("\n".join(f"{name:<10} {value}" for name, value in live.items()))
