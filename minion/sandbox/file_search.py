"""How a model finds files and lines in them inside the sandbox: glob, grep, and the walk under both.

Standard library only; part of `file_tools`, in whose process of one call it runs.
"""
# Paths come as texts and are shown as they came.
# ruff: noqa: PTH112, PTH116

from __future__ import annotations

import heapq
import os
import re
import stat
from collections import deque
from fnmatch import translate
from io import BufferedReader, FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

# Characters of a line that are shown. More are handed on, so that whoever takes secrets out sees them whole
# before the line is cut.
LINE_SHOWN, LINE_BYTES = 2_000, 16_384
LINE_SEARCHED = 1024 * 1024  # bytes of a line that a pattern is tried on at once
BUFFER = 65_536  # bytes of a file that are fetched at once
# A NUL in the first of them is no text, nor are many of these characters in the very first.
LOOKED_AT = 1_024
CONTROL, CONTROL_SHARE = bytes({*range(9), *range(14, 32)} - {27}), 20
FOUND_MOST = 200  # files that `glob` names, lines or files that `grep` does
BRACES_MOST = 64  # patterns that the braces of one may stand for
_SPECIAL = re.compile(r"[*?[]")
_BRACKETS = {"[": re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL), "{": re.compile(r"\{[0-9,]*\}")}
# Others' files, mostly many: entered only by who names them.
LEFT_OUT = frozenset({".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__"})


class CannotDo(Exception):
    """A call that cannot be carried out; its text is the sentence for the model."""


def glob(call: dict[str, Any], room: int) -> str:
    """The paths that a pattern matches, newest first; folders only where it has no `**`."""
    pattern = call["pattern"]
    walk = Walk(call.get("path") or ".", pattern)
    folders = "**" not in pattern
    matches = (entry for entry in walk.entries() if folders or not entry.is_dir(follow_symlinks=False))
    newest = heapq.nlargest(FOUND_MOST, _dated(matches, walk))
    if not walk.matched:
        return f"Nothing matches {pattern}{_in(call)}.{walk.remark()}"
    shown: list[str] = []
    for _, path in newest:
        room -= len(path.encode("utf-8", "replace")) + 1
        if room < 0:
            break
        shown.append(path)
    if walk.matched > len(shown):
        shown.append(f"(The newest {len(shown)} of {walk.matched:,}: a narrower pattern shows others.)")
    return "\n".join(shown) + walk.remark()


def grep(call: dict[str, Any], room: int) -> str:
    """The lines that a regular expression is found in, or the files, or how many lines there are in each."""
    pattern, limit = call["pattern"], call.get("limit") or FOUND_MOST
    if "\n" in pattern:
        raise CannotDo("grep looks at one line at a time: a pattern with a line break is never found.")
    search = re.compile(pattern, re.IGNORECASE if call.get("ignore_case") else 0).search
    literal = b"" if call.get("ignore_case") or call.get("context") else literal_of(pattern)
    mode, around = call.get("mode", "content"), call.get("context") or 0
    walk = Walk(call.get("path") or ".", call.get("glob") or "**/*", names_only=True)
    shown: list[str] = []
    found = binary = looked = 0
    for path, file in walk.files():
        looked += 1
        if is_binary(file):
            binary += 1
            continue
        lines = _numbered(file) if not literal else _lines_with(literal, file)
        for row, is_match in _rows(path, lines, search, mode, around):
            room -= len(row.encode("utf-8", "replace")) + 1
            if (is_match and found >= limit) or room < 0:
                shown.append(f"(More after the first {found}: narrow the search, or raise limit.)")
                return "\n".join(shown)
            found += is_match
            shown.append(row)
    if not shown:
        shown.append(f"{pattern} was not found{_in(call)} ({counted(looked - binary, 'text file')} searched).")
    if binary and not found:
        shown.append(f"({counted(binary, 'binary file')} left out.)")
    return "\n".join(shown) + walk.remark()


