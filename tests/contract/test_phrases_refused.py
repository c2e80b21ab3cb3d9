"""Phrases that are refused: the words or the reason named, and the closest readings that are understood."""

from __future__ import annotations

import re

import pytest

from server.contract.phrases import LONGEST_PHRASE, read_phrase
from server.contract.refusals import BadDocument
from tests.contract.phrase_table import HERE, NOW

# The phrase, what its sentence says, and the hint behind `closest: `.
REFUSED: list[tuple[str, str, str]] = [
    (
        "1 and 15th at 9",
        "says '1'",
        "on the 1st and 15th of every month at 9:00 (0 9 1,15 * *); what to do comes after a colon",
    ),
    (
        "every first Monday at 9",
        "one certain Monday",
        "every Monday at 9:00 (0 9 * * 1) or on the 1st of every month at 9:00 (0 9 1 * *)",
    ),
    (
        "every 9 hours at 9",
        "both how often and at which time",
        "every 8 hours (0 */8 * * *) or every 12 hours (0 */12 * * *) or every day at 9:00 (0 9 * * *)",
    ),
    (
        "every day at 9 and 17:30",
        "cron cannot say 9:00 and 17:30 in one line, so it takes more than one trigger",
        "every day at 9:00 (0 9 * * *); and as another trigger: every day at 17:30 (30 17 * * *)",
    ),
    (
        "every 7 minutes",
        "cron cannot say every 7 minutes evenly",
        "every 6 minutes (*/6 * * * *) or every 10 minutes (*/10 * * * *)",
    ),
    (
        "every 90 minutes",
        "cron cannot say every 90 minutes evenly",
        "every hour (0 * * * *) or every 2 hours (0 */2 * * *)",
    ),
    (
        "every 5 hours",
        "cron cannot say every 5 hours evenly",
        "every 4 hours (0 */4 * * *) or every 6 hours (0 */6 * * *)",
    ),
    ("every 48 hours", "cron cannot say every 48 hours evenly", "every day at 0:00 (0 0 * * *)"),
    (
        "last day of the month",
        "cron cannot say the last day of a month, which is the 28th to the 31st",
        "on the 28th of every month at 9:00 (0 9 28 * *) or on the 1st of every month at 9:00 (0 9 1 * *)",
    ),
    (
        "first Monday of the month",
        "cron cannot say one certain Monday of a month: it joins weekdays and days by `or`",
        "every Monday at 9:00 (0 9 * * 1) or on the 1st of every month at 9:00 (0 9 1 * *)",
    ),
    (
        "last Friday of the month",
        "cron cannot say one certain Friday of a month: it joins weekdays and days by `or`",
        "every Friday at 9:00 (0 9 * * 5) or on the 28th of every month at 9:00 (0 9 28 * *)",
    ),
    (
        "first weekday of the month",
        "cron cannot say one certain weekday of a month: it joins weekdays and days by `or`",
        "every weekday at 9:00 (0 9 * * 1-5) or on the 1st of every month at 9:00 (0 9 1 * *)",
    ),
    (
        "every Monday at 9 and on Thursday at 17",
        "it goes by different days or times, so it takes more than one trigger",
        "every Monday at 9:00 (0 9 * * 1); and as another trigger: every Thursday at 17:00 (0 17 * * 4)",
    ),
    (
        "March 1 and June 15 at 9",
        "it goes by different days or times, so it takes more than one trigger",
        "every year on March 1 at 9:00 (0 9 1 3 *)"
        "; and as another trigger: every year on June 15 at 9:00 (0 9 15 6 *)",
    ),
    (
        "on Friday the 13th",
        "cron cannot say a Friday that is also a certain day of the month",
        "every Friday at 9:00 (0 9 * * 5) or on the 13th of every month at 9:00 (0 9 13 * *)",
    ),
    (
        "every other day at 9",
        "cron cannot count 2 days on from one run to the next",
        "every day at 9:00 (0 9 * * *) or every Monday, Wednesday and Friday at 9:00 (0 9 * * 1,3,5)",
    ),
    (
        "every other Monday at 9",
        "cron cannot count weeks",
        "every Monday at 9:00 (0 9 * * 1) or on the 1st and 15th of every month at 9:00 (0 9 1,15 * *)",
    ),
    (
        "every 5 months",
        "cron cannot say every 5 months evenly",
        "on the 1st of January, May and September at 9:00 (0 9 1 1,5,9 *)"
        " or on the 1st of January and July at 9:00 (0 9 1 1,7 *)",
    ),
    (
        "every 2 years",
        "cron cannot count 2 years on from one run to the next",
        "every year on January 1 at 9:00 (0 9 1 1 *)",
    ),
    (
        "biweekly",
        "cron cannot count 2 weeks on from one run to the next",
        "every Monday at 9:00 (0 9 * * 1) or on the 1st and 15th of every month at 9:00 (0 9 1,15 * *)",
    ),
    ("every 30 seconds", "a schedule has no seconds", "every minute (* * * * *)"),
    (
        "every hour between 9 and 5",
        "whether the span ends at 5:00 or 17:00 is not sure",
        "every hour from 9:00 to 17:00 (0 9-17 * * *)"
        " or every hour from 9:00 to 5:00 the next day (0 0-5,9-23 * * *)",
    ),
    (
        "every hour from 22 to 6 on weekdays",
        "a span over midnight lies on two dates, so it goes with every day only",
        "every hour from 22:00 to 6:00 the next day (0 0-6,22,23 * * *)"
        " or every weekday at 22:00 and 23:00 (0 22,23 * * 1-5)",
    ),
    (
        "every 15 minutes from 9:15 to 17",
        "cron cannot say every 15 minutes from 9:15 to 17:00 in one line",
        "every 15 minutes from 9:00 to 16:45 (*/15 9-16 * * *)"
        " or every hour from 9:15 to 16:15 (15 9-16 * * *)",
    ),
    (
        "9am-5pm",
        "it names a span of the day and not how often within it",
        "every hour from 9:00 to 17:00 (0 9-17 * * *) or every day at 9:00 and 17:00 (0 9,17 * * *)",
    ),
    ("twice a day", "it says 2 times a day and not when", "every day at 9:00 and 17:00 (0 9,17 * * *)"),
    ("3 times a day", "it says 3 times a day and not when", "every 8 hours (0 */8 * * *)"),
    (
        "twice a week",
        "it says 2 times a week and not when",
        "every Monday and Thursday at 9:00 (0 9 * * 1,4)",
    ),
    (
        "once on Friday at 10",
        "`once` needs a date",
        "once, on Friday 2026-03-06 at 10:00 (2026-03-06T10:00) or every Friday at 10:00 (0 10 * * 5)",
    ),
    ("Monday night", "a night lies on two dates, so it needs a time", "every Monday at 22:00 (0 22 * * 1)"),
    (
        "every morning at 9pm",
        "21:00 is no time of the morning",
        "every day at 21:00 (0 21 * * *) or every day at 9:00 (0 9 * * *)",
    ),
    ("Friday afternoon", "an afternoon has no usual time", "every Friday at 15:00 (0 15 * * 5)"),
    (
        "weekly on the 3rd",
        "every week and a day of the month exclude each other",
        "on the 3rd of every month at 9:00 (0 9 3 * *)",
    ),
    (
        "monthly on Monday",
        "cron cannot say one certain Monday of a month or year",
        "every Monday at 9:00 (0 9 * * 1) or on the 1st of every month at 9:00 (0 9 1 * *)",
    ),
    (
        "in January at 9",
        "it names a month and no day of it",
        "every day in January at 9:00 (0 9 * 1 *) or every year on January 1 at 9:00 (0 9 1 1 *)",
    ),
    (
        "end of week",
        "whether a week ends on Friday or Sunday is not sure",
        "every Friday at 9:00 (0 9 * * 5) or every Sunday at 9:00 (0 9 * * 0)",
    ),
    (
        "last day of February",
        "cron cannot say the last day of a month, which is the 28th to the 31st",
        "every year on February 28 at 9:00 (0 9 28 2 *) or every year on February 1 at 9:00 (0 9 1 2 *)",
    ),
    (
        "in 2 hours at 9",
        "it names a time and also a delay",
        "once, on Wednesday 2026-03-04 at 15:01 (2026-03-04T15:01+01:00) or every day at 9:00 (0 9 * * *)",
    ),
    (
        "on Monday 2026-12-01 at 9",
        "2026-12-01 is a Tuesday",
        "once, on Tuesday 2026-12-01 at 9:00 (2026-12-01T09:00) or every Monday at 9:00 (0 9 * * 1)",
    ),
    (
        "2026-12-01 at 9 and 10",
        "one date has one time, so it takes more than one trigger",
        "once, on Tuesday 2026-12-01 at 9:00 (2026-12-01T09:00)"
        "; and as another trigger: once, on Tuesday 2026-12-01 at 10:00 (2026-12-01T10:00)",
    ),
    ("2026-12-01 every day", "it names one date and also a repetition", "every day at 9:00 (0 9 * * *)"),
    (
        "at 9 in Europe/Berlin and Asia/Tokyo",
        "it names two time zones",
        "every day at 9:00, Europe/Berlin (0 9 * * *)",
    ),
    (
        "every day at 9 CET",
        "CET is ambiguous as a time zone, so name a city or a zone such as Europe/Berlin",
        "every day at 9:00, Europe/Berlin (0 9 * * *)",
    ),
    (
        "every day at 9 PST",
        "PST is ambiguous as a time zone, so name a city or a zone such as America/Los_Angeles",
        "every day at 9:00, America/Los_Angeles (0 9 * * *)",
    ),
    ("every day at 9 UTC+2", "says 'UTC+2'", "every day at 9:00 (0 9 * * *); what to do comes after a colon"),
    (
        "every wekday at 9",
        "says 'wekday'",
        "every weekday at 9:00 (0 9 * * 1-5); what to do comes after a colon",
    ),
    (
        "every day at 9 in Berln",
        "says 'Berln'",
        "every day at 9:00, Europe/Berlin (0 9 * * *); what to do comes after a colon",
    ),
    (
        "every weekday at 9 run my report",
        "says 'my report'",
        "every weekday at 9:00 (0 9 * * 1-5); what to do comes after a colon",
    ),
    ("at 9.30 every day", "says '9.30'", "every day at 9:30 (30 9 * * *); what to do comes after a colon"),
    ("every day at 1730", "says '1730'", "every day at 17:30 (30 17 * * *); what to do comes after a colon"),
    ("every day at 13pm", "says '13pm'", "every day at 13:00 (0 13 * * *); what to do comes after a colon"),
    ("every day at 24:00", "says '24:00'", "every day at 0:00 (0 0 * * *); what to do comes after a colon"),
    ("every day at 9:5", "says '9:5'", "every day at 9:00 (0 9 * * *); what to do comes after a colon"),
    (
        "on the 1st and 15 at 9",
        "says '15'",
        "on the 1st and 15th of every month at 9:00 (0 9 1,15 * *); what to do comes after a colon",
    ),
    (
        "every day starting Monday",
        "says 'starting'",
        "every Monday at 9:00 (0 9 * * 1); what to do comes after a colon",
    ),
    (
        "every day except the 1st",
        "says 'except'",
        "every day at 9:00 (0 9 * * *); what to do comes after a colon",
    ),
    ("don't run every day", 'says "don\'t"', "every day at 9:00 (0 9 * * *); what to do comes after a colon"),
    (
        "every hour every 2 hours",
        "it says twice how often",
        "every hour (0 * * * *) or every 2 hours (0 */2 * * *)",
    ),
    (
        "every day every week",
        "it says twice how often",
        "every day at 9:00 (0 9 * * *) or every Monday at 9:00 (0 9 * * 1)",
    ),
    (
        "Monday or Tuesday at 9",
        "`or` stands between days of the month and weekdays",
        "every Monday and Tuesday at 9:00 (0 9 * * 1,2)",
    ),
    (
        "0 9 * * * in Atlantis",
        "says 'in Atlantis' after its cron line",
        "every day at 9:00 (0 9 * * *); only a time zone may follow",
    ),
    ("next week", "says 'next week'", "every day at 9:00 (0 9 * * *); what to do comes after a colon"),
    (
        "in 2 months",
        "a delay is counted in minutes, hours, days or weeks, not in months",
        "once, on Friday 2026-04-03 at 14:01 (2026-04-03T14:01+02:00)",
    ),
    ("every 0 minutes", "every 0 minutes is no pause", "every day at 9:00 (0 9 * * *)"),
    (
        "every day at 9 and every friday at 17",
        "it goes by different days or times, so it takes more than one trigger",
        "every day at 9:00 (0 9 * * *); and as another trigger: every Friday at 17:00 (0 17 * * 5)",
    ),
    (
        "every friday at 17 and every day at 9",
        "it goes by different days or times",
        "every Friday at 17:00 (0 17 * * 5); and as another trigger: every day at 9:00 (0 9 * * *)",
    ),
    (
        "every day at 9 and on monday at 9",
        "it goes by different days or times",
        "every day at 9:00 (0 9 * * *); and as another trigger: every Monday at 9:00 (0 9 * * 1)",
    ),
    (
        "every day at ma\u00f1ana",
        "says 'ma\u00f1ana'",
        "every day at 9:00 (0 9 * * *); what to do comes after a colon",
    ),
    ("hello", "says 'hello'", "every day at 9:00 (0 9 * * *); what to do comes after a colon"),
]
_CLOSEST = re.compile(r"(?:closest: | or (?=every|on |once)|another trigger: )(.+?) \(([^()]+)\)")


