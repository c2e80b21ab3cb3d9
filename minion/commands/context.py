"""What every verb needs: the home that was named, JSON on stdout, and how this program is called."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from minion.config import Home, home_at
from server.contract.refusals import Refusal


def home_of(ctx: click.Context) -> Home:
    """The home that `--home` or the environment names."""
    return home_at(ctx.find_root().obj)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def warn(sentence: str) -> None:
    """Something the owner must hear of, on stderr."""
    click.echo(f"{click.style('!', fg='yellow', bold=True)} {sentence}", err=True)


@contextmanager
def hinting(code: str, hint: str) -> Iterator[None]:
    """Give the refusal `code` another hint, in a command that has no such option as its own hint names."""
    try:
        yield
    except Refusal as refusal:
        if refusal.code != code:
            raise
        raise type(refusal)(refusal.code, refusal.sentence, hint=hint) from None


def program(ctx: click.Context) -> str:
    """How to call this program again from the same folder, `--home` included, to be shown in hints."""
    called = sys.argv[0]
    on_path = shutil.which("minion")
    if on_path is not None and os.path.realpath(called) == os.path.realpath(on_path):
        called = "minion"
    said = ctx.find_root().obj
    return f"{shlex.quote(called)} --home {shlex.quote(said)}" if said else shlex.quote(called)


def as_called(ctx: click.Context, hint: str) -> str:
    """A hint in which every `minion VERB` stands as this program was called, ready to be typed again."""
    root = ctx.find_root().command
    verbs = root.list_commands(ctx) if isinstance(root, click.Group) else []
    command = rf"(?<![\w./~-])minion (?=(?:{'|'.join(map(re.escape, verbs))})(?![\w-]))"
    called = program(ctx)
    return re.sub(command, lambda _: f"{called} ", hint) if verbs else hint


def shown_path(path: str | Path) -> str:
    """A path as `./…` below the current folder where that is shorter; what is no path stays as it is."""
    text = str(path)
    if not Path(text).is_absolute():
        return text
    relative = os.path.relpath(text)
    shown = relative if relative == "." else f"./{relative}"
    return shown if len(shown) < len(text) and not relative.startswith("..") else text
