"""`hq run`: asks for a run of a routine."""

from __future__ import annotations

import click


@click.command("run")
@click.argument("routine", metavar="R")
@click.option("--text", metavar="TEXT", default="", help="What the run is told, as words from outside.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, routine: str, text: str, as_json: bool) -> None:
    """Run a routine now on its minion, paused or not.

    R is its name, its id or the beginning of one. Only the run's id goes to stdout. A minion that listens begins
    it at once; one that is away when it comes back.

    \b
    Examples:
      hq run nightly
      hq run triage --text "SEN-4521 fired." --json
    """
    from server.commands.routine import ask_for_run

    ask_for_run(ctx, routine, text, as_json)
