"""What a model does with files inside the sandbox: reads, writes and edits them; finding is in `file_search`.

Standard library only: the tool host imports it and forks for each call, so that nothing here has to be given
back, and whatever hangs is killed. Every failure is one sentence that a model can act on.
"""
# Paths come as texts and are shown as they came.
# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH118, PTH120

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import stat
import sys

from file_search import (  # type: ignore[import-not-found]
    LINE_BYTES,
    CannotDo,
    counted,
    glob,
    grep,
    is_binary,
    opened,
    text_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from typing import Any, NoReturn

LINES_READ = 2_000
EDITED_MOST = 16 * 1024 * 1024  # bytes of a file that is edited as a whole
PORTION = 1024 * 1024
MEMORY_MOST = 768 * 1024 * 1024  # bytes of address space for one call, the tool host's own included
DESCRIPTORS_MOST = 1024 * 1024
ROOM = 512  # bytes of an answer kept for its closing words
ESCAPED = 6  # bytes that JSON makes of one, at worst: what is told of a file is bounded so that it fits

SENTENCES = {
    errno.ENOENT: "There is no file or folder {}.",
    errno.EACCES: "{} may not be opened here: permission denied.",
    errno.EPERM: "{} may not be changed here: the operation is not permitted.",
    errno.EROFS: "{} is read-only here: write below the repository or the scratch folder.",
    errno.ENOTDIR: "{} cannot be reached: a part of this path is a file, not a folder.",
    errno.EEXIST: "{} cannot be reached: a part of this path is a file, not a folder.",
    errno.EISDIR: "{} is a folder, not a file.",
    errno.ELOOP: "{} leads in a circle of symbolic links.",
    errno.ENAMETOOLONG: "The path {:.80} … is too long for this system.",
    errno.ENOSPC: "There is no space left for {}.",
    errno.EDQUOT: "There is no space left for {}.",
    errno.EFBIG: "{} would become larger than a file may be here.",
}


def reply_and_end(request: dict[str, Any], stdio: tuple[int, int, int], fault: int) -> NoReturn:
    """In a fork of the tool host: print the answer to the request's call and end, or say through `fault` why not.

    Nothing of the host's stays open, and nothing returns to its loop.
    """
    why = "the file tool failed"
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        # SIGXFSZ stays ignored: a file beyond its cap is an error here, not the end.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for target, source in enumerate(stdio):
            os.dup2(source, target)
        files, memory = resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_AS)
        os.closerange(3, fault)
        os.closerange(fault + 1, DESCRIPTORS_MOST if files == resource.RLIM_INFINITY else files)
        if sys.platform == "linux" and memory[1] == resource.RLIM_INFINITY:
            # What needs more ends in a sentence, and not in the memory of the machine.
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))
        try:
            os.chdir(request["cwd"])
        except OSError as failure:
            why = f"could not enter {request['cwd'].decode('utf-8', 'replace')}: {failure.strerror}"
            raise
        text = answered(request["call"], request["max_bytes"])
        while text:
            text = text[os.write(1, text) :]
        os._exit(0)
    finally:
        os.write(fault, why.encode()[:1000])
        os._exit(1)


