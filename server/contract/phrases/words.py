"""The words of a schedule phrase: its vocabulary and the tokens that a text is cut into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

WEEKDAY_NAMES: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# Names, their plurals and their usual short forms; numbered as cron does, Sunday 0 and January 1.
WEEKDAYS: Final = {
    form: number
    for number, name in enumerate(WEEKDAY_NAMES)
    for form in (name.lower(), f"{name.lower()}s", name[:3].lower())
} | {"tues": 2, "weds": 3, "thur": 4, "thurs": 4}
MONTHS: Final = {
    form: number
    for number, name in enumerate(MONTH_NAMES, start=1)
    for form in (name.lower(), name[:3].lower())
} | {"sept": 9}

WORKING_WEEK: Final = frozenset({1, 2, 3, 4, 5})
WEEKEND: Final = frozenset({0, 6})
WEEKDAY_SETS: Final = {
    "weekday": WORKING_WEEK, "weekdays": WORKING_WEEK, "workday": WORKING_WEEK, "workdays": WORKING_WEEK,
    "weekend": WEEKEND, "weekends": WEEKEND,
}  # fmt: skip

UNITS: Final = {
    "second": "second", "seconds": "second", "sec": "second", "secs": "second",
    "minute": "minute", "minutes": "minute", "min": "minute", "mins": "minute",
    "hour": "hour", "hours": "hour", "hr": "hour", "hrs": "hour",
    "day": "day", "days": "day", "week": "week", "weeks": "week", "month": "month", "months": "month",
    "quarter": "quarter", "quarters": "quarter", "year": "year", "years": "year",
}  # fmt: skip

FREQUENCIES: Final = {
    "hourly": (1, "hour"), "daily": (1, "day"), "weekly": (1, "week"), "biweekly": (2, "week"),
    "fortnightly": (2, "week"), "monthly": (1, "month"), "bimonthly": (2, "month"),
    "quarterly": (3, "month"), "yearly": (1, "year"), "annually": (1, "year"),
}  # fmt: skip

PARTS: Final = {
    "morning": "morning", "mornings": "morning", "afternoon": "afternoon", "afternoons": "afternoon",
    "evening": "evening", "evenings": "evening", "night": "night", "nights": "night",
}  # fmt: skip

# The only words that a phrase may hold without a meaning of their own.
FILLERS: Final = frozenset({"please", "run", "runs", "it", "at", "on", "and", "the", "o'clock"})

_NUMBERS: Final = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_NUMBER_WORDS: Final = {word: number for number, word in enumerate(_NUMBERS, start=1)} | {
    "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip
_ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip
_ORDINAL_WORDS: Final = {word: number for number, word in enumerate(_ORDINALS, start=1)} | {"fifteenth": 15}

_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2}))?)?(am|pm)?")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:t([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_OFFSET = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_MARK = re.compile(r":([0-9]{2})")
_COUNT = re.compile(r"[0-9]{1,5}")
_ORDINAL = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)")
# What may stand around a word without meaning anything.
_AROUND = "()[]\"'`!?"
_DASHES = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-") | {"\u2019": "'", "&": " and "}
)

Kind = Literal["word", "number", "clock", "mark", "ordinal", "date", "offset", "comma", "dash"]


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a phrase.

    `values`: number (n) · ordinal (n) · clock (hour, minute, second, 1 if the hour may be am or pm) · mark
    (minute) · date (year, month, day, unchecked) · offset (minutes east of UTC). `text` is in small letters and
    without accents, `typed` as its author wrote it (empty where the two differ in more than that).
    """

    kind: Kind
    text: str
    values: tuple[int, ...] = ()
    typed: str = field(default="", compare=False, repr=False)

    @property
    def shown(self) -> str:
        """The piece as a sentence quotes it."""
        return self.typed or self.text


_COMMA: Final = Token("comma", ",")
_DASH: Final = Token("dash", "-")


def tokens_of(text: str) -> list[Token]:
    """The pieces of `text`, none of its letters and digits dropped; the work grows with its length."""
    pieces: list[Token] = []
    for chunk in text.translate(_DASHES).split():
        for place, piece in enumerate(chunk.replace(";", ",").split(",")):
            if place:
                pieces.append(_COMMA)
            pieces += _as_typed(piece.strip(_AROUND).rstrip("."))
    found: list[Token] = []
    for token in pieces:
        before = found[-1] if found else _COMMA
        joined = token.text in ("am", "pm") and before.kind in ("number", "clock")
        whole = _pieces(before.text + token.text) if joined else []
        if len(whole) == 1 and whole[0].kind == "clock":
            found[-1] = whole[0]
        else:
            found.append(token)
    return found


