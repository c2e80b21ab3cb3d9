"""`minion next`: when a routine is due next, of all its schedules together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from minion.commands.completion import complete_routine
from minion.commands.context import as_called, home_of, print_json
from minion.commands.firing import why_silent
from minion.commands.timing import upcoming, words_of
from minion.config import load_config
from minion.standing import scheduling
from minion.store.local_db import read_only
from minion.store.routines import find_routine
from server.contract.catch_up import stagger_s


@click.command("next")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option(
    "-n", "--limit", "count", type=click.IntRange(1, 1000), default=10, show_default=True, metavar="N",
    help="How many.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: the instants are its `next`.")
@click.pass_context
def command(ctx: click.Context, routine: str, count: int, as_json: bool) -> None:
    """Show the next instants at which a routine is due, each with the offset that its zone has then.

    All its schedules together, the earliest first. A paused routine's are shown too, and that it is paused. Over
    a change of the clocks, 9:00 stays 9:00 and the offset changes. Where the routine has a stagger, it starts so
    many seconds after each.

    \b
    Examples:
      minion next morning-report
      minion next morning-report -n 50 --json
    """
    from minion.clock import utc_now

    home = home_of(ctx)
    config = load_config(home)
    with read_only(home.store) as db:
        kept = find_routine(db, routine)
    document, now = kept.document, utc_now()
    due = upcoming(document, config.timezone, now, count)
    silent = why_silent(home, kept.name, document) if document["triggers"] else None
    stagger = stagger_s(kept.id, document["stagger_s"])
    if as_json:
        print_json({
            "routine": kept.name, "id": kept.id, "words": words_of(document, config.timezone),
            "on_demand": not document["triggers"], "paused": document["paused"], "stagger_s": stagger,
            "fires": bool(due) and silent is None, "why_not": _why_not(document, due, silent), "next": due,
        })  # fmt: skip
        return
    when = "; ".join(words_of(document, config.timezone)) or "on demand"
    click.echo(f"{click.style(kept.name, bold=True)}  {when}")
    if not due:
        says = "it runs when somebody asks for it" if not document["triggers"] else "it is never due again"
        click.echo(as_called(ctx, f"  {says}; {scheduling(kept.name)}"))
    elif silent is not None:
        click.echo(as_called(ctx, f"  does not fire: {silent[0]}; {silent[1]}"))
    if due and stagger:
        click.echo(f"  starts {stagger} s after each (its stagger)")
    for item in due:
        click.echo(f"  {_spelled(item, now)}")


def _why_not(document: Mapping[str, Any], due: list[str], silent: tuple[str, str] | None) -> str | None:
    if not document["triggers"]:
        return "it has no schedule"
    return silent[0] if silent is not None else None if due else "it is never due again"


def _spelled(item: str, now: datetime) -> str:
    due = datetime.fromisoformat(item)
    seconds = ":%S" if due.second else ""
    return f"{due:%a %Y-%m-%d %H:%M{seconds}} {item[-6:]}  in {_until((due - now).total_seconds())}"


def _until(seconds: float) -> str:
    """A length of time ahead, in its two largest units at most."""
    minutes = max(1, round(seconds / 60))
    days, rest = divmod(minutes, 24 * 60)
    hours, minutes = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if days < 10 else f"{days} d"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
