"""What every command of `hq` needs: the home that was named, JSON on stdout, columns, who is at the keyboard."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from server.config import HqHome


def home_of(ctx: click.Context) -> HqHome:
    """The home that `--home` or the environment names."""
    from server.config import home_at

    return home_at(ctx.find_root().obj)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, on stdout."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say(sentence: str) -> None:
    """What a person hears of it, on stderr: stdout is for data."""
    click.echo(sentence, err=True)


def login_name() -> str:
    """Who gives this command, to be kept with what they change."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without an entry, as in some containers
        return f"user {os.getuid()}"


def as_called(ctx: click.Context, hint: str) -> str:
    """A hint in which every `hq COMMAND` names the home that was named, ready to be typed again."""
    said, root = ctx.find_root().obj, ctx.find_root().command
    verbs = root.list_commands(ctx) if isinstance(root, click.Group) else []
    if not said or not verbs:
        return hint
    command = rf"(?<![\w./~-])hq (?=(?:{'|'.join(map(re.escape, verbs))})(?![\w-]))"
    return re.sub(command, lambda _: f"hq --home {shlex.quote(said)} ", hint)
