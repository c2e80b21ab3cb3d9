"""Remedies: the shell lines that mend what the doctor finds, fit to be copied as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from minion.config import search_path
from minion.setup.installation import Place, place_of, read_receipt

# A package manager, how it installs (or brings up to date), how it installs once more.
_MANAGERS: Final = {
    "apt": ("apt install", "apt install --reinstall"),
    "dnf": ("dnf install", "dnf reinstall"),
    "pacman": ("pacman -S", "pacman -S"),
    "zypper": ("zypper install", "zypper install --force"),
    "apk": ("apk add --upgrade", "apk fix"),
    "brew": ("brew install", "brew reinstall"),
}
_SAID: Final = 500


def shown(text: str) -> str:
    """Text from outside on one line, without control characters, of bounded length."""
    clean = "".join(c if c >= " " and not "\x7f" <= c <= "\x9f" else " " for c in text)
    line = " ".join(clean.split())
    return line if len(line) <= _SAID else line[: _SAID - 1] + "…"


def quoted(path: str | Path) -> str:
    """A path as one word of a shell line."""
    return shlex.quote(str(path))


def as_root(command: str) -> str:
    """A command that only root may give."""
    return command if os.geteuid() == 0 else f"sudo {command}"


def install(package: str, *, again: bool = False) -> str:
    """The line that installs a package of the system, or brings it up to date; `again` replaces what is there."""
    known = (name for name in _MANAGERS if shutil.which(name, path=search_path()) is not None)
    name = next(known, "apt")
    line = f"{_MANAGERS[name][again]} {package}"
    return line if name == "brew" else as_root(line)


def install_zones() -> str:
    """The line that brings a time zone database where Python finds it."""
    return f"{quoted(sys.executable)} -m pip install --upgrade tzdata"


def reinstall() -> str:
    """The line that installs this program anew: the checkout's own, or what `make install` put in place."""
    place = checkout()
    if place is not None:
        return f"make -C {quoted(place)} clean setup"
    installed = place_of(Path(sys.prefix))
    receipt = read_receipt(installed) if installed is not None else None
    if receipt is not None:
        return f"make -C {quoted(receipt.source)} install"
    return f"{quoted(sys.executable)} -m pip install --force-reinstall minion-hq"


def on_path() -> str:
    """The line after which the shell finds `minion`: puts it where programs lie, or that place on the path."""
    place = place_of(Path(sys.prefix)) or Place(Path.home() / ".local")
    source = checkout()
    if source is not None and not place.links[0].exists():
        return f"make -C {quoted(source)} install"
    folder = place.links[0].parent if place.links[0].exists() else Path(sys.executable).parent
    return f'export PATH={quoted(folder)}:"$PATH"'


def checkout() -> Path | None:
    """The checkout that this program runs from, None when it was installed."""
    place = Path(__file__).resolve().parents[2]
    return place if (place / "Makefile").is_file() and (place / "pyproject.toml").is_file() else None


def edit(file: Path, *, private: bool = False) -> str:
    """The line that opens a file in the user's editor; a `private` one that is not there yet is made 0600."""
    # Not in quotes: the variable may hold a program and its options, as `code --wait`.
    line = f"${{EDITOR:-vi}} {quoted(file)}"
    return f"(umask 077; {line})" if private else line


def edit_routine(name: str) -> str:
    """The line that opens a routine's file, and keeps what is written there only when it is admitted."""
    return f"minion routine edit {quoted(name)}"


def biggest(folder: Path) -> str:
    """The line that shows what takes the room on the disk of a folder."""
    return f"du -xah {quoted(folder)} | sort -h | tail -n 20"


def give_back(root: Path, owner: int) -> str:
    """The line for a home of another user: what root made is handed over, what a person owns is left to them."""
    if owner == 0:
        return f'sudo chown -R "$(id -un)" {quoted(root)}'
    return f"sudo -u '#{owner}' minion --home {quoted(root)} doctor"
