"""Schedule phrases made to hurt their reader: read or refused at once, in little memory, in one printable line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.contract.phrases import LONGEST_PHRASE, read_phrase
from server.contract.refusals import BadDocument
from tests.contract.phrase_bombs import PHRASE_BOMBS
from tests.house.source_tree import ROOT

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
# Reads every phrase in a fresh process; prints the seconds of processor time that the slowest took, and the KiB of
# memory that all of them took together.
WEIGH = """
import time
from datetime import UTC, datetime
from pathlib import Path
from server.contract.phrases import read_phrase
from server.contract.refusals import BadDocument
from tests.contract.phrase_bombs import PHRASE_BOMBS
def kib():
    # Not getrusage: its peak is inherited from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
before, slowest = kib(), 0.0
for phrase in PHRASE_BOMBS.values():
    begun = time.process_time()
    try:
        read_phrase(phrase, zone="Europe/Berlin", now=datetime(2026, 3, 4, 12, tzinfo=UTC))
    except BadDocument:
        pass
    slowest = max(slowest, time.process_time() - begun)
print(slowest, kib() - before)
"""


@pytest.mark.promise("CLI-11")
@pytest.mark.parametrize("name", PHRASE_BOMBS)
def test_a_hostile_phrase_is_read_or_refused_in_one_short_printable_line(name: str) -> None:
    with contextlib.suppress(BadDocument):
        reading = read_phrase(PHRASE_BOMBS[name], zone="Europe/Berlin", now=NOW)
        assert (len(reading.words) < 300, reading.words.isprintable()) == (True, True)
        return
    with pytest.raises(BadDocument) as caught:
        read_phrase(PHRASE_BOMBS[name], zone="Europe/Berlin", now=NOW)
    refusal = caught.value
    assert refusal.code in ("phrase", "bad_schedule")
    assert len(str(refusal)) < 1_000
    assert str(refusal).isprintable()


def test_the_bombs_are_as_long_as_a_phrase_may_be_and_one_is_longer() -> None:
    lengths = sorted(len(phrase) for phrase in PHRASE_BOMBS.values())
    assert lengths[-2] <= LONGEST_PHRASE < lengths[-1]
    assert sum(length > LONGEST_PHRASE // 2 for length in lengths) > len(lengths) * 3 // 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_the_hostile_phrases_take_no_second_each_and_bounded_memory() -> None:
    argv = [sys.executable, "-c", WEIGH]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT)
    slowest, grown_kib = map(float, done.stdout.split())
    assert slowest < 1
    assert grown_kib < 64 * 1024
