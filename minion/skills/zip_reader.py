"""Reads zip files entry by entry by rules of our own: counted bytes, and no size or name taken on trust.

The format is PKWARE's APPNOTE.TXT 6.3.10; the section that a rule rests on stands beside it. Overlaps are
refused because of D. Fifield, "A better zip bomb" (WOOT 2019): many entries over one kernel of data.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Final

# Far over what an archive of 20 MiB in 500 files needs, so that time and memory are bounded by the file itself.
LARGEST_ARCHIVE: Final = 64 * 1024 * 1024
LARGEST_LIST: Final = 4 * 1024 * 1024
MOST_ENTRIES: Final = 2_000

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LISTED = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 0xFFFF
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
# Encrypted, strongly encrypted, masked headers; patched data (4.4.4).
_ENCRYPTED, _PATCHED, _UTF_8 = 0x0001 | 0x0040 | 0x2000, 0x0020, 0x0800
_DOS_FOLDER, _REPARSE_POINT = 0x10, 0x400
_DOS_SYSTEMS = (0, 10, 11, 14)
_CHUNK = 64 * 1024
_AGAIN = "make the archive again with an ordinary zip program"


class ZipFlaw(Exception):
    """Why an archive or one entry of it cannot be taken: `words` follow its name, `hint` says what to do."""

    def __init__(self, words: str, hint: str = _AGAIN) -> None:
        super().__init__(words)
        self.words = words
        self.hint = hint


class TooLarge(Exception):
    """More bytes came out of an entry than its reader had room for."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One entry as the archive lists it; `name` as written, a folder's without its last slash.

    `start` and `packed` are where its data lie and how many bytes of the file they take; `size` and `crc` are
    claims that reading it tests. `flaw` says why it may not be read at all.
    """

    name: str
    folder: bool
    deflated: bool
    start: int
    packed: int
    size: int
    crc: int
    flaw: ZipFlaw | None


@dataclass(frozen=True, slots=True)
class _Listed:
    raw: bytes
    system: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int

    @property
    def name(self) -> str:
        """As UTF-8, which most programs write without saying so, else as what was meant before (appendix D).

        Marked as UTF-8 and none, it keeps half surrogates, which no rule for names lets pass.
        """
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError:
            said = self.flags & _UTF_8
            return self.raw.decode("utf-8", "surrogateescape") if said else self.raw.decode("cp437")

    @property
    def shown(self) -> str:
        return f"`{printable(self.name)}`"


def printable(name: str) -> str:
    """A name from outside as it may stand in a sentence: escaped where need be, 80 characters at most."""
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name[:200]
    )
    return text if len(text) <= 80 else text[:79] + "…"


def zip_entries(file: BinaryIO) -> list[ZipEntry]:
    """The entries of a seekable archive in the order it lists them, no byte of their data read yet.

    Raises `ZipFlaw` when the archive is broken or too large, or two entries share bytes of it.
    """
    length = file.seek(0, io.SEEK_END)
    if length > LARGEST_ARCHIVE:
        raise ZipFlaw(f"it is over {LARGEST_ARCHIVE // 2**20} MiB", "leave large data outside")
    start, shift, count, body = _list_of(file, length)
    listed = []
    for item in _items(body):
        listed.append(item)
        if len(listed) > MOST_ENTRIES:
            raise _too_many()
    if len(listed) != count:
        raise ZipFlaw(f"it lists {len(listed)} entries where it says {count}")
    spans, entries = [], []
    for item in listed:
        data = _data_of(file, item, shift)
        if data + item.packed > start:
            raise ZipFlaw(f"the data of {item.shown} lie outside the archive")
        spans.append((item.offset + shift, data + item.packed, item.shown))
        entries.append(_entry(item, data))
    spans.sort()
    for (_, end, before), (begin, _, name) in pairwise(spans):
        if begin < end:
            raise ZipFlaw(f"the data of {before} and {name} overlap")
    return entries


def read_entry(file: BinaryIO, entry: ZipEntry, room: int) -> bytes:
    """The bytes of an entry, counted while they come out.

    Raises `TooLarge` as soon as there are over `room` of them, `ZipFlaw` when they are not what was claimed.
    """
    out, crc, total = io.BytesIO(), 0, 0
    pieces = _inflated if entry.deflated else _plain
    for piece in pieces(_reader(file, entry)):
        total += len(piece)
        if total > room:
            raise TooLarge
        if total > entry.size:
            raise ZipFlaw("holds more bytes than its header says")
        crc = zlib.crc32(piece, crc)
        out.write(piece)
    if total != entry.size:
        raise ZipFlaw("holds fewer bytes than its header says")
    if crc != entry.crc:
        raise ZipFlaw("is damaged: its checksum is another one", "fetch the archive again")
    return out.getvalue()


def _list_of(file: BinaryIO, length: int) -> tuple[int, int, int, bytes]:
    """Where the list of entries begins, how far all offsets are shifted, how many it should be, its bytes."""
    at, tail = _end_of(file, length)
    _, disk, list_disk, here, count, size, offset, _ = _END.unpack_from(tail)
    end = at
    larger = _larger_end(file, at)
    if larger is not None:
        end, wide = larger
        narrow = (disk, list_disk, here, count, size, offset)
        full = (_FULL_16,) * 4 + (_FULL_32,) * 2
        if any(a not in (b, most) for a, b, most in zip(narrow, wide, full, strict=True)):
            raise ZipFlaw("its two ends contradict each other")
        disk, list_disk, here, count, size, offset = wide
    if disk or list_disk or here != count:
        raise ZipFlaw("it is one part of several", "join the parts first")
    if count > MOST_ENTRIES:
        raise _too_many()
    if size > LARGEST_LIST:
        raise ZipFlaw(f"its list of entries is over {LARGEST_LIST // 2**20} MiB", "shorten the names")
    # What lies in front of an archive (a program that unpacks itself) shifts every offset in it.
    start, shift = end - size, end - size - offset
    if start < 0 or shift < 0:
        raise ZipFlaw("its list of entries is not where its end says")
    file.seek(start)
    return start, shift, count, file.read(size)


def _end_of(file: BinaryIO, length: int) -> tuple[int, bytes]:
    """The record at the end whose comment reaches to the last byte, and where it lies (4.3.16)."""
    first = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(first)
    tail = file.read(length - first)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            return first + at, tail[at:]
        at = tail.rfind(b"PK\5\6", 0, at + 3)
    raise ZipFlaw("it is no zip archive, or its end is missing", "give a folder, a .zip or a .skill file")


def _larger_end(file: BinaryIO, at: int) -> tuple[int, tuple[int, ...]] | None:
    """The zip64 end of the archive (4.3.14, 4.3.15) and where it lies; None in an ordinary archive."""
    locator = _bytes_at(file, at - _LOCATOR.size, _LOCATOR.size)
    if not locator.startswith(b"PK\6\7"):
        return None
    told = _LOCATOR.unpack(locator)[2]
    for place in (at - _LOCATOR.size - _END_64.size, told):
        record = _bytes_at(file, place, _END_64.size)
        if record.startswith(b"PK\6\6") and len(record) == _END_64.size:
            return place, _END_64.unpack(record)[4:]
    raise ZipFlaw("its zip64 end is missing")


def _bytes_at(file: BinaryIO, place: int, size: int) -> bytes:
    if not 0 <= place <= LARGEST_ARCHIVE:
        return b""
    file.seek(place)
    return file.read(size)


def _items(body: bytes) -> Iterator[_Listed]:
    at = 0
    while at < len(body):
        if len(body) - at < _LISTED.size or not body.startswith(b"PK\1\2", at):
            raise ZipFlaw("its list of entries is broken")
        field = _LISTED.unpack_from(body, at)
        made_by, _, flags, method, _, _, crc, packed, size = field[1:10]
        long_name, long_extra, long_comment, _, _, attributes, offset = field[10:]
        named = at + _LISTED.size
        behind = named + long_name + long_extra + long_comment
        if behind > len(body):
            raise ZipFlaw("its list of entries is broken")
        raw = body[named : named + long_name]
        extra = body[named + long_name : named + long_name + long_extra]
        size, packed, offset = _widened(extra, size, packed, offset)
        yield _Listed(raw, made_by >> 8, flags, method, crc, packed, size, attributes, offset)
        at = behind


def _widened(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """The sizes and the offset, those that are full taken from the zip64 field (4.5.3), in its order."""
    if _FULL_32 not in numbers:
        return numbers
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(size, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return tuple(next(wide, number) if number == _FULL_32 else number for number in numbers)
        at += 4 + size
    return numbers


def _data_of(file: BinaryIO, item: _Listed, shift: int) -> int:
    """Where an entry's data begin; its own header must name what the list names, or readers would disagree."""
    header = _bytes_at(file, item.offset + shift, _LOCAL.size)
    if len(header) != _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise ZipFlaw(f"{item.shown} is not where the list says")
    field = _LOCAL.unpack(header)
    flags, method, long_name, long_extra = (int(field[place]) for place in (2, 3, 9, 10))
    differs = (flags ^ item.flags) & (_ENCRYPTED | _PATCHED) or method != item.method
    if differs or file.read(long_name) != item.raw:
        raise ZipFlaw(f"{item.shown} is listed otherwise than it is stored")
    return item.offset + shift + _LOCAL.size + long_name + long_extra


