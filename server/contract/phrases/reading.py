"""Schedules in plain English, read by rule: what is not understood in full is refused, never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from server.contract.phrases import clauses as when
from server.contract.phrases import days
from server.contract.phrases.cursor import MOST_GUESSED, Cursor, Fault
from server.contract.phrases.draft import Draft, Unread
from server.contract.phrases.said_back import describe, said
from server.contract.phrases.sum import expression_of
from server.contract.phrases.words import (
    FILLERS,
    FREQUENCIES,
    MONTHS,
    PARTS,
    UNITS,
    WEEKDAY_SETS,
    WEEKDAYS,
    Token,
    respelled,
    tokens_of,
)  # fmt: skip
from server.contract.refusals import BadDocument
from server.contract.schedule import Schedule, parse_schedule, restore_schedule

__all__ = ["LONGEST_PHRASE", "Reading", "describe", "read_phrase"]

LONGEST_PHRASE: Final = 2_000
_MOST_CLOSEST: Final = 3
_PLAINEST: Final = "every day at 9:00 (0 9 * * *)"
_NEGATIONS: Final = frozenset(
    {"not", "no", "never", "don't", "but", "except", "excluding", "without", "skip"}
)
_OPENERS: Final = frozenset({"every", "each", "in"})
# A closest draft may itself need a closest one; three steps reach every case and bound the work.
_DEEPEST: Final = 3
_MOST_SHOWN: Final = 80

# The first clause that takes the next words has them, so the more particular ones come first.
_CLAUSES: Final = (
    when.marks, when.count, when.every, when.frequency, days.one_date, days.delay, when.part_of_day,
    when.span, when.past_hours, days.weekday, days.working_days, days.last_day, days.month, days.ordinal,
    days.of_month, days.excepted, days.either, when.time, days.zone,
)  # fmt: skip
_VOCABULARY: Final = sorted(
    {*WEEKDAYS, *MONTHS, *UNITS, *FREQUENCIES, *PARTS, *WEEKDAY_SETS}
    | {
        "every",
        "noon",
        "midnight",
        "tomorrow",
        "today",
        "tonight",
        "between",
        "twice",
        "first",
        "last",
        "except",
    }
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One schedule as it was read from a phrase.

    `expression`: as `parse_schedule` normalises it; `zone`: an IANA key; `task`: what stood after the colon,
    None if nothing did; `words`: the schedule said back, defaults and all (`every Monday at 9:00, UTC`).
    """

    expression: str
    zone: str
    task: str | None
    words: str


def read_phrase(text: str, *, zone: str, now: datetime) -> Reading:
    """The schedule that `text` says, as in `every weekday at 9 in Berlin: my task`.

    Takes phrases, five cron fields and shorthands, each with a zone if wanted; `zone` is used without one.
    `now` is aware. Hours without am or pm are on the 24-hour clock, days without a time mean 9:00.

    Raises `BadDocument` with code `phrase` for what is not understood or not sayable in cron exactly, with
    the closest readable phrases and their cron in the hint, and as `parse_schedule` for what never fires, is
    past or has a wrong cron field.
    """
    parse_schedule("0 0 * * *", zone, now=now)
    if len(text) > LONGEST_PHRASE:
        raise BadDocument(
            "phrase",
            f"The schedule phrase is {len(text)} characters long, over the {LONGEST_PHRASE} allowed.",
            hint="say when in a few words; a long task belongs in the routine's content",
        )
    colon = _task_colon(text)
    phrase = text if colon is None else text[:colon]
    task = None if colon is None else text[colon + 1 :].strip() or None
    schedule = _cron_as_written(phrase, zone, now) or _phrase(phrase, zone, now, has_task=colon is not None)
    return Reading(schedule.expression, schedule.zone, task, describe(schedule.expression, schedule.zone))


def _task_colon(text: str) -> int | None:
    """Where the first colon stands that belongs to no clock time (`9:30`, `at :15`)."""
    for place, letter in enumerate(text):
        if letter != ":":
            continue
        before, minute = text[place - 1 : place] if place else " ", text[place + 1 : place + 2]
        # `9:5` is no time here, but even less is it a phrase with the task `5`.
        if not (minute.isdigit() and (before.isdigit() or before.isspace() or before in ",(")):
            return place
    return None


def _cron_as_written(phrase: str, zone: str, now: datetime) -> Schedule | None:
    """The schedule of a phrase that is a cron line or shorthand, with a zone behind it or not; else None."""
    parts = phrase.split()
    length = 1 if phrase.lstrip().startswith("@") and len(parts[0]) > 1 else 5
    written = length == 1 or any(part.startswith("*") for part in parts[:5])
    if len(parts) < length or not (written or (len(parts) == length and parts[0][0].isdigit())):
        return None
    cursor = Cursor(tokens_of(" ".join(parts[length:])), zone)
    while cursor.peek().kind == "comma" or days.zone(cursor):
        cursor.place += cursor.peek().kind == "comma"
    line = " ".join(parts[:length]).rstrip(",")
    if cursor.place < len(cursor.tokens) or cursor.faults or cursor.draft.unsayable:
        if not written or not parts[length].strip(",").isalpha():
            return parse_schedule(phrase, zone, now=now) if written else None
        closest = parse_schedule(line, zone, now=now)
        sentence = f"The schedule says {' '.join(parts[length:])[:_MOST_SHOWN]!r} after its cron line"
        hint = f"closest: {said(closest)} ({closest.expression}); only a time zone may follow"
        raise BadDocument("phrase", f"{sentence}, which is not understood.", hint=hint)
    try:
        return parse_schedule(line, cursor.draft.zone or zone, now=now)
    except BadDocument:
        if written or set(phrase) <= set("0123456789*/,- "):
            raise
        return None


