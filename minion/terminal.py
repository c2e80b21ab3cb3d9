"""What the terminal can show, as the environment says: whether there are styles, whether a line can go again."""

from __future__ import annotations

import os


def wants_styles() -> bool | None:
    """False where NO_COLOR (with any value) or TERM=dumb forbids styles; None: a terminal has them, a file not."""
    return False if os.environ.get("NO_COLOR") or not can_rewrite() else None


def can_rewrite() -> bool:
    """Whether a line that was shown can be wiped and written anew."""
    return os.environ.get("TERM") != "dumb"