def literal_of(pattern: str) -> bytes:
    """The longest text that must stand in whatever a pattern matches, if that is plain to see; else nothing.

    To look for that first spares most lines the pattern. What stands in groups may be left out, and is.
    """
    if "|" in pattern or "(?" in pattern:
        return b""
    runs, depth, at, kept = [""], 0, 0, False
    while at < len(pattern):
        letter, at, was_kept, kept = pattern[at], at + 1, kept, False
        if letter == "\\":
            letter, at = pattern[at], at + 1
            if letter in "xuUN0123456789":  # more of it follows
                return b""
            kept = depth == 0 and letter.isascii() and not letter.isalnum()
        elif letter == "[" or letter == "{":
            whole = _BRACKETS[letter].match(pattern, at - 1)
            if whole is None:
                return b""
            at = whole.end()
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        else:
            kept = depth == 0 and letter not in "*+?.^$" and letter.isascii()
        if was_kept and letter in "*?{" and not kept:  # the letter before may be missing
            runs[-1] = runs[-1][:-1]
        if kept:
            runs[-1] += letter
        elif runs[-1]:
            runs.append("")
    return max(runs, key=len).encode()


def _lines_with(literal: bytes, file: BufferedReader) -> Iterator[tuple[int, str]]:
    """The lines of a file just opened that hold a text, with their numbers; of a larger file, all lines."""
    data = file.peek()
    if len(data) >= BUFFER:
        yield from _numbered(file)
        return
    number, looked, at = 1, 0, data.find(literal)
    while at >= 0:
        begins, ends = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        ends = len(data) if ends < 0 else ends
        number, looked = number + data.count(b"\n", looked, begins), begins
        yield number, text_of(data[begins:ends])
        at = data.find(literal, ends)


def _rows(
    path: str,
    lines: Iterator[tuple[int, str]],
    search: Callable[[str], re.Match[str] | None],
    mode: str,
    around: int,
) -> Iterator[tuple[str, bool]]:
    """What `grep` shows of one file, row by row, and whether a row stands for a match."""
    before: deque[tuple[int, str]] = deque(maxlen=around)
    after = matches = shown = 0
    for number, line in lines:
        hit = search(line)
        matches += hit is not None
        if mode != "content":
            if mode == "files" and hit is not None:
                yield path, True
                return
        elif hit is not None:
            if shown and around and number - len(before) > shown + 1:
                yield "--", False
            for earlier, words in before:
                yield f"{path}-{earlier}-{_short(words)}", False
            before.clear()
            yield f"{path}:{number}:{_short(line, hit.start())}", True
            after, shown = around, number
        elif after:
            yield f"{path}-{number}-{_short(line)}", False
            after, shown = after - 1, number
        else:
            before.append((number, line))
    if mode == "count" and matches:
        yield f"{path}:{matches}", True


