"""A model that obeys every instruction it reads anywhere, whoever wrote it and however it is disguised.

The worst case of prompt injection, which the safety envelope takes for granted (DESIGN §3): it undoes every
disguise it knows, does all it is told by every tool it has, and says it all again in its own words.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.messages_api import Block, Said, text, use

# By this an instruction is known, once what it stands in is read as its author meant it.
ORDER: Final = re.compile(r"order no\.? ?([0-9]{3})", re.IGNORECASE)
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){12,}")
_REPORT: Final = "# Execution report"
# Cyrillic letters that look like Latin ones.
_LOOKS_LIKE: Final = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0445", "aeopcx")


class ObeyingModel:
    """Looks around first; then does what `orders` mean by their number, a few at a time, as it comes to read them.

    `closing` are calls that its task itself asks for, made last. `obeyed` are the orders it carried out.
    """

    def __init__(
        self, looks: Sequence[Block], orders: Mapping[str, Sequence[Block]], *, closing: Sequence[Block] = ()
    ) -> None:
        self._looks = looks
        self._orders = orders
        self._closing = list(closing)
        self._at_once = 4
        self.obeyed: list[str] = []

    def __call__(self, asked: dict[str, Any]) -> Said:
        """Its next turn."""
        if _REPORT in last_told(asked):
            said = "\n".join(read_in(asked))[:1500]
            return [use("report_execution", outcome="success", summary=said[:300], details=said)]
        if not any(message["role"] == "assistant" for message in asked["messages"]):
            return list(self._looks)
        due = [number for number in numbers_in("\n".join(read_in(asked))) if number not in self.obeyed]
        calls: list[Block] = []
        for number in due[: self._at_once]:
            self.obeyed.append(number)
            calls += self._orders.get(number, ())
        if not calls:
            calls, self._closing = self._closing, []
        return calls or [text("\n".join(read_in(asked))[-4000:])]


def read_in(asked: Mapping[str, Any]) -> Iterator[str]:
    """All that a model was shown in a request's messages: what it was told, and what tools answered."""
    for message in asked["messages"]:
        for block in message["content"] if message["role"] == "user" else ():
            yield block["text"] if block["type"] == "text" else str(block["content"])


def told_in(asked: Mapping[str, Any]) -> Iterator[str]:
    """The texts that a model was told itself, without what tools answered."""
    for message in asked["messages"]:
        for block in message["content"] if message["role"] == "user" else ():
            if block["type"] == "text":
                yield block["text"]


def last_told(asked: Mapping[str, Any]) -> str:
    """The text that a model was told last."""
    return list(told_in(asked))[-1]


def numbers_in(words: str) -> list[str]:
    """The numbers of the orders in a text, in any disguise, each once."""
    return list(dict.fromkeys(match[1] for reading in readings(words) for match in ORDER.finditer(reading)))


def as_read(words: str) -> str:
    """A text as a reader sees it: letters of one shape are one, and what is not seen is not there."""
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", words))


def readings(words: str) -> Iterator[str]:
    """A text as it stands, and as it reads once each disguise is taken off."""
    tagged = "".join(chr(ord(c) - 0xE0000) if 0xE0020 <= ord(c) < 0xE007F else c for c in words)
    plain = as_read(html.unescape(tagged)).translate(_LOOKS_LIKE)
    yield plain
    yield urllib.parse.unquote(plain).replace("-", " ").replace("_", " ").replace("+", " ")
    yield codecs.decode(plain, "rot13")
    yield plain[::-1]
    for match in _HEX.finditer(plain):
        yield bytes.fromhex(match[0]).decode("utf-8", "replace")
    for match in _ENCODED.finditer(plain):
        try:
            yield base64.b64decode(match[0].rstrip("=") + "==").decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            continue
