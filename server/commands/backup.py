"""`hq backup`: a whole copy of the store while HQ goes on writing."""

from __future__ import annotations

from pathlib import Path

import click

from server.commands.context import home_of, say


@click.command("backup")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def command(ctx: click.Context, file: Path) -> None:
    """Copy the store to FILE, of one moment and whole, while HQ goes on writing.

    What HQ acknowledged before the copy began is in it. FILE is there when all of it is on the disk, and not
    before; none that is there is replaced. It holds digests of tokens, and no token. `hq verify --backup FILE`
    looks it through, `hq restore FILE` puts it back.

    \b
    Examples:
      hq backup hq-monday.db
      hq --home /srv/hq backup /mnt/backups/hq-2026-11-22.db
    """
    from server.contract.refusals import NotFound
    from server.storage.audit import end_of
    from server.storage.migrations import back_up, examine

    store = home_of(ctx).store
    if examine(store) is None:
        raise NotFound("no_store", f"There is no store at {store} yet.", hint="hq serve makes it")
    back_up(store, Path(file).absolute())
    say(f"{file} holds the log up to event {end_of(Path(file).absolute()).position:,}.")
