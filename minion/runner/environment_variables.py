"""The variables that a setup script gives to later runs: NAME=VALUE lines of its file `/environment/env`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from minion.runner.safe_files import read_beneath

FILE: Final = "env"
FILE_BYTES: Final = 65_536
MOST: Final = 100
VALUE_BYTES: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# What decides which programs run, as whom, and how they reach the network is the runner's: a package that was
# installed must not have a word in it.
_RUNNERS: Final = frozenset(
    {"PATH", "HOME", "TMPDIR", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "PROMPT_COMMAND"}
    | {"NODE_OPTIONS", "NODE_USE_ENV_PROXY", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS"}
)
_RUNNERS_BEGIN: Final = ("LD_", "PYTHON", "GIT_", "MINION_", "BASH_FUNC_")


class BadVariables(Exception):
    """A file that cannot be taken as it is; the message follows its name in a sentence."""


def variables_of(folder: Path) -> Mapping[str, str]:
    """The variables in an environment's folder; none when it has no such file. Raises `BadVariables`.

    Blank lines and those that begin with # are left out. Nothing is expanded, and quotes are part of a value.
    """
    try:
        body = read_beneath(folder, FILE, FILE_BYTES).decode()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise BadVariables("is no UTF-8") from None
    except (OSError, ValueError):
        raise BadVariables(f"is no plain file of at most {FILE_BYTES:,} bytes") from None
    found: dict[str, str] = {}
    for number, line in enumerate(body.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            name, value = _variable(line, number)
            found[name] = value
    if len(found) > MOST:
        raise BadVariables(f"has more than {MOST} variables")
    return found


def _variable(line: str, number: int) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals or _NAME.fullmatch(name) is None:
        raise BadVariables(f"has no NAME=VALUE in line {number}")
    capitals = name.upper()
    if capitals in _RUNNERS or capitals.startswith(_RUNNERS_BEGIN) or capitals.endswith("_PROXY"):
        raise BadVariables(f"sets {name} in line {number}, which is the runner's alone")
    if len(value.encode()) > VALUE_BYTES or not all(sign >= " " or sign == "\t" for sign in value):
        raise BadVariables(f"has a value in line {number} that is too long or has control characters")
    return name, value