def _phrase(phrase: str, zone: str, now: datetime, *, has_task: bool) -> Schedule:
    tokens = tokens_of(phrase)
    cursor = _read(tokens, zone)
    if cursor.faults:
        corrected = _read(_without_faults(tokens, cursor.faults, respell=True), zone)
        for _ in range(_DEEPEST):
            if corrected.faults:
                corrected = _read(_without_faults(corrected.tokens, corrected.faults, respell=False), zone)
        explained = has_task or any(fault.why for fault in cursor.faults)
        advice = "" if explained else "; what to do comes after a colon"
        # Without its `not` a phrase says the opposite, which is not close to it.
        words = {token.text for fault in cursor.faults for token in tokens[fault.start : fault.end]}
        drafts = [] if words & _NEGATIONS else [corrected.draft]
        raise _refusal(_fault_sentence(tokens, cursor.faults), drafts, zone, now, advice=advice)
    try:
        expression = _expression(cursor.draft, zone, now)
    except Unread as unread:
        sentence = f"The schedule cannot be read exactly: {unread.sentence}"
        raise _refusal(sentence, unread.closest, zone, now, together=unread.together) from None
    return parse_schedule(expression, cursor.draft.zone or zone, now=now)


def _read(tokens: list[Token], zone: str) -> Cursor:
    cursor = Cursor(tokens, zone)
    while cursor.place < len(tokens):
        if any(clause(cursor) for clause in _CLAUSES):
            continue
        token = cursor.peek()
        if token.kind == "comma" or token.text in FILLERS:
            cursor.place += 1
        else:
            beside_day = cursor.last in ("monthday", "month") or cursor.peek(2).kind == "ordinal"
            a_day = token.kind == "number" and beside_day and token.values[0] <= 31
            cursor.fault(instead=f"{token.text}th" if a_day else None)
    return cursor


def _expression(draft: Draft, zone: str, now: datetime) -> str:
    if replace(draft, zone=None) == Draft():
        raise Unread("no time or day is named")
    return expression_of(draft, draft.zone or zone, now)


def _without_faults(tokens: list[Token], faults: list[Fault], *, respell: bool) -> list[Token]:
    """`tokens` with the words not understood replaced by the known words they are most like, or left out."""
    kept: list[Token] = []
    place = 0
    for number, fault in enumerate(faults):
        kept += tokens[place : fault.start]
        text = " ".join(token.text for token in tokens[fault.start : fault.end])
        instead = fault.instead or respelled(text)
        if instead is None and number < MOST_GUESSED and 3 < len(text) < 16:
            instead = next(iter(get_close_matches(text, _VOCABULARY, n=1, cutoff=0.8)), None)
        kept += tokens_of(instead) if respell and instead else ()
        place = fault.end
    return kept + tokens[place:]


def _fault_sentence(tokens: list[Token], faults: list[Fault]) -> str:
    explained = next((fault.why for fault in faults if fault.why), None)
    if explained is not None:
        return f"The schedule cannot be read exactly: {explained}"
    unknown = {place for fault in faults for place in range(fault.start, fault.end)}
    # What is not understood of `every wekday` is the second word.
    unknown -= {place for place in unknown if tokens[place].text in _OPENERS and place + 1 in unknown}
    runs: list[str] = []
    for place in sorted(unknown):
        joined = runs and place - 1 in unknown
        runs[-1:] = [f"{runs[-1]} {tokens[place].shown}"] if joined else [*runs[-1:], tokens[place].shown]
    shown = ", ".join(f"{run[:_MOST_SHOWN]!r}" for run in runs[:_MOST_CLOSEST])
    more = f" and {len(runs) - _MOST_CLOSEST} more" if len(runs) > _MOST_CLOSEST else ""
    return f"The schedule says {shown}{more}, which is not understood"


def _refusal(
    sentence: str,
    drafts: Sequence[Draft],
    zone: str,
    now: datetime,
    *,
    together: bool = False,
    advice: str = "",
) -> BadDocument:
    """The refusal with its hint: the closest phrases that are understood, each with its cron."""
    found = list(dict.fromkeys(_closest(drafts, zone, now, _DEEPEST)))[:_MOST_CLOSEST]
    joint = "; and as another trigger: " if together else " or "
    return BadDocument("phrase", f"{sentence}.", hint=f"closest: {joint.join(found) or _PLAINEST}{advice}")


def _closest(drafts: Sequence[Draft], zone: str, now: datetime, depth: int) -> Iterator[str]:
    for draft in drafts[:_MOST_CLOSEST]:
        try:
            schedule = restore_schedule(_expression(draft, zone, now), draft.zone or zone)
            schedule = parse_schedule(schedule.expression, schedule.zone, now=now)
        except Unread as unread:
            if depth:
                yield from _closest(unread.closest, zone, now, depth - 1)
        except BadDocument:
            continue
        else:
            place = f", {schedule.zone}" if draft.zone is not None else ""
            yield f"{said(schedule)}{place} ({schedule.expression})"
