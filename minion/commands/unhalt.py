"""`minion unhalt`: lets a halted minion go on."""

from __future__ import annotations

import click

from minion.asking import ask
from minion.commands.context import home_of, print_json, warn
from minion.config import load_config
from minion.spelling import local_time


@click.command("unhalt")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Let a halted minion go on: routines start on their schedules again.

    What was due while it was halted is not made up for: those slots are skipped, and `minion slots` says so.

    \b
    Examples:
      minion unhalt
    """
    home = home_of(ctx)
    load_config(home)
    answer = ask(home, "unhalt", {}, command="minion unhalt", alert=warn)
    was = answer["was"]
    if as_json:
        print_json(answer)
    elif was is None:
        click.echo("The minion was not halted.")
    else:
        click.echo(f"The minion goes on; it was halted since {local_time(was['at'])}: {was['why']}.")
