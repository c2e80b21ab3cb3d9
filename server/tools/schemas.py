"""What a client is shown of a tool's arguments: the same schema in fewer words, for a model reads them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Every tool answers with an object; what is in it is said where it is asked for.
ANSWER: Final[dict[str, Any]] = {"type": "object"}
_BY_NAME: Final = ("properties", "$defs")
_NULL: Final = {"type": "null"}


def shortened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema without what says nothing: made-up titles, and `null` as a choice for what may be left out.

    An argument called `title` stays. The server takes what it took before: only what is shown becomes shorter.
    """
    short: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in _BY_NAME and isinstance(value, Mapping):
            short[key] = {name: shortened(each) for name, each in value.items()}
        elif isinstance(value, Mapping):
            short[key] = shortened(value) if key != "default" else value
        elif isinstance(value, list):
            short[key] = [shortened(each) if isinstance(each, Mapping) else each for each in value]
        else:
            short[key] = value
    return _without_null(short)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = schema.get("anyOf")
    if "default" not in schema or schema["default"] is not None or not isinstance(choices, list):
        return schema
    left = [each for each in choices if each != _NULL]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**left[0], **rest} if len(left) == 1 else {"anyOf": left, **rest}
