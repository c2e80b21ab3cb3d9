"""`hq minions`: the minions that have joined, and how each stands; one that is gone for good is forgotten."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from server.commands.context import as_called, home_of, login_name, print_json, say

_BROKEN_OFF: Final = 130
_LONGEST_LINE: Final = 200


@click.group("minions", invoke_without_command=True, subcommand_metavar="[COMMAND] [ARGS]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the minions that have joined: when each was seen, what runs there, what is due, what is at risk.

    A slot is at risk when it passed its grace while HQ did not hear of its minion: it may have run all the same,
    for a minion goes by its own schedule without HQ. Who is told of it is HQ_ALERT_COMMAND's and
    HQ_ALERT_SLACK_FILE's to say (`hq serve --help`). It reads the store, whether HQ runs or not.

    \b
    Examples:
      hq minions
      hq minions --json
      hq minions forget alice
    """
    if ctx.invoked_subcommand is not None:
        return
    from server.clock import utc_now
    from server.config import address_of
    from server.storage.reading import read_once
    from server.tools.minion_views import minions

    home, now = home_of(ctx), utc_now()
    said = read_once(home.store, lambda connection: minions(connection, now=now))
    if as_json:
        print_json(said)
        return
    for each in said["minions"]:
        for line in _lines(each):
            click.echo(line)
    if not said["minions"]:
        say("No minion has joined.")
        say(as_called(ctx, "hint: hq token create --scope minion --name alice; there: minion join URL"))
    if (number := said["routines_without_minion"]) > 0:
        say(f"{number} routine{'s have' if number > 1 else ' has'} no minion: nothing starts what has none.")
    if address_of(home) is None and said["minions"]:
        say("Nobody serves this home: what its minions did since it was served is not known here.")


@command.command("forget", short_help="Have a minion leave that is gone, or not wanted any more.")
@click.argument("minion", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask again: needed where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON document.")
@click.pass_context
def forget(ctx: click.Context, minion: str, yes: bool, as_json: bool) -> None:
    """Have a minion leave that is gone, or not wanted any more.

    Its tokens end, what waits for it is called off, and its runs under way end as interrupted. Its routines stay
    here without a minion, so nothing starts them. If it is there after all it goes on with them, until somebody
    says `minion leave` on its machine. When it joins again, with a new token, it gets back those that nobody else
    was given.

    \b
    Examples:
      hq minions forget alice
      hq minions forget alice --yes --json
    """
    from server.asking import ask
    from server.clock import utc_now
    from server.contract.refusals import Refused
    from server.storage.definition_store import find_minion
    from server.storage.reading import read_once
    from server.tools.minion_views import minions

    home, now = home_of(ctx), utc_now()
    # Told first, that nobody is asked about one that is not there.
    name = read_once(home.store, lambda connection: find_minion(connection, minion)).name
    said = read_once(home.store, lambda connection: minions(connection, now=now))
    stands = next(each for each in said["minions"] if each["name"] == name)
    for line in _lines(stands):
        say(line)
    if not yes:
        if not sys.stdin.isatty():
            says = f"Nobody is here to be asked whether to forget {name}."
            raise Refused("not_agreed", says, hint=f"if you mean it: hq minions forget {name} --yes")
        if not _agreed(f"Forget {name}? It has {stands['routines']} of HQ's routines."):
            say("Nothing was changed.")
            raise click.exceptions.Exit(_BROKEN_OFF)
    done = ask(home, "hq minions forget", "minion.forget", {"minion": stands["id"]}, who=login_name())
    if as_json:
        print_json(done)
        return
    _tell(ctx, done)


def _tell(ctx: click.Context, done: dict[str, Any]) -> None:
    name = done["name"]
    click.echo(f"The minion {name} is forgotten.")
    counted = (
        (done["revoked_tokens"], "token that ended", "tokens that ended"),
        (done["orders_withdrawn"], "order called off", "orders called off"),
        (len(done["runs_interrupted"]), "run under way, now interrupted", "runs under way, now interrupted"),
    )
    for number, one, several in counted:
        if number:
            click.echo(f"  {number} {one if number == 1 else several}")
    for routine in done["routines"]:
        click.echo(f"  {routine['name']} has no minion now ({routine['id']})")
    if done["routines"]:
        say(f"If {name} is there after all, it goes on with these until `minion leave` there; nobody else does.")
        name = done["routines"][0]["name"]
        say(as_called(ctx, f"hint: give each to another minion: hq routine move {name} --to NAME"))


def _agreed(question: str) -> bool:
    """Whether the person says yes; who breaks off does not."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        say("")
        return False


def _lines(said: dict[str, Any]) -> list[str]:
    """A minion as its reader sees it; what it said itself does nothing to the screen."""
    from server.domain.legible import one_line

    seen = f"seen {said['seen']}"
    if said["silent_since"]:
        seen = click.style(f"silent, {seen}", fg="yellow")
    about = [said["version"], said["engine"], said["timezone"], *said["roles"]]
    lines = [f"{click.style(said['name'], bold=True)}  {seen}"]
    told = [
        ("about", ", ".join(str(each) for each in about if each)),
        ("joined", _local(said["joined_at"])),
        ("routines", str(said["routines"])),
        *(("runs", f"{run['run']}  {run['routine'] or 'of its own'}") for run in said["running"]),
        *((("next", f"{said['next_due']['routine']}, due {_local(said['next_due']['due'])}"),)
          if said["next_due"] else ()),
        *_risks(said),
        *(("trouble", _trouble(each)) for each in said["troubles"]),
        *((("health", said["health"]),) if said["health"] else ()),
        *((("waits", _orders(said["orders_waiting"])),) if said["orders_waiting"] else ()),
    ]  # fmt: skip
    return [*lines, *(f"  {name:<9} {one_line(text, _LONGEST_LINE)}" for name, text in told)]


def _risks(said: dict[str, Any]) -> list[tuple[str, str]]:
    slots = said["slots_at_risk"]
    lines = [("at risk", f"{each['routine']}, due {_local(each['due'])}") for each in slots]
    more = said["slots_at_risk_count"] - len(slots)
    return [("at risk", f"{more} earlier ones"), *lines] if more > 0 else lines


def _trouble(said: dict[str, Any]) -> str:
    return f"{said['routine']}: {said['says']}" + (f" ({said['do']})" if said["do"] else "")


def _orders(number: int) -> str:
    return f"{number} order{'s' if number > 1 else ''} for it"


def _local(moment: str) -> str:
    from server.commands.decisions import local_time

    return local_time(moment)
