"""The home: its folders and who may read them, its lock, its configuration, its secrets, its store."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from minion.config import AUTO, Config, Home, holder_of, load_config
from minion.daemon_client import connected, way_out
from minion.doctor.finding import Finding, ok, problem, refused, warning
from minion.doctor.remedies import edit, give_back, install_zones, quoted, reinstall
from minion.engines.registry import API_KEY, lack_of, needed_secret
from minion.secrets_file import read_secrets, secret_names
from minion.store.local_db import examine, read_only
from minion.store.run_history import breaches, list_runs, log_size
from minion.store.soundness import damage
from server.contract.refusals import Refusal, StoreUnreadable

# The newest runs; one that was left behind is among the last that began.
_LOOKED_THROUGH: Final = 50
_DAEMON: Final = "minion up"
# A daemon that is well answers in milliseconds.
_ANSWER_S: Final = 5.0


def is_begun(home: Home) -> bool:
    """Whether anything of a minion lies in the home: then what is missing is missing, not yet to be made."""
    return any(place.exists() for place in (home.config_file, home.store, home.routines, home.runs))


def shut(home: Home) -> list[Finding]:
    """Why this user can say nothing of what lies in a home that is there; nothing when it is open."""
    if not home.root.is_dir():
        return [problem("home", f"{home.root} is no folder.", f"mv {quoted(home.root)} {quoted(home.root)}.old")]
    owner = home.root.stat().st_uid
    if owner != os.geteuid():
        says = f"{home.root} belongs to the user {owner}, and this is the user {os.geteuid()}."
        return [problem("home", says, give_back(home.root, owner))]
    if not os.access(home.root, os.R_OK | os.X_OK):
        return [problem("home", f"{home.root} cannot be entered.", f"chmod 700 {quoted(home.root)}")]
    return []


def no_home(home: Home) -> list[Finding]:
    """The one finding on a home that is not there yet."""
    return [warning("home", f"There is no minion in {home.root} yet.", "minion setup")]


def config_of(home: Home) -> Config | None:
    """The configuration if it can be read; the finding on it says why not."""
    try:
        return load_config(home)
    except Refusal:
        return None


def folders(home: Home) -> list[Finding]:
    """The home's folders are there and closed to others."""
    found = []
    mode = stat.S_IMODE(home.root.stat().st_mode)
    if mode & 0o077:
        says = f"{home.root} can be entered by other users (mode {mode:04o})."
        found.append(warning("home", says, f"chmod 700 {quoted(home.root)}"))
    missing = [place for place in (home.routines, home.skills, home.runs, home.outbox) if not place.is_dir()]
    if missing:
        says = f"In {home.root} there is no {' and no '.join(place.name for place in missing)}."
        found.append(warning("home", says, f"mkdir -p -m 700 {' '.join(map(quoted, missing))}"))
    return found or [ok("home", f"{home.root} is whole and open to its owner only.")]


