"""`minion decisions`: what waits for a person."""

from __future__ import annotations

import click

from minion.commands.context import as_called, home_of, print_json
from minion.config import load_config
from minion.spelling import decision_words, local_time, one_line
from minion.store.decisions import list_decisions
from minion.store.local_db import read_only

_SAID = {"approve": "approved", "reject": "rejected"}


@click.command("decisions")
@click.option("--all", "everything", is_flag=True, help="Also those that were answered.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List what waits for a person, oldest first.

    A routine with `lock: strict` waits here when a skill, the engine or the model it runs with has changed since
    it last ran. Until somebody answers, its slots are held; a newer one takes the place of the one before. A
    question is asked by a session with a model: nothing waits for it, and the routine's next run is told the
    answer.

    \b
    Examples:
      minion decisions
      minion decisions --all --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        found = list_decisions(db, answered=everything)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("Nothing was ever to be decided." if everything else "Nothing waits for a person.")
    for item in found:
        since = local_time(item["opened_at"])
        words = decision_words(item["kind"])
        click.echo(f"{click.style(item['id'], bold=True)}  {words.name}, {item['routine']}, since {since}")
        click.echo(f"  {one_line(item['question'])}")
        if item["answer"] is None:
            if item["kind"] == "question":
                click.echo(as_called(ctx, f"  minion show {item['subject'].get('run')}    (the run that asked)"))
            click.echo(as_called(ctx, f"  minion decide {item['id']} approve    (or: reject)"))
        else:
            by = f"{item['answered_by']}, {local_time(item['answered_at'])}"
            click.echo(f"  {_SAID[item['answer']]} by {by}")
