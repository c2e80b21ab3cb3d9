"""Schedule phrases made to hurt their reader (F19): as long as is allowed, and read in as many ways as can be."""

from __future__ import annotations

from typing import Final

from server.contract.phrases import LONGEST_PHRASE


def _full(piece: str, end: str = "") -> str:
    """A phrase of the whole length that is allowed, made of one piece."""
    return (piece * LONGEST_PHRASE)[: LONGEST_PHRASE - len(end)] + end


PHRASE_BOMBS: Final[dict[str, str]] = {
    "one letter": _full("a"),
    "one long word": _full("wednesdayish"),
    "unknown words": _full("bananas "),
    "different unknown words": " ".join(f"wrd{number}x" for number in range(240)),
    "words nearly known": _full("wenesday mondy evry "),
    "every": _full("every "),
    "every day": _full("every day "),
    "and": _full("monday and "),
    "commas": _full(","),
    "days with commas": _full("monday, tuesday, "),
    "weekdays and times": _full("monday at 9, tuesday at 10, "),
    "all times": " and ".join(f"{hour}:{minute:02}" for hour in range(24) for minute in range(0, 60, 8)),
    "times with am and pm": _full("9 am and 9 pm and "),
    "days of the month": " and ".join(f"the {number}th" for number in range(1, 32)) + " of the month",
    "ordinals": _full("first last second third "),
    "except": _full("except monday "),
    "not": _full("not on monday "),
    "or": _full("the 1st or monday or "),
    "between": _full("between 9 and 5 "),
    "from to": _full("from 9 to 17 "),
    "in the": _full("in the "),
    "in zones": _full("in Berlin in Tokyo "),
    "a long zone": "every day at 9 in " + "x" * (LONGEST_PHRASE - 18),
    "a long zone with slashes": "every day at 9 in " + "a/" * 900,
    "months": _full("january february march "),
    "delays": _full("in 3 days in 4 hours "),
    "numbers": _full("9 "),
    "one number": _full("9"),
    "a huge interval": "every " + "9" * 1_900 + " minutes",
    "a huge count": "9" * 1_900 + " times a day",
    "colons": _full(":"),
    "clock times in a row": _full("9:00:"),
    "open brackets": _full("("),
    "quotes": _full('"'),
    "stars": _full("*"),
    "cron fields": _full("* "),
    "a cron list": ",".join(str(number % 60) for number in range(600)) + " * * * *",
    "a cron line and words": "* * * * * " + _full("banana ")[:1_900],
    "at signs": _full("@daily "),
    "hyphens": _full("mon-fri-"),
    "slashes": _full("*/5/"),
    "combining marks": "every day at 9" + "\u0301" * 1_900,
    "other digits": _full("\u0669 "),
    "other spaces": _full("\u2003"),
    "turned text": _full("\u202emonday "),
    "letters that grow": _full("\u0130\ufb03 "),
    "halves of letters": _full("\ud800"),
    "control characters": _full("\x00\x1b[31m"),
    "line ends": _full("\n"),
    "over the limit": "every day at 9 " * 1_000_000,
}
