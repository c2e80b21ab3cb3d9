"""Power cuts: what a disk may hold when the power goes, made from the system calls that a writer made.

What was synced is there. Of what was written since, none, a beginning, some, or some with a torn sector may be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

SECTOR: Final = 512
CALLS: Final = "pwrite64,write,ftruncate,fdatasync,fsync"
_LINE = re.compile(r"^(\d+) +(\w+)\((\d+)<([^>]*)>(?:, (.*))?\) += (\S+)")
_BEGUN = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: `write` of `data` at `offset`, `truncate` to `offset`, `sync`, or an `ack` of a number."""

    kind: Literal["write", "truncate", "sync", "ack"]
    file: str = ""
    offset: int = 0
    data: bytes = b""


def calls_in(log: Path, *, files: tuple[str, ...]) -> list[Call]:
    """The calls on files of these names, and the acks on standard output, in the order of their ends."""
    found = []
    for pid_line in _whole_lines(log):
        said = _LINE.match(pid_line)
        if said is None or said[6].startswith("-"):
            continue
        _, name, fd, path, rest, _ = said.groups()
        file = bytes.fromhex(path.replace("\\x", "")).decode().rpartition("/")[2]
        if name == "write" and fd == "1" and rest and _bytes_of(rest).startswith(b"ack "):
            found.append(Call("ack", offset=int(_bytes_of(rest).split()[1])))
        elif file in files:
            found.append(_call(name, file, rest or ""))
    return found


def _whole_lines(log: Path) -> Iterator[str]:
    """The log's lines, those that another thread cut in two put together where they end."""
    begun: dict[str, str] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            cut, resumed = _BEGUN.match(line.rstrip("\n")), _RESUMED.match(line.rstrip("\n"))
            if cut is not None:
                begun[cut[1]] = cut[2]
            elif resumed is not None:
                yield f"{resumed[1]} {begun.pop(resumed[1])}{resumed[3]}"
            else:
                yield line


def _call(name: str, file: str, rest: str) -> Call:
    if name == "pwrite64":
        return Call("write", file, int(rest.rpartition(", ")[2]), _bytes_of(rest))
    if name == "ftruncate":
        return Call("truncate", file, int(rest))
    if name in ("fsync", "fdatasync"):
        return Call("sync", file)
    raise ValueError(f"{name} on {file} is not understood")


def _bytes_of(rest: str) -> bytes:
    return bytes.fromhex(rest[rest.index('"') + 1 : rest.rindex('"')].replace("\\x", ""))


@dataclass
class Disk:
    """Files as they are for sure, and what was written to each since its last sync."""

    kept: dict[str, bytearray]
    pending: dict[str, list[Call]] = field(default_factory=dict)
    acked: int = -1

    def take(self, call: Call) -> None:
        """One call more."""
        if call.kind == "ack":
            self.acked = max(self.acked, call.offset)
        elif call.kind == "sync":
            for each in self.pending.pop(call.file, []):
                apply(self.kept.setdefault(call.file, bytearray()), each)
        else:
            self.pending.setdefault(call.file, []).append(call)

    def after_a_cut(self, chance: random.Random) -> dict[str, bytes]:
        """What is found on the disk afterwards, one way it may be."""
        found = {}
        for file in {*self.kept, *self.pending}:
            body = bytearray(self.kept.get(file, b""))
            for call in _survivors(self.pending.get(file, []), chance):
                apply(body, call)
            found[file] = bytes(body)
        return found


def _survivors(pending: list[Call], chance: random.Random) -> list[Call]:
    how = chance.choice(("none", "prefix", "subset", "torn"))
    if how == "none" or not pending:
        return []
    if how == "prefix":
        return pending[: chance.randint(0, len(pending))]
    some = [call for call in pending if chance.random() < 0.5]
    writes = [number for number, call in enumerate(some) if call.kind == "write" and len(call.data) > SECTOR]
    if how == "torn" and writes:
        number = chance.choice(writes)
        call = some[number]
        sectors = chance.randint(1, len(call.data) // SECTOR - 1) if len(call.data) >= 2 * SECTOR else 1
        some[number] = Call("write", call.file, call.offset, call.data[: sectors * SECTOR])
    return some


def apply(body: bytearray, call: Call) -> None:
    """Have a file hold what a call wrote or cut."""
    if call.kind == "truncate":
        del body[call.offset :]
        body.extend(bytes(max(0, call.offset - len(body))))
        return
    body.extend(bytes(max(0, call.offset - len(body))))
    body[call.offset : call.offset + len(call.data)] = call.data
