"""Takes an upgrade back: the store, the routine files and minion.json are as they were before it.

What is there is copied first. The files are put back before the store, whose version says whether it is done: a
rollback that was cut off can be called again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from minion.config import Config, Home
from minion.setup.backups import (
    Backup,
    backups,
    changed_files,
    check_backup,
    keep_newest,
    make_backup,
    put_files_back,
)
from minion.store.local_db import examine
from minion.store.migrations import stored_version
from minion.store.upgrade import Loss, holdings, loss, older, put_back
from server.contract.refusals import NotFound, Refused


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback puts back, and what is lost by it; `version` is the store's before it."""

    version: int
    backup: Backup
    loss: Loss
    files: tuple[str, ...]


def plan_rollback(home: Home, config: Config) -> Rollback:
    """What a rollback would do; nothing is changed.

    Raises `NotFound` where no upgrade was backed up, `Refused` where the backup is not as it was made.
    """
    there = examine(home.store, minion_id=config.minion_id, runs_dir=home.runs)
    version = stored_version(home.store) if there else 0
    found = [backup for backup in backups(home) if backup.why == "upgrade" and backup.schema < version]
    if not found:
        says = f"In {home.backups} is no backup from before an upgrade to the store's version ({version})."
        raise NotFound("no_backup", says, hint="minion upgrade makes one where the store is of an older version")
    check_backup(found[0])
    with older(found[0].store) as db:
        holdings(db, found[0].store)
    files = tuple(changed_files(home, found[0]))
    return Rollback(version, found[0], loss(home.store, found[0].store), files)


def roll_back(home: Home, config: Config, now: datetime, *, lose: bool) -> tuple[Rollback, Backup]:
    """Put the newest backup from before an upgrade back, and give where what was there is kept.

    The caller owns the home. Raises what `plan_rollback` does; `Refused` (`would_lose`) when runs, slots, answers
    or changes of files came since, unless they may be lost; `StoreFailed`.
    """
    plan = plan_rollback(home, config)
    lost = spell_loss(plan)
    if lost and not lose:
        says = f"Since the backup of {plan.backup.made_at} there came {lost}, which a rollback would lose."
        raise Refused("would_lose", says, hint="minion upgrade --rollback --yes; a copy is kept in backups")
    kept = make_backup(home, plan.version, "rollback", now)
    put_files_back(home, plan.backup)
    put_back(plan.backup.store, home.store)
    keep_newest(home)
    return plan, kept


def spell_loss(plan: Rollback) -> str:
    """What would be lost, for people; empty when nothing would."""
    found, parts = plan.loss, []
    if found.runs:
        parts.append(f"{_counted(len(found.runs), 'run')} (newest {found.runs[0]})")
    if found.slots:
        parts.append(_counted(found.slots, "settled slot"))
    if found.decisions:
        parts.append(_counted(found.decisions, "answered decision"))
    if plan.files:
        parts.append(f"{_counted(len(plan.files), 'changed file')} ({plan.files[0]})")
    return ", ".join(parts)


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
