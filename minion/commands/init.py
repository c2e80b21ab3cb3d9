"""`minion init`: makes the home, mints the minion's id, and writes a first routine, its schedule paused."""

from __future__ import annotations

import asyncio
import json

import click

from minion.commands.context import home_of, print_json, program, shown_path, warn
from minion.config import Config, Home, load_config, machine_zone
from minion.setup.first_routine import (
    FIRST_ROUTINE,
    checked_name,
    first_file,
    machine_name,
    next_commands,
    put_first_routine,
)


@click.command("init")
@click.option("--name", help="The minion's name, a slug [default: this machine's name].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Make this machine a minion.

    Writes the home, and the routine `morning-report` for the git checkout around the current folder. Its schedule
    is paused: `minion schedule resume morning-report` starts it, and `minion up` has the minion stay up for it. A
    home that was initialised before is left as it is, whether or not its daemon is up.

    The home is --home, else MINION_HOME, else the platform's data folder. Only you can read it.

    \b
    Examples:
      minion init
      minion init --name my-desk
      minion --home ~/minions/shop init --json
    """
    home = home_of(ctx)
    fresh = not home.config_file.exists()
    if fresh:
        asyncio.run(_begin(home, checked_name(name or machine_name())))
    config = load_config(home)
    if as_json:
        print_json({"home": str(home.root), "minion_id": config.minion_id, "name": config.name, "created": fresh})
        return
    if not fresh:
        click.echo(f"{config.name} lives in {shown_path(home.root)} already; nothing was changed.")
        return
    repositories = json.loads(first_file(home).read_bytes())["repositories"]
    click.echo(f"{click.style(config.name, bold=True)} is ready in {shown_path(home.root)}.")
    when = f"weekdays at 9:00 ({config.timezone}), paused until you start it"
    click.echo(f"  routine     {FIRST_ROUTINE['name']}, {when}")
    click.echo(f"  repository  {', '.join(repositories) or 'none: this folder is in no git checkout'}")
    for label, line in zip(("try", "start", "stay up"), next_commands(home, program(ctx)), strict=False):
        click.echo(f"  {label:<11} {line}")


async def _begin(home: Home, name: str) -> None:
    from minion.app import initialise, opened
    from minion.clock import utc_now

    def begin() -> Config:
        return initialise(home, name=name, timezone=machine_zone())

    async with opened(home, "minion init", clock=utc_now, alert=warn, begin=begin) as minion:
        await put_first_routine(minion, None)
