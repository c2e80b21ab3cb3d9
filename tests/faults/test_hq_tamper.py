"""F9: HQ's log is tampered with in every way; with a checkpoint it is always found out."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.server.tampering import ATTACKS, found, in_memory, make_log

FULL: Final = 10_000
SHORT: Final = 150


def trials(folder: Path, number: int) -> tuple[list[str], Counter[str], Counter[str]]:
    """What was not found out with a checkpoint; how many of each attack, and how many of them without one."""
    path, checkpoint = make_log(folder)
    chance = random.Random(20261122)  # noqa: S311 - the seed makes a failure repeatable
    missed: list[str] = []
    tried: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for trial in itertools.count():
        if tried.total() == number:
            break
        attack = ATTACKS[trial % len(ATTACKS)]
        db = in_memory(path)
        try:
            done = attack(db, chance)
        except sqlite3.IntegrityError:  # the store itself took it for no row
            db.close()
            continue
        tried[attack.__name__] += 1
        seen = found(db, checkpoint)
        if not seen:
            missed.append(f"{trial}: {done}")
        alone[attack.__name__] += any(each.chain != "checkpoint" for each in seen)
        db.close()
    return missed, tried, alone


@pytest.mark.heavy
@pytest.mark.promise("AUD-1")
def test_tampering_with_the_log_is_found_out_with_a_checkpoint(tmp_path: Path) -> None:
    missed, tried, _ = trials(tmp_path, SHORT)
    assert missed == []
    assert all(tried[attack.__name__] > SHORT // 10 for attack in ATTACKS)


@pytest.mark.faults
@pytest.mark.promise("AUD-1")
def test_tampering_with_the_log_is_always_found_out_with_a_checkpoint(tmp_path: Path) -> None:
    missed, tried, alone = trials(tmp_path, FULL)
    number = tried.total()
    print(f"\ntampering: {number} trials, {len(missed)} not found out; at most {3 / number:.2%}")
    for name, count in sorted(tried.items()):
        print(f"  {name}: {count}, of them {alone[name]} without a checkpoint")
    assert missed == []
