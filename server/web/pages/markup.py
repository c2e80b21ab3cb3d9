"""HTML put together so that whatever is not said to be HTML is text, and does nothing."""

from __future__ import annotations

from html import escape
from typing import Final

from server.domain.legible import harmless

_VOID: Final = frozenset({"input", "meta"})


class Html(str):
    """What is HTML already; any other text is escaped where it is put in."""

    __slots__ = ()


def tag(name: str, /, *inside: str, **said: str | bool) -> Html:
    """An element with what is in it; attributes are said as `class_="x"`, `required=True`, `data_code="y"`."""
    attributes = "".join(_attribute(key, value) for key, value in said.items() if value is not False)
    if name in _VOID:
        return Html(f"<{name}{attributes}>")
    # A parser drops the first line end of a `pre`: one more, and all that was said is there.
    first = "\n" if name in ("pre", "textarea") else ""
    return Html(f"<{name}{attributes}>{first}{joined(*inside)}</{name}>")


def joined(*parts: str) -> Html:
    """Parts one after the other, those that are no HTML as text."""
    return Html("".join(part if isinstance(part, Html) else escape(harmless(part)) for part in parts))


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(harmless(str(value)))}"'
