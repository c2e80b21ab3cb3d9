"""Accounts for a prompt as the API's cache does: what was read from it, written to it, and neither.

Prompts are cached up to their marks, in the order tools, system prompt, messages; a beginning that was cached
before is read. A request's own `cache_control` marks its last block. A token is four characters here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

_CHARACTERS = 4


class PromptCache:
    """The cache of one API; nothing in it grows old."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def read(self, asked: dict[str, Any]) -> dict[str, int]:
        """The usage of a request's prompt, which is cached from then on."""
        parts = list(_parts(asked))
        if parts and asked.get("cache_control"):
            parts[-1] = (parts[-1][0], True)
        seen, hashed, total = [], hashlib.sha256(), 0
        for body, marked in parts:
            hashed.update(body.encode())
            total += max(1, len(body) // _CHARACTERS)
            seen.append((hashed.hexdigest(), total, marked))
        with self._lock:
            read = max((tokens for key, tokens, _ in seen if key in self._known), default=0)
            marks = [(key, tokens) for key, tokens, marked in seen if marked]
            self._known.update(key for key, _ in marks)
        kept = max([read, *(tokens for _, tokens in marks)])
        written = {"cache_read_input_tokens": read, "cache_creation_input_tokens": kept - read}
        return {"input_tokens": total - kept, **written}


def _parts(asked: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """The blocks of a prompt as text, each with whether it is marked."""
    for tool in asked.get("tools") or ():
        yield _plain(tool)
    system = asked.get("system") or ()
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        yield _plain(block)
    for message in asked["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            body, marked = _plain(block)
            yield message["role"] + body, marked


def _plain(block: dict[str, Any]) -> tuple[str, bool]:
    rest = {name: value for name, value in block.items() if name != "cache_control"}
    return json.dumps(rest, sort_keys=True), "cache_control" in block
