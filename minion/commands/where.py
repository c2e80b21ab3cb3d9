"""`minion where`: the places of this minion, so that nobody has to search for them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from minion.commands.context import home_of, print_json
from minion.skills.loader import bundled_folder


@click.command("where")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say where everything lies: home, routines, skills, runs, outbox, secrets, store, program.

    Works without a home too: it says where one would be.

    \b
    Examples:
      minion where
      minion where --json
    """
    home = home_of(ctx)
    places = {
        "home": home.root, "config": home.config_file, "routines": home.routines, "skills": home.skills,
        "runs": home.runs, "outbox": home.outbox, "secrets": home.secrets_file, "store": home.store,
        "backups": home.backups,
        "bundled skills": bundled_folder(), "program": Path(sys.argv[0]).resolve(), "python": Path(sys.executable),
    }  # fmt: skip
    if as_json:
        print_json({name.replace(" ", "_"): {"path": str(p), "exists": p.exists()} for name, p in places.items()})
        return
    for name, path in places.items():
        click.echo(f"{name:<15} {path}{'' if path.exists() else '   (not there yet)'}")
