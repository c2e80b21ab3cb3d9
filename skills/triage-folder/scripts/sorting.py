"""Decides what to do with each file: keep, read first, archive, or delete a duplicate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from inbox import MEBIBYTE, Content, Entry
from plain_text import clean, decoded
from signs import Signs, signs_of
from wording import Clock, count

READ, DELETE, ARCHIVE, KEEP = "read first", "delete duplicate", "archive", "keep"
ACTIONS = (READ, DELETE, ARCHIVE, KEEP)
LARGE_BYTES = 20 * MEBIBYTE
OLD_DAYS = 90
# An invoice older than that was paid, or somebody has been asked about it.
RECENT_INVOICE_DAYS = 30

KINDS = {
    "note": "md markdown txt rst org text adoc tex",
    "document": "pdf doc docx odt rtf pages epub ppt pptx odp key",
    "table": "csv tsv xls xlsx ods numbers",
    "mail": "eml msg mbox ics vcf",
    "picture": "png jpg jpeg gif webp svg heic tif tiff bmp psd ai",
    "recording": "mp3 wav m4a ogg flac mp4 mov mkv avi webm",
    "archive": "zip tar gz tgz bz2 xz 7z rar zst",
    "data": "log json jsonl xml yaml yml toml ini conf sql db sqlite parquet",
    "code": "py js ts tsx jsx go rs java c h cpp cs rb php sh swift kt scala lua r ipynb html css",
    "program": "exe msi dmg pkg deb rpm appimage apk jar bin so dll iso",
    "key": "pem key p12 pfx jks kdbx crt cer asc gpg ppk",
}
KIND_OF = {ending: kind for kind, endings in KINDS.items() for ending in endings.split()}
TEXTS = frozenset({"note", "code"})
TEXT_ENDINGS = frozenset(
    (
        "csv",
        "tsv",
        "eml",
        "ics",
        "vcf",
        "svg",
        "json",
        "jsonl",
        "xml",
        "yaml",
        "yml",
        "toml",
        "ini",
        "conf",
        "sql",
    )
)
WRITTEN_BY_PEOPLE = frozenset({"note", "mail", "other"})


@dataclass(frozen=True, slots=True)
class Row:
    """One file as the table shows it. `age` is in days, `twin` the path of the file it copies."""

    path: str
    kind: str
    size: int
    age: int
    signs: Signs
    twin: str | None
    action: str
    why: str


def sorted_files(
    files: Sequence[Entry], contents: Mapping[bytes, Content], last_changed: Mapping[bytes, int], clock: Clock
) -> list[Row]:
    """A row for each file, the most pressing first.

    `last_changed`: seconds since 1970 by path, from git; another file is as old as it was written.
    """
    changed = {entry.path: last_changed.get(entry.path, entry.written) for entry in files}
    originals = _originals(files, contents, changed)
    rows = []
    for entry in files:
        path = clean(decoded(entry.path), 120)
        name = clean(decoded(entry.path.rsplit(b"/", 1)[-1]), 255)
        content = contents[entry.path]
        ending = name.rpartition(".")[2].lower() if "." in name.lstrip(".") else ""
        kind = KIND_OF.get(ending, "other")
        signs = signs_of(
            name,
            content.head,
            is_text=kind in TEXTS or ending in TEXT_ENDINGS,
            is_note=kind in WRITTEN_BY_PEOPLE,
            whole=content.head is not None and len(content.head) >= entry.size,
            today=clock.today(),
        )
        if kind == "other" and signs.text and entry.size:
            kind = "note"
        original = originals.get(content.digest or "", entry.path)
        twin = clean(decoded(original), 120) if original != entry.path else None
        age = clock.age(changed[entry.path])
        action, why = decide(entry.size, age, signs, twin, clock)
        rows.append(Row(path, kind, entry.size, age, signs, twin, action, why))
    return sorted(rows, key=lambda row: _rank(row, clock.today()))


def decide(size: int, age: int, signs: Signs, twin: str | None, clock: Clock) -> tuple[str, str]:
    """What to do with a file and why: the first rule of references/rules.md that holds."""
    if twin is not None:
        return DELETE, "the same bytes as another file"
    if signs.secret is not None:
        return READ, f"it seems to hold {signs.secret}: move it to a safe place"
    if signs.due is not None:
        return READ, _deadline(signs.due, clock)
    if signs.action is not None:
        return READ, f"it says {signs.action}" if signs.action.startswith("“") else f"it has {signs.action}"
    if signs.invoice and age <= RECENT_INVOICE_DAYS:
        return READ, "it seems to be an invoice or a receipt"
    if not size:
        return ARCHIVE, "it is empty"
    if signs.invoice:
        return ARCHIVE, "an older invoice or receipt"
    if age > OLD_DAYS:
        return ARCHIVE, f"untouched for {count(age, 'day')}"
    if size > LARGE_BYTES:
        return ARCHIVE, f"very large ({size_of(size)})"
    return KEEP, f"check its encoding: {signs.broken}" if signs.broken else ""


def size_of(size: int) -> str:
    """`940 B`, `12 KB`, `3.4 MB`, by thousands."""
    if size < 1_000:
        return f"{size} B"
    for unit, factor in (("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)):
        if size < 999.5 * factor:
            number = size / factor
            return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"
    return f"{size / 1_000_000_000:,.0f} GB"


def _deadline(due: date, clock: Clock) -> str:
    days = (due - clock.today()).days
    if days < 0:
        return f"it was due {clock.date(due)}"
    when = "today" if not days else "tomorrow" if days == 1 else f"in {days} days"
    return f"it is due {clock.date(due)} ({when})"


def _originals(
    files: Sequence[Entry], contents: Mapping[bytes, Content], changed: Mapping[bytes, int]
) -> dict[str, bytes]:
    """The file to keep of each content: the oldest, then the one with the shortest path."""
    kept: dict[str, bytes] = {}
    for entry in sorted(files, key=lambda item: (changed[item.path], len(item.path), item.path)):
        digest = contents[entry.path].digest
        if digest is not None:
            kept.setdefault(digest, entry.path)
    return kept


def _rank(row: Row, today: date) -> tuple[int, int, int, int, str]:
    due = (row.signs.due - today).days if row.signs.due is not None else 99
    oldest_first = -row.age if row.action == ARCHIVE else row.age
    secret = 0 if row.action == READ and row.signs.secret is not None else 1
    return (ACTIONS.index(row.action), secret, due, oldest_first, row.path)
