"""`minion effects`: what a run did outside: each push, post and file, done or not, and how to take it back."""

from __future__ import annotations

import click

from minion.commands.completion import complete_run
from minion.commands.context import home_of, print_json, shown_path
from minion.commands.presentation import mark
from minion.config import load_config
from minion.store.local_db import read_only
from minion.store.run_history import find_run, whole_run


@click.command("effects")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, run: str, as_json: bool) -> None:
    """Show what a run wrote outside itself, what it was not allowed to, and what cannot be told.

    RUN is an id, the beginning of one, a routine's name, NAME@last, or last. An effect that is `unknown` was cut
    off between its intent and its result: look at its target before you run the routine again. Where one can be
    taken back by a command, `undo` gives it, ready to paste.

    \b
    Examples:
      minion effects last
      minion effects morning-report@last
      minion effects run_01A2B3C4 --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        effects = whole_run(db, find_run(db, run))["effects"]
    if as_json:
        print_json(effects)
        return
    if not effects:
        click.echo("This run staged no effects.")
    for effect in effects:
        click.echo(f"{mark(effect['state'])}  {effect['kind']}:{effect['target']}  {effect['id']}")
        where = shown_path(effect["destination"]) if effect["destination"] else None
        for name, text in (("where", where), ("saw", effect["detail"]), ("undo", effect["reverse"])):
            if text:
                click.echo(f"    {name:<6} {text}")
