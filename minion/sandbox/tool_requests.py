"""The requests of a tool host: read from their lines and checked, field by field, before anything is started.

Standard library only; bound beside `tool_host.py`. Protocol: DECISIONS "Tool host".
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing for its constant would cost 3 ms of every start
    from typing import Any

OPS = ("run", "file", "kill")


class BadRequest(Exception):
    """A request that cannot be carried out as it stands; its text becomes `why`."""


def opened(line: bytes) -> tuple[dict[str, Any], int | str]:
    """A request line as an object, and its id; raises `BadRequest`."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("not JSON") from None
    key = request.get("id") if isinstance(request, dict) else None
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise BadRequest("not an object whose id is a whole number or a text")
    return request, key


def checked(request: dict[str, Any]) -> dict[str, Any]:
    """A request that starts something, with its texts as bytes; raises `BadRequest` naming the field.

    `call` is there for one of the file tools, `argv` for a command. `session`: what goes beyond `max_bytes` is
    kept by its end, and what the command leaves behind may print on.
    """
    timeout_s, most = request.get("timeout_s"), request.get("max_bytes")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < 1e8:
        raise BadRequest("timeout_s must be a number of seconds above 0")
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise BadRequest("max_bytes must be a whole number of bytes")
    told = _call(request) if request["op"] == "file" else _command(request)
    return {**told, "cwd": encoded(request.get("cwd"), "cwd"), "timeout_s": timeout_s, "max_bytes": most}


def _call(request: dict[str, Any]) -> dict[str, Any]:
    call = request.get("call")
    if not isinstance(call, dict):
        raise BadRequest("call must be an object")
    return {"call": call, "stdin": b"", "session": False}


def _command(request: dict[str, Any]) -> dict[str, Any]:
    argv, env = request.get("argv"), request.get("env")
    if not isinstance(argv, list) or not argv:
        raise BadRequest("argv must be a list with the program in it")
    if not isinstance(env, dict) or any(not name or "=" in name for name in env):
        raise BadRequest("env must be an object of texts")
    return {
        "argv": [encoded(item, "argv") for item in argv],
        "env": {encoded(name, "env"): encoded(value, "env") for name, value in env.items()},
        "stdin": encoded(request.get("stdin") or "", "stdin"),
        "session": request.get("session") is True,
    }


def encoded(value: object, field: str) -> bytes:
    """A text as the bytes that the system takes (odd file names come as lone surrogates)."""
    if not isinstance(value, str) or ("\0" in value and field != "stdin"):
        raise BadRequest(f"{field} must hold texts without NUL")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadRequest(f"{field} holds text that is no UTF-8") from None
