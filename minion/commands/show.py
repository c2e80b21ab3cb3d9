"""`minion show`: one run whole, by id, id prefix, routine name or NAME@last."""

from __future__ import annotations

import click

from minion.commands.completion import complete_run
from minion.commands.context import home_of, print_json
from minion.commands.presentation import facts, headline, rule, tree
from minion.config import load_config
from minion.spelling import one_line, report_text
from minion.store.local_db import read_only
from minion.store.run_history import breaches, find_run, results_of, whole_run


@click.command("show")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--verbose", "-v", is_flag=True, help="Also what a model did, the planned steps, all digests.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str, verbose: bool, as_json: bool) -> None:
    """Show one run: its verdict and what it rests on, what ran, its report.

    RUN is an id, the beginning of one, a routine's name (its newest run), NAME@last, or last. The verdict and the
    facts below it say why it is what it is; `steps` compares the steps taken with the planned ones; `log` says
    whether this run's log is intact.

    \b
    Examples:
      minion show last
      minion show morning-report@last -v
      minion show run_01A2B3C4 --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        run_id = find_run(db, run)
        whole, results, broken = whole_run(db, run_id), results_of(db, run_id), breaches(db, run_id)
    if as_json:
        print_json(whole | {"log_intact": not broken})
        return
    intact = "log        intact" if not broken else f"log        BROKEN: {broken[0].chain} at {broken[0].position}"
    told = [headline(whole), one_line(whole["summary"] or ""), "", *facts(whole, verbose=verbose), intact, ""]
    click.echo("\n".join(told))
    click.echo("\n".join([rule("what ran"), "", *tree(whole, verbose=verbose)]))
    report = report_text(results)
    if report:
        click.echo("\n".join(["", rule("report"), "", *report]))
