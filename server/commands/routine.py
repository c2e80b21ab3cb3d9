"""`hq routine`: the routines that HQ keeps are listed, shown, moved, paused, run and taken out of use."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from server.commands.context import as_called, home_of, login_name, print_json, print_table, say

_BROKEN_OFF: Final = 130
_LONGEST_LINE: Final = 400
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_MOST: Final = 10_000
_PAUSED: Final = "is paused"


@click.group("routine")
def command() -> None:
    """List, show, move, pause, run and delete the routines that HQ keeps.

    Each is named by its name, its id or the beginning of one. What a routine says is changed from a Claude session
    (update_routine); what a minion has of its own, HQ does not see.

    \b
    Examples:
      hq routine list
      hq routine show nightly
      hq routine move nightly --to bob
      hq routine pause nightly
    """


@command.command("list", short_help="List the routines: who has each, when it is due.")
@click.option("--minion", metavar="M", default="", help="Only those of this minion.")
@_JSON
@click.pass_context
def list_(ctx: click.Context, minion: str, as_json: bool) -> None:
    """List the routines by name: who starts each, when it is due, how its last run went.

    It reads the store, whether HQ runs or not.

    \b
    Examples:
      hq routine list
      hq routine list --minion alice --json
    """
    from server.clock import utc_now
    from server.storage.reading import read_once
    from server.tools.routine_views import routines

    home, now = home_of(ctx), utc_now()
    said = read_once(home.store, lambda db: routines(db, minion=minion, limit=_MOST, skip=0, now=now))
    if as_json:
        print_json(said)
        return
    if not said["routines"]:
        say("No routines yet: a Claude session creates them (create_routine).")
        return
    print_table(["routine", "minion", "next", "last run", "id"], [_row(each) for each in said["routines"]])


@command.command("show", short_help="Show a routine, and what stands in its way.")
@click.argument("routine", metavar="R")
@_JSON
@click.pass_context
def show(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Show a routine: who starts it, when, on what, and what stands in its way.

    With --json its whole document is there too. It reads the store, whether HQ runs or not; what its minion says
    of it just now, a session hears by explain_routine.

    \b
    Examples:
      hq routine show nightly
      hq routine show trig_01A2 --json
    """
    from server.clock import utc_now
    from server.storage.reading import read_once
    from server.tools.routine_views import routine as shown

    now = utc_now()
    said = read_once(home_of(ctx).store, lambda connection: shown(connection, routine, now=now))
    if as_json:
        print_json(said)
        return
    click.echo(f"{click.style(said['name'], bold=True)} · {said['id']} · revision {said['revision']}")
    for name, words in _facts(said):
        click.echo(f"  {name:<10} {_line(words)}")


@command.command("move", short_help="Give a routine to another minion.")
@click.argument("routine", metavar="R")
@click.option("--to", required=True, metavar="M", help="The minion that is to have it.")
@click.option("--lost", metavar="M", help="The minion that has it, which is gone for good.")
@click.option("--yes", is_flag=True, help="With --lost: do not ask again; needed where there is no terminal.")
@_JSON
@click.pass_context
def move(ctx: click.Context, routine: str, to: str, lost: str | None, yes: bool, as_json: bool) -> None:
    """Give a routine to another minion, and say what may still fire where.

    The other one begins when the one before has heard of it and let go, so that no slot fires twice or is lost. A
    minion that does not come back never lets go: --lost names it, and the other one begins at once. If it is alive
    after all, slots fire twice until it hears of this; which ones is said.

    \b
    Examples:
      hq routine move nightly --to bob
      hq routine move nightly --to bob --lost alice
    """
    from server.contract.refusals import Refused

    if lost is not None and not yes:
        if not sys.stdin.isatty():
            says = f"Nobody is here to be asked whether {lost} is gone for good."
            again = f"hq routine move {routine} --to {to} --lost {lost} --yes"
            raise Refused("not_agreed", says, hint=f"if it is: {again}")
        if not _agreed(f"Is {lost} gone for good? If it is alive after all, slots fire twice."):
            say("Nothing was changed.")
            raise click.exceptions.Exit(_BROKEN_OFF)
    params = {"routine": routine, "to": to, **({"lost": lost} if lost is not None else {})}
    said = _ask(ctx, "routine.move", params)
    if as_json:
        print_json(said)
        return
    word = "is on its way" if said["state"] == "moving" else "has moved"
    before = f" from {said['from']}" if said["from"] else ""
    click.echo(f"{said['name']} {word}{before} to {said['to']}.")
    click.echo(f"  {_line(said['says'])}")


