"""`hq inbox`: all that waits for a person, the urgent first, each with what follows from a yes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from server.commands.context import as_called, home_of, print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from server.config import HqHome

# So many are told in full; of the others each has one line, so that all of them fit on a screen.
_IN_FULL: Final = 6
_LONGEST_LINE: Final = 160


@click.command("inbox")
@click.option("--link", is_flag=True, help="Print a link that signs you in on HQ's pages: once, for ten minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, link: bool, as_json: bool) -> None:
    """Show what waits for a person, the urgent first.

    Each with what it is about, what a yes changes, what may be done then that may not be done today, and the
    command that answers it. Nothing here ever runs out by itself, unless it says until when. `hq decisions` lists
    those that were answered too. --link needs an HQ that runs; the link is yours alone, as the answers you give
    with it are: whoever has it decides in your name.

    \b
    Examples:
      hq inbox
      hq inbox --link
      hq inbox --json
    """
    from server.actions.decide import listed
    from server.clock import utc_now
    from server.commands.decisions import links_of
    from server.domain.consequence import by_urgency
    from server.storage.reading import read_once

    home, now = home_of(ctx), utc_now()
    if link:
        print_link(home, as_json=as_json)
        return
    links = links_of(home)
    found = read_once(home.store, lambda connection: listed(connection, "open", now=now, links=links))
    groups = by_urgency(found)
    if as_json:
        ordered = [said for _, inside in groups for said in inside]
        print_json({"waiting": ordered, "count": len(ordered)})
        return
    if not found:
        click.echo("Nothing waits for a person.")
        return
    told = 0
    for heading, inside in groups:
        click.echo(("" if told == 0 else "\n") + click.style(f"{heading} ({len(inside)})", bold=True))
        for said in inside:
            lines = _lines(said, now) if told < _IN_FULL else _short(said, now)
            click.echo(as_called(ctx, "\n".join(lines)))
            told += 1


def print_link(home: HqHome, *, as_json: bool, decision: str | None = None) -> None:
    """Print a link that signs the person of this terminal in, on to a decision if one is named.

    Raises `Refused` where no HQ runs, or it made many a moment ago.
    """
    from server.asking import over_http
    from server.commands.decisions import links_of
    from server.config import address_of
    from server.contract.refusals import Refused

    address, made = address_of(home), None
    if address is not None:
        with contextlib.suppress(ConnectionRefusedError):  # it is just going
            made = over_http(address, "link", {"after": decision})
    if address is None or made is None:
        says = f"No HQ answers for the home {home.root}, so no link leads there."
        hint = "hq serve, in another terminal; `hq decide` answers without it"
        raise Refused("nobody_serves", says, hint=hint)
    url = f"{links_of(home) or address.url}{made['path']}"
    if as_json:
        print_json({"link": url, "person": made["person"], "expires_at": made["expires_at"]})
        return
    click.echo(url)
    say(f"It signs you in as {made['person']}, once, within ten minutes. Give it to nobody.")


def _lines(said: Mapping[str, Any], now: datetime) -> list[str]:
    """A decision as one line says it, and what follows from it."""
    from server.commands.decisions import SHORT
    from server.domain.legible import ago, one_line

    begun = said["id"][:SHORT]
    until = f", until {said['expires_at']}" if said["expires_at"] else ""
    others = ", ".join(said["answers"][1:])
    follows = [("changes", line) for line in said["changes"] or ["see its evidence"]]
    follows += [("permits", line) for line in said["permissions"]]
    shown = [(name if number == 0 or follows[number - 1][0] != name else "", one_line(line, _LONGEST_LINE))
             for number, (name, line) in enumerate(follows)]  # fmt: skip
    return [
        f"{click.style(begun, bold=True)}  {said['kind']}, {ago(said['asked_at'], now)}{until}",
        f"  {one_line(said['question'], _LONGEST_LINE)}",
        *(f"  {name:<8} {_marked(line)}" for name, line in shown),
        f"  hq decide {begun} approve    (or: {others})",
    ]


def _marked(line: str) -> str:
    """What lets somebody do more stands out."""
    return click.style(line, fg="yellow") if line.startswith("+") else line


def _short(said: Mapping[str, Any], now: datetime) -> list[str]:
    from server.commands.decisions import SHORT
    from server.domain.legible import ago, one_line

    about = one_line(said["question"], _LONGEST_LINE // 2)
    return [f"{click.style(said['id'][:SHORT], bold=True)}  {said['kind']}, {ago(said['asked_at'], now)}: {about}"]
