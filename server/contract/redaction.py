"""Takes secrets out of text before it is written, logged or shown: by value, by encoding and by shape."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

MARK = "[redacted]"
# A value shorter than this would redact ordinary words; such a secret is refused where secrets are read.
SHORTEST_SECRET = 6

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


def _disguises(secret: str) -> set[str]:
    """The secret as itself, escaped, percent-encoded, reversed, in hex and in the three base64 alignments."""
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
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


class Redactor:
    """Replaces known secrets (and well-known token shapes) by `[redacted]`; idempotent and cheap to call."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _disguises(secret)}
        # Longest first: a short form must not cut a long one in two and leave its tail behind.
        # The mark stands among them, so that nothing is ever looked for inside a mark that was left before.
        ordered = sorted(forms | {MARK}, key=lambda form: (-len(form), form))
        self._values = re.compile("|".join(re.escape(form) for form in ordered)) if forms else None

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
