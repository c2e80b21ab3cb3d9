"""Backups of a home from before its store was changed: the store, the routine files and minion.json, by digest.

A backup is a folder that appears whole, by one rename, and holds a list of what is in it; anything else in the
backups folder is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from minion.config import Home, unwritable
from minion.release import program_version
from minion.store.migrations import back_up
from server.contract.digest import instant
from server.contract.refusals import Refused, StoreFailed

Why = Literal["upgrade", "rollback"]
KEPT: Final = 5
_LIST: Final = "manifest.json"
_STORE: Final = "minion.db"
_CONFIG: Final = "minion.json"
_ROUTINES: Final = "routines"
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup: its folder, the store's schema version, when and before what it was made, and its files."""

    folder: Path
    schema: int
    made_at: str
    why: Why
    program: str
    files: dict[str, str]

    @property
    def store(self) -> Path:
        """The copy of the store."""
        return self.folder / _STORE

    def bodies(self) -> dict[str, bytes]:
        """The routine files and minion.json as they were, by their path in the home."""
        return {name: (self.folder / name).read_bytes() for name in self.files if name != _STORE}


def make_backup(home: Home, schema: int, why: Why, now: datetime) -> Backup:
    """Copy a home's store, routine files and configuration; on the disk when this returns.

    Raises `StoreFailed`; no half backup stays, and none that was there goes.
    """
    name = f"minion-v{schema}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    draft = home.backups / f".{name}.{os.getpid()}.part"
    try:
        clear_drafts(home)
        draft.mkdir(mode=0o700, parents=True)
        back_up(home.store, draft / _STORE)
        for path, body in _files(home).items():
            _write(draft / path, body)
        paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
        files = {str(path.relative_to(draft)): _digest(path) for path in paths}
        made = Backup(draft, schema, instant(now), why, program_version(), files)
        _write(draft / _LIST, (json.dumps(_as_data(made), indent=2) + "\n").encode())
        for folder in (*(path for path in draft.rglob("*") if path.is_dir()), draft):
            _sync(folder)
        final = next(path for path in _names(home.backups / name) if not path.exists())
        draft.rename(final)
        _sync(home.backups)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        hint = "check the disk's free space and the rights of its folder"
        says = f"No backup could be made in {home.backups} ({error.strerror})."
        raise StoreFailed("backup_failed", says, hint=hint) from error
    except StoreFailed:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Backup(final, schema, made.made_at, why, made.program, files)


def backups(home: Home) -> list[Backup]:
    """The whole backups of a home, newest first."""
    found = []
    for folder in home.backups.glob("minion-v*") if home.backups.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads((folder / _LIST).read_bytes())
            files = {str(name): str(digest) for name, digest in said["files"].items()}
            why: Why = "rollback" if said["why"] == "rollback" else "upgrade"
            schema, made_at, program = int(said["schema"]), str(said["made_at"]), str(said["program"])
            found.append(Backup(folder, schema, made_at, why, program, files))
    return sorted(found, key=lambda backup: (backup.made_at, backup.folder.name), reverse=True)


def check_backup(backup: Backup) -> None:
    """Every file of a backup is as it was made. Raises `Refused` naming one that is not."""
    for name, digest in backup.files.items():
        path = backup.folder / name
        if not path.is_file() or _digest(path) != digest:
            says = f"The backup {backup.folder} is not as it was made: {name} differs."
            raise Refused("backup_altered", says, hint="move it away, and the one before it is taken")


def put_files_back(home: Home, backup: Backup) -> list[str]:
    """Have the routine files and minion.json be as in a backup; the paths in the home that changed.

    Raises `Refused` when the disk refuses; called again, it does the rest.
    """
    wanted, there = backup.bodies(), _files(home)
    changed = []
    for name in sorted(there.keys() - wanted.keys()):
        (home.root / name).unlink()
        changed.append(name)
    for name, body in wanted.items():
        if there.get(name) != body:
            _replace(home.root / name, body)
            changed.append(name)
    return sorted(changed)


def changed_files(home: Home, backup: Backup) -> list[str]:
    """The routine files, and minion.json, that are not as in a backup: changed, new or gone."""
    wanted, there = backup.bodies(), _files(home)
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def keep_newest(home: Home, most: int = KEPT) -> None:
    """Remove all backups but the newest."""
    for backup in backups(home)[most:]:
        remove_backup(backup)


def remove_backup(backup: Backup) -> None:
    """Remove a backup; one that is half removed is a draft, and none."""
    with contextlib.suppress(OSError):
        draft = backup.folder.with_name(f".{backup.folder.name}.{os.getpid()}.part")
        backup.folder.rename(draft)
        shutil.rmtree(draft, ignore_errors=True)


def clear_drafts(home: Home) -> None:
    """Remove what owners that were killed left of backups in the making, or half removed."""
    for draft in home.backups.glob(".minion-v*.part") if home.backups.is_dir() else ():
        shutil.rmtree(draft, ignore_errors=True)


def _files(home: Home) -> dict[str, bytes]:
    """The routine files of a home and its minion.json, by their path in it."""
    paths = [path for path in home.routines.rglob("*") if path.is_file() and not _is_draft(path)]
    found = {f"{_ROUTINES}/{path.relative_to(home.routines)}": path.read_bytes() for path in sorted(paths)}
    return found | {_CONFIG: home.config_file.read_bytes()}


def _is_draft(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix in (".part", ".before")


def _as_data(backup: Backup) -> dict[str, Any]:
    return {
        "v": 1, "schema": backup.schema, "made_at": backup.made_at, "why": backup.why, "program": backup.program,
        "files": backup.files,
    }  # fmt: skip


def _names(path: Path) -> Iterable[Path]:
    """A name, and others for a second backup of the same second."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, body: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.unlink(missing_ok=True)
        _write(draft, body)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
