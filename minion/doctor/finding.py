"""A finding: what was seen of one thing, whether it is well, and the one command that mends it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from minion.doctor.remedies import shown
from server.contract.refusals import Refusal

State = Literal["ok", "warning", "problem"]
# A hint that can be given to a shell; most are for people.
_COMMAND: Final = re.compile(r"minion(?: [a-z_-]+)+")
# What can go wrong with a check itself: what it looks at refuses, or does not end.
BREAKS: Final = (OSError, Refusal, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw: `says` is one sentence, `fix` a shell line for whatever is not `ok`.

    A `problem` keeps routines from running or their record from being believed; a `warning` does not.
    """

    name: str
    state: State
    says: str
    fix: str | None

    def as_data(self) -> dict[str, Any]:
        """The finding as `minion doctor --json` prints it."""
        return {"name": self.name, "state": self.state, "says": self.says, "fix": self.fix}


def ok(name: str, says: str) -> Finding:
    """A thing that works."""
    return Finding(name, "ok", shown(says), None)


def warning(name: str, says: str, fix: str) -> Finding:
    """A thing that works, but not as it should."""
    return Finding(name, "warning", shown(says), fix)


def problem(name: str, says: str, fix: str) -> Finding:
    """A thing that does not work."""
    return Finding(name, "problem", shown(says), fix)


def refused(name: str, refusal: Refusal, fix: str) -> Finding:
    """A refusal as a problem; its hint is the fix if it is a command as it stands, else part of what is said."""
    if _COMMAND.fullmatch(refusal.hint):
        return problem(name, refusal.sentence, refusal.hint)
    end = "" if refusal.hint.endswith(("?", "!", ".")) else "."
    return problem(name, f"{refusal.sentence.rstrip('.')}; {refusal.hint}{end}", fix)


def attempt(name: str, check: Callable[[], Sequence[Finding]], fix: str) -> list[Finding]:
    """What a check finds; a check that itself breaks is a problem that `fix` is for, never a traceback."""
    try:
        return list(check())
    except BREAKS as error:
        return [broken(name, error, fix)]


def broken(name: str, error: Exception, fix: str) -> Finding:
    """The finding of a check that could not do its work."""
    if isinstance(error, Refusal):
        return refused(name, error, fix)
    if isinstance(error, subprocess.TimeoutExpired):
        program = error.cmd[0] if isinstance(error.cmd, list) else error.cmd
        return problem(name, f"{program} did not end in time.", fix)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return problem(name, f"It could not be tried ({where}{error.strerror}).", fix)
    return problem(name, f"It could not be tried ({str(error) or type(error).__name__}).", fix)
