"""A place in a phrase's tokens, with the draft they fill and the words that nobody understood."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.contract.phrases.draft import Clock, Draft, Kind, Variant
from server.contract.phrases.words import FILLERS, MONTHS, UNITS, WEEKDAYS, Token

_END = Token("word", "")
# A misspelt word is compared with every known one, so only the first few are.
MOST_GUESSED = 5
# `, and on the`: looking further ahead at every word would cost the square of a long text.
_LONGEST_SEPARATION = 4
_HOURS_BY_NAME = {"noon": 12, "midday": 12, "midnight": 0}
_MINUTES_BY_NAME = {"half": 30, "quarter": 15}


@dataclass(frozen=True, slots=True)
class Fault:
    """Words not understood: from token `start` up to `end`. `instead`: what to read in their place, if known.

    `why`: a sentence where there is more to say than that they are not understood.
    """

    start: int
    end: int
    instead: str | None = None
    why: str | None = None


@dataclass(slots=True)
class Cursor:
    """The tokens, how far they are read, what they said (`draft`) and what was not understood (`faults`)."""

    tokens: list[Token]
    zone: str
    place: int = 0
    draft: Draft = field(default_factory=Draft)
    faults: list[Fault] = field(default_factory=list)
    last: Kind | None = None

    def peek(self, ahead: int = 0) -> Token:
        """The token `ahead` places on; an empty word before the start and after the end."""
        at = self.place + ahead
        return self.tokens[at] if 0 <= at < len(self.tokens) else _END

    def word(self, ahead: int = 0) -> str:
        """The text of the word or counting word `ahead` places on, else an empty one."""
        token = self.peek(ahead)
        return token.text if token.kind in ("word", "ordinal", "number") else ""

    def take(self, *words: str) -> bool:
        """Go past exactly these words, if they are next."""
        if all(self.word(ahead) == word for ahead, word in enumerate(words)):
            self.place += len(words)
            return True
        return False

    def take_any(self, *words: str) -> str:
        """Go past one of these words, if it is next, and tell which."""
        word = self.word()
        if word and word in words:
            self.place += 1
            return word
        return ""

    def say(self, kind: Kind, *values: int | Clock, through: int) -> bool:
        """Add values to the draft and go on `through` tokens."""
        self.draft.add(kind, *values)
        self.last = kind
        self.place += through
        return True

    def cannot(self, sentence: str, *closest: Variant) -> bool:
        """Keep why cron cannot say this; the rest is still read, for the closest reading."""
        if self.draft.unsayable is None:
            self.draft.unsayable = (sentence, closest)
        return True

    def fault(self, length: int = 1, *, instead: str | None = None, why: str | None = None) -> bool:
        """Note the next `length` tokens as not understood and go past them."""
        self.faults.append(Fault(self.place, self.place + length, instead, why))
        self.place += length
        return True

    def separated(self, ahead: int) -> int:
        """How many tokens from `ahead` on only hold list items apart: commas, `and`, `on`, `the`."""
        count = 0
        while count < _LONGEST_SEPARATION and (
            self.peek(ahead + count).kind == "comma" or self.word(ahead + count) in FILLERS
        ):
            count += 1
        return count

    def unit(self, ahead: int) -> str | None:
        """The unit that the word `ahead` places on names, in the singular."""
        return UNITS.get(self.word(ahead))

    def weekday(self, ahead: int) -> int | None:
        """The weekday that the word `ahead` places on names, Sunday 0."""
        return WEEKDAYS.get(self.word(ahead))

    def month(self, ahead: int) -> int | None:
        """The month that the word `ahead` places on names, January 1."""
        return MONTHS.get(self.word(ahead))

    def is_connector(self, ahead: int) -> bool:
        """Whether the token `ahead` places on stands between the ends of a range."""
        return self.peek(ahead).kind == "dash" or self.word(ahead) in (
            "to",
            "through",
            "thru",
            "until",
            "till",
        )

    def clock(self, ahead: int) -> tuple[Clock, int] | None:
        """The time of day that begins `ahead` places on, with the number of its tokens, or None."""
        token = self.peek(ahead)
        if token.kind == "clock":
            hour, minute, second, either = token.values
            return Clock(hour, minute, second, bool(either)), 1
        if token.text in _HOURS_BY_NAME:
            return Clock(_HOURS_BY_NAME[token.text]), 1
        if token.kind != "number" and token.text not in _MINUTES_BY_NAME:
            return None
        return self._spoken(ahead) or self._bare(ahead)

    def _bare(self, ahead: int) -> tuple[Clock, int] | None:
        token = self.peek(ahead)
        if token.kind != "number" or token.values[0] > 23 or self.unit(ahead + 1):
            return None
        hour = token.values[0]
        either = 1 <= hour <= 12 and not token.text.startswith("0")
        return Clock(hour, either=either, bare=True), 1

    def _spoken(self, ahead: int) -> tuple[Clock, int] | None:
        """`half past 9`, `quarter to 10 pm`, `20 past 9`, `20 minutes to 9`; a bare `9 to 17` is a span."""
        token = self.peek(ahead)
        named = _MINUTES_BY_NAME.get(token.text)
        minutes = token.values[0] if named is None else named
        said_unit = self.unit(ahead + 1) == "minute"
        joint = ahead + 1 + said_unit
        way = self.word(joint)
        before = way in ("to", "before") and (said_unit or named == 15)
        if not 1 <= minutes <= 59 or not (way == "past" or before):
            return None
        token = self.peek(joint + 1)
        base: Clock | None = None
        if token.kind == "number":
            base = (self._bare(joint + 1) or (None, 0))[0]
        elif token.kind == "clock" or token.text in _HOURS_BY_NAME:
            base = (self.clock(joint + 1) or (None, 0))[0]
        if base is None or base.minute or base.second:
            return None
        whole = (base.hour * 60 + (-minutes if before else minutes)) % 1440
        return Clock(whole // 60, whole % 60, either=base.either), joint + 2 - ahead
