"""`minion reload`: has the daemon read its settings and routine files again, now."""

from __future__ import annotations

import click

from minion.commands.context import as_called, home_of, print_json
from minion.commands.owner import daemon_of
from minion.commands.presentation import mark
from minion.config import load_config
from minion.routines.files import all_routine_files
from minion.spelling import plain
from minion.store.local_db import read_only
from minion.store.routines import list_routines, problem_files


@click.command("reload")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Have the daemon read minion.json and the routine files again, now.

    It looks at routine files by itself every few seconds, and takes in those that changed: each changes its own
    routine only, whose history and last run stay. A file that is bad leaves its last good version in force.
    minion.json is read again here only, and at the start.

    Exit code 0, or 1 when a routine file is bad.

    \b
    Examples:
      minion reload
      minion reload --json
    """
    home = home_of(ctx)
    load_config(home)
    with daemon_of(home) as daemon:
        changed = daemon.ask("reload", {})["changed"]
    with read_only(home.store) as db:
        problems, kept = problem_files(db), list_routines(db)
    there = {file.stem for file in all_routine_files(home)}
    # The daemon may have seen it before: it is gone all the same.
    gone = [routine.name for routine in kept if routine.name not in there]
    if as_json:
        print_json({"changed": changed, "gone": gone, "problems": problems})
        return 1 if problems else 0
    good = [name for name in changed if name not in problems and name in there]
    left = f"; gone: {', '.join(gone)}" if gone else ""
    click.echo(f"Read again; changed: {', '.join(good) or 'nothing'}{left}.")
    for name, text in problems.items():
        click.echo(f"{mark('problem')}  {name}: {plain(text.removeprefix(f'{name}: '))}")
        click.echo(as_called(ctx, f"           minion routine edit {name}"))
    return 1 if problems else 0
