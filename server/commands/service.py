"""`hq service`: has the system start HQ by itself, and bring it back when it failed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import click

from server.commands.context import as_called, home_of, print_json

if TYPE_CHECKING:
    from server.config import HqHome
    from server.setup.init_system import Standing
    from server.setup.service import Unit

_PORT: Final = 7717


@click.group("service")
def command() -> None:
    """Have the system start `hq serve` by itself, and bring it back when it failed.

    On Linux that is a unit of systemd for this user, on macOS an agent of launchd. Neither takes root, and each
    home has one of its own.

    \b
    Examples:
      hq service install --now
      hq service status
    """


@command.command("install", short_help="Write the unit, and say what brings it up.")
@click.option("--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True,
              help="Port of 127.0.0.1 that it listens at.")  # fmt: skip
@click.option("--now", is_flag=True, help="Also have the system start it, now and from now on.")
@click.option("--replace", is_flag=True, help="Also over a unit that somebody edited.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def install(ctx: click.Context, port: int, now: bool, replace: bool, as_json: bool) -> None:
    """Write the unit for this HQ, and say what brings it up.

    The file is all that is written: it names the home and the port, and has HQ_PUBLIC_URL, HQ_LOG,
    HQ_ALERT_COMMAND and HQ_ALERT_SLACK_FILE as this shell has them, but no secret. With --now the system's manager
    is told too: `systemctl --user enable --now`, or `launchctl bootstrap`. A unit that this command wrote is
    replaced when it is out of date; one that was edited needs --replace, and one of somebody else's is left alone.

    On Linux a user's services end with the user's last session unless the user lingers. This says whether you do;
    `loginctl enable-linger` changes it, needs no root, and is yours to call.

    \b
    Examples:
      hq service install
      hq service install --now --port 8080
    """
    from server.contract.refusals import Refused
    from server.setup import init_system
    from server.setup.service import place, unit_of

    _check_settings()
    home = home_of(ctx)
    unit = unit_of(home, port)
    before = init_system.ask(unit)
    if now and not before.usable:
        says = f"{_manager(unit)} cannot be asked here; nothing was written."
        hint = "leave --now out, or have another supervisor run `hq serve`"
        raise Refused("no_service_manager", says, hint=hint)
    if now and not before.active:
        _check_free(home)
    changed = place(unit, replace=replace)
    if now:
        anew = before.active is True and changed
        for argv in init_system.commands_to_begin_anew(unit) if anew else init_system.commands_to_begin(unit):
            init_system.act(argv)
    after = init_system.ask(unit)
    todo = [] if now else [shlex.join(argv) for argv in init_system.commands_to_begin(unit)]
    if as_json:
        print_json({**_facts(unit, after), "settings": sorted(unit.settings), "changed": changed, "next": todo})
        return
    click.echo(f"{'wrote' if changed else 'as it was:'} {unit.file}")
    _tell_settings(unit)
    if now:
        click.echo(as_called(ctx, "  HQ is up, and comes back by itself: hq status says where it answers"))
    _tell_lingering(ctx, unit, after)
    if todo:
        _tell_next(unit, after, todo, home)


@command.command("uninstall", short_help="Remove the unit that install wrote.")
@click.option("--now", is_flag=True, help="Also have the system stop it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def uninstall(ctx: click.Context, now: bool, as_json: bool) -> None:
    """Remove the unit that `install` wrote, and the link by which the system starts it.

    A file that somebody edited, or that this program did not write, is left alone. What runs goes on until it is
    stopped, unless --now has the system stop it first. The home stays as it is.

    \b
    Examples:
      hq service uninstall --now
    """
    from server.at_hand import owner_of
    from server.setup import init_system
    from server.setup.service import check_removable, remove, unit_of

    home = home_of(ctx)
    unit = unit_of(home, _PORT)
    check_removable(unit)
    before = init_system.ask(unit)
    if now and before.usable:
        for argv in init_system.commands_to_end(unit):
            init_system.act(argv)
    gone = [str(path) for path in remove(unit)]
    forget = init_system.command_to_forget(unit)
    if before.usable and forget is not None:
        init_system.act(forget)
    runs = None if before.active is None else before.active and not now
    if as_json:
        print_json({"removed": gone, "active": runs})
        return
    click.echo("\n".join(f"removed {path}" for path in gone))
    owner = owner_of(home) if runs else None
    if owner is not None:
        click.echo(f"  it still runs; to stop it: kill {owner[0]}")


@command.command("status", short_help="Show the unit and how it stands.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the unit: whether it is there and ours, whether it runs, whether it outlives your session.

    The text is that of the file, or, where there is none, what `install` would write. Nothing is changed.

    \b
    Examples:
      hq service status
      hq service status --json
    """
    from server.setup import init_system
    from server.setup.service import read_unit, unit_of

    unit = unit_of(home_of(ctx), _PORT)
    standing = init_system.ask(unit)
    facts = _facts(unit, standing)
    text = read_unit(unit) or unit.text
    if as_json:
        print_json({**facts, "text": text})
        return
    words = {
        "missing": "not installed: hq service install",
        "installed": "installed",
        "outdated": "installed, and starts another program than this one: hq service install",
        "edited": "installed, and edited since",
        "foreign": "somebody else's file: it is left alone",
    }
    click.echo(as_called(ctx, f"unit     {unit.file}\n         {words[facts['state']]}"))
    if standing.usable:
        runs = "it runs" if standing.active else "it does not run"
        click.echo(f"system   {runs}, and {'begins' if standing.enabled else 'does not begin'} by itself")
    _tell_lingering(ctx, unit, standing)
    click.echo(f"\n{text}", nl=False)


