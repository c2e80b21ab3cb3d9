"""`minion setup` in this process and at a terminal, and what it leaves in a home."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from minion.cli import run
from minion.config import Home
from minion.store.local_db import read_only
from minion.store.routines import list_routines
from tests.whole.refusals_said import Listening


class Sat(NamedTuple):
    """How a set-up ended: its exit status, the code of what it was refused for, what it printed and said."""

    code: int
    refusal: str | None
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def set_up(home: Home, *arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> Sat:
    """Run `minion setup` for a home in this process, where nobody can be asked, in no checkout unless `cwd` is."""
    return _sat(home, "setup", *arguments, stdin=stdin, cwd=cwd)


def say_secret(home: Home, *arguments: str, stdin: bytes = b"") -> Sat:
    """Run `minion secret` for a home in this process, with this on its standard input."""
    return _sat(home, "secret", *arguments, stdin=stdin)


def _sat(home: Home, *arguments: str, stdin: bytes, cwd: Path | None = None) -> Sat:
    listening, out, err = Listening("minion"), io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    line = ["--home", str(home.root), *arguments]
    folder = cwd or next(place for place in home.root.parents if place.is_dir())
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(listening, "minion", line)
    finally:
        sys.stdin = before
    refusal = listening.refusal.code if listening.refusal is not None else None
    return Sat(status, refusal, out.getvalue(), err.getvalue())


def copied(home: Home, folder: Path) -> Home:
    """A home of its own with the same content: making one takes a second, copying it none."""
    shutil.copytree(home.root, folder / "home")
    return Home(folder / "home")


def contents(home: Home) -> dict[str, bytes]:
    """What a set-up can change: every file of the home but its store and lock, and the routines kept."""
    if not home.root.exists():
        return {}
    files = {
        str(path.relative_to(home.root)): path.read_bytes()
        for path in home.root.rglob("*")
        if path.is_file() and not path.name.startswith("minion.db") and path.name != "lock"
    }
    if home.store.exists():
        with read_only(home.store) as db:
            kept = [(item.id, item.revision, item.digest) for item in list_routines(db)]
        files["routines kept"] = json.dumps(kept).encode()
    return files


def leaks(home: Home, secret: str) -> list[str]:
    """The files of the home, its secrets apart, that hold the secret."""
    files = (path for path in home.root.rglob("*") if path.is_file() and path != home.secrets_file)
    return [path.name for path in files if secret.encode() in path.read_bytes()]