@command.command("pause")
@click.argument("routine", metavar="R")
@_JSON
@click.pass_context
def pause(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Have a routine not start by itself any more.

    Its minion hears of it when it next asks HQ. It still runs when somebody asks for it.

    \b
    Examples:
      hq routine pause nightly
    """
    _changed(_ask(ctx, "routine.pause", {"routine": routine}), _PAUSED, as_json)


@command.command("resume")
@click.argument("routine", metavar="R")
@_JSON
@click.pass_context
def resume(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Have a paused routine start by itself again.

    What was due meanwhile is not made up for.

    \b
    Examples:
      hq routine resume nightly
    """
    _changed(_ask(ctx, "routine.resume", {"routine": routine}), "goes on", as_json)


@command.command("run")
@click.argument("routine", metavar="R")
@click.option("--text", metavar="TEXT", default="", help="What the run is told, as words from outside.")
@_JSON
@click.pass_context
def run(ctx: click.Context, routine: str, text: str, as_json: bool) -> None:
    """Run a routine now on its minion, paused or not.

    Only the run's id goes to stdout. A minion that listens begins it at once; one that is away when it comes back.

    \b
    Examples:
      hq routine run nightly
      hq routine run triage --text "SEN-4521 fired."
    """
    ask_for_run(ctx, routine, text, as_json)


@command.command("delete")
@click.argument("routine", metavar="R")
@click.option("--yes", is_flag=True, help="Do not ask again: needed where there is no terminal.")
@_JSON
@click.pass_context
def delete(ctx: click.Context, routine: str, yes: bool, as_json: bool) -> None:
    """Take a routine out of use; its runs and versions stay.

    Runs that wait for its minion are called off, and its tokens end. A run that is under way there goes on.

    \b
    Examples:
      hq routine delete nightly
      hq routine delete nightly --yes --json
    """
    from server.contract.refusals import Refused

    if not yes:
        if not sys.stdin.isatty():
            says = f"Nobody is here to be asked whether to delete {routine}."
            raise Refused("not_agreed", says, hint=f"if you mean it: hq routine delete {routine} --yes")
        if not _agreed(f"Delete {routine}?"):
            say("Nothing was changed.")
            raise click.exceptions.Exit(_BROKEN_OFF)
    said = _ask(ctx, "routine.delete", {"routine": routine})
    if as_json:
        print_json(said)
        return
    kept = said["runs_kept"]
    click.echo(f"{said['name']} is deleted; {_count(kept, 'run')} of it {'stays' if kept == 1 else 'stay'} kept.")
    for name, number in (("run called off", len(said["cancelled_runs"])), ("token ended", said["revoked_tokens"])):
        if number:
            click.echo(f"  {number} {name}")


def ask_for_run(ctx: click.Context, routine: str, text: str, as_json: bool) -> None:
    """Ask for a run of a routine, and say where it is."""
    said = _ask(ctx, "routine.run", {"routine": routine, "text": text})
    if as_json:
        print_json(said)
        return
    click.echo(said["run"])
    ahead = f", behind {_count(said['orders_ahead'], 'other order')}" if said["orders_ahead"] else ""
    say(f"{said['routine']} waits for {said['minion']}{ahead}.")
    if said["text_redacted"]:
        say("What looked like a secret in the text is not handed on.")
    say(as_called(ctx, f"Call it off: hq cancel {said['run']}"))


def _ask(ctx: click.Context, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    from server.asking import ask

    return ask(home_of(ctx), f"hq {verb.replace('.', ' ')}", verb, params, who=login_name())


def _changed(said: dict[str, Any], word: str, as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    click.echo(f"{said['name']} {word}." if said["changed"] else f"{said['name']} {word} already.")
    if said["will_fire"] and said["next"]:
        click.echo(f"  due next {said['next'][0]}")
    elif word != _PAUSED:
        click.echo(f"  {_line(said['why_not'])}")


def _row(said: dict[str, Any]) -> list[str]:
    last = said["last_run"]
    when = said["next"] if said["will_fire"] else "paused" if said["paused"] else "–"
    return [said["name"], said["minion"] or "–", when or "–", last["verdict"] if last else "never ran", said["id"]]


def _facts(said: dict[str, Any]) -> list[tuple[str, str]]:
    document = said["document"]
    does = " → ".join(document["pipeline"]) if document["pipeline"] else "a prompt"
    return [
        ("does", does), ("minion", said["minion"] or "none"), ("started by", said["started_by"] or "nobody"),
        *(("when", each["words"]) for each in said["schedules"]),
        ("next", ", ".join(said["next"]) or "never") if said["will_fire"] else ("why not", said["why_not"]),
        *([] if said["will_fire"] else [("do", said["do"])]),
        *([("moving", said["moving"]["says"])] if said["moving"] else []),
        ("engine", said["engine"]), ("cost", said["cost_note"]), ("told", said["told_when_it_fails"]),
        *(("note", words) for words in said["warnings"]),
        ("runs", f"{said['runs']:,}"),
    ]  # fmt: skip


def _line(words: str) -> str:
    from server.domain.legible import one_line

    return one_line(words, _LONGEST_LINE)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _agreed(question: str) -> bool:
    """Whether the person says yes; who breaks off does not."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        say("")
        return False
