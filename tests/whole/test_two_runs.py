"""Two runs at once under one Supervisor: each has its own names, input, scripts, output, log and folder."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.wire import Event
from tests.whole.homes import (
    at_work,
    events_of,
    make_home,
    results_in,
    run_of,
    run_once,
    write_routine,
    write_skill,
)

# Both runs open the same two pipes, each the other way round: neither goes on before the other runs too.
MEET = """
first, second = sorted([task['input'].split()[0], task['input'].split()[1]])
mine, other, word = task['input'].split()
for name in (first, second):
    with open(name, 'w' if name == mine else 'r'):
        pass
"""
SAY = MEET + """
open('scratch', 'a').write(word)
print(f"{task['routine']['name']} {task['skill']} says {word}: {open('scratch').read()}")
sys.stderr.write(word)
"""


async def two_at_once(home: Home, names: tuple[str, str], folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Two runs that prove to be under way at the same time; they, and the run ids in the order of events."""
    pipes = [str(folder / name) for name in ("a", "b")]
    for pipe in pipes:
        os.mkfifo(pipe)
    heard: list[str] = []

    def hear(run_id: str, event: Event) -> None:
        heard.append(run_id)

    async with at_work(home, on_event=hear) as minion:
        inputs = (" ".join([*pipes, "apple"]), " ".join([*reversed(pipes), "pear"]))
        ids = await asyncio.gather(
            *(run_once(minion, name, given=given) for name, given in zip(names, inputs, strict=True))
        )
    return [run_of(home, run_id) for run_id in ids], heard


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with two routines whose runs wait for each other."""
    home = make_home(tmp_path)
    write_skill(home, "say", SAY)
    write_skill(home, "repeat", SAY.replace(MEET, "word = task['input'].split()[2]") + "\nprint(task['results'])")
    write_routine(home, "one", "say", limits={"wall_clock_s": 60})
    write_routine(home, "two", "say", "repeat", limits={"wall_clock_s": 60})
    return home


@pytest.mark.heavy
@pytest.mark.promise("RUN-2")
def test_peer_defect_2_two_runs_of_one_routine_at_once_never_mix(home: Home, tmp_path: Path) -> None:
    (apple, pear), heard = asyncio.run(two_at_once(home, ("one", "one"), tmp_path))
    assert [results_in(home, run)[0]["text"] for run in (apple, pear)] == [
        "one say says apple: apple\n",
        "one say says pear: pear\n",
    ]
    assert apple["id"] != pear["id"]
    assert len({run["folder"] for run in (apple, pear)}) == 2
    assert len({run["sessions"][0]["id"] for run in (apple, pear)}) == 2
    # The events came mixed, yet each log holds one run only, whole and in order.
    ends = {run_id: len(heard) - heard[::-1].index(run_id) for run_id in (apple["id"], pear["id"])}
    assert heard.index(apple["id"]) < ends[pear["id"]] - 1
    assert heard.index(pear["id"]) < ends[apple["id"]] - 1
    for run, other in ((apple, "pear"), (pear, "apple")):
        log = Path(run["folder"], "events.ndjson").read_text()
        assert other not in log
        seqs = [json.loads(line)["seq"] for line in log.splitlines()]
        assert seqs == list(range(1, heard.count(run["id"]) + 1))
        assert other not in json.dumps(events_of(home, run))


@pytest.mark.promise("RUN-2")
def test_peer_defect_2_runs_of_two_routines_at_once_never_mix(home: Home, tmp_path: Path) -> None:
    (one, two), _ = asyncio.run(two_at_once(home, ("one", "two"), tmp_path))
    assert (one["routine"], two["routine"]) == ("one", "two")
    assert [result["skill"] for result in results_in(home, one)] == ["say"]
    assert [result["skill"] for result in results_in(home, two)] == ["say", "repeat"]
    first, last = results_in(home, two)
    assert first["text"] == "two say says pear: pear\n"
    # Within one run the scratch folder and the earlier results are there; the other run's are not.
    assert last["text"].startswith("two repeat says pear: pearpear\n")
    assert "apple" not in last["text"]
    assert len(one["topology"]) == 4
    assert len(two["topology"]) == 5
    assert (one["conformance"], two["conformance"]) == ("conformant", "conformant")
