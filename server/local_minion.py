"""The minion of this machine and user, had through its own command: begun where there is none, joined, and up."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.contract.refusals import Refused

_WITHIN_S: Final = 90.0
_LINKED_S: Final = 8.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Joined:
    """The minion as it is now: name, home, whether it was made or joined just now, its daemon's process."""

    name: str
    home: str
    made: bool
    joined: bool
    pid: int
    problem: str | None


def adopt(
    url: str, token_for: Callable[[str], str], *, home: str | None, program: Path | None = None
) -> Joined:
    """Have the local minion there, joined to the HQ at `url`, and up; `home` names another than its default one.

    `token_for` makes a token for a minion of this name; `program` is the minion's, if not the one beside this.
    Raises `Refused` in the words of whatever refused.
    """
    minion = _Program(program or find_program(), home)
    place = str(minion.told("where")["home"]["path"])
    made = not minion.told("where")["config"]["exists"]
    if made:
        minion.say("init")
    said = minion.told("status")
    other = said["hq"]["url"] if said["hq"] is not None else None
    if other not in (None, url):
        says = f"The minion {said['minion']['name']} has joined another HQ, {other}."
        raise Refused("has_joined", says, hint=f"have it leave that one first: {minion.called('leave')}")
    name = str(said["minion"]["name"])
    if said["pid"] is None:
        minion.say("up")
    joined = other is None
    if joined:
        minion.say("join", url, "--token-file", "-", stdin=token_for(name))
    problem = _linked(minion)
    if problem is not None and not joined:
        # It has the token of an HQ that is no more, or one that was revoked.
        minion.say("join", url, "--token-file", "-", stdin=token_for(name))
        joined, problem = True, _linked(minion)
    return Joined(name, place, made, joined, int(minion.told("status")["pid"] or 0), problem)


def _linked(minion: _Program) -> str | None:
    """Wait a moment until HQ answers the minion; what is in the way, if it does not."""
    until = time.monotonic() + _LINKED_S
    while True:
        said = minion.told("status")["hq"] or {"linked": False, "problem": "it has joined no HQ"}
        if said["linked"]:
            return None
        if time.monotonic() > until:
            return str(said["problem"] or "HQ did not hear of it yet")
        time.sleep(_LOOK_S)


def find_program(beside: str = sys.executable, path: str | None = None) -> Path:
    """The `minion` that was installed with this program, else one on the `path`. Raises `Refused`."""
    here = Path(beside).with_name("minion")
    found = str(here) if here.is_file() else shutil.which("minion", path=path)
    if found is None:
        says = "The program minion is not beside this one, nor where programs are looked for."
        raise Refused("no_minion_program", says, hint="install it, or have HQ alone: hq serve")
    return Path(found)


@dataclass(frozen=True, slots=True)
class _Program:
    """The minion's command, for one home."""

    path: Path
    home: str | None

    def called(self, verb: str) -> str:
        """A command as a person types it."""
        where = f" --home {shlex.quote(self.home)}" if self.home is not None else ""
        return f"minion{where} {verb}"

    def told(self, verb: str) -> Any:
        """The JSON document that a command prints. Raises `Refused`."""
        text = self.say(verb, "--json")
        try:
            return json.loads(text)
        except ValueError:
            says = f"`{self.called(verb)}` does not say what it should."
            raise Refused("minion_other", says, hint="bring minion and hq to one version") from None

    def say(self, *words: str, stdin: str = "") -> str:
        """Have a command performed; what it prints. Raises `Refused` with its own sentence and hint."""
        argv = [str(self.path), *(["--home", self.home] if self.home is not None else []), *words]
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, timeout=_WITHIN_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            says = f"`{self.called(words[0])}` could not be performed ({type(error).__name__})."
            raise Refused("minion_failed", says, hint=f"try it yourself: {self.called(words[0])}") from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            words_of = lines[0].removeprefix("minion: ") if lines else f"it ended with {done.returncode}"
            hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
            says = f"`{self.called(words[0])}` was refused: {words_of.rstrip('.')}."
            raise Refused("minion_refused", says, hint=hints[0] if hints else self.called("doctor"))
        return done.stdout
