"""What the terminal can show, as the environment says: whether there are styles, whether a line can go again."""

from __future__ import annotations

import os
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
