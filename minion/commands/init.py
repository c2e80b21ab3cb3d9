"""`minion init`: makes the home, mints the minion's id, and writes a first routine, its schedule paused."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from minion.commands.context import home_of, print_json, program, shown_path, warn
from minion.config import Config, Home, load_config, machine_zone
from server.contract.refusals import BadUse

# The user's own example, word for word; its `<uuid>` becomes this minion's id.
FIRST_ROUTINE: Final[dict[str, Any]] = {
    "name": "morning-report",
    "pipeline": ["write-daily-report", "send-to-slack"],
    "content": "Write a daily report and post it to the team Slack channel",
    "cron_expression": "0 9 * * 1-5",
}


@click.command("init")
@click.option("--name", help="The minion's name, a slug [default: this machine's name].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Make this machine a minion.

    Writes the home, and the routine `morning-report` for the git checkout around the current folder, with its
    schedule paused. A home that was initialised before is left as it is.
    """
    home = home_of(ctx)
    fresh = not home.config_file.exists()
    config = _begin(home, name) if fresh else load_config(home)
    file = home.routines / f"{FIRST_ROUTINE['name']}.json"
    if fresh:
        asyncio.run(_first_routine(home, config))
    if as_json:
        print_json({"home": str(home.root), "minion_id": config.minion_id, "name": config.name, "created": fresh})
        return
    if not fresh:
        click.echo(f"{config.name} lives in {shown_path(home.root)} already; nothing was changed.")
        return
    repositories = json.loads(file.read_bytes())["repositories"]
    click.echo(f"{click.style(config.name, bold=True)} is ready in {shown_path(home.root)}.")
    click.echo(f"  routine     {FIRST_ROUTINE['name']}, weekdays at 9:00 ({config.timezone}), paused")
    click.echo(f"  repository  {', '.join(repositories) or 'none: this folder is in no git checkout'}")
    click.echo(f"  try         {program(ctx)} run {FIRST_ROUTINE['name']}")


def _begin(home: Home, name: str | None) -> Config:
    from minion.app import initialise

    chosen = name or re.sub(r"[^a-z0-9]+", "-", socket.gethostname().split(".")[0].lower()).strip("-") or "minion"
    if re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", chosen) is None:
        raise BadUse("bad_name", f"{chosen!r} is no name for a minion.", hint="small letters, digits and hyphens")
    return initialise(home, name=chosen, timezone=machine_zone())


async def _first_routine(home: Home, config: Config) -> None:
    from minion.app import opened
    from minion.clock import utc_now

    routine = {**FIRST_ROUTINE, "minion_id": config.minion_id, "paused": True}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{routine['name']}.json"
        file.write_text(json.dumps(routine))
        async with opened(home, "minion init", clock=utc_now, alert=warn) as minion:
            await minion.add_routine(file, replace=False, folder=Path.cwd())
