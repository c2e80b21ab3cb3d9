"""`minion inbox`: all that needs a person here, each with what it is about and the command that settles it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from minion.commands.context import as_called, home_of, print_json
from minion.commands.presentation import mark
from minion.config import load_config
from minion.spelling import decision_words, local_time, one_line
from minion.store.decisions import digest_of_question, list_decisions
from minion.store.local_db import read_only
from minion.store.outbox import joined_hq
from minion.store.overview import unsettled_effects

_SHORT: Final = 12


@click.command("inbox")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show all that needs a person, oldest first, and the command for each.

    What is held: a routine with `lock: strict` whose skills, engine or model have changed; questions that sessions
    asked, whose answer the routine's next run is told; and effects of which nobody knows whether they came about.
    With an HQ, its inbox shows the same holds, and what waits there alone.

    \b
    Examples:
      minion inbox
      minion inbox --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        held = [{**row, "digest": digest_of_question(row)} for row in list_decisions(db)]
        effects, joined = unsettled_effects(db), joined_hq(db)
    url = None if joined is None else joined[0]
    if as_json:
        print_json({"held": held, "effects": effects, "hq": url})
        return
    lines = [*_held(held), *_unknown(effects)]
    for line in lines or ["Nothing here needs a person."]:
        click.echo(as_called(ctx, line))
    if url is not None:
        click.echo(f"\nWhat waits at HQ: {url}/decisions")


def _held(found: list[dict[str, Any]]) -> Iterator[str]:
    for item in found:
        name = click.style(item["id"][:_SHORT], bold=True)
        what = decision_words(item["kind"]).name
        yield f"{name}  {what}, {item['routine']}, since {local_time(item['opened_at'])}"
        yield f"  {one_line(item['question'])}"
        yield from (f"    {name}  {_digest(value)}" for name, value in sorted(item["subject"].items()))
        yield f"  minion decide {item['id'][:_SHORT]} approve    (or: reject)"


def _unknown(found: list[dict[str, Any]]) -> Iterator[str]:
    for item in found:
        yield f"{click.style(item['id'][:_SHORT], bold=True)}  effect, {item['routine']}, {mark('unknown')}"
        yield f"  {one_line(item['kind'])}:{one_line(item['target'])}: nobody knows whether it came about"
        yield f"  minion effects {item['run']}"


def _digest(value: Any) -> str:
    text = str(value)
    return one_line(text[:19] + "…" if text.startswith("sha256:") else text)

