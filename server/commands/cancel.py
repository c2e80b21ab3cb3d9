"""`hq cancel`: calls a run off."""

from __future__ import annotations

import click

from server.commands.context import home_of, login_name, print_json, say


@click.command("cancel")
@click.argument("run", metavar="RUN")
@click.option("--why", metavar="TEXT", default="", help="Your reason; it is kept with the run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str, why: str, as_json: bool) -> None:
    """Call a run off: at once while it waits, by its minion where it is under way.

    RUN is its id, or the beginning of one. A minion that has begun it stops it when it next asks HQ, and says how
    it ended; asking again orders nothing twice.

    \b
    Examples:
      hq cancel run_01A2B3C4
      hq cancel run_01A2B3C4 --why "The alert was a false one."
    """
    from server.asking import ask

    said = ask(home_of(ctx), "hq cancel", "run.cancel", {"run": run, "why": why}, who=login_name())
    if as_json:
        print_json(said)
        return
    click.echo(f"{said['run']} is {said['state'] if said['state'] == 'cancelled' else 'being cancelled'}.")
    if said["state"] == "cancelling":
        say(said["note"])
