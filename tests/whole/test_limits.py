"""What a run may take, and what is left of it: output is capped, time ends, no process stays behind."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.minion.tool_hosts import DAEMON, running_with
from tests.waiting import wait_until
from tests.whole.homes import (
    events_of,
    make_home,
    performed,
    results_in,
    run_cli,
    steps_of,
    write_routine,
    write_skill,
)

pytestmark = pytest.mark.heavy

MEBIBYTE = 1024 * 1024
HUNDRED_MEGABYTES = """
line = b"0123456789abcde\\n" * 65_536
for _ in range(100):
    sys.stdout.buffer.write(line)
"""
# Starts a child that can be found by its last argument, and waits for it for ever.
NEVER_ENDS = """
import subprocess
print('begun', flush=True)
subprocess.run([sys.executable, '-c', 'import signal; signal.pause()', task['input']])
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose routine `small` keeps 20,000 bytes of output, `short` has 2 seconds."""
    home = make_home(tmp_path_factory.mktemp("limited"))
    write_skill(home, "act", "exec(task['input'])")
    write_skill(home, "flood", HUNDRED_MEGABYTES)
    write_skill(home, "hang", NEVER_ENDS)
    write_skill(home, "after", "print('never')")
    write_routine(home, "small", "act", limits={"output_bytes": 20_000})
    write_routine(home, "flood", "flood")
    write_routine(home, "short", "hang", "after", limits={"wall_clock_s": 2})
    return home


def bytes_of(home: Home, run: dict[str, Any]) -> int:
    """All that a run left in its folder and that the store holds."""
    files = [*Path(run["folder"]).rglob("*"), *home.root.glob("minion.db*")]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.promise("ENV-7")
def test_a_hundred_megabytes_of_output_are_capped_with_a_note_and_never_fill_the_store(limited: Home) -> None:
    run = performed(limited, "flood")
    (said,) = events_of(limited, run, "skill.result")
    assert (run["state"], said["state"], said["exit"]) == ("completed", "completed", 0)
    assert said["truncated"] == 100 * MEBIBYTE - 262_144
    body = Path(run["folder"], said["text"]["file"]).read_text()
    assert body.endswith(f"_(output capped: {100 * MEBIBYTE - 262_144} more bytes were dropped)_\n")
    assert len(body) < 263_000
    assert "more bytes were dropped" not in results_in(limited, run)[0]["text"][:2000]
    assert bytes_of(limited, run) < 3 * MEBIBYTE


@pytest.mark.promise("ENV-7")
def test_output_is_capped_at_the_routines_own_limit(limited: Home) -> None:
    run = performed(limited, "small", given="print('x' * 50_000)")
    text = results_in(limited, run)[0]["text"]
    assert text == "x" * 20_000 + "\n\n_(output capped: 30001 more bytes were dropped)_\n"
    assert run["verdict"] == "unchecked"


def test_a_json_result_over_the_cap_fails_and_says_by_how_much(limited: Home) -> None:
    run = performed(limited, "small", given="answer(text='x' * 30_000)")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert run["why"] == "act: its JSON result is 10012 bytes over the output limit"


@pytest.mark.promise("ENV-7")
def test_a_runs_folder_is_private(limited: Home) -> None:
    run = performed(limited, "small", given="print('x')")
    folder = Path(run["folder"])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in (limited.root, limited.runs, folder)} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.promise("RUN-9")
@pytest.mark.promise("CLI-3")
def test_a_script_that_never_ends_is_stopped_at_the_limit_and_reported(limited: Home) -> None:
    marker = f"marker-{secrets.token_hex(8)}"
    ended = run_cli(limited, "run", "short", "--json", "--input", marker)
    run = ended.json()
    assert (ended.code, run["state"], run["verdict"]) == (1, "timed_out", "failed")
    assert steps_of(run)[2][:2] in [("LLM-HANG", "failed"), ("LLM-HANG", "cancelled")]
    assert [step[:2] for step in steps_of(run) if step[0] == "LLM-AFTER"] in [[], [("LLM-AFTER", "skipped")]]
    assert run["summary"]
    assert len(events_of(limited, run, "report")) == 1
    assert wait_until(lambda: not running_with(marker), 1)


@pytest.mark.promise("RUN-9")
@pytest.mark.parametrize("caller", ["in this process", "from the command line"])
def test_a_script_that_leaves_a_daemon_behind_leaves_no_process(shared: Home, caller: str) -> None:
    marker = f"61{secrets.randbelow(10**9)}.5"  # the seconds that it would stay
    script = f"import runpy, subprocess; subprocess.run([sys.executable, '-c', {DAEMON!r}, {marker!r}])"
    script += "; subprocess.run([sys.executable, '-c', 'print(1)'])"
    if caller == "in this process":
        run = performed(shared, "task", given=script)
    else:
        run = run_cli(shared, "run", "task", "--json", "--input", script).json()
    assert run["verdict"] == "unchecked"
    assert wait_until(lambda: not running_with(marker), 1)


def test_a_run_that_ended_keeps_no_copy_of_the_repositories_and_no_scratch_files(limited: Home) -> None:
    run = performed(limited, "small", given="open('left', 'w').write('x'); print('done')")
    left = {path.name for path in Path(run["folder"]).iterdir()}
    assert left == {"events.ndjson", "gitconfig", "order.json", "runner.log", "skills", "tool_host.log"}
