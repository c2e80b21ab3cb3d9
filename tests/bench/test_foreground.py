"""How long a foreground run takes, beside a bare Python and a bare sandbox of the same machine and moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from minion.config import Home
from minion.runner.stage import python_of_children
from minion.sandbox.bubblewrap import Bind, Envelope, command
from minion.sandbox.tool_client import TOOL_HOST
from tests.bench.rounds import Contender, measured, table
from tests.skills.repositories import Repository
from tests.whole.homes import clean_environment, command_line, make_home, run_cli, write_routine, write_skill

ROOT: Final = Path(__file__).parents[2]
COMMAND, RUNNER = "minion run noop", "  its runner: spawned to run.finished"
GOALS: Final = {COMMAND: 800.0, RUNNER: 350.0}
# Measured elsewhere, on another machine: the Node peer's runtime on a routine that does nothing.
NODE_PEER: Final = "peer (Node minion runtime, measured elsewhere): 2160 ms for a run that does nothing"


def just(*argv: str, env: Mapping[str, str] | None = None) -> Contender:
    """A contender that only runs a program to its good end, in an environment that is empty unless given."""

    def once() -> Mapping[str, float]:
        told = env or {"PATH": os.defpath}
        subprocess.run(argv, env=told, stdin=subprocess.DEVNULL, capture_output=True, check=True, cwd="/")
        return {}

    return once


def until_ready(argv: list[str]) -> Contender:
    """A contender that starts a tool host and waits for its first line."""

    def once() -> Mapping[str, float]:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
            assert process.stdout is not None
            assert b"ready" in process.stdout.readline()
            process.kill()
        return {}

    return once


def a_run(home: Home, routine: str, figures: Callable[[dict[str, Any]], Mapping[str, float]]) -> Contender:
    """A contender that performs a routine by the installed program."""

    def once() -> Mapping[str, float]:
        ended = run_cli(home, "run", routine, "--json")
        run = ended.json()
        assert run["state"] == "completed", ended.err
        return figures(run)

    return once


def parts_of(run: dict[str, Any]) -> dict[str, float]:
    """The runner's part of a run, and how long the daemon took to see its end (milliseconds)."""
    events = [json.loads(line) for line in (Path(run["folder"]) / "events.ndjson").read_text().splitlines()]
    at = {event["type"]: datetime.fromisoformat(event["at"]) for event in events}
    started, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at"))
    first = datetime.fromisoformat(events[0]["at"])
    return {
        RUNNER: (at["run.finished"] - started).total_seconds() * 1000,
        "    of which until its first event": (first - started).total_seconds() * 1000,
        "  from run.finished to the run's end": (ended - at["run.finished"]).total_seconds() * 1000,
    }


def bare_sandbox(folder: Path) -> tuple[list[str], list[str]] | None:
    """The command lines of an empty envelope like a run's: around `true`, and around the tool host."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    binds = []
    for name in ("workspace", "scratch", "history"):
        (folder / name).mkdir()
        binds.append(Bind(str(folder / name), f"/{name}", writable=name != "history"))
    line = command(
        Envelope(binds=tuple(binds)), bwrap=bwrap, python=python_of_children(), tool_host=str(TOOL_HOST)
    )
    return [*line[: line.index("--") + 1], "/bin/true"], line


def checkout(folder: Path) -> Path:
    """This repository, or a small one where the tests do not lie in a checkout."""
    if (ROOT / ".git").exists():
        return ROOT
    made = Repository(folder, "small")
    made.write("roof.txt", "leaks\n")
    made.commit("Begin")
    return made.folder


@pytest.mark.bench
def test_a_foreground_run_beside_a_bare_python_and_a_bare_sandbox(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "noop", "print('done')")
    sandbox = bare_sandbox(tmp_path)
    how = "required" if sandbox is not None else "none"
    write_routine(home, "noop", "noop", sandbox=how)
    write_routine(home, "report", "write-daily-report", sandbox=how, repositories=[str(checkout(tmp_path))])
    contenders: dict[str, Contender] = {"python -c pass": just(sys.executable, "-I", "-c", "pass")}
    if sandbox is not None:
        contenders["bwrap … true"] = just(*sandbox[0])
        contenders["bwrap … tool host ready"] = until_ready(sandbox[1])
    contenders[COMMAND] = a_run(home, "noop", parts_of)
    contenders["minion run report (write-daily-report, here)"] = a_run(home, "report", lambda _run: {})
    for verb in ("--help", "runs"):
        contenders[f"minion {verb}"] = just(*command_line(home, verb), env=clean_environment(home))
    figures = measured(contenders)
    print(f"\n{table(figures, unit='python -c pass', goals=GOALS)}\n{NODE_PEER}")
