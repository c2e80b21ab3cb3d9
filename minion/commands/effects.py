"""`minion effects`: what runs did outside, done or not or unknown, and how to take it back or settle it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from minion.asking import ask
from minion.commands.completion import complete_effect, complete_run
from minion.commands.context import as_called, home_of, print_json, shown_path, warn
from minion.commands.presentation import mark
from minion.config import load_config
from minion.spelling import local_time, plain
from minion.store.local_db import read_only
from minion.store.overview import unsettled_effects
from minion.store.run_history import find_run, whole_run
from minion.terminal import login_name
from server.contract.refusals import BadUse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_VERBS: Final = {
    "check": "Look now what became of effects that are unknown.",
    "settle": "Say what became of an effect that is unknown.",
}
# As for a run whose verdict is unknown.
_STILL_UNKNOWN: Final = 4


class EffectsGroup(click.Group):
    """A group that takes anything but one of its verbs as the run whose effects are shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order people meet them; to show a run's effects takes none."""
        return list(_VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their one line each."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As any group, but for no argument at all: then it is the run that is missing."""
        if not args and not ctx.resilient_parsing:
            raise click.MissingParameter(ctx=ctx, param=of_run.params[0])
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was typed, else what shows a run's effects."""
        if args[0] in _VERBS:
            return super().resolve_command(ctx, args)
        return None, of_run, args

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs, and what a run can be named by."""
        runs = complete_run(ctx, of_run.params[0], incomplete)
        return [*super().shell_complete(ctx, incomplete), *runs]


@click.group(
    "effects", cls=EffectsGroup, context_settings={"ignore_unknown_options": True},
    subcommand_metavar="RUN | --unsettled | COMMAND",
)  # fmt: skip
def command() -> None:
    """Show what a run wrote outside itself, what it was not allowed to, and what cannot be told.

    minion effects RUN lists each push, pull request, comment, message and file of a run. RUN is an id, the
    beginning of one, a routine's name, NAME@last, or last. Where an effect can be taken back by a command, `undo`
    gives it, ready to paste.

    An effect that is `unknown` was cut off between its intent and its result, or got no answer. It is looked for
    when the daemon starts, and again with growing pauses while its remote cannot be reached; it is never repeated
    before. minion effects --unsettled lists all that are still unknown. Whether a message reached a webhook
    nobody can look up: look there, and say so with `settle`.

    \b
    Options:
      --unsettled  List the effects of all runs that are unknown.
      --json       Print a JSON list.

    \b
    Examples:
      minion effects last
      minion effects morning-report@last
      minion effects run_01A2B3C4 --json
      minion effects --unsettled
      minion effects settle eff_01A2B3C4 delivered
    """


@click.command("of-run", hidden=True)
@click.argument("run", metavar="RUN", required=False, shell_complete=complete_run)
@click.option("--unsettled", is_flag=True, help="List the effects of all runs that are unknown.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def of_run(ctx: click.Context, run: str | None, unsettled: bool, as_json: bool) -> None:
    """Show the effects of one run, or all that are unknown."""
    if run is not None and unsettled:
        says = "--unsettled lists the effects of all runs; it takes no RUN."
        raise BadUse("two_listings", says, hint="minion effects --unsettled")
    if run is None and not unsettled:
        raise click.MissingParameter(ctx=ctx, param=of_run.params[0])
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        found = unsettled_effects(db) if run is None else whole_run(db, find_run(db, run))["effects"]
    if as_json:
        print_json(found)
    elif run is None:
        _print_unsettled(ctx, found)
    else:
        _print_effects(found)


def _print_effects(effects: list[dict[str, Any]]) -> None:
    if not effects:
        click.echo("This run staged no effects.")
    for effect in effects:
        click.echo(f"{mark(effect['state'])}  {effect['kind']}:{effect['target']}  {effect['id']}")
        where = shown_path(effect["destination"]) if effect["destination"] else None
        for name, text in (("where", where), ("saw", effect["detail"]), ("undo", effect["reverse"])):
            if text:
                click.echo(f"    {name:<6} {text}")


def _print_unsettled(ctx: click.Context, effects: list[dict[str, Any]]) -> None:
    if not effects:
        click.echo("Of every effect it is known what became of it.")
        return
    for effect in effects:
        click.echo(f"{mark('unknown')}  {effect['kind']}:{effect['target']}  {effect['id']}")
        since = local_time(effect["since"])
        told = (("of", f"{effect['routine']}, {since}, {effect['run']}"), ("saw", effect["detail"]))
        for name, text in told:
            if text:
                click.echo(f"    {name:<6} {plain(text)}")
    click.echo(as_called(ctx, "\nlook now: minion effects check"))
    click.echo(as_called(ctx, f"say so:   minion effects settle {effects[0]['id']} delivered"))


@command.command("check")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def check(ctx: click.Context, run: str | None, as_json: bool) -> int:
    """Look now what became of effects that are unknown: of one run, or of all.

    Remotes, forges and the outbox are read, nothing there is changed. What is there counts as delivered, what is
    not as failed, and the verdict of its run follows. What cannot be read, such as a webhook, stays unknown.

    Exit code 0 when nothing is unknown any more, 4 when something still is.

    \b
    Examples:
      minion effects check
      minion effects check morning-report@last --json
    """
    home = home_of(ctx)
    load_config(home)
    looked = ask(home, "effects.check", {"run": run}, command="minion effects check", alert=warn)
    left = any(item["state"] == "unknown" for item in looked)
    if as_json:
        print_json(looked)
        return _STILL_UNKNOWN if left else 0
    if not looked:
        click.echo("Nothing was unknown.")
    for item in looked:
        click.echo(f"{mark(item['state'])}  {item['kind']}:{item['target']}  {item['id']}")
        click.echo(f"    {'saw':<6} {plain(item['detail'])}")
    return _STILL_UNKNOWN if left else 0


@command.command("settle")
@click.argument("effect", metavar="EFFECT", shell_complete=complete_effect)
@click.argument("state", metavar="delivered|failed", type=click.Choice(("delivered", "failed")))
@click.option("--why", metavar="TEXT", help="What you saw; it is kept with your answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def settle(ctx: click.Context, effect: str, state: str, why: str | None, as_json: bool) -> None:
    """Say what became of an effect that is unknown: delivered, or failed because it did not arrive.

    EFFECT is an id, or the beginning of one; `minion effects --unsettled` lists them. Your word is kept for ever
    with your login name, and the run's verdict follows from it. It can be said once. Of a run that may still go on
    (`resume: true`), what failed is then performed again.

    \b
    Examples:
      minion effects settle eff_01A2B3C4 delivered
      minion effects settle eff_01A2B3C4 failed --why "not in the channel"
    """
    home = home_of(ctx)
    load_config(home)
    said = {"effect": effect, "state": state, "why": why, "by": login_name()}
    done: Mapping[str, Any] = ask(home, "settle", said, command="minion effects settle", alert=warn)
    if as_json:
        print_json(done)
        return
    click.echo(f"{mark(done['state'])}  {done['kind']}:{done['target']}  {done['effect']}")
    click.echo(f"    of     {done['routine']}, {done['run']}: {mark(done['verdict'])} now")
