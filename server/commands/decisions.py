"""`hq decisions`: what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from server.commands.context import as_called, home_of, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from server.config import HqHome

_STATES: Final = ("open", "approved", "rejected", "changes", "expired", "withdrawn", "any")
# So much of an id tells it from others, and is taken for it.
SHORT: Final = 12
_LONGEST_LINE: Final = 200


@click.command("decisions")
@click.option("--state", type=click.Choice(_STATES), default="open", show_default=True, help="Which ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, state: str, as_json: bool) -> None:
    """List what waits for a person, oldest first.

    It reads the store, whether HQ runs or not. State `changes` is what was sent back; `hq inbox` says of each open
    one what follows from a yes. `hq decide` shows one of them whole and asks for your answer; where
    HQ runs, its page /decisions does the same for who holds a token of scope reviewer or admin.

    \b
    Examples:
      hq decisions
      hq decisions --state any --json
    """
    from server.actions.decide import listed
    from server.clock import utc_now
    from server.storage.reading import read_once

    home, now = home_of(ctx), utc_now()
    links = links_of(home)
    found = read_once(home.store, lambda connection: listed(connection, state, now=now, links=links))
    if as_json:
        print_json({"decisions": found})
        return
    if not found:
        click.echo(_none(state))
    for said in found:
        for line in _lines(said, now):
            click.echo(as_called(ctx, line))


def links_of(home: HqHome) -> str | None:
    """What addresses of HQ's pages begin with; None where it answers at no address."""
    from server.config import address_of, public_url

    address = address_of(home)
    return None if address is None else public_url() or address.url


def answered(said: dict[str, Any]) -> str:
    """What became of a decision, by whom and when."""
    from server.domain.decision import in_words

    if said["state"] == "expired":
        return f"expired {local_time(said['expires_at'])}: nobody answered in time"
    name = said.get("answered_name")
    # A row that somebody made by hand may not say it; `hq verify` names it.
    by = said.get("answered_by") or "nobody that is known"
    who = f"{name} ({by})" if name else by
    return f"{in_words(said['state'])} by {who}, {local_time(said.get('answered_at'))}"


def local_time(moment: str | None) -> str:
    """An instant in the machine's own time, to the minute; a dash when there is none."""
    from server.contract.digest import parse_instant

    try:
        return parse_instant(moment).astimezone().strftime("%Y-%m-%d %H:%M") if moment else "–"
    except ValueError:  # somebody put it there by hand
        return "–"


def _lines(said: dict[str, Any], now: datetime) -> list[str]:
    from server.domain.legible import ago, one_line

    asked = f"{ago(said['asked_at'], now)} ({local_time(said['asked_at'])})"
    lines = [f"{click.style(said['id'][:SHORT], bold=True)}  {said['kind']}, {asked}"]
    lines.append(f"  {one_line(said['question'], _LONGEST_LINE)}")
    if said["state"] == "open":
        others = ", ".join(said["answers"][1:])
        lines.append(f"  hq decide {said['id'][:SHORT]} approve    (or: {others})")
    else:
        why = f": {one_line(said['why'], _LONGEST_LINE)}" if said.get("why") else ""
        lines.append(f"  {answered(said)}{why}")
        there = said.get("carried_words")
        lines += [f"  {one_line(there, _LONGEST_LINE)}"] if there else []
    return lines


def _none(state: str) -> str:
    if state == "any":
        return "Nothing was ever to be decided."
    if state == "open":
        return "Nothing waits for a person."
    from server.domain.decision import in_words

    return f"No decision is {in_words(state)}."
