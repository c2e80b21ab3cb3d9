"""`minion verify`: whether the log is intact, of one run or of the whole home."""

from __future__ import annotations

import click

from minion.commands.completion import complete_run
from minion.commands.context import home_of, print_json
from minion.commands.presentation import mark
from minion.config import load_config
from minion.store.local_db import read_only
from minion.store.run_history import breaches, find_run, log_size


@click.command("verify")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str | None, as_json: bool) -> int:
    """Check that the log is intact: the hash chains of the runs kept, their seals, the tombstones of pruned ones.

    Without RUN the whole home is checked, with it that run alone: an id, the beginning of one, a routine's name,
    NAME@last, or last. What nobody sealed yet, a run under way, can lose its newest entries unseen.

    Exit code 0 when all is intact, 1 when anything was changed, removed, added or reordered.

    \b
    Examples:
      minion verify
      minion verify morning-report@last
      minion verify --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        db.execute("BEGIN")  # all that follows is of one moment: a run that ends meanwhile breaks no chain
        run_id = find_run(db, run) if run is not None else None
        broken, size = breaches(db, run_id), log_size(db, run_id)
    if as_json:
        found = [{"chain": breach.chain, "position": breach.position} for breach in broken]
        print_json({"intact": not broken, **size, "breaches": found})
        return 1 if broken else 0
    counted = ", ".join(f"{number:,} {name if number != 1 else name[:-1]}" for name, number in size.items())
    click.echo(f"{mark('failed' if broken else 'ok')}  log {'BROKEN' if broken else 'intact'}: {counted}")
    for breach in broken:
        click.echo(f"  {breach.chain}, entry {breach.position}")
    return 1 if broken else 0
