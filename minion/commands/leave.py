"""`minion leave`: the minion leaves the HQ that it joined."""

from __future__ import annotations

import click

from minion.asking import ask
from minion.commands.context import home_of, print_json, warn
from minion.config import load_config


@click.command("leave")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Leave the HQ that was joined: its routines and skills go from here, and nothing is reported any more.

    Runs and their history stay, and so do the minion's own routines. HQ is told if it can be reached; if it
    cannot, it still counts this minion as one of its own until somebody says `hq minions forget` there.

    \b
    Examples:
      minion leave
    """
    home = home_of(ctx)
    load_config(home)
    answer = ask(home, "leave", {}, command="minion leave", alert=warn)
    if as_json:
        print_json(answer)
        return
    click.echo(f"The minion has left the HQ at {answer['url']}.")
    for name in answer["routines"]:
        click.echo(f"  gone   {name}")
    if answer["unreported"]:
        click.echo(f"  never told of {answer['unreported']} runs")
    if not answer["told"]:
        click.echo("  it could not be told; there: hq minions forget")
