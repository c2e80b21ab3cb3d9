"""How values are written into a document that people edit: YAML as they would write it themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9 /_.'-]*[A-Za-z0-9])?")
_NOT_TEXT: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def as_value(value: Any) -> str:
    """A JSON-shaped value on one line, which is YAML too; what YAML takes for no text character is escaped."""
    said = json.dumps(value, ensure_ascii=False)
    return said if said.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in said)


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def as_yaml(document: Mapping[str, Any]) -> str:
    """A document with each top-level key on its own line, longer texts as blocks, as people write YAML."""
    return "".join(f"{key}: {_value(value)}\n" for key, value in document.items())


def _value(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return f"[{', '.join(_word(item) for item in value)}]"
    if not isinstance(value, str):
        return as_value(value)
    if "\n" in value.rstrip("\n") and _fits_a_block(value):
        mark = "|" if value.endswith("\n") else "|-"
        return f"{mark}\n" + "\n".join(f"  {line}".rstrip() for line in value.rstrip("\n").split("\n"))
    return _word(value)


def _word(text: str) -> str:
    """Text without quotes where every reader of YAML takes it for text."""
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_TEXT
    return text if plain else as_value(text)


def _fits_a_block(text: str) -> bool:
    """Whether a block says exactly this text: no control characters, no blanks that a reader would drop."""
    lines = text.removesuffix("\n").split("\n")
    return (
        all(line.isprintable() and line == line.rstrip() for line in lines)
        and not lines[0].startswith(" ")
        and bool(lines[0])
        and bool(lines[-1])
    )