def _check_settings() -> None:
    """Refuse what `hq serve` would refuse, here where somebody reads it."""
    from server.config import alerts, log_level, public_url
    from server.telling import check

    public_url()
    log_level("info")
    check(alerts())


def _check_free(home: HqHome) -> None:
    """Refuse now, naming who serves, and not by the manager later."""
    from server.at_hand import owner_of
    from server.contract.refusals import Refused

    owner = owner_of(home)
    if owner is not None:
        says = f"The home {home.root} is held by `{owner[1]}` (process {owner[0]})."
        raise Refused("home_held", says, hint=f"stop it first: kill {owner[0]}")


def _facts(unit: Unit, standing: Standing) -> dict[str, Any]:
    return {
        "kind": unit.kind, "name": unit.name, "path": str(unit.file), "state": _state_of(unit),
        "program": str(unit.program), "usable": standing.usable, "enabled": standing.enabled,
        "active": standing.active, "lingers": standing.lingers,
    }  # fmt: skip


def _state_of(unit: Unit) -> str:
    """How the unit's file stands. Another port or other settings than this shell has are nothing wrong with it."""
    from server.setup.service import names_program, read_unit, standing

    there = read_unit(unit)
    if there is None:
        return "missing"
    how = standing(there)
    if how == "ours":
        return "installed" if names_program(unit, there) else "outdated"
    return how


def _tell_settings(unit: Unit) -> None:
    for name in sorted(unit.settings):
        click.echo(f"  with {name} as it is here")
    if not {"HQ_ALERT_COMMAND", "HQ_ALERT_SLACK_FILE"} & set(unit.settings):
        click.echo("  nobody will be told if a minion falls silent: see hq serve --help")


def _tell_next(unit: Unit, after: Standing, todo: list[str], home: HqHome) -> None:
    """What somebody has to type, here or where the manager can be asked."""
    from server.at_hand import owner_of

    where = f"for a session in which {_manager(unit).lower()} can be asked"
    click.echo(f"  {'next' if after.usable else where}")
    owner = owner_of(home) if not after.active else None
    if owner is not None:
        click.echo(f"    kill {owner[0]}    (it is `{owner[1]}`, which holds the home now)")
    click.echo("\n".join(f"    {line}" for line in todo))


def _tell_lingering(ctx: click.Context, unit: Unit, standing: Standing) -> None:
    if not standing.usable:
        other = as_called(ctx, "any supervisor can run `hq serve --port N`")
        click.echo(f"  {_manager(unit)} cannot be asked here; {other}")
    elif unit.kind == "launchd":
        click.echo("  it runs while you are logged in, as agents of launchd do")
    elif standing.lingers:
        click.echo("  lingering is on: it runs from the start of the machine, logged in or not")
    else:
        how = "off" if standing.lingers is False else "not known here"
        click.echo(f"  lingering is {how}: without it HQ ends with your last session")
        click.echo("    loginctl enable-linger")


def _manager(unit: Unit) -> str:
    return "The program launchctl" if unit.kind == "launchd" else "The user's systemd"
