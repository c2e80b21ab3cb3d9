"""Defects 8, 9 and 13 of the peer that the seed describes: each was seen there, and does not happen here.

Defect 12 has its tests beside what it is about: `test_skill_command.py` and `tests/minion/test_skill_archive.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home, held
from minion.wire import Event
from tests.whole.homes import (
    at_work,
    clean_environment,
    command_line,
    make_home,
    performed,
    run_of,
    run_once,
    write_routine,
    write_skill,
)
from tests.whole.refusal_cases import ANOTHER, configured, gone, truncated
from tests.whole.refusals_said import Case, Place, Told, furnish, prepared, routine, say

# Tells that it has begun by opening a pipe, and ends when somebody has read from the other one.
WAITS = "open(task['input']).read()\nprint('waited')"
STAGES = "answer(text='# Done', effects=[{'kind': 'file', 'target': 'a.md', 'body': 'x'}])"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a home whose routine `a` has runs."""
    return asyncio.run(furnish(tmp_path_factory.mktemp("furnished")))


def told_json(told: Told) -> Any:
    """The one document that a command printed when it went well."""
    assert (told.exit_code, told.err) == (0, "")
    return json.loads(told.out)


@pytest.mark.promise("DOC-2")
@pytest.mark.promise("DOC-3")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cron_expression": "99 99 * * *"}, "bad_schedule"),
        ({"pipeline": "say"}, "wrong_type"),
        ({"cron_expression": 5}, "wrong_type"),
    ],
    ids=["an invalid cron", "a string pipeline", "a numeric cron"],
)
def test_peer_defect_8_an_invalid_cron_a_string_pipeline_and_a_numeric_cron_are_refused(
    furnished: Place, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    # Offered as a change of a good routine: the good one stays.
    offered = Case("", code, "routine add a.json --replace", {"a.json": routine(name="a", **change)})
    with prepared(furnished, tmp_path, offered) as place:
        before = place.state()
        told = say(place, offered.said)
        assert (told.code, told.exit_code, told.out) == (code, 2, "")
        assert place.state() == before


def test_peer_defect_8_adding_a_routine_again_keeps_its_id_last_run_history_and_delivery(tmp_path: Path) -> None:
    place = Place(tmp_path)
    home = make_home(tmp_path)
    write_skill(home, "post", STAGES)
    fields = {"pipeline": ["post"], "effects": ["file:*.md"], "sandbox": "none"}
    (tmp_path / "a.json").write_text(routine(name="a", **fields))
    first = told_json(say(place, "routine add a.json --json"))
    run = performed(home, "a")
    before = told_json(say(place, "routine show a --json"))
    assert (before["last_run"]["id"], before["last_delivered_at"] is not None) == (run["id"], True)

    for words in ("routine add a.json --json", "routine add a.json --replace --json"):
        assert told_json(say(place, words))["id"] == first["id"]
        assert told_json(say(place, "routine show a --json")) == before

    (tmp_path / "a.json").write_text(routine(name="a", **fields, cron_expression="0 9 * * 1"))
    told_json(say(place, "routine add a.json --replace --json"))
    after = told_json(say(place, "routine show a --json"))
    kept = ("id", "last_run", "last_delivered_at")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert (before["revision"], after["revision"]) == (1, 2)
    assert [each["id"] for each in told_json(say(place, "runs --routine a --json"))] == [run["id"]]
    with sqlite3.connect(f"{home.store.as_uri()}?mode=ro", uri=True) as db:
        history = "SELECT revision FROM routine_history WHERE routine_id = ? ORDER BY revision"
        assert db.execute(history, (first["id"],)).fetchall() == [(1,), (2,)]
    db.close()


@pytest.mark.promise("STO-1")
def test_peer_defect_9_a_run_under_way_is_never_pruned_and_runs_are_found_by_their_routine(tmp_path: Path) -> None:
    place = Place(tmp_path)
    home = make_home(tmp_path)
    configured(keep_runs=1)(home)
    write_skill(home, "wait", WAITS)
    write_skill(home, "say", "print('hello')")
    write_routine(home, "long", "wait", limits={"wall_clock_s": 60})
    write_routine(home, "short", "say")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def story() -> tuple[str, list[str], dict[str, Any]]:
        begun = asyncio.Event()

        def hear(run_id: str, event: Event) -> None:
            if event.type == "step.started" and event.data["code"] == "LLM-WAIT":
                begun.set()

        async with at_work(home, on_event=hear) as minion:
            waiting = asyncio.create_task(run_once(minion, "long", given=str(pipe)))
            await asyncio.wait_for(begun.wait(), 30)
            short = [await run_once(minion, "short") for _ in range(2)]
            listed = told_json(say(place, "runs --json"))
            await asyncio.to_thread(pipe.write_text, "go on")
            return await waiting, short, listed

    long, short, listed = asyncio.run(story())
    # One run is kept, and the one under way beside it: of two that ended meanwhile the first is gone.
    assert [(run["id"], run["state"]) for run in listed] == [(short[1], "completed"), (long, "running")]
    # It ended last, so it is the newest now, though it was begun first.
    assert run_of(home, long)["state"] == "completed"
    routines = told_json(say(place, "routine list --json"))
    for item in routines:
        ids = [long] if item["name"] == "long" else []
        for words in (item["name"], item["id"]):
            assert [run["id"] for run in told_json(say(place, f"runs --routine {words} --json"))] == ids


def emptied(home: Home) -> None:
    """Nothing is left in the store's file."""
    home.store.write_bytes(b"")


@pytest.mark.promise("STO-2")
@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (gone, "store_missing", "run a"),
        (gone, "store_missing", "runs"),
        (gone, "store_missing", "routine remove a"),
        (emptied, "store_missing", "run a"),
        (emptied, "store_missing", "runs"),
        (truncated, "store_unreadable", "run a"),
        (truncated, "store_unreadable", "runs"),
        # Whoever only looks may look at any store; whoever writes may not.
        (configured(minion_id=ANOTHER), "store_of_another", "run a"),
        (configured(minion_id=ANOTHER), "store_of_another", "routine remove a"),
    ],
)
def test_peer_defect_13_a_second_start_never_opens_another_empty_database(
    furnished: Place, tmp_path: Path, damage: Callable[[Home], object], code: str, words: str
) -> None:
    with prepared(furnished, tmp_path, Case("", code, words, before=damage)) as place:
        before = place.state()
        told = say(place, words)
        assert (told.code, told.exit_code, told.out) == (code, 3, "")
        assert place.state() == before


