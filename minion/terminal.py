"""The terminal a command is given at: what it and its desktop can show, by the environment, and who sits there."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO


def wants_styles() -> bool | None:
    """False where NO_COLOR (with any value) or TERM=dumb forbids styles; None: a terminal has them, a file not."""
    return False if os.environ.get("NO_COLOR") or not can_rewrite() else None


def can_rewrite() -> bool:
    """Whether a line that was shown can be wiped and written anew."""
    return os.environ.get("TERM") != "dumb"


def can_draw(stdin: TextIO | None, stdout: TextIO | None) -> bool:
    """Whether whole screens can be shown: at a terminal, or where Textual is served to a browser."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return True
    return can_rewrite() and all(stream is not None and stream.isatty() for stream in (stdin, stdout))


def folder_opener() -> str | None:
    """The desktop's own program that opens a folder; None where nobody would see it open."""
    if os.environ.get("TEXTUAL_DRIVER") or os.environ.get("SSH_CONNECTION"):
        return None  # whoever looks is at another machine
    if sys.platform == "darwin":
        return shutil.which("open")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return shutil.which("xdg-open")
    return None


def login_name() -> str:
    """Who gives this command, to be kept with an answer."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without an entry, as in some containers
        return f"user {os.getuid()}"
