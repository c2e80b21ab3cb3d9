"""`minion service`: has the system start the minion by itself, and bring it back when it failed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from minion.commands.context import home_of, print_json, program
from minion.commands.presentation import mark
from minion.config import Home, held, load_config
from server.contract.refusals import Refused

if TYPE_CHECKING:
    from minion.setup.init_system import Standing
    from minion.setup.service import Unit


@click.group("service")
def command() -> None:
    """Have the system start the minion by itself, and bring it back when it failed.

    On Linux that is a unit of systemd for this user, on macOS an agent of launchd. Neither takes root, and each
    home has one of its own. What such a service has of its environment, and what it has not, is tried out by
    `minion doctor --as-service`.

    \b
    Examples:
      minion service install --now
      minion service show
    """


@command.command("install", short_help="Write the unit, and say what brings it up.")
@click.option("--now", is_flag=True, help="Also have the system start it, now and from now on.")
@click.option("--replace", is_flag=True, help="Also over a unit that somebody edited.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def install(ctx: click.Context, now: bool, replace: bool, as_json: bool) -> None:
    """Write the unit for this minion, and say what brings it up.

    The file is all that is written. With --now the system's manager is told too: `systemctl --user enable --now`,
    or `launchctl bootstrap`. A unit that this command wrote is replaced when it is out of date; one that was
    edited needs --replace, and one of somebody else's is left alone.

    On Linux a user's services end with the user's last session unless the user lingers. This says whether you do;
    `loginctl enable-linger` changes it, needs no root, and is yours to call.

    \b
    Examples:
      minion service install
      minion service install --now
    """
    from minion.setup import init_system
    from minion.setup.service import place, unit_of

    home = home_of(ctx)
    unit = unit_of(home, load_config(home))
    before = init_system.ask(unit)
    if now and not before.usable:
        says = f"{_manager(unit)} cannot be asked here; nothing was written."
        hint = "leave --now out, or have another supervisor run `minion up --foreground`"
        raise Refused("no_service_manager", says, hint=hint)
    if now and not before.active:
        with held(home, "minion service install"):  # refused now, naming who is up, and not by the manager later
            pass
    changed = place(unit, replace=replace)
    if now:
        anew = before.active is True and changed
        for argv in init_system.commands_to_begin_anew(unit) if anew else init_system.commands_to_begin(unit):
            init_system.act(argv)
    after = init_system.ask(unit)
    todo = [] if now else _lines(init_system.commands_to_begin(unit))
    if as_json:
        print_json({**_facts(unit, after), "changed": changed, "next": todo})
        return
    click.echo(f"{mark('ok')}  {'wrote' if changed else 'as it was:'} {unit.file}")
    if now:
        click.echo("  the minion is up, and comes back by itself")
    _tell_lingering(ctx, unit, after)
    if todo:
        where = f"for a session in which {_manager(unit).lower()} can be asked"
        click.echo(f"  {'next' if after.usable else where}")
        if not after.active and _is_held(home):
            click.echo(f"    {program(ctx)} down")
        click.echo("\n".join(f"    {line}" for line in todo))


@command.command("uninstall", short_help="Remove the unit that install wrote.")
@click.option("--now", is_flag=True, help="Also have the system stop it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def uninstall(ctx: click.Context, now: bool, as_json: bool) -> None:
    """Remove the unit that `install` wrote, and the link by which the system starts it.

    A file that somebody edited, or that this program did not write, is left alone. What runs goes on until `minion
    down`, unless --now has the system stop it first: runs have their few seconds to end. The home stays as it is.

    \b
    Examples:
      minion service uninstall --now
    """
    from minion.setup.service import unit_of

    home = home_of(ctx)
    unit = unit_of(home, load_config(home))
    gone, runs = take_away(unit, stop=now)
    if as_json:
        print_json({"removed": gone, "active": runs})
        return
    click.echo("\n".join(f"{mark('ok')}  removed {path}" for path in gone))
    if runs:
        click.echo(f"  it still runs; to stop it: {program(ctx)} down")


def take_away(unit: Unit, *, stop: bool) -> tuple[list[str], bool | None]:
    """Remove a unit, its manager told as far as one can be: the files that went, and whether it still runs.

    That is None where nobody can tell. Raises what `remove` refuses before anything is stopped.
    """
    from minion.setup import init_system
    from minion.setup.service import check_removable, remove

    check_removable(unit)
    before = init_system.ask(unit)
    if stop and before.usable:
        for argv in init_system.commands_to_end(unit):
            init_system.act(argv)
    gone = [str(path) for path in remove(unit)]
    forget = init_system.command_to_forget(unit)
    if before.usable and forget is not None:
        init_system.act(forget)
    return gone, None if before.active is None else before.active and not stop


@command.command("show", short_help="Show the unit and how it stands.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show the unit: whether it is there and up to date, whether it runs, whether it outlives your session.

    The text is that of the file, or, where there is none, what `install` would write. Nothing is changed.

    \b
    Examples:
      minion service show
      minion service show --json
    """
    from minion.setup import init_system
    from minion.setup.service import read_unit, unit_of

    home = home_of(ctx)
    unit = unit_of(home, load_config(home))
    standing = init_system.ask(unit)
    facts = _facts(unit, standing)
    if as_json:
        print_json({**facts, "text": read_unit(unit) or unit.text})
        return
    words = {
        "missing": f"not installed: {program(ctx)} service install",
        "current": "installed, up to date",
        "outdated": f"installed, out of date: {program(ctx)} service install",
        "edited": "installed, and edited since",
        "foreign": "somebody else's file: it is left alone",
    }
    click.echo(f"unit     {unit.file}\n         {words[facts['state']]}")
    if standing.usable:
        runs = "it runs" if standing.active else "it does not run"
        click.echo(f"system   {runs}, and {'begins' if standing.enabled else 'does not begin'} by itself")
    _tell_lingering(ctx, unit, standing)
    click.echo(f"\n{read_unit(unit) or unit.text}", nl=False)


