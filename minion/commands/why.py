"""`minion why`: the first broken link from due to delivered, in one sentence, and the command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from minion.commands.completion import complete_routine
from minion.commands.context import as_called, home_of, print_json
from minion.commands.presentation import mark
from minion.config import load_config
from minion.spelling import one_line

if TYPE_CHECKING:  # croniter is loaded when there is something to explain
    from minion.why.chain import Chain

_WIDEST = len("pending")


@click.command("why")
@click.argument("routine", metavar="[ROUTINE]", required=False, shell_complete=complete_routine)
@click.option("--at", metavar="TIME", help="Which instant: 9:00 (the newest one), or 2026-01-05T09:00.")
@click.option("--verbose", "-v", is_flag=True, help="Every link up to the first that is broken.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with every link.")
@click.pass_context
def command(ctx: click.Context, routine: str | None, at: str | None, verbose: bool, as_json: bool) -> int:
    """Say why a routine did not run, or not well: the first broken link, and one command that mends it.

    The links are looked at in their order: due, daemon, slot, engine, run, outcome, delivery, expect. Without
    --at it is the newest instant at which the routine was due, or the next one if it never was; a newer run that
    somebody asked for comes first where it is not well. TIME is of the routine's zone. Without ROUTINE all
    routines are looked at, one line each.

    Exit code 0 when every link holds, or when nothing is wrong so far; 1 when one is broken. A routine that is
    paused, or not due at that time, counts as broken where it was named, and not in the list of all.

    \b
    Examples:
      minion why
      minion why morning-report
      minion why morning-report --at 9:00
      minion why morning-report --at 2026-01-05T09:00 --json
    """
    from minion.clock import utc_now
    from minion.why.explained import chains_of

    home = home_of(ctx)
    chains = chains_of(home, load_config(home), routine, at, now=utc_now())
    bad = [chain for chain in chains if chain.end.state == "broken" or (routine and chain.end.state == "off")]
    if as_json:
        said = [chain.as_data() for chain in chains]
        print_json(said[0] if routine is not None else said)
    elif routine is not None:
        click.echo("\n".join(_told(ctx, chains[0], verbose=verbose)))
    else:
        click.echo("\n".join(_listed(ctx, chains)))
    return 1 if bad else 0


def _told(ctx: click.Context, chain: Chain, *, verbose: bool) -> list[str]:
    lines = []
    if verbose:
        lines = [f"{_marked(link.state)}  {link.name:<9} {one_line(link.words)}" for link in chain.links]
    lines.append(f"{click.style(chain.routine, bold=True)}: {one_line(chain.sentence)}")
    return [*lines, *_fix(ctx, chain, "")]


def _listed(ctx: click.Context, chains: Sequence[Chain]) -> list[str]:
    if not chains:
        return [as_called(ctx, "No routines yet: minion routine new --list")]
    lines = []
    for chain in chains:
        name = click.style(chain.routine, bold=True)
        lines.append(f"{_marked(chain.end.state)}  {name}: {one_line(chain.sentence)}")
        lines += _fix(ctx, chain, " " * (_WIDEST + 4)) if chain.end.state == "broken" else []
    return lines


def _marked(state: str) -> str:
    """The state of a link, in a column of its own."""
    word = "ok" if state == "holds" else state
    return mark(word) + " " * (_WIDEST - len(word))


def _fix(ctx: click.Context, chain: Chain, margin: str) -> list[str]:
    if chain.end.fix is None:
        return []
    return [f"{margin}{click.style('hint:', bold=True)} {as_called(ctx, chain.end.fix)}"]
