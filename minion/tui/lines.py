"""Lines of text in columns: marks with their colours, texts cut to the room there is.

Text from outside becomes `Content` as it is and is never read as markup; control characters are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from textual.content import Content

from minion.spelling import MARKS, plain
from server.contract.digest import parse_instant

# The command line's colours as a theme has them.
_COLOURS: Final = {
    "green": "$text-success", "red": "$text-error", "yellow": "$text-warning", "blue": "$text-primary",
    "cyan": "$text-secondary", "white": "$foreground",
}  # fmt: skip
DIM: Final = "$foreground 60%"
GAP: Final = 2
_BARS: Final = "▁▂▃▄▅▆▇█"
# A run that takes as long as most stands so high.
_USUAL: Final = 2
# A line longer than this is nothing that people read.
_LONG: Final = 2000
_NEAR: Final = timedelta(days=6, hours=12)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title; `least` is how narrow it may get (None: its texts stand whole).

    `right` sets texts to the right edge. What has no room is left out, the highest `spare` first; 0 stays.
    """

    title: str
    least: int | None = None
    right: bool = False
    spare: int = 0


Cell = Content | str


def text(words: object, style: str = "") -> Content:
    """Text as one line without control characters, in one style."""
    line = plain(str(words)).replace("\n", " ").replace("\t", " ")
    return Content.styled(line, style) if style else Content(line)


def paragraphs(words: object, *, lines: int = 200, style: str = "") -> Content:
    """Text as the lines it has, at most so many, without control characters."""
    # A text of megabytes is cut before each of its characters is looked at.
    told = plain(str(words)[: lines * _LONG]).expandtabs(4).splitlines()
    shown = [line[:_LONG] for line in told[:lines]]
    cut = ["…"] if len(told) > lines else []
    return Content.styled("\n".join([*shown, *cut]), style)


def colour_of(word: str) -> str:
    """The style of a state or verdict."""
    return _COLOURS[MARKS.get(word, ("·", "white"))[1]]


def sign(word: str) -> Content:
    """The mark of a state or verdict, alone."""
    return Content.styled(MARKS.get(word, ("·", "white"))[0], colour_of(word))


def marked(word: str, more: str = "") -> Content:
    """A state or verdict with its mark, and words behind it."""
    shown = Content.styled(f"{MARKS.get(word, ('·', 'white'))[0]} {word}", colour_of(word))
    return shown + text(f" {more}") if more else shown


def titled(title: str, width: int, more: Cell = "") -> Content:
    """A rule that opens a part."""
    said = more if isinstance(more, Content) else Content.styled(more, DIM)
    head = Content.assemble(("── ", DIM), (f"{title} ", "bold"), said)
    left = width - head.cell_length - 1
    return head + Content.styled(f"{' ' if more else ''}{'─' * max(0, left)}"[: max(0, left)], DIM)


def laid_out(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Content]:
    """The rows in columns as wide as their widest cell, fitted into `width` cells."""
    cells = [[cell if isinstance(cell, Content) else Content(cell) for cell in row] for row in rows]
    shown, widths = _fitted(columns, cells, width)
    return [
        Content(" " * GAP).join([_set(row[n], widths[n], right=columns[n].right) for n in shown]).rstrip()
        for row in cells
    ]  # fmt: skip


def _fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[Content]], width: int
) -> tuple[list[int], list[int]]:
    """Which columns have room, and how wide each is; one in which nothing stands takes none."""
    widths = [max((row[n].cell_length for row in rows), default=0) for n in range(len(columns))]
    shown = [n for n in range(len(columns)) if widths[n]]

    def missing() -> int:
        return sum(widths[n] for n in shown) + GAP * (len(shown) - 1) - width

    whole = list(widths)
    while missing() > 0:
        shrinking = [n for n in shown if (least := columns[n].least) is not None and widths[n] > least]
        if shrinking:
            widest = max(shrinking, key=lambda n: widths[n])
            widths[widest] -= 1
            continue
        spare = [n for n in shown if columns[n].spare]
        if not spare:
            break
        shown.remove(max(spare, key=lambda n: columns[n].spare))
        widths = list(whole)
    return shown, widths


def _set(cell: Content, width: int, *, right: bool) -> Content:
    if cell.cell_length > width:
        return cell.truncate(width, ellipsis=True)
    room = width - cell.cell_length
    return cell.pad_left(room) if right else cell.pad_right(room)


def bars(lengths: Sequence[float | None], verdicts: Sequence[str]) -> Content:
    """One sign for each run: how long it took against most of them, or its mark where it was not well."""
    known = sorted(length for length in lengths if length is not None)
    usual = known[len(known) // 2] if known else 0.0
    parts = []
    for length, verdict in zip(lengths, verdicts, strict=True):
        if verdict in ("ok", "unchecked") and length is not None:
            height = round(_USUAL * length / usual) if usual > 0 else _USUAL
            parts.append((_BARS[min(max(height, 0), len(_BARS) - 1)], colour_of(verdict)))
        else:
            parts.append((MARKS.get(verdict, ("·", "white"))[0], colour_of(verdict)))
    return Content.assemble(*parts)


def dollars(amount: float) -> str:
    """US dollars as people say them; an estimate, so with its sign."""
    return f"≈${amount:,.2f}"


def cap(amount: float) -> str:
    """A limit in US dollars, as short as it can be said."""
    return f"${amount:,.2f}".removesuffix(".00")


def span(seconds: float) -> str:
    """A length of time in its largest unit, for a narrow place."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def clocked(seconds: float) -> str:
    """A length of time that goes on, to the second."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def moment(at: str | None, now: datetime, zone: str) -> str:
    """An instant near `now` as a zone's clock shows it: today its time, else the weekday or the date."""
    if at is None:
        return ""
    here = parse_instant(at) if at.endswith("Z") else datetime.fromisoformat(at)
    return _moment(here.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone)))


def stamp(at: str | None, now: datetime, zone: str) -> str:
    """As `moment`, with the time of day also where the date is said: for lists of what happened."""
    said = moment(at, now, zone)
    if at is None or ":" in said:
        return said
    return f"{said} {parse_instant(at).astimezone(ZoneInfo(zone)):%H:%M}"


def dated(at: str | None, zone: str) -> str:
    """An instant in full, as a zone's clock shows it; empty when there is none."""
    return f"{parse_instant(at).astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M:%S %Z}" if at else ""


def due(at: str, now: datetime) -> str:
    """When a slot is due, as the clock of its own zone shows it."""
    there = datetime.fromisoformat(at)
    return f"{there:%a %H:%M}" if abs(there - now) < _NEAR else f"{there.day} {there:%b %H:%M}"


def _moment(there: datetime, now: datetime) -> str:
    if there.date() == now.date():
        return f"{there:%H:%M}"
    if abs(there - now) < _NEAR:
        return f"{there:%a %H:%M}"
    return f"{there.day} {there:%b}" if abs((there - now).days) < 300 else f"{there.day} {there:%b %Y}"
