"""`minion verify`: whether the log is intact, of one run or of the whole home."""

from __future__ import annotations

import click

from minion.commands.context import home_of, print_json
from minion.commands.presentation import mark
from minion.config import load_config
from minion.store.local_db import read_only
from minion.store.run_history import breaches, find_run, log_size


@click.command("verify")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str | None, as_json: bool) -> int:
    """Check the hash chains: events and steps of the runs kept, their seals, the tombstones of pruned ones.

    Exit code 0 when all is intact, 1 when anything was changed, removed, added or reordered. What nobody sealed
    yet, a run under way, can lose its newest entries unseen.
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
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