def respelled(text: str) -> str | None:
    """How a time that is written another way is written here (`9.30` and `9h30`: `9:30`), or None."""
    if re.fullmatch(r"[0-9]{4}", text):
        guess = f"{int(text[:2])}:{text[2:]}"
    elif found := re.fullmatch(r"([0-9]{1,2})(?:[.h]([0-9]{2})?|pm|:00)(am|pm)?", text):
        hour = 0 if found[1] == "24" else int(found[1])
        guess = f"{hour}:{found[2] or '00'}{found[3] or ''}"
    else:
        return None
    return guess if [token.kind for token in _pieces(guess)] == ["clock"] else None


def _as_typed(typed: str) -> list[Token]:
    """The tokens of one piece without blanks or commas, each with its own part of what was typed."""
    bare = _folded(typed).strip(_AROUND).rstrip(".")
    tokens = _pieces(bare) if bare else []
    if len(tokens) == 1:
        return [replace(tokens[0], typed=typed)]
    parts = typed.split(_DASH.text)
    words = [token for token in tokens if token is not _DASH]
    if [_folded(part) for part in parts] != [word.text for word in words]:
        return tokens
    of_words = iter(parts)
    return [token if token is _DASH else replace(token, typed=next(of_words)) for token in tokens]


def _folded(text: str) -> str:
    """`text` in small letters, accents and typographic dashes made plain, `a.m.` as `am`."""
    plain = "".join(
        letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter)
    )
    small = plain.lower().translate(_DASHES)
    return small.replace("a.m", "am").replace("p.m", "pm")


def _pieces(piece: str) -> list[Token]:
    if piece == "-":
        return [_DASH]
    if piece == "everyday":
        return [Token("word", "every"), Token("word", "day")]
    if found := _DATE.fullmatch(piece):
        return list(_moment(piece, found))
    if (single := _single(piece)) is not None:
        return [single]
    left, dash, right = piece.partition("-")
    if dash and "/" not in piece and _DASH.text not in right:
        ends = [_single(end) or Token("word", end) for end in (left, right)]
        if all(_ends_a_range(end) for end in ends):
            return [ends[0], _DASH, ends[1]]
    if dash and all(part.isalpha() for part in piece.split("-")):
        return [_single(part) or Token("word", part) for part in piece.split("-")]
    return [Token("word", piece)]


def _ends_a_range(token: Token) -> bool:
    return token.kind != "word" or token.text in WEEKDAYS or token.text in MONTHS or token.text in (
        "noon", "midday", "midnight",
    )  # fmt: skip


def _single(piece: str) -> Token | None:
    """The token that the whole of `piece` is, unless it is just a word."""
    if piece in _NUMBER_WORDS:
        return Token("number", piece, (_NUMBER_WORDS[piece],))
    if piece in _ORDINAL_WORDS:
        return Token("ordinal", piece, (_ORDINAL_WORDS[piece],))
    if found := _ORDINAL.fullmatch(piece):
        return Token("ordinal", piece, (int(found[1]),))
    if _COUNT.fullmatch(piece):
        return Token("number", piece, (int(piece),))
    if found := _MARK.fullmatch(piece):
        return Token("mark", piece, (int(found[1]),)) if int(found[1]) < 60 else None
    if found := _OFFSET.fullmatch(piece):
        minutes = int(found[2]) * 60 + int(found[3])
        return Token("offset", piece, (-minutes if found[1] == "-" else minutes,)) if minutes < 1440 else None
    if found := _TIME.fullmatch(piece):
        return _clock(piece, found)
    return None


def _clock(piece: str, found: re.Match[str]) -> Token | None:
    hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if minute > 59 or second > 59 or hour > 23:
        return None
    if found[4]:
        if not 1 <= hour <= 12:
            return None
        return Token("clock", piece, (hour % 12 + (12 if found[4] == "pm" else 0), minute, second, 0))
    either = 1 <= hour <= 12 and not piece.startswith("0")
    return Token("clock", piece, (hour, minute, second, int(either)))


def _moment(piece: str, found: re.Match[str]) -> Iterator[Token]:
    yield Token("date", piece[:10], (int(found[1]), int(found[2]), int(found[3])))
    if found[4]:
        yield _single(found[4]) or Token("word", found[4])
    if found[5]:
        yield _single("+00:00" if found[5] == "z" else found[5]) or Token("word", found[5])
