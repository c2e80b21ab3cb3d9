"""Writes zip archives byte by byte, with lies in whichever field a test wants one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNIX: Final = 3
REGULAR: Final = 0o100644 << 16
FULL_32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Forged:
    """One entry; what is None is told truly. `at` gives its data the place of that entry, by number."""

    name: bytes
    body: bytes = b""
    deflate: bool = False
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    method: int | None = None
    flags: int = 0
    attributes: int = REGULAR
    system: int = UNIX
    local_name: bytes | None = None
    local_method: int | None = None
    packed_size: int | None = None
    at: int | None = None
    wide: bool = False


def deflated(body: bytes) -> bytes:
    """`body` as a raw deflate stream."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(body) + engine.flush()


def zeros(mebibytes: int) -> bytes:
    """A raw deflate stream of so many MiB of zeros, made without ever holding them."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = engine.compress(bytes(2**20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + engine.flush()


def forged_zip(
    entries: Sequence[Forged],
    *,
    comment: bytes = b"",
    prefix: bytes = b"",
    suffix: bytes = b"",
    count: int | None = None,
    disk: int = 0,
    wide_end: bool = False,
) -> bytes:
    """The archive of these entries; `prefix` lies in front of it, `suffix` behind it, in neither's offsets."""
    out, listed, places = bytearray(), bytearray(), list[int]()
    for entry in entries:
        packed = deflated(entry.body) if entry.deflate else entry.body
        packed = entry.packed if entry.packed is not None else packed
        method = entry.method if entry.method is not None else 8 * entry.deflate
        size = entry.size if entry.size is not None else len(entry.body)
        crc = entry.crc if entry.crc is not None else zlib.crc32(entry.body)
        place = places[entry.at] if entry.at is not None else len(out)
        places.append(place)
        length = entry.packed_size if entry.packed_size is not None else len(packed)
        if entry.at is None:
            name = entry.local_name if entry.local_name is not None else entry.name
            stored = entry.local_method if entry.local_method is not None else method
            out += struct.pack(
                "<4s5H3L2H", b"PK\3\4", 20, entry.flags, stored, 0, 33, crc, length, size, len(name), 0
            )
            out += name + packed
        extra = struct.pack("<2H3Q", 1, 24, size, length, place) if entry.wide else b""
        sizes = (FULL_32, FULL_32, FULL_32) if entry.wide else (length, size, place)
        listed += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", entry.system << 8 | 20, 20, entry.flags, method, 0, 33, crc, *sizes[:2],
            len(entry.name), len(extra), 0, 0, 0, entry.attributes, sizes[2],
        )  # fmt: skip
        listed += entry.name + extra
    start, many = len(out), count if count is not None else len(entries)
    out += listed
    if wide_end:
        end = len(prefix) + len(out)
        out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, disk, disk, many, many, len(listed), start)
        out += struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    narrow = (0xFFFF, 0xFFFF, FULL_32, FULL_32) if wide_end else (min(many, 0xFFFF),) * 2 + (len(listed), start)
    out += struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, *narrow, len(comment)) + comment
    return prefix + bytes(out) + suffix
