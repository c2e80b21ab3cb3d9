"""What a process loads when it only waits, answers a listing or runs a skill: seen in real child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source_tree import ROOT

SERVICES = frozenset({"pydantic", "mcp", "anthropic", "sqlalchemy", "textual", "httpx2"})
# What a daemon without work must not hold: tens of megabytes that only its children need (DESIGN §4).
HEAVY_FOR_DAEMON = SERVICES | {"yaml", "http", "click", "email"}
# A person waits for these: nothing that only the daemon, the scheduler or the admission needs.
HEAVY_FOR_LISTING = SERVICES | {"yaml", "aiosqlite", "croniter", "asyncio"}
# The runner touches no database and reads no documents: its order is admitted before it starts.
HEAVY_FOR_RUNNER = SERVICES | {"yaml", "sqlite3", "aiosqlite", "click", "croniter"}

PREAMBLE = f"import sys, json, importlib, importlib.util\nsys.path.insert(0, {str(ROOT)!r})\n"
IMPORT = PREAMBLE + (
    "[importlib.import_module(name) for name in sys.argv[1:]]\n"
    "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
)
# The program's own output goes where it goes; the modules are written to a file named by the first argument.
COMMAND = PREAMBLE + (
    "seen = sys.argv.pop(1)\n"
    "from minion.cli import main\n"
    "sys.argv[0] = 'minion'\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    "    with open(seen, 'w') as file:\n"
    "        json.dump(sorted({name.split('.')[0] for name in sys.modules}), file)\n"
)


def child(code: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "MINION_HOME": str(home / "minion")},
        timeout=60,
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an initialised home."""
    home = tmp_path_factory.mktemp("begun")
    ended = child(PREAMBLE + "from minion.cli import main; sys.argv[1:] = ['init']; main()", home=home)
    assert ended.returncode == 0, ended.stderr
    return home


def loaded_by_import(*modules: str, home: Path) -> set[str]:
    ended = child(IMPORT, *modules, home=home)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


def loaded_by_command(*arguments: str, home: Path) -> set[str]:
    seen = home / "modules.json"
    ended = child(COMMAND, str(seen), *arguments, home=home)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(seen.read_text(encoding="utf-8")))


def test_an_idle_daemon_loads_no_heavy_library(tmp_path: Path) -> None:
    idle = ("minion.always_on", "minion.daemon.supervisor", "minion.store.writer", "minion.app")
    assert loaded_by_import(*idle, home=tmp_path) & HEAVY_FOR_DAEMON == set()


def test_the_runner_with_its_script_engine_loads_neither_documents_nor_a_database(tmp_path: Path) -> None:
    running = ("minion.runner.__main__", "minion.runner.runner", "minion.engines.script")
    assert loaded_by_import(*running, home=tmp_path) & HEAVY_FOR_RUNNER == set()


def test_the_sandboxed_tool_host_loads_nothing_of_the_house(tmp_path: Path) -> None:
    tool_host = (ROOT / "minion" / "sandbox" / "tool_host.py").as_posix()
    by_path = PREAMBLE + (
        "spec = importlib.util.spec_from_file_location('tool_host', sys.argv[1])\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    ended = child(by_path, tool_host, home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)) & (HEAVY_FOR_RUNNER | {"server", "minion", "asyncio"}) == set()


LISTINGS = (
    "--help", "completion bash", "runs", "runs --json", "routine list", "routine new --list", "skill list", "cost",
    "verify", "where", "alerts",
)  # fmt: skip


@pytest.mark.parametrize("line", LISTINGS)
def test_a_command_that_only_shows_something_loads_no_heavy_library(line: str, begun: Path) -> None:
    assert loaded_by_command(*line.split(), home=begun) & HEAVY_FOR_LISTING == set()


def test_a_heavy_library_that_is_loaded_is_seen(tmp_path: Path) -> None:
    assert "pydantic" in loaded_by_import("pydantic", home=tmp_path)
    assert {"minion", "server", "json"} <= loaded_by_import("minion.wire", home=tmp_path)


def test_reading_a_schedule_starts_no_other_program(tmp_path: Path) -> None:
    code = PREAMBLE + (
        "starts = {'subprocess.Popen', 'os.fork', 'os.exec', 'os.posix_spawn', 'os.system'}\n"
        "begun = []\n"
        "sys.addaudithook(lambda event, given: begun.append(event) if event in starts else None)\n"
        "import platform\n"
        "asked = platform.architecture\n"
        "from server.contract.cron import parse_cron\n"
        "parse_cron('*/10 9 * * mon')\n"
        "assert 'croniter' in sys.modules and platform.architecture is asked\n"
        "print(json.dumps(begun))\n"
    )
    ended = child(code, home=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