def answered(call: dict[str, Any], most: int) -> bytes:
    """The answer to one call: a JSON object `{"ok", "text"}` of `most` bytes (hardly more, if those are few).

    The text is made for a sixth of them, so that none of it has to be cut off.
    """
    ok = False
    try:
        path = call.get("path", ".")
        if "\0" in path:
            raise CannotDo("A path cannot hold a NUL character.")
        os.fsencode(path)
        text, ok = TOOLS[call["tool"]](call, max(0, most - ROOM) // ESCAPED), True
    except CannotDo as refused:
        text = str(refused)
    except OSError as failure:
        text = SENTENCES.get(failure.errno or 0, f"{{}}: {failure.strerror}.").format(call.get("path", "."))
    except re.error as wrong:
        where = "" if wrong.pos is None else f", at character {wrong.pos + 1}"
        text = f"The pattern is no regular expression as Python has them: {wrong.msg}{where}."
    except UnicodeEncodeError:
        text = "The call holds a character that UTF-8 does not have (half of a surrogate pair)."
    except (MemoryError, RecursionError, OverflowError):
        text = "This needs more memory than a file tool has; take a smaller part, or use bash."
    return _packed(text, ok, most)


def _packed(text: str, ok: bool, most: int) -> bytes:
    text, note = text.encode("utf-8", "replace").decode(), ""
    while True:
        line = json.dumps({"ok": ok, "text": text + note}, ensure_ascii=False).encode()
        if len(line) <= most or not text:
            return line
        # Only an echo of what was asked for can be so long.
        text, note = text[: max(0, len(text) * most // len(line) - 64)], "\n(cut here: this was too long)"


def read(call: dict[str, Any], room: int) -> str:
    """Lines of a text file, numbered as `cat -n` does, from line `offset`, at most `limit` of them."""
    path, first, limit = call["path"], call.get("offset") or 1, call.get("limit") or LINES_READ
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if is_binary(file):
            raise CannotDo(f"{path} is a binary file of {size:,} bytes: only text can be read.")
        before = _skipped(file, first - 1)
        shown: list[str] = []
        while len(shown) < limit and room > 0 and (line := file.readline(LINE_BYTES)):
            cut = "" if line.endswith(b"\n") or not _past_line_end(file) else " …"
            shown.append(f"{before + len(shown) + 1:>6}\t{text_of(line)}{cut}")
            room -= len(line) + 8
        more = bool(file.peek(1))
    if not shown:
        if before == 0:
            return f"({path} is empty.)"
        raise CannotDo(f"{path} has only {counted(before, 'line')}: there is no line {first}.")
    if more:
        last = before + len(shown)
        shown.append(f"(There is more: {path} has {size:,} bytes. Go on with offset {last + 1}.)")
    return "\n".join(shown)


def write(call: dict[str, Any], _room: int) -> str:
    """Make a file of `content`, with the folders it lies in, or put it in the place of what is there."""
    path, data = call["path"], call["content"].encode()
    place = os.path.realpath(path)
    try:
        old: os.stat_result | None = os.stat(place)
    except FileNotFoundError:
        old = None
    if old is None:
        os.makedirs(os.path.dirname(place), exist_ok=True)
    elif stat.S_ISDIR(old.st_mode):
        raise CannotDo(f"{path} is a folder: name a file in it.")
    elif not stat.S_ISREG(old.st_mode):
        raise CannotDo(f"{path} is not a regular file and cannot be written.")
    _put(place, data, old)
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return f"{'Created' if old is None else 'Overwrote'} {path} ({counted(lines, 'line')})."


def edit(call: dict[str, Any], _room: int) -> str:
    """Put `new` in the place of the exact text `old`, which must be there once, or of `all` there are."""
    path, old, new = call["path"], call["old"].encode(), call["new"].encode()
    if not old:
        raise CannotDo("old is empty: to make a file use write.")
    if old == new:
        raise CannotDo("old and new are the same: there is nothing to change.")
    with opened(path) as file:
        told = os.fstat(file.fileno())
        if told.st_size > EDITED_MOST:
            raise CannotDo(f"{path} has {told.st_size:,} bytes, more than edit takes on: use bash (sed, python3).")
        data = file.read(EDITED_MOST + 1)
    if old not in data and b"\r\n" in data and b"\r" not in old:
        old, new = old.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n")
    found = data.count(old)
    if not found:
        raise CannotDo(
            f"old was not found in {path}: it must be there exactly, with its spaces, tabs and line ends, and"
            " without the numbers that read puts before the lines. Read the place again."
        )
    lines = _lines_of(data, old)
    if found > 1 and not call.get("all"):
        raise CannotDo(
            f"old was found {found} times in {path} (at {lines}): give more of the text around the one you mean,"
            " or say all."
        )
    _put(os.path.realpath(path), data.replace(old, new), told)
    return f"Replaced {counted(found, 'occurrence')} in {path} (at {lines})."


def place(call: dict[str, Any], _room: int) -> str:
    """Where a path leads once every link is followed: below the folder of the call as from there, else whole.

    No tool for a model: what a skill may do with a path is held against this too.
    """
    here, found = os.path.realpath("."), os.path.realpath(call.get("path") or ".")
    return os.path.relpath(found, here) if f"{found}/".startswith(f"{here.rstrip('/')}/") else found


TOOLS: dict[str, Callable[[dict[str, Any], int], str]] = {
    "read": read, "write": write, "edit": edit, "glob": glob, "grep": grep, "place": place,
}  # fmt: skip


def _skipped(file: BufferedReader, count: int) -> int:
    """Pass over so many lines; how many there were."""
    done, last = 0, b"\n"
    while done < count and (portion := file.read(PORTION)):
        ends = portion.count(b"\n")
        if done + ends < count:
            done, last = done + ends, portion
            continue
        at = -1
        for _ in range(count - done):
            at = portion.index(b"\n", at + 1)
        file.seek(at + 1 - len(portion), os.SEEK_CUR)
        return count
    return done + (not last.endswith(b"\n"))


def _past_line_end(file: BufferedReader) -> bool:
    """Pass over the rest of a line; whether there was any."""
    was_more = False
    while (rest := file.readline(PORTION)) not in (b"", b"\n"):
        was_more = True
        if rest.endswith(b"\n"):
            break
    return was_more


def _put(place: str, data: bytes, old: os.stat_result | None) -> None:
    """Write a file anew: beside its place and then into it, so that no failure leaves half of it."""
    beside = os.path.join(os.path.dirname(place), f".{os.getpid()}.minion-new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            fd = os.open(beside, flags | os.O_TRUNC, 0o666)
        except PermissionError:
            if old is None:
                raise
            beside, fd = "", os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if old is not None and beside:
                os.fchmod(fd, stat.S_IMODE(old.st_mode))
        if beside:
            os.replace(beside, place)
            beside = ""
    finally:
        if beside and os.path.lexists(beside):
            os.unlink(beside)


def _lines_of(data: bytes, text: bytes) -> str:
    """The lines at which a text stands, the first of them at least, in words."""
    places: list[str] = []
    at, line, looked = -1, 1, 0
    while len(places) < 6 and (at := data.find(text, at + len(text) if places else 0)) >= 0:
        line, looked = line + data.count(b"\n", looked, at), at
        places += [] if places[-1:] == [str(line)] else [str(line)]
    words = ", ".join(places[:5]) + (" …" if len(places) > 5 else "")
    return f"line{'s' if len(places) > 1 else ''} {words}"
