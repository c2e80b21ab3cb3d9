"""`hq up`: HQ, and the minion of this machine joined to it, by one command."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.context import home_of, login_name, say

if TYPE_CHECKING:
    import asyncio

    from server.config import HqHome
    from server.local_minion import Joined

_PORT = 7717


@click.command("up")
@click.option("--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True,
              help="Port of 127.0.0.1 to listen at; the minion remembers it.")  # fmt: skip
@click.option("--minion-home", metavar="FOLDER", help="The minion's home [default: MINION_HOME, else the usual].")
@click.pass_context
def command(ctx: click.Context, port: int, minion_home: str | None) -> None:
    """Have the whole system: HQ here in this terminal, and this machine's minion joined to it and up.

    A minion that is here already is taken; else one is begun, as `minion init` does in this folder. It is let in
    by a token of its own that nobody sees. HQ ends with this terminal; the minion stays up, runs what it was
    given, and tells HQ when that is back. Where HQ runs already, only the minion is seen to. `hq service install`
    has the system keep HQ.

    \b
    Examples:
      hq up
      hq --home /srv/hq up --port 7800 --minion-home /srv/minion
    """
    from server.commands.life import run_until_told
    from server.config import address_of, alerts, public_url
    from server.telling import check

    home, who = home_of(ctx), login_name()
    check(alerts())
    public_url()
    running = address_of(home)
    if running is not None:
        say(f"HQ runs already, at {running.url}; its home is {home.root}.")
        _told(home, _adopted(home, running.url, minion_home, who), stays=True)
        return

    async def serving(stop: asyncio.Event) -> None:
        await _serve(home, port, minion_home, who, stop)

    run_until_told(serving, log="warning")


async def _serve(home: HqHome, port: int, minion_home: str | None, who: str, stop: asyncio.Event) -> None:
    """Have HQ answer until `stop`, and see to the minion once it does."""
    import asyncio
    from importlib.metadata import version

    from server.app import opened
    from server.serving import serve

    answers: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def seen_to() -> None:
        url = await answers
        say(f"HQ answers at {url}; its home is {home.root}.")
        _told(home, await asyncio.to_thread(_adopted, home, url, minion_home, who), stays=False)

    seeing = asyncio.create_task(seen_to())
    try:
        async with opened(home, "hq up") as (desk, lock):
            await serve(
                desk, lock, home, port=port, version=version("minion-hq"), who=who, told=answers.set_result,
                stop=stop,
            )  # fmt: skip
    finally:
        seeing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await seeing


def _adopted(home: HqHome, url: str, minion_home: str | None, who: str) -> Joined | str:
    """The minion as it is now; or why it could not be had, which is no reason for HQ to end."""
    from server.asking import ask
    from server.contract.refusals import Refusal
    from server.local_minion import adopt

    def token_for(name: str) -> str:
        made: dict[str, Any] = ask(home, "hq up", "token.create", {"name": name, "scope": "minion"}, who=who)
        return str(made["token"])

    try:
        return adopt(url, token_for, home=minion_home)
    except Refusal as refusal:
        return f"{refusal.sentence}\nhint: {refusal.hint}"


def _told(home: HqHome, found: Joined | str, *, stays: bool) -> None:
    for line in _lines(home, found, stays=stays):
        click.echo(line)


def _lines(home: HqHome, found: Joined | str, *, stays: bool) -> Iterator[str]:
    from server.config import default_home

    hq = shlex.quote(str(Path(sys.argv[0]).absolute()))
    # What Claude starts inherits nothing of this terminal.
    where = "" if home.root == default_home().root else f" --home {shlex.quote(str(home.root))}"
    if isinstance(found, str):
        yield f"minion   not joined: {found}"
    else:
        how = "begun, joined" if found.made else "joined" if found.joined else "joined before"
        yield f"minion   {found.name} ({found.home}): {how}, and up (process {found.pid})"
        if found.problem is not None:
            yield f"         HQ does not hear it: {found.problem}"
    yield f"Claude   claude mcp add --scope user hq -- {hq}{where} mcp"
    yield f"inbox    hq{where} inbox"
    if not stays:
        yield "HQ ends with this terminal, or with Ctrl-C; the minion stays up, and `minion down` ends it."
        yield f"To keep HQ without a terminal: hq{where} service install"
