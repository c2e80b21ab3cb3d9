"""`minion join`: the minion joins an HQ, with a token that nobody else sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from minion.asking import ask
from minion.commands.context import home_of, print_json, program, warn
from minion.config import load_config
from server.contract.refusals import BadUse, NotFound

_LARGEST: Final = 4096


@click.command("join")
@click.argument("url", metavar="URL")
@click.option("--token-file", metavar="FILE", help="Read the token from this file; `-` is standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, url: str, token_file: str | None, as_json: bool) -> None:
    """Join an HQ: it gives this minion routines and skills, and hears what became of their runs.

    URL is where that HQ answers. The token is made there for this minion's name (`minion status` shows it), with
    `hq token create --scope minion --name NAME`; you are asked for it, unless --token-file names a file that holds
    it. It is kept in the home, in a file that only you can read. The minion needs no HQ to run: while it is away
    all routines go on, HQ's too, and reports wait. The daemon asks HQ; nothing ever calls this machine.

    \b
    Examples:
      minion join http://127.0.0.1:7717
      minion join https://hq.example.com --token-file hq-token
    """
    home = home_of(ctx)
    config = load_config(home)
    token = _asked(config.name) if token_file is None else _read(token_file)
    answer = ask(home, "join", {"url": url, "token": token}, command="minion join", alert=warn)
    if as_json:
        print_json(answer)
        return
    click.echo(f"{answer['name']} has joined the HQ at {answer['url']} ({answer['hq']}).")
    click.echo(f"  routines of HQ's come by themselves; {program(ctx)} status shows them, and whether HQ answers")


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        hint = "pipe it: --token-file -, or name a file: --token-file FILE"
        raise BadUse("no_hq_token", f"Nobody is here to be asked for the token of {name}.", hint=hint)
    said: str = click.prompt(f"Token of scope minion for {name}", hide_input=True, err=True)
    return said


def _read(place: str) -> str:
    if place == "-":
        return sys.stdin.read(_LARGEST)
    try:
        with Path(place).open(encoding="ascii", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError as error:
        says = f"{place} cannot be read ({error.strerror})."
        raise NotFound("no_file", says, hint="name the file that holds the token") from error
