"""Takes secrets out of text before it is written, logged or shown: by value, by encoding and by shape."""

from __future__ import annotations

import base64
import json
import re
import string
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

MARK = "[redacted]"
# A value shorter than this would redact ordinary words; such a secret is refused where secrets are read.
SHORTEST_SECRET = 6
# A line of a secret is one by itself from so many characters on.
_SHORTEST_LINE = 12

_SHAPES = re.compile(
    r"sk-ant-[A-Za-z0-9_-]{8,}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{8,}"
    r"|AKIA[0-9A-Z]{16}"
    r"|hq_[a-z]{3,10}_[0-9A-HJKMNP-TV-Z]{40,60}[0-9a-f]{0,8}"
    r"|(?<=hooks\.slack\.com/services/)[A-Za-z0-9/_-]{8,}"
    r"|(?<=://)[^/\s:@]{1,256}:[^/\s@]{1,256}(?=@)"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{1,8192}-----END [A-Z ]{0,30}PRIVATE KEY-----"
)


# No encoding that is looked for has to write these otherwise, and none of the usual ones does.
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_.~")
# A secret with more of the other characters is looked for in the commonest encodings only: a choice at each of
# them would take seconds to prepare.
_MOST_CHOICES = 256
_SHORT_ESCAPES = {'"': '"', "\\": r"\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def _lines_of(secret: str) -> list[str]:
    """The lines of a secret of several, such as a key: whoever reads it reads it so. What frames it is none."""
    lines = [line.strip() for line in secret.splitlines()]
    return [line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----")]


def _disguises(secret: str) -> list[str]:
    """Patterns of the secret: percent-encoded, in JSON, in HTML, as itself, reversed, in hex, in base64."""
    raw = secret.encode()
    forms = {
        secret,
        secret[::-1],
        raw.hex(),
        raw.hex().upper(),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    for lead in range(3):
        # The middle of a base64 text does not depend on what follows, only on the alignment of what precedes.
        encoded = base64.b64encode(b"\0" * lead + raw).decode().rstrip("=")
        core = encoded[(0, 2, 3)[lead] : len(encoded) - (1 if (len(raw) + lead) % 3 else 0)]
        if len(core) >= SHORTEST_SECRET:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    # What is escaped goes before the secret as it is, which would leave half of an escape at the end.
    escaped = [pattern for ways in (_in_percent, _in_json, _in_html) for pattern in _written(secret, ways)]
    plain = sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=lambda form: (-len(form), form))
    return [*escaped, *map(re.escape, plain)]


def _written(secret: str, ways: Callable[[str], list[str]]) -> list[str]:
    """Patterns of the secret as encoders of one kind write it; none when all leave it as it is or it is too long.

    Which characters they escape, and in which letters, differs between languages: each may be as it is or not.
    Only what begins an escape never is, so that each text can be read in one way, in time of its length.
    """
    if _PLAIN.issuperset(secret) or sum(letter not in _PLAIN for letter in secret) > _MOST_CHOICES:
        return []
    rest = [_either([letter] if letter in _PLAIN else ways(letter)) for letter in secret[1:]]
    # Each pattern begins with a letter and not with a choice, which makes `re` pass over other text quickly.
    first = [secret[0]] if secret[0] in _PLAIN else ways(secret[0])
    return [begin + "".join(rest) for begin in first]


def _either(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _in_percent(letter: str) -> list[str]:
    """As in an address or a form: `%2F`."""
    bare = {"%": [], " ": [" ", r"\+"]}.get(letter, [re.escape(letter)])
    return [*bare, "".join(f"%{_hex(byte, 2)}" for byte in letter.encode())]


def _in_json(letter: str) -> list[str]:
    """As in a string of JSON: `\\/` and `\\u002f` too, which some encoders write."""
    units = letter.encode("utf-16-be")
    number = r"\\".join(f"u{_hex(units[at] * 256 + units[at + 1], 4)}" for at in range(0, len(units), 2))
    short = _SHORT_ESCAPES.get(letter)
    escape = r"\\" + (number if short is None else f"(?:{short}|{number})")
    return [escape] if letter == "\\" else [re.escape(letter), escape]


def _in_html(letter: str) -> list[str]:
    """As in HTML or XML: `&amp;`, `&#38;`, `&#x26;`."""
    named = f"|{_NAMED[letter]}" if letter in _NAMED else ""
    entity = f"&(?:#0{{0,5}}{ord(letter)}|#[xX]0{{0,5}}{_hex(ord(letter), 1)}{named});"
    return [entity] if letter == "&" else [re.escape(letter), entity]


def _hex(number: int, digits: int) -> str:
    """A pattern of a number in hex, in small letters or capitals."""
    return "".join(d if d.isdigit() else f"[{d}{d.upper()}]" for d in f"{number:0{digits}x}")


class Redactor:
    """Replaces known secrets (and well-known token shapes) by `[redacted]`; idempotent and cheap to call."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts = {part for secret in secrets for part in (secret, *_lines_of(secret))}
        known = {part: _disguises(part) for part in parts if len(part) >= SHORTEST_SECRET}
        # Longest first: a short secret must not cut a long one in two and leave its tail behind.
        # The mark stands among them, so that nothing is ever looked for inside a mark that was left before.
        ordered = sorted([(MARK, [re.escape(MARK)]), *known.items()], key=lambda item: (-len(item[0]), item[0]))
        patterns = [pattern for _, written in ordered for pattern in written]
        self._values = re.compile("|".join(patterns)) if known else None

    def text(self, value: str, *, shapes: bool = True) -> str:
        """`value` without the secrets; without `shapes` what only looks like one stays."""
        if self._values is not None:
            value = self._values.sub(MARK, value)
        return _SHAPES.sub(MARK, value) if shapes else value

    def holds(self, value: str) -> bool:
        """Whether a known secret, or a form of one, stands in `value`; what only looks like one does not count."""
        found = self._values.finditer(value) if self._values is not None else ()
        return any(match[0] != MARK for match in found)

    def data(self, value: Any, *, shapes: bool = True) -> Any:
        """A JSON value with every string in it, keys included, redacted as `text` does."""
        if isinstance(value, str):
            return self.text(value, shapes=shapes)
        if isinstance(value, dict):
            pairs = value.items()
            return {self.text(str(key), shapes=shapes): self.data(item, shapes=shapes) for key, item in pairs}
        if isinstance(value, list | tuple):
            return [self.data(item, shapes=shapes) for item in value]
        return value