@pytest.mark.promise("STO-2")
def test_peer_defect_13_a_home_named_by_another_path_is_the_same_store(
    furnished: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with prepared(furnished, tmp_path, Case("", None, "")) as place:
        (tmp_path / "link").symlink_to(place.home.root)
        monkeypatch.setenv("MINION_HOME", str(place.home.root))
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "a.json").write_text(routine(name="a"))
        stores = {path.stat().st_ino for path in [place.home.store]}
        known = told_json(say(place, "routine list --json"))
        for home in ("home", "./home/", f"{tmp_path}/home/", "home/../home", "link", "~/home", ""):
            listed = told_json(say(place, "routine list --json", home=home))
            assert [item["id"] for item in listed] == [item["id"] for item in known]
            if home in ("link", ""):
                assert told_json(say(place, "routine add a.json --json", home=home))["id"] == known[0]["id"]
            with held(place.home, "minion run nightly"):
                assert say(place, "routine remove a", home=home).code == "home_held"
        assert {path.stat().st_ino for path in tmp_path.rglob("minion.db")} == stores
        assert len(list(tmp_path.rglob("minion.json"))) == 1


@pytest.mark.promise("STO-4")
@pytest.mark.parametrize("many", [4, pytest.param(24, marks=pytest.mark.heavy)])
def test_peer_defect_13_processes_that_start_at_once_on_a_fresh_home_end_with_one_store(
    tmp_path: Path, many: int
) -> None:
    place = Place(tmp_path)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    lines = [
        command_line(place.home, "run", "morning-report") if number % 4 == 3 else command_line(place.home, "init")
        for number in range(many)
    ]
    environment = clean_environment(place.home)
    started = [subprocess.Popen(line, cwd=tmp_path, env=environment, text=True, **pipes) for line in lines]  # type: ignore[call-overload]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    said = [out + err for (out, err), _ in ended]
    assert sum("is ready in" in words for words in said) == 1, said
    for words, (_, code) in zip(said, ended, strict=True):
        assert code in (0, 2, 3), words
        assert "Traceback" not in words
    assert [path.name for path in tmp_path.rglob("minion.db*")] == ["minion.db"]
    config = json.loads(place.home.config_file.read_bytes())
    with sqlite3.connect(f"{place.home.store.as_uri()}?mode=ro", uri=True) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'minion_id'").fetchall() == [(config["minion_id"],)]
    db.close()
    assert [item["name"] for item in told_json(say(place, "routine list --json"))] == ["morning-report"]