def _numbered(file: BufferedReader) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers; one that is very long comes in parts."""
    number, begins = 0, True
    while line := file.readline(LINE_SEARCHED):
        number += begins
        begins = line.endswith(b"\n")
        yield number, text_of(line)


def _short(line: str, at: int = 0) -> str:
    if at >= LINE_SHOWN:
        return f"(a line of {len(line):,} characters, found at character {at + 1:,} of it)"
    return line if len(line) <= LINE_BYTES else f"{line[:LINE_BYTES]} …"


def _dated(entries: Iterable[os.DirEntry[str]], walk: Walk) -> Iterator[tuple[int, str]]:
    """The entries with the instant of their last change; those that are gone meanwhile left out."""
    for entry in entries:
        try:
            told = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        walk.matched += 1
        yield told.st_mtime_ns, walk.shown(entry.path) + ("/" if stat.S_ISDIR(told.st_mode) else "")


class Walk:
    """A walk through a folder that enters only what a pattern may match, and never a link to a folder."""

    def __init__(self, base: str, pattern: str, *, names_only: bool = False) -> None:
        """`names_only`: a pattern without `/` is meant for names in any folder, and none leads out of `base`.

        Raises `CannotDo`.
        """
        if pattern.startswith("/") and not names_only:
            base, pattern = "/", pattern[1:]
        self.base, self.matched, self.unread = base, 0, 0
        self._patterns = []
        for each in _without_braces(pattern):
            parts = [part for part in each.split("/") if part not in ("", ".")]
            if ".." in parts:
                raise CannotDo("A pattern cannot hold `..`: name the folder to look in as path.")
            if names_only and len(parts) == 1:
                parts = ["**", *parts]
            if not parts or parts[-1] == "**":
                parts.append("*")
            self._patterns.append(parts)
        self._tries = [
            [None if part == "**" else _name_test(part) for part in parts] for parts in self._patterns
        ]
        self._left_out = LEFT_OUT.difference(*self._patterns)

    def entries(self, *, in_order: bool = False) -> Iterator[os.DirEntry[str]]:
        """What matches, as the system lists it or sorted by name. Raises `OSError` if `base` cannot be listed."""
        start = self._closed({(number, 0) for number in range(len(self._patterns))})
        to_do = [(self.base, start)]
        while to_do:
            folder, states = to_do.pop()
            try:
                listed = os.scandir(folder)
            except OSError:
                if folder == self.base:
                    raise
                self.unread += 1
                continue
            below = []
            with listed:
                for entry in sorted(listed, key=lambda entry: entry.name) if in_order else listed:
                    matched, onward = self._step(states, entry.name)
                    if matched:
                        yield entry
                    if onward and entry.name not in self._left_out and entry.is_dir(follow_symlinks=False):
                        below.append((entry.path, self._closed(onward)))
            to_do += reversed(below)

    def files(self) -> Iterator[tuple[str, BufferedReader]]:
        """The regular files that match, as shown and opened; the base itself if it is a file."""
        if not os.path.isdir(self.base):
            with opened(self.base) as file:
                yield self.base, file
            return
        for entry in self.entries(in_order=True):
            if entry.is_file(follow_symlinks=False):
                try:
                    file = opened(entry.path)
                except (OSError, CannotDo):
                    self.unread += 1
                    continue
                with file:
                    yield self.shown(entry.path), file

    def shown(self, path: str) -> str:
        """A path as the model would write it."""
        return path[2:] if self.base == "." else path

    def remark(self) -> str:
        """What could not be looked at, as a closing line; empty when nothing was."""
        return f"\n({self.unread:,} could not be opened.)" if self.unread else ""

    def _step(self, states: set[tuple[int, int]], name: str) -> tuple[bool, set[tuple[int, int]]]:
        """Whether a name ends one of the patterns, and the places in them that are reached below it."""
        matched, onward = False, set()
        for number, at in states:
            tries = self._tries[number]
            try_it = tries[at]
            if try_it is None:
                onward.add((number, at))
            elif try_it(name):
                if at + 1 == len(tries):
                    matched = True
                else:
                    onward.add((number, at + 1))
        return matched, onward

    def _closed(self, states: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """The places and those behind a `**`, which stands for no folder too."""
        found = set(states)
        for number, place in states:
            at = place
            while self._tries[number][at] is None:
                at += 1
                found.add((number, at))
        return found


def _name_test(part: str) -> Callable[[str], object]:
    """What tells whether a name fits a part of a pattern; the usual ones without a regular expression."""
    if not _SPECIAL.search(part[1:]):
        if part == "*":
            return lambda _name: True
        if part[0] == "*":
            return lambda name: name.endswith(part[1:])
        if not _SPECIAL.match(part):
            return lambda name: name == part
    return re.compile(translate(part)).match


def _without_braces(pattern: str) -> list[str]:
    """The patterns that one with braces stands for: `*.{py,md}` is `*.py` and `*.md`."""
    done, to_do = [], [pattern]
    while to_do:
        each = to_do.pop()
        braces = re.search(r"\{([^{}]*,[^{}]*)\}", each)
        if braces is None:
            done.append(each)
        else:
            to_do += [each[: braces.start()] + part + each[braces.end() :] for part in braces[1].split(",")]
        if len(done) + len(to_do) > BRACES_MOST:
            raise CannotDo(f"The braces in the pattern stand for more than {BRACES_MOST} patterns: write fewer.")
    return done


def opened(path: str) -> BufferedReader:
    """A regular file, opened for reading; whatever could block (a pipe, a device) is refused before."""
    told = os.stat(path)
    if stat.S_ISDIR(told.st_mode):
        raise CannotDo(f"{path} is a folder: glob lists what is in it.")
    if not stat.S_ISREG(told.st_mode):
        raise CannotDo(f"{path} is not a regular file (a pipe, socket or device) and cannot be read.")
    # Not blocking, in case it was replaced meanwhile.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    file: BufferedReader = BufferedReader(FileIO(fd), BUFFER)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise CannotDo(f"{path} is not a regular file any more.")
    return file


def is_binary(file: BufferedReader) -> bool:
    """Whether a file that was just opened holds no text."""
    begins = file.peek()
    few = begins[:LOOKED_AT]
    return b"\0" in begins or CONTROL_SHARE * (len(few) - len(few.translate(None, CONTROL))) > len(few)


def text_of(line: bytes) -> str:
    """A line without its end; what is no UTF-8 is shown as such."""
    return line.rstrip(b"\r\n").decode("utf-8", "replace")


def counted(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _in(call: dict[str, Any]) -> str:
    return f" in {call['path']}" if (call.get("path") or ".") != "." else ""