def refused(text: str, zone: str = HERE) -> BadDocument:
    """The refusal that `text` meets."""
    with pytest.raises(BadDocument) as caught:
        read_phrase(text, zone=zone, now=NOW)
    return caught.value


@pytest.mark.promise("DOC-5")
@pytest.mark.parametrize(("phrase", "sentence", "closest"), REFUSED)
def test_a_phrase_that_is_not_sayable_is_refused_with_the_closest_readings(
    phrase: str, sentence: str, closest: str
) -> None:
    refusal = refused(phrase)
    assert (refusal.code, refusal.hint) == ("phrase", f"closest: {closest}")
    assert sentence in refusal.sentence


@pytest.mark.parametrize("phrase", [row[0] for row in REFUSED])
def test_every_closest_reading_is_a_phrase_that_gives_the_cron_beside_it(phrase: str) -> None:
    offered = _CLOSEST.findall(refused(phrase).hint)
    assert offered
    for words, expression in offered:
        reading = read_phrase(words, zone=HERE, now=NOW)
        # A delay is offered with its offset, which its words do without.
        assert reading.expression == expression.partition("+")[0]


@pytest.mark.parametrize("text", ["", "   ", ":", ": a task", "please", "on the, and"])
def test_a_text_without_time_or_day_is_refused(text: str) -> None:
    assert "no time or day" in refused(text).sentence


