"""Lists and reads the files of a folder that strangers filled: no link followed, everything under a cap."""

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field

MEBIBYTE = 1024 * 1024
MOST_FILES = 2_000
# Beyond so many entries the walk itself ends.
MOST_ENTRIES = 100_000
HEAD_BYTES = 256 * 1024
LARGEST_HASHED = 8 * MEBIBYTE
TOTAL_BYTES = 128 * MEBIBYTE
# What the system or git puts into a folder; nobody has to decide about these.
NOT_FILED = frozenset(
    {b".gitkeep", b".keep", b".gitignore", b".gitattributes", b".DS_Store", b"Thumbs.db", b"desktop.ini"}
)
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe would hold the skill for ever.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderUnreadable(Exception):
    """The folder cannot be looked into; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path below the folder as the system has it, its size in bytes, when it was last written."""

    path: bytes
    size: int
    written: int


@dataclass(slots=True)
class Content:
    """What was read of a file: its first bytes, None if none; `digest` if another file has its size."""

    head: bytes | None = None
    digest: str | None = None


@dataclass(slots=True)
class Listing:
    """What lies in a folder: `files` in the order of their paths, and what was left out of them."""

    files: list[Entry] = field(default_factory=list)
    links: int = 0
    more: int = 0
    unread: int = 0
    found: bool = True


def open_folder(root: str, folder: str) -> int | None:
    """A descriptor of `folder` below `root`, opened part by part; None when it is not there.

    Raises `FolderUnreadable` when a part is a link or no folder.
    """
    try:
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FolderUnreadable(f"The repository's files cannot be read: {error.strerror}.") from None
    for part in folder.split("/"):
        try:
            deeper = os.open(part, FOLDER_FLAGS, dir_fd=here)
        except FileNotFoundError:
            return None
        except OSError:
            raise FolderUnreadable(f"{folder} is a link or no folder, and it is not followed.") from None
        finally:
            os.close(here)
        here = deeper
    return here


def list_files(top: int) -> Listing:
    """The regular files below an open folder; links are counted and not followed."""
    found = Listing()
    entries = 0
    for folder, folders, names, here in os.fwalk(b".", dir_fd=top, follow_symlinks=False):
        links = {name for name in folders if stat.S_ISLNK(os.lstat(name, dir_fd=here).st_mode)}
        found.links += len(links)
        folders[:] = sorted(name for name in folders if name.lower() != b".git" and name not in links)
        for name in sorted(names):
            entries += 1
            if name in NOT_FILED:
                continue
            try:
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
            except OSError:
                found.unread += 1
                continue
            if not stat.S_ISREG(status.st_mode):
                found.links += 1
            elif len(found.files) >= MOST_FILES:
                found.more += 1
            else:
                path = os.path.join(folder, name).removeprefix(b"./")
                found.files.append(Entry(path, status.st_size, int(status.st_mtime)))
        if entries >= MOST_ENTRIES:
            break
    found.files.sort(key=lambda entry: entry.path)
    return found


def read_files(top: int, listing: Listing) -> dict[bytes, Content]:
    """The first bytes of each file, and the digest of those that another file has the size of.

    Reads at most 256 KiB of a file, 8 MiB where it may be a duplicate, and 128 MiB in all; what was not read
    for that or another reason is counted in `listing.unread`.
    """
    sizes = Counter(entry.size for entry in listing.files)
    left = TOTAL_BYTES
    contents: dict[bytes, Content] = {}
    for entry in listing.files:
        content = contents[entry.path] = Content()
        wanted = HEAD_BYTES
        if sizes[entry.size] > 1 and entry.size <= LARGEST_HASHED:
            wanted = max(wanted, entry.size)
        body = _read(top, entry.path, min(wanted, entry.size)) if min(wanted, entry.size) <= left else None
        if body is None:
            listing.unread += 1
            continue
        left -= len(body)
        content.head = body[:HEAD_BYTES]
        if sizes[entry.size] > 1 and entry.size and len(body) == entry.size:
            content.digest = hashlib.sha256(body).hexdigest()
    return contents


def _read(top: int, path: bytes, most: int) -> bytes | None:
    """The first bytes of a file, opened part by part; None when it has gone, or is a link now."""
    *folders, name = path.split(b"/")
    here = os.dup(top)
    try:
        for part in folders:
            deeper = os.open(part, FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = deeper
        with os.fdopen(os.open(name, FILE_FLAGS, dir_fd=here), "rb") as file:
            return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(here)
