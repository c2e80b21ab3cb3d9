"""What people read: text of others that does nothing to its reader's screen, and how long ago something was."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from server.contract.digest import parse_instant

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
# Whoever nests deeper than this is not laid out any more, but shown all the same.
DEEPEST: Final = 8


def harmless(text: str) -> str:
    """Text in which whatever is no letter, blank or line end stands as its number, `\\u001b`.

    So no text drives a terminal, turns the direction of reading, or hides a part of itself (threat T10: who
    approves has read what is there).
    """
    lines = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else _numbered(c) for c in lines)


def one_line(text: str, most: int) -> str:
    """Text on one line of at most so many characters; `…` where something of it is missing."""
    line = " ".join(harmless(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def ago(moment: str, now: datetime) -> str:
    """How long ago an instant was, in its largest unit."""
    seconds = (now - parse_instant(moment)).total_seconds()
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return "just now"


def seconds_ago(moment: str, now: datetime) -> str:
    """How long ago an instant was, in its largest unit, seconds too."""
    seconds = int((now - parse_instant(moment)).total_seconds())
    return ago(moment, now) if seconds >= _MINUTE else f"{max(0, seconds)} s ago"


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """The named parts of a JSON value: those of an object, the numbered ones of a list; None for one without."""
    if isinstance(value, dict) and value:
        return [(str(name), part) for name, part in value.items()]
    if isinstance(value, list) and value:
        return [(str(number), part) for number, part in enumerate(value, 1)]
    return None


def _numbered(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