def test_the_words_that_are_not_understood_are_named_and_no_others() -> None:
    refusal = refused("every weekday at 9 unless bananas, on Mondays if ripe")
    assert "'unless bananas', 'if ripe'" in refusal.sentence
    assert "weekday" not in refusal.sentence


_NO_FILLERS = (
    "not never but except or unless about sharp my to this next every other half past from until of for by"
    " when only roughly daily's 99 4711 9:60 @ # 1/2 \u0661 \u00e9t\u00e9"
)


@pytest.mark.parametrize("word", _NO_FILLERS.split())
def test_no_word_is_passed_over_that_is_not_a_known_filler(word: str) -> None:
    for text in (f"every day {word} at 9", f"{word} every day at 9", f"every day at 9 {word}"):
        assert refused(text).code == "phrase"


def test_a_negation_is_never_dropped_from_a_closest_reading() -> None:
    assert refused("never on Monday at 8").hint.startswith("closest: every day at 9:00 (0 9 * * *)")


def test_a_phrase_is_told_where_its_task_belongs_unless_it_has_one() -> None:
    assert "comes after a colon" in refused("every day at 9 write a report").hint
    assert "colon" not in refused("every day at 9 sharp: write a report").hint


def test_a_text_over_the_limit_is_refused_whatever_it_says() -> None:
    text = "every day at 9: " + "x" * LONGEST_PHRASE
    assert f"over the {LONGEST_PHRASE} allowed" in refused(text).sentence
    assert read_phrase(text[:LONGEST_PHRASE], zone=HERE, now=NOW).expression == "0 9 * * *"
