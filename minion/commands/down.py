"""`minion down`: has the daemon end in good order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import click

from minion.commands.context import home_of, print_json
from minion.commands.numbers import SECONDS
from minion.commands.owner import daemon_of
from minion.config import Home, load_config
from minion.daemon_client import SIGN_S, daemon_pid
from server.contract.refusals import Refused

# Over the grace that runs get: to write down how they ended.
_AFTER_S: Final = 30.0
# However short somebody waits: what a daemon that is well is given to be told.
_TOLD_S: Final = 1.0


@click.command("down")
@click.option("--now", is_flag=True, help="Interrupt what runs at once.")
@click.option("--wait", "wait_s", type=SECONDS, metavar="S", help="Wait so long, in seconds.")
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
    patience_s = config.grace_s + _AFTER_S if wait_s is None else wait_s
    until = time.monotonic() + patience_s
    pid = _told_to_end(home, {"grace_s": 0} if now else {}, min(SIGN_S, max(_TOLD_S, patience_s)))
    while daemon_pid(home) == pid:
        if time.monotonic() > until:
            says = f"The daemon (process {pid}) has not ended yet."
            raise Refused("still_up", says, hint="see daemon.log of the home; minion status")
        time.sleep(0.02)
    if as_json:
        print_json({"pid": pid, "down": True})
    else:
        click.echo(f"The minion is down (process {pid}).")


def _told_to_end(home: Home, params: Mapping[str, float], patience_s: float) -> int:
    """Tell the daemon to end; its process. Raises `Refused` where none runs, or none answers in time (seconds)."""
    try:
        with daemon_of(home, patience_s=patience_s) as client:
            return int(client.ask("stop", params, sign_s=patience_s)["pid"])
    except Refused as refusal:
        if refusal.code == "daemon_silent":
            refusal.hint = f"kill -KILL {daemon_pid(home)}"
        raise
