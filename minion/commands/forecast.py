"""`minion forecast`: what the next runs of a routine are likely to cost and take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from minion.commands.completion import complete_routine
from minion.commands.context import home_of, print_json
from minion.spelling import spell_dollars, spell_ms

if TYPE_CHECKING:
    from minion.foresight.forecast import Forecast


@click.command("forecast")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--engine", metavar="E", help="As if it ran on this engine.")
@click.option("--model", metavar="M", help="As if this model performed all of it.")
@click.option("--count", is_flag=True, help="Have the API count the first request's tokens: it is sent there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, routine: str, engine: str | None, model: str | None, count: bool, as_json: bool
) -> None:
    """Say what a run of a routine is likely to cost and take, and what its next 30 days cost.

    It goes by the newest completed runs, 50 at most, with the same engine and model: half of them cost no more
    than the first figure, 95 of 100 no more than the second. Without any, the figures are assumed and nobody has
    measured them: the first request's size (four characters to a token, or counted by the API with --count), and
    so many turns of so many tokens each, which are printed. No figure is above the run's own limit in dollars.
    Nothing is run, and without --count nothing is asked of anybody.

    \b
    Examples:
      minion forecast morning-report
      minion forecast triage --model claude-haiku-5-5
      minion forecast triage --count --json
    """
    from minion.clock import utc_now
    from minion.foresight.forecast import forecast
    from minion.foresight.prospect import Wanted

    found = forecast(home_of(ctx), routine, Wanted(engine, model), now=utc_now(), count=count)
    if as_json:
        print_json(found.as_data())
        return
    click.echo(click.style(found.routine, bold=True))
    click.echo("\n".join(f"  {name:<9} {words}" for name, words in _lines(found)))


def _lines(found: Forecast) -> Iterator[tuple[str, str]]:
    from minion.engines.registry import payer_of
    from minion.foresight.forecast import assumptions

    model = f", {found.model}" if found.model is not None else ", no model"
    yield "engine", f"{found.engine}{model} – paid by {payer_of(found.engine)}"
    yield "a run", _a_run(found)
    if found.basis == "runs":
        many = f"{found.runs} completed runs like it"
        yield "from", many if found.runs > 1 else "one completed run like it, which says little"
    elif found.basis == "assumed":
        said = assumptions(found)
        turns = said["turns_per_task"]
        yield "from", "assumptions, for no completed run is like it:"
        how = "counted by the API" if found.counted else f"{said['characters_per_token']} characters each"
        yield "", f"{found.first_tokens:,} tokens in the first request, {how};"
        written, read = said["tokens_written_per_turn"], said["tokens_read_per_turn"]
        yield "", f"{turns['p50']} turns a task, or {turns['p95']}, each with {written} tokens written,"
        yield "", f"{read:,} read, and {said['seconds_per_turn']:g} s;"
        yield "", f"prices as of {said['prices_as_of']}"
    if found.others is not None:
        yield "", found.others
    if found.engine != "script":
        capped = ", which the second figure is cut to" if found.capped else ""
        yield "limit", f"${found.limit:g} a run{capped}"
    yield from _month(found)


def _a_run(found: Forecast) -> str:
    figures = found.figures
    if figures is None or figures.p50_s is None or figures.p95_s is None:
        return "costs nothing: no model; how long it takes, no run has shown"
    took = f"{spell_ms(figures.p50_s * 1000)}, 95 of 100 within {spell_ms(figures.p95_s * 1000)}"
    if found.engine == "script":
        return f"costs nothing: no model; {took}"
    usual, most = spell_dollars(figures.p50_dollars), spell_dollars(figures.p95_dollars)
    if found.basis == "runs":
        return f"about {usual}, 95 of 100 at most {most}; {took}"
    # Nothing was counted, so nothing is said of how many.
    short, long = spell_ms(figures.p50_s * 1000), spell_ms(figures.p95_s * 1000)
    return f"about {usual}, {most} with many turns; {short}, or {long}"


def _month(found: Forecast) -> Iterator[tuple[str, str]]:
    month = found.month_dollars
    if found.due is None or month is None:
        yield "a month", "on demand: as often as somebody runs it"
        return
    paused = "; it is paused now" if found.paused else ""
    runs = f"{found.due.month} run{'' if found.due.month == 1 else 's'} in the next 30 days"
    if not month[1]:
        yield "a month", f"costs nothing: {runs}{paused}"
        return
    caps = found.config
    spans = (("day", caps.dollars_per_day), ("month", caps.dollars_per_month))
    allowed = [f"${cap:g} a {span}" for span, cap in spans if cap is not None]
    usual, most = map(spell_dollars, month)
    yield "a month", f"about {usual}, {most} if each were costly: {runs}{paused}"
    yield "allowed", f"{' and '.join(allowed) or 'without a cap'}, for all routines together"
    for words in found.over:
        yield "", click.style(words, fg="yellow")
