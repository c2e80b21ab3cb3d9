"""`minion cost`: what runs used, by routine, skill or day."""

from __future__ import annotations

from typing import Any, get_args

import click

from minion.commands.context import home_of, print_json
from minion.commands.presentation import table
from minion.config import load_config
from minion.spelling import spell_ms
from minion.store.costs import By, costs, total
from minion.store.local_db import read_only


@click.command("cost")
@click.option(
    "--by", type=click.Choice(get_args(By)), default="routine", show_default=True, help="What to add up by."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, by: By, as_json: bool) -> None:
    """Show what runs used: time, model turns, tokens and US dollars.

    By routine and by day, runs that were pruned since still count; by skill, only the runs that are kept do. A day
    is one of the minion's time zone. The script engine asks no model, so its runs cost nothing but time: what the
    runner itself took, without its start.

    \b
    Examples:
      minion cost
      minion cost --by day
      minion cost --by skill --json
    """
    home = home_of(ctx)
    zone = load_config(home).timezone
    with read_only(home.store) as db:
        rows = costs(db, by, zone=zone)
    everything = total(rows)
    if as_json:
        print_json({"by": by, "timezone": zone, "rows": rows, "total": everything})
        return
    if not rows:
        click.echo("No runs yet.")
        return
    lines = table([by, "runs", "time", "turns", "tokens", "dollars"], [
        *([str(row[by]), *_cells(row)] for row in rows), ["total", *_cells(everything)],
    ])  # fmt: skip
    lines[-1] = click.style(lines[-1], bold=True)
    click.echo("\n".join(lines))


def _cells(row: dict[str, Any]) -> list[str]:
    counts = [f"{row[name]:,}" if row[name] else "–" for name in ("turns", "tokens")]
    return [f"{row['runs']:,}", spell_ms(row["wall_ms"]), *counts, f"${row['dollars']:,.2f}"]
