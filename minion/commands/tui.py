"""`minion tui`: the terminal view of this minion."""

from __future__ import annotations

import gc
import sys
from functools import partial

import click

from minion.commands.context import as_called, home_of
from minion.config import load_config
from minion.terminal import can_draw
from server.contract.refusals import Refused


@click.command("tui")
@click.pass_context
def command(ctx: click.Context) -> None:
    """See, steer and trust this minion in the terminal.

    What needs you comes first, then each routine with its last twenty runs, what runs now, and the last 24 hours.
    It reads the run store and steers through the daemon; with no daemon it only looks, and says so. Nothing that
    cannot be undone is one key: runs and cancellations are confirmed, decisions are typed. `?` shows every key.
    Quitting ends the view and nothing else. It works over ssh, without colours (NO_COLOR), and in a browser with
    `textual serve "minion tui"`.

    \b
    Examples:
      minion tui
      minion --home .minion tui
    """
    home = home_of(ctx)
    config = load_config(home)
    if not can_draw(sys.stdin, sys.stdout):
        says = "The terminal view needs a terminal that can be drawn on."
        raise Refused("no_terminal", says, hint="minion status")
    from minion.clock import utc_now
    from minion.tui.aside import Ahead
    from minion.tui.reading import Reading

    # The store is read while Textual loads, and nothing looks for garbage where there is none yet.
    first = Ahead(Reading(home, config, utc_now).snapshot)
    gc.disable()
    from minion.tui.tui_app import MinionApp, collect_seldom

    called = partial(as_called, ctx)
    MinionApp(home, config, utc_now, first=first, painted=collect_seldom, called=called).run()