def _facts(unit: Unit, standing: Standing) -> dict[str, Any]:
    return {
        "kind": unit.kind, "name": unit.name, "path": str(unit.file), "state": state_of(unit),
        "program": str(unit.program), "usable": standing.usable, "enabled": standing.enabled,
        "active": standing.active, "lingers": standing.lingers,
    }  # fmt: skip


def state_of(unit: Unit) -> str:
    """How the unit's file stands: `missing`, `current`, `outdated`, `edited` or `foreign`."""
    from minion.setup.service import read_unit, standing

    there = read_unit(unit)
    if there is None:
        return "missing"
    if there == unit.text:
        return "current"
    return {"ours": "outdated", "edited": "edited", "foreign": "foreign"}[standing(there)]


def _tell_lingering(ctx: click.Context, unit: Unit, standing: Standing) -> None:
    if not standing.usable:
        other = f"any supervisor can run `{program(ctx)} up --foreground`"
        click.echo(f"  {_manager(unit)} cannot be asked here; {other}")
    elif unit.kind == "launchd":
        click.echo("  it runs while you are logged in, as agents of launchd do")
    elif standing.lingers:
        click.echo("  lingering is on: it runs from the start of the machine, logged in or not")
    else:
        how = "off" if standing.lingers is False else "not known here"
        click.echo(f"  lingering is {how}: without it the minion ends with your last session")
        click.echo("    loginctl enable-linger")


def _manager(unit: Unit) -> str:
    return "The program launchctl" if unit.kind == "launchd" else "The user's systemd"


def _lines(commands: list[list[str]]) -> list[str]:
    return [shlex.join(argv) for argv in commands]


def _is_held(home: Home) -> bool:
    from minion.daemon_client import daemon_is_up

    return daemon_is_up(home)
