"""`minion decide`: a person's answer to what waits for one."""

from __future__ import annotations

import click

from minion.asking import ask
from minion.commands.completion import complete_decision
from minion.commands.context import as_called, home_of, print_json, warn
from minion.config import load_config
from minion.daemon_client import daemon_is_up
from minion.spelling import decision_words
from minion.terminal import login_name


@click.command("decide")
@click.argument("decision", metavar="DECISION", shell_complete=complete_decision)
@click.argument("answer", metavar="approve|reject", type=click.Choice(("approve", "reject")))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, decision: str, answer: str, as_json: bool) -> None:
    """Answer what waits for a person: approve, or reject.

    DECISION is an id, or the beginning of one; `minion decisions` lists those that are open. Approved, the slot
    that was held runs, and the routine runs with what changed from now on. Rejected, the slot is skipped, and the
    routine waits until what changed is changed back, or is approved after all. Of a question that a session asked,
    the routine's next run is told the answer. Your login name is kept with it.

    \b
    Examples:
      minion decide dec_01A2B3C4 approve
      minion decide dec_01A2B3C4 reject
    """
    home = home_of(ctx)
    load_config(home)
    params = {"decision": decision, "answer": answer, "by": login_name()}
    answered = ask(home, "decide", params, command="minion decide", alert=warn)
    if as_json:
        print_json(answered)
        return
    name = answered["routine"]
    if answered["kind"] != "lock":
        words, approved = decision_words(answered["kind"]), answer == "approve"
        said = f"Approved, {name}: {words.yes}" if approved else f"Rejected, {name}: {words.no}"
        click.echo(f"{said} ({answered['decision']}).")
        return
    if answer == "reject":
        click.echo(f"Rejected: {name} does not run with what changed ({answered['decision']}).")
        return
    click.echo(f"Approved: {name} may run with what changed ({answered['decision']}).")
    if not daemon_is_up(home):
        click.echo(as_called(ctx, "  no daemon is up: minion up, or minion run " + name))
