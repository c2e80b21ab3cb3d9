"""`minion cancel`: stops a run, from any terminal."""

from __future__ import annotations

import click

from minion.asking import ask
from minion.commands.completion import complete_under_way
from minion.commands.context import home_of, print_json, warn
from minion.commands.owner import naming_the_foreground
from minion.commands.presentation import headline
from minion.config import load_config
from minion.spelling import one_line
from minion.store.local_db import read_only
from minion.store.run_history import find_run, whole_run


@click.command("cancel")
@click.argument("run", metavar="RUN", shell_complete=complete_under_way)
@click.option("--why", metavar="TEXT", help="What its record says of it [default: cancelled by a person].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str, why: str | None, as_json: bool) -> None:
    """Stop a run that goes on, and say how it ended.

    RUN is an id, the beginning of one, a routine's name (its newest run), NAME@last, or last. It works from any
    terminal for a run that the daemon performs. What the run started is ended with it, a report of what is known
    is filed, and nothing of it is sent or pushed any more. A run that `minion run` performs itself, where no
    daemon is up, is stopped where it was started, with Ctrl-C.

    \b
    Examples:
      minion cancel morning-report
      minion cancel run_01A2B3C4 --why "the wrong branch"
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:  # a name that is no run's is refused whoever owns the home
        run_id = find_run(db, run)
    with naming_the_foreground(home):
        ask(home, "cancel", {"run": run_id, "why": why}, command="minion cancel", alert=warn)
    with read_only(home.store) as db:
        ended = whole_run(db, run_id)
    if as_json:
        told = {name: ended[name] for name in ("routine", "state", "verdict", "why", "summary")}
        print_json({"run": run_id, **told})
        return
    click.echo(headline(ended))
    click.echo(one_line(ended["summary"] or ""))
