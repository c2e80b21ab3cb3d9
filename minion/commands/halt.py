"""`minion halt`: the kill switch; nothing starts until `minion unhalt`."""

from __future__ import annotations

import click

from minion.asking import ask
from minion.commands.context import home_of, print_json, program, warn
from minion.commands.owner import naming_the_foreground
from minion.config import load_config


@click.command("halt")
@click.option("--why", metavar="TEXT", help="What is said to people of it.")
@click.option("--let-finish", is_flag=True, help="What runs goes on to its end; only nothing new starts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, why: str | None, let_finish: bool, as_json: bool) -> None:
    """Stop everything: cancel what runs, and start nothing until `minion unhalt`.

    The kill switch. It works with a daemon and without one, and outlasts restarts of both. Slots that fall due
    meanwhile are skipped, with this as their reason; `minion run` is refused. The daemon itself stays up. A run
    that `minion run` performs in another terminal, without a daemon, is stopped there, with Ctrl-C.

    \b
    Examples:
      minion halt
      minion halt --why "the API key leaked"
      minion halt --let-finish
    """
    home = home_of(ctx)
    load_config(home)
    with naming_the_foreground(home):
        answer = ask(home, "halt", {"why": why, "let_finish": let_finish}, command="minion halt", alert=warn)
    if as_json:
        print_json(answer)
        return
    click.echo(f"The minion is halted: {answer['why']}.")
    for run in answer["cancelled"]:
        click.echo(f"  cancelled  {run}")
    click.echo(f"  go on      {program(ctx)} unhalt")
