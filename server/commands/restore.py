"""`hq restore`: a backup in the store's place."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from server.commands.context import home_of, login_name, say


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.pass_context
def command(ctx: click.Context, file: Path, yes: bool) -> None:
    """Put the backup FILE in the store's place; the store that was there is kept beside it.

    HQ must not run. FILE is looked through first, and refused where its log is broken. What was written since the
    backup is in the store that is kept, and no longer in HQ: a later checkpoint will say that the log was cut. A
    token that was revoked since stays revoked.

    \b
    Examples:
      hq restore hq-monday.db
      hq restore /mnt/backups/hq-2026-11-22.db --yes
    """
    from server.clock import utc_now
    from server.config import owned
    from server.contract.refusals import Refused
    from server.storage.backups import restore
    from server.storage.migrations import examine_backup

    home, source = home_of(ctx), Path(file).absolute()
    with owned(home, "hq restore"):
        examine_backup(source)
        if home.store.exists() and not yes:
            if not sys.stdin.isatty():
                raise Refused("not_agreed", f"A store is at {home.store} already.", hint="add --yes to replace it")
            click.confirm(f"Put {file} in the place of {home.store}?", err=True, abort=True)
        done = restore(home.store, source, folder=home.backups, by=f"local:{login_name()}", now=utc_now())
    say(f"{home.store} is as in {file}: its log had come to event {done.end.position:,}.")
    if done.revoked:
        say(f"{done.revoked} of its tokens were revoked since, and stay so.")
    if done.kept is not None:
        say(f"What was there is {done.kept}.")
