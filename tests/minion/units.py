"""Services of homes in a test's folder, and units read as systemd reads them."""

from __future__ import annotations

import re
from pathlib import Path

from minion.config import Home
from tests.whole.homes import make_home

# What a folder may be called: every character that a unit's words must keep to themselves.
ODD = 'my h%o$HOME "q" \\b é'


def oddly_named_home(folder: Path) -> Home:
    """A home in a folder with an odd name."""
    (folder / ODD).mkdir()
    return make_home(folder / ODD)


def settings(text: str) -> dict[str, str]:
    """The settings of a systemd unit, comments apart."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def words_of(line: str, *, filled: bool) -> list[str]:
    """The words of a setting as systemd reads them: quotes, escapes, specifiers, variables (systemd.syntax(7))."""
    found = []
    for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
        word = re.sub(r"\\(.)", r"\1", quoted)
        assert re.fullmatch(r"(?:[^%]|%%)*", word), word
        word = word.replace("%%", "%")
        if filled and found:  # the program itself is taken as it is
            assert re.fullmatch(r"(?:[^$]|\$\$)*", word), word
            word = word.replace("$$", "$")
        found.append(word)
    return found


def command_of(text: str) -> tuple[list[str], dict[str, str]]:
    """What systemd would execute, and the variables that the unit sets."""
    said = settings(text)
    (variable,) = words_of(said["Environment"], filled=False)
    name, _, value = variable.partition("=")
    return words_of(said["ExecStart"], filled=True), {name: value}
