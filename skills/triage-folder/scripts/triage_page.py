"""Writes the triage: a short table for a message, and the full one for a file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inbox import Listing
from plain_text import code_span, shown
from sorting import ACTIONS, ARCHIVE, DELETE, READ, Row, size_of
from wording import Clock, count, page_of, table

SHORT_ROWS = 30
# A file that is kept in the outbox may have a mebibyte.
FULL_BYTES = 900_000


@dataclass(frozen=True, slots=True)
class Triage:
    """The folder of a repository and what was decided; `dated` says whether git knew the files' ages."""

    repository: str
    folder: str
    listing: Listing
    rows: Sequence[Row]
    dated: bool

    @property
    def actions(self) -> dict[str, int]:
        """How many files have each action."""
        counted = Counter(row.action for row in self.rows)
        return {action: counted[action] for action in ACTIONS}


def title(triage: Triage) -> str:
    """`inbox of shop: 14 files, 3 to read first`, plain."""
    place = f"{shown(triage.folder)} of {shown(triage.repository)}"
    if not triage.rows:
        return f"{place}: empty"
    actions = triage.actions
    said = [
        f"{actions[READ]:,} to read first" if actions[READ] else "",
        count(actions[DELETE], "duplicate") if actions[DELETE] else "",
        f"{actions[ARCHIVE]:,} to archive" if actions[ARCHIVE] else "",
    ]
    return ", ".join([f"{place}: {count(len(triage.rows), 'file')}", *(part for part in said if part)])


def short_page(triage: Triage, clock: Clock) -> str:
    """What a message shows: at most 60 lines."""
    rest = len(triage.rows) - SHORT_ROWS
    more = f"And {count(rest, 'more file')} in `triage.md`." if rest > 0 else ""
    shortened = [_cells(row, 60) for row in triage.rows[:SHORT_ROWS]]
    return page_of([*_head(triage, clock), _table(shortened), more, _notes(triage)])


def full_page(triage: Triage, clock: Clock) -> str:
    """The whole table, and what each action means."""
    cells, size = [], 0
    for row in triage.rows:
        cells.append(_cells(row, 200))
        size += sum(len(cell.encode()) for cell in cells[-1])
        if size > FULL_BYTES // 4:
            break
    missing = len(triage.rows) - len(cells)
    more = f"And {count(missing, 'more file')} for which there is no room here." if missing else ""
    means = (
        "Nothing was moved or deleted: these are suggestions. A copy has the very bytes of the file it names."
    )
    return page_of([*_head(triage, clock), _table(cells), more, _notes(triage), means if triage.rows else ""])


def _head(triage: Triage, clock: Clock) -> list[str]:
    parts = [f"# {title(triage)}", f"_{clock.moment(clock.now)}, {clock.zone_name}_"]
    if not triage.listing.found:
        parts.append(
            f"There is no folder {code_span(triage.folder)}: git keeps no empty ones, so it is empty."
        )
    elif not triage.rows:
        parts.append(f"There is no file in {code_span(triage.folder)}.")
    else:
        total = sum(row.size for row in triage.rows)
        kinds = Counter(row.kind for row in triage.rows)
        told = ", ".join(
            f"{kind} {kinds[kind]:,}" for kind in sorted(kinds, key=lambda one: (-kinds[one], one))
        )
        parts.append(f"{size_of(total)} in all: {told}.")
    return parts


def _table(cells: Sequence[Sequence[str]]) -> str:
    return table([["Action", "File", "Why", "Kind", "Size", "Days"], *cells], numbers=2) if cells else ""


def _cells(row: Row, limit: int) -> list[str]:
    path = row.path if len(row.path) <= limit else "…" + row.path[1 - limit :]
    why = f"copy of {code_span(row.twin)}" if row.twin is not None else row.why
    if row.signs.secret is not None and row.action != READ:
        why += f"; it seems to hold {row.signs.secret}"
    if row.signs.pointer:
        why = "; ".join(part for part in (why, "a Git LFS pointer, the content is elsewhere") if part)
    return [row.action, code_span(path), why, row.kind, size_of(row.size), f"{row.age:,}"]


def _notes(triage: Triage) -> str:
    listing = triage.listing
    notes = [
        f"{count(listing.links, 'link or special file', 'links or special files')} not followed"
        if listing.links
        else "",
        f"{count(listing.more, 'more file')} not looked at: too many" if listing.more else "",
        f"{count(listing.unread, 'file')} judged by name and size only, not read" if listing.unread else "",
        "ages are those of the files, as the history could not be read" if not triage.dated else "",
    ]
    said = "; ".join(note for note in notes if note)
    return f"_{said[:1].upper()}{said[1:]}._" if said else ""
