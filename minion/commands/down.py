"""`minion down`: has the daemon end in good order."""

from __future__ import annotations

import time
from typing import Final

import click

from minion.commands.context import home_of, print_json
from minion.config import holder_of, load_config
from minion.daemon_client import connected
from server.contract.refusals import Refused

# Over the grace that runs get: to write down how they ended.
_AFTER_S: Final = 30.0


@click.command("down")
@click.option("--now", is_flag=True, help="Interrupt what runs at once.")
@click.option("--wait", "wait_s", type=click.FloatRange(0), metavar="S", help="Wait so long, in seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, now: bool, wait_s: float | None, as_json: bool) -> None:
    """Have the daemon end in good order.

    Nothing new starts. Runs that go on have a few seconds to end (`grace_s` in minion.json, 10 unless it says
    otherwise); then they are interrupted, which their records say. Slots that fall due meanwhile are caught up at
    the next `minion up`, as each routine says.

    \b
    Examples:
      minion down
      minion down --now
    """
    home = home_of(ctx)
    config = load_config(home)
    client = connected(home)
    if client is None:
        raise Refused("no_daemon", "No daemon runs this minion.", hint="minion up")
    with client:
        pid = client.ask("stop", {"grace_s": 0} if now else {})["pid"]
    until = time.monotonic() + (config.grace_s + _AFTER_S if wait_s is None else wait_s)
    while time.monotonic() < until:
        holder = holder_of(home)
        if holder is None or holder[0] != pid:
            break
        time.sleep(0.02)
    else:
        says = f"The daemon (process {pid}) has not ended yet."
        raise Refused("still_up", says, hint="see daemon.log of the home; minion status")
    if as_json:
        print_json({"pid": pid, "down": True})
    else:
        click.echo(f"The minion is down (process {pid}).")
