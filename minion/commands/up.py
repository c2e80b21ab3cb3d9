"""`minion up`: has the minion stay up, as a process in the background or in the foreground for a service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from minion.commands.context import home_of, print_json, program
from minion.config import Home, held, load_config
from server.contract.refusals import Refused

# The other imports stand in the functions: what the daemon need not wait for is loaded while it starts.

_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.01


@click.command("up")
@click.option("--foreground", is_flag=True, help="Stay in this terminal, for a service manager; logs on stderr.")
@click.option("--quiet", is_flag=True, help="With --foreground: log to daemon.log only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, foreground: bool, quiet: bool, as_json: bool) -> int:
    """Have the minion stay up: its routines run on their schedules.

    It goes on in the background until `minion down`, a signal or the end of the machine's session; `minion service
    install` has it come back by itself. One daemon owns a home; every other command goes through it. What it says
    is in daemon.log of the home.

    \b
    Examples:
      minion up
      minion up --foreground
    """
    home = home_of(ctx)
    load_config(home)
    _refuse_held(home)  # now, with the holder's name, and not in a log
    argv = [sys.executable, "-I", "-m", "minion.always_on", str(home.root)]
    if foreground:
        os.chdir(home.root)
        os.execv(argv[0], [*argv, *([] if quiet else ["--stderr"])])  # noqa: S606 - our own program, no shell
    errors = home.root / "daemon.err"
    status = _begin(home, argv, errors)
    if isinstance(status, int):
        click.echo(errors.read_text(errors="replace"), err=True, nl=False)
        return status
    if as_json:
        print_json(status)
        return 0
    from minion.spelling import spell_instant

    due = f"next due {spell_instant(status['next_due'])}" if status["next_due"] else "nothing is due by itself"
    click.echo(f"The minion is up (process {status['pid']}): {_counted(status['routines'])}, {due}.")
    click.echo(f"  look   {program(ctx)} status\n  stop   {program(ctx)} down")
    return 0


def _refuse_held(home: Home) -> None:
    """Raise `Refused` where another process owns the home: that it does, or that it is a daemon that hangs."""
    try:
        with held(home, "minion up"):
            pass
    except Refused as refusal:
        from minion.daemon_client import daemon_pid

        if refusal.code == "home_held" and daemon_pid(home) is not None:
            _refuse_silent(home)
        raise


def _refuse_silent(home: Home) -> None:
    from minion.commands.owner import daemon_of

    try:
        with daemon_of(home) as daemon:
            daemon.ask("live", {})
    except Refused as refusal:
        if refusal.code == "daemon_silent":
            raise


def _counted(routines: Sequence[Mapping[str, Any]]) -> str:
    """How many routines have files."""
    from minion.standing import GONE

    many = sum(routine["problem"] != GONE for routine in routines)
    return f"{many} routine{'' if many == 1 else 's'}"


def _begin(home: Home, argv: list[str], errors: Path) -> dict[str, Any] | int:
    """Start the daemon and wait until it answers: how it stands, or the exit status it ended with."""
    with errors.open("wb") as stderr:
        errors.chmod(0o600)
        daemon = subprocess.Popen(
            argv, cwd=home.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
    from minion.daemon_client import connected

    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and daemon.poll() is None:
        client = connected(home)
        if client is not None:
            with client:
                return dict(client.ask("status", {}))
        time.sleep(_LOOK_S)
    return 1 if daemon.poll() is None else daemon.returncode
