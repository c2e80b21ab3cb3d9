"""The parameters of a request to a minion's owner, each read with its type."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.contract.refusals import BadUse


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of a request, each read with its type. Every reader raises `BadUse` for another one."""

    said: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A text that must be there."""
        return str(self._of(name, str))

    def maybe(self, name: str) -> str | None:
        """A text, or nothing."""
        return None if self.said.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """Yes or no; no, unless it is said."""
        return bool(self._of(name, bool)) if name in self.said else False

    def number(self, name: str) -> float | None:
        """A number of at least 0, or nothing."""
        value = self.said.get(name)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return value
        raise self._bad(name)

    def items(self, name: str) -> list[Any]:
        """A list."""
        return list(self._of(name, list))

    def table(self, name: str) -> dict[str, Any]:
        """An object."""
        return dict(self._of(name, dict))

    def bytes(self, name: str) -> bytes:
        """Bytes, sent as base64."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except (binascii.Error, ValueError):
            raise self._bad(name) from None

    def _of(self, name: str, kind: type[Any]) -> Any:
        if not isinstance(self.said.get(name), kind):
            raise self._bad(name)
        return self.said[name]

    def _bad(self, name: str) -> BadUse:
        hint = "use the command line of the same version as the daemon"
        return BadUse("bad_request", f"The request's `{name}` is missing or of another type.", hint=hint)