def lock(home: Home) -> list[Finding]:
    """Who owns the home now; a held one is normal. The lock is tried, never kept."""
    try:
        fd = os.open(home.root / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return [ok("lock", "Nobody has owned the home yet.")]
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return [_used(home, os.pread(fd, 4096, 0))]
    finally:
        os.close(fd)
    return [ok("lock", "The home is free.")]


def _used(home: Home, said: bytes) -> Finding:
    """The finding on a home that somebody owns: its daemon, which must answer, or a command."""
    holder = holder_of(home)
    if holder is None or holder[1] != _DAEMON:
        return ok("lock", f"The home is in use by {_holder(said)}.")
    pid = holder[0]
    client = connected(home)
    try:
        if client is not None:
            with client:
                trouble = client.ask("live", {}, timeout_s=_ANSWER_S)["trouble"]
            if not trouble:
                return ok("lock", f"The minion's daemon (process {pid}) is up and answers.")
            says = f"The daemon (process {pid}) is in trouble: {' '.join(trouble)}"
            return problem("lock", says, "minion status")
    except Refusal:
        pass
    says = f"The daemon (process {pid}) owns the home and does not answer."
    return problem("lock", says, way_out(pid))


def left_behind(home: Home) -> list[Finding]:
    """The runs that have not ended although nobody owns the home; nothing where the store cannot be read."""
    if not _is_free(home):
        return []
    try:
        with read_only(home.store) as db:
            open_still = [run for run in list_runs(db, limit=_LOOKED_THROUGH) if run["ended_at"] is None]
    except Refusal:
        return []  # said by the finding on the store
    if not open_still or not _is_free(home):  # one that began in between is under way
        return []
    first = open_still[0]
    also = f" and {_counted(len(open_still) - 1, 'more run')}" if len(open_still) > 1 else ""
    was, them = ("were", "them") if also else ("was", "it")
    left = f"{first['id']}{also} {was} left unfinished by an owner that died"
    says = f"The run {left}; the next start closes {them}."
    return [warning("runs", says, f"minion run {quoted(first['routine'])}")]


def _is_free(home: Home) -> bool:
    """Whether nobody owns the home now. The lock is tried, never kept."""
    try:
        fd = os.open(home.root / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def config(home: Home) -> list[Finding]:
    """`minion.json` can be read, and names an engine that is here."""
    if not home.config_file.exists():
        says = f"{home.config_file} is gone, and with it this minion's id."
        return [problem("config", says, f"mv {quoted(home.root)} {quoted(home.root)}.old && minion setup")]
    try:
        found = load_config(home)
    except Refusal as refusal:
        fix = edit(home.config_file) if _has_zones() else install_zones()
        return [refused("config", refusal, _opened(home.config_file) or fix)]
    lack = None if found.engine == AUTO else lack_of(found.engine, lambda: _names(home))
    if lack is not None:
        says = f"{home.config_file} names the engine {found.engine}, which {lack.words}."
        return [problem("config", says, lack.hint if needed_secret(found.engine) else edit(home.config_file))]
    return [ok("config", f"This is the minion {found.name}, with the {found.engine} engine.")]


def _names(home: Home) -> Collection[str]:
    """The names of the secrets; all that an engine may need where they cannot be read, which is said elsewhere."""
    try:
        return secret_names(home.secrets_file)
    except Refusal:
        return (API_KEY,)


def secrets(home: Home) -> list[Finding]:
    """`secrets.json` is its owner's alone and can be understood; no value is ever shown."""
    file = home.secrets_file
    if file.is_dir() and not file.is_symlink():
        return [problem("secrets", f"{file} is a folder.", f"mv {quoted(file)} {quoted(file)}.old")]
    try:
        held = read_secrets(file)
        if not file.exists():
            return [ok("secrets", "There is no secrets.json.")]
        owner = file.stat().st_uid
    except Refusal as refusal:
        if refusal.code in ("secrets_mode", "secrets_unreadable"):
            return [problem("secrets", refusal.sentence, _closed(file))]
        return [refused("secrets", refusal, edit(file, private=True))]
    if owner != os.geteuid():
        return [problem("secrets", f"{file} belongs to the user {owner}.", give_back(file, 0))]
    return [ok("secrets", f"secrets.json is private and holds {_counted(len(held), 'secret')}.")]


def store(home: Home) -> list[Finding]:
    """The store can be read, is this minion's, its pages are sound and its log is intact."""
    found = config_of(home)
    try:
        if found is not None and not examine(home.store, minion_id=found.minion_id, runs_dir=home.runs):
            return [ok("store", "There is none yet; the first run makes it.")]
        with read_only(home.store) as db:
            hurt = damage(db)
            if hurt is not None:
                return [problem("store", f"SQLite finds the run store damaged: {hurt}", _aside(home))]
            broken, size = breaches(db), log_size(db)
    except StoreUnreadable as refusal:
        fix = reinstall() if refusal.code == "store_newer" else _aside(home)
        return [refused("store", refusal, _opened(home.store) or fix)]
    if broken:
        places = f"{broken[0].chain}, entry {broken[0].position}"
        more = f" and in {_counted(len(broken) - 1, 'more place')}" if len(broken) > 1 else ""
        return [problem("store", f"The log was changed after it was written: {places}{more}.", "minion verify")]
    counted = f"{_counted(size['runs'], 'run')} and {_counted(size['events'], 'event')}"
    return [ok("store", f"{counted} are kept, sound and unaltered.")]


def _opened(file: Path) -> str | None:
    """The line that lets its owner read a file; None when that is not what is missing."""
    return None if not file.exists() or os.access(file, os.R_OK | os.W_OK) else f"chmod 600 {quoted(file)}"


def _closed(file: Path) -> str:
    """The line that makes a file its owner's alone; a link is replaced by a copy of what it leads to."""
    place = quoted(file)
    if file.is_symlink():
        return f'install -m 600 "$(realpath {place})" {place}.new && mv {place}.new {place}'
    return f"chmod 600 {place}"


def _holder(said: bytes) -> str:
    """Who wrote its name into the lock file."""
    try:
        holder = json.loads(said)
        return f"`{holder['command']}` (process {holder['pid']})"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _aside(home: Home) -> str:
    """Store and runs are put beside the home, whole; the next run begins a new store, and routines stay."""
    parts = [*sorted(home.root.glob(f"{home.store.name}*")), *([home.runs] if home.runs.exists() else [])]
    aside = f"{quoted(home.root)}.aside"
    moved = f"mkdir -m 700 {aside} && mv {' '.join(quoted(part) for part in parts)} {aside}/"
    return f"{moved} && mkdir -m 700 {quoted(home.runs)}"


def _has_zones() -> bool:
    from zoneinfo import available_timezones

    return bool(available_timezones())


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
