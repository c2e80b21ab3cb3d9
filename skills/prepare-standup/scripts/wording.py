"""Words and layout of a page: moments in the routine's zone, counts, lists that end, tables that line up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from plain_text import width

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Clock:
    """The moment of the page in seconds since 1970, and the zone its times are shown in."""

    now: int
    zone: tzinfo
    zone_name: str

    def local(self, seconds: int) -> datetime | None:
        """A moment in the zone; None for one that no calendar has."""
        try:
            return datetime.fromtimestamp(seconds, UTC).astimezone(self.zone)
        except (OverflowError, OSError, ValueError):
            return None

    def today(self) -> date:
        """The page's own day in the zone."""
        local = self.local(self.now)
        return local.date() if local is not None else date.max

    def midnight(self, days_back: int = 0) -> int:
        """When the page's day began, or the day so many days before it."""
        day = self.today() - timedelta(days=days_back)
        return int(datetime.combine(day, time.min, tzinfo=self.zone).timestamp())

    def day(self, seconds: int) -> str:
        """A moment as `Fri 20 Nov`, with the year when it is not the page's."""
        moment = self.local(seconds)
        return self.date(moment.date()) if moment is not None else "an impossible date"

    def date(self, day: date) -> str:
        """A day as `Fri 20 Nov`, with the year when it is not the page's."""
        year = f" {day.year}" if day.year != self.today().year else ""
        return f"{DAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}{year}"

    def moment(self, seconds: int) -> str:
        """A moment as `Fri 20 Nov 09:12`."""
        local = self.local(seconds)
        return self.day(seconds) + (f" {local:%H:%M}" if local is not None else "")

    def span(self, first: int, last: int) -> str:
        """Two moments, the day of the second left out when it is the day of the first."""
        start, end = self.local(first), self.local(last)
        same = start is not None and end is not None and start.date() == end.date()
        return (
            f"{self.moment(first)} to {end:%H:%M}" if same else f"{self.moment(first)} to {self.moment(last)}"
        )

    def age(self, seconds: int) -> int:
        """Whole days of 24 hours since a moment; none for one to come."""
        return max(0, (self.now - seconds) // DAY_S)

    def ago(self, seconds: int) -> str:
        """How long ago: `today`, `yesterday`, else `8 days ago`, by the days of the zone."""
        local = self.local(seconds)
        days = (self.today() - local.date()).days if local is not None else self.age(seconds)
        return "today" if days <= 0 else "yesterday" if days == 1 else f"{days:,} days ago"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 commit`, `1,204 commits`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def no_commit(begun: bool) -> str:
    """Why a repository has no newest commit; `begun` says whether it has any."""
    return "all commits are dated later than this page" if begun else "the repository has no commits yet"


def lines_changed(added: int, removed: int) -> str:
    """`+12 −3`, for lines added and removed."""  # noqa: RUF002 - a minus sign as wide as the plus
    return f"+{added:,} −{removed:,}"  # noqa: RUF001 - a minus sign as wide as the plus


def listed(items: Sequence[str], cap: int) -> str:
    """`a, b and c`, or `a, b and 3 more` when there are more than `cap`."""
    shown, more = list(items[:cap]), len(items) - cap
    if more > 0:
        shown.append(f"{more:,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def capped(lines: Sequence[str], cap: int, noun: str = "") -> list[str]:
    """At most `cap` lines of a list, and a last one that counts the rest."""
    more = len(lines) - cap
    rest = [f"- and {more:,} more {noun}".rstrip()] if more > 0 else []
    return [*lines[:cap], *rest]


def section(title: str, lines: Sequence[str]) -> str:
    """A bold title and its lines; nothing when there are no lines."""
    return "\n".join([f"**{title}**", *lines]) if lines else ""


def page_of(parts: Sequence[str]) -> str:
    """The parts that say something, a blank line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def capital(text: str) -> str:
    """The text as the start of a sentence."""
    return text[:1].upper() + text[1:]


def table(rows: Sequence[Sequence[str]], *, numbers: int = 0) -> str:
    """A Markdown table that lines up in a terminal too; the last `numbers` columns are numbers."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = len(widths) - numbers
    rule = [
        "-" * (size + 2) if column < texts else "-" * (size + 1) + ":" for column, size in enumerate(widths)
    ]
    drawn = [_row(row, widths, texts) for row in rows]
    return "\n".join([drawn[0], f"|{'|'.join(rule)}|", *drawn[1:]])


def _row(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    parts = []
    for column, (cell, size) in enumerate(zip(cells, widths, strict=True)):
        blank = " " * (size - width(cell))
        parts.append(cell + blank if column < texts else blank + cell)
    return "| " + " | ".join(parts) + " |"