def _entry(item: _Listed, data: int) -> ZipEntry:
    name, deflated = item.name, item.method == _DEFLATED
    folder = name.endswith("/")
    return ZipEntry(
        name.removesuffix("/"), folder, deflated, data, item.packed, item.size, item.crc, _flaw_of(item, folder)
    )


def _flaw_of(item: _Listed, folder: bool) -> ZipFlaw | None:
    """Why an entry may not be read: its kind, its encryption or its compression."""
    mode, dos = stat.S_IFMT(item.attributes >> 16), item.system in _DOS_SYSTEMS
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR) or (dos and item.attributes & _REPARSE_POINT):
        return ZipFlaw("is a link or no regular file", "put the file itself there: skills hold plain files only")
    meant = mode == stat.S_IFDIR or (dos and bool(item.attributes & _DOS_FOLDER))
    if (meant and not folder) or (folder and mode == stat.S_IFREG):
        return ZipFlaw("is a folder by its kind and a file by its name, or the reverse")
    if item.flags & _ENCRYPTED:
        return ZipFlaw("is encrypted", "pack it without a password")
    if item.flags & _PATCHED or item.method not in (_STORED, _DEFLATED):
        return ZipFlaw(f"is packed in a way that is not read here (method {item.method})", "pack it with deflate")
    if item.method == _STORED and item.size != item.packed:
        return ZipFlaw("is stored with two sizes")
    if folder and item.size:
        return ZipFlaw("is a folder with bytes in it")
    return None


def _reader(file: BinaryIO, entry: ZipEntry) -> Callable[[], bytes]:
    """Gives an entry's packed bytes a chunk at a time, then nothing."""
    left = entry.packed
    place = entry.start

    def read() -> bytes:
        nonlocal left, place
        file.seek(place)
        chunk = file.read(min(_CHUNK, left))
        left -= len(chunk)
        place += len(chunk)
        return chunk

    return read


def _plain(read: Callable[[], bytes]) -> Iterator[bytes]:
    while chunk := read():
        yield chunk


def _inflated(read: Callable[[], bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    while not engine.eof:
        chunk = engine.unconsumed_tail or read()
        try:
            piece = engine.decompress(chunk, _CHUNK)
        except zlib.error:
            raise ZipFlaw("is damaged: it cannot be unpacked", "fetch the archive again") from None
        if not piece and not chunk:
            raise ZipFlaw("is cut short", "fetch the archive again")
        yield piece
    if engine.unused_data or read():
        raise ZipFlaw("has bytes behind its end")


def _too_many() -> ZipFlaw:
    return ZipFlaw(f"it lists over {MOST_ENTRIES:,} entries", "leave large data outside")
