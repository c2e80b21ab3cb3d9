"""`minion slots`: what became of each instant at which routines were due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from minion.commands.completion import SLOT_STATES, complete_routine, complete_slot_state
from minion.commands.context import home_of, print_json
from minion.commands.presentation import mark, table
from minion.config import load_config
from minion.spelling import plain, spell_instant, spell_ms
from minion.store.local_db import read_only
from minion.store.overview import verdicts_of
from minion.store.routines import find_routine
from minion.store.slots import list_slots
from server.contract.digest import parse_instant
from server.contract.refusals import BadUse, NotFound

# Nearer to its instant than this is on time: it is not said how near.
_SAID_FROM_MS = 1000


@click.command("slots")
@click.argument("routine", metavar="[NAME]", required=False, shell_complete=complete_routine)
@click.option("--state", metavar="S", shell_complete=complete_slot_state, help="Only slots in this state.")
@click.option(
    "-n", "--limit", "count", type=click.IntRange(1, 100_000), default=20, show_default=True, metavar="N",
    help="At most N.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, routine: str | None, state: str | None, count: int, as_json: bool) -> None:
    """List the instants at which routines were due, newest first, and what became of each.

    Every one ends in a record, also when nothing ran. Of each routine the newest 1,000 are kept. `missed 125`
    stands for that many that came due while no daemon ran. --state takes one of:

    \b
    ran      within a minute       late    it ran, but later than that
    skipped  on purpose; see why   missed  no daemon ran, or no time was left
    due      waits for its turn    held    waits for a person's decision

    \b
    Examples:
      minion slots
      minion slots morning-report -n 50
      minion slots --state missed --json
    """
    if state is not None and state not in SLOT_STATES:
        raise BadUse("bad_state", f"{state!r} is no state of a slot.", hint=f"use one of {', '.join(SLOT_STATES)}")
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        name = routine
        if routine is not None:
            name = _name_of(db, routine)
        found = list_slots(db, routine=name, state=state, limit=count)
        verdicts = verdicts_of(db, [slot["run_id"] for slot in found if slot["run_id"]])
    listed = [slot | {"late_ms": _late_ms(slot), "verdict": verdicts.get(slot["run_id"])} for slot in found]
    if as_json:
        print_json(listed)
        return
    if not listed:
        click.echo("Nothing was due yet." if routine is None and state is None else "No such slots.")
        return
    header = ["due", "routine", "became", "late by", "verdict", "run, or why"]
    rows = [_row(slot) for slot in listed]
    # A column in which nothing stands, or always the same, takes the room of others.
    shown = [
        place for place, title in enumerate(header)
        if (any(row[place] for row in rows) if title != "routine" else routine is None)
    ]  # fmt: skip
    click.echo("\n".join(table([header[p] for p in shown], [[row[p] for p in shown] for row in rows])))


def _name_of(db: Any, routine: str) -> str:
    """The routine's name; also that of one that is gone, whose slots are kept."""
    try:
        return find_routine(db, routine).name
    except NotFound:
        if list_slots(db, routine=routine, limit=1):
            return routine
        raise


def _late_ms(slot: Mapping[str, Any]) -> int | None:
    """How long after its instant a slot started (milliseconds); None when it did not."""
    if slot["run_id"] is None or slot["settled_at"] is None:
        return None
    return round((parse_instant(slot["settled_at"]) - parse_instant(slot["due_at"])).total_seconds() * 1000)


def _row(slot: Mapping[str, Any]) -> list[str]:
    became = mark(slot["state"]) + (f" {slot['count']:,}" if slot["count"] > 1 else "")
    late = spell_ms(slot["late_ms"]) if (slot["late_ms"] or 0) >= _SAID_FROM_MS else ""
    verdict = mark(slot["verdict"]) if slot["verdict"] else ""
    rest = plain(slot["run_id"] or slot["why"] or "")
    return [spell_instant(slot["due"]), slot["routine"], became, late, verdict, rest]
