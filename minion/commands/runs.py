"""`minion runs`: lists the newest runs."""

from __future__ import annotations

import click

from minion.commands.completion import complete_routine, complete_state
from minion.commands.context import home_of, print_json
from minion.commands.presentation import mark, table
from minion.config import load_config
from minion.spelling import STATES, clip, local_time, took
from minion.store.local_db import read_only
from minion.store.run_history import LISTED, list_runs
from server.contract.refusals import BadUse


@click.command("runs")
@click.option(
    "--routine", metavar="NAME", shell_complete=complete_routine, help="Only runs of this routine (name or id)."
)
@click.option("--state", metavar="S", shell_complete=complete_state, help="Only runs in this state or verdict.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), default=LISTED, show_default=True, metavar="N",
    help="At most N.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, routine: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List the newest runs, newest first, with the verdict of each.

    A home keeps the newest 200 runs. The verdict is the one word that counts: `ok` was checked or its delivery
    confirmed, `unchecked` is the routine's own claim. --state takes a verdict or a state:

    \b
    verdicts  ok unchecked partial failed not-delivered unknown skipped
    states    queued running waiting completed failed cancelled timed_out
              interrupted violated

    \b
    Examples:
      minion runs
      minion runs --routine morning-report --limit 5
      minion runs --state failed
      minion runs --state interrupted --json
    """
    if state is not None and state not in STATES:
        raise BadUse("bad_state", f"{state!r} is no state or verdict.", hint=f"use one of {', '.join(STATES)}")
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        runs = list_runs(db, routine=routine, state=state, limit=limit)
    if as_json:
        print_json(runs)
        return
    if not runs:
        click.echo("No runs yet." if routine is None and state is None else "No such runs.")
        return
    rows = [
        [
            mark(run["verdict"]), run["routine"], local_time(run["started_at"] or run["created_at"]),
            took(run["started_at"], run["ended_at"]), run["id"],
            clip(" ".join((run["summary"] or "").split()), 60),
        ]
        for run in runs
    ]  # fmt: skip
    click.echo("\n".join(table(["verdict", "routine", "started", "took", "run", "summary"], rows)))
