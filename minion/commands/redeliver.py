"""`minion redeliver`: sends again what a run made and could not deliver, without running it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from minion.asking import ask
from minion.commands.completion import complete_run
from minion.commands.context import home_of, print_json, warn
from minion.commands.presentation import mark
from minion.config import load_config
from minion.spelling import plain
from minion.store.local_db import read_only
from minion.store.run_history import find_run
from minion.terminal import login_name
from server.contract.run import EXIT_CODES


@click.command("redeliver")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str, as_json: bool) -> int:
    """Deliver again what a run made and what did not arrive; the run is not run again.

    RUN is an id, the beginning of one, a routine's name (its newest run), NAME@last, or last. Its effects that
    failed are performed again in their order, with the very bodies that were staged: no session, no model. What
    arrived is left alone, and so is what was refused or withheld. A pull request or comment that is there after
    all is not made twice. While an effect of the run is unknown nothing is sent: `minion effects check` looks.

    \b
    Exit codes follow the run's verdict afterwards:
      0  ok, unchecked            1  not-delivered, failed
      4  partial, unknown         2  bad use and 3 refused: nothing was sent

    \b
    Examples:
      minion redeliver morning-report
      minion redeliver run_01A2B3C4 --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:  # a name that is no run's is refused whoever owns the home
        run_id = find_run(db, run)
    said = {"run": run_id, "by": login_name()}
    done: Mapping[str, Any] = ask(home, "redeliver", said, command="minion redeliver", alert=warn)
    if as_json:
        print_json(done)
        return EXIT_CODES[done["verdict"]]
    for effect in done["effects"]:
        click.echo(f"{mark(effect['state'])}  {effect['kind']}:{effect['target']}  {effect['id']}")
        if effect["detail"]:
            click.echo(f"    {'saw':<6} {plain(effect['detail'])}")
    click.echo(f"    {'of':<6} {done['routine']}, {done['run']}: {mark(done['verdict'])} now")
    return EXIT_CODES[done["verdict"]]
