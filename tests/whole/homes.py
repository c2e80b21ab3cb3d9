"""Makes homes with routines and skills in a test's folder, and performs runs in them on real processes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from minion.admission import admit, process_candidate, routine_candidate
from minion.app import Minion, initialise, opened
from minion.cli import minion, run
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.triggers import Trigger
from minion.routines.process_file import PROCESS, process_file
from minion.skills.loader import load_skill, skill_places
from minion.store.local_db import read_only
from minion.store.run_history import results_of, whole_run
from minion.wire import Event
from server.contract.digest import new_id
from server.contract.refusals import Refusal

MINION: Final = Path(sys.executable).with_name("minion")
# What a skill's Python script begins with: the task it was given, and how it answers.
TASK: Final = """\
import json, os, sys
task = json.load(sys.stdin)
def answer(**result):
    sys.stdout.write(json.dumps(result))
"""


def make_home(folder: Path, *, name: str = "tester", timezone: str = "Europe/Berlin") -> Home:
    """A fresh, initialised home without routines in `folder`/home; the store is made by its first owner."""
    home = Home(folder / "home")
    initialise(home, name=name, timezone=timezone)
    return home


def write_skill(
    home: Home,
    name: str,
    script: str | None = None,
    *,
    sh: str | None = None,
    code: str | None = None,
    effects: Sequence[str] = (),
    description: str = "A skill of a test. Use it in tests.",
) -> Path:
    """A skill of the home with `script` as run.py (after `TASK`), `sh` as run.sh, or neither; its folder."""
    folder = home.skills / name
    (folder / "scripts").mkdir(parents=True, exist_ok=True)
    ours = {"minion-code": code, "minion-effects": " ".join(effects)}
    metadata = "".join(f'  {key}: "{value}"\n' for key, value in ours.items() if value)
    header = f"name: {name}\ndescription: {description}\n" + (f"metadata:\n{metadata}" if metadata else "")
    (folder / "SKILL.md").write_text(f"---\n{header}---\n\n# {name}\n\nDo what the script does.\n")
    for file, body in (("run.py", script and TASK + script), ("run.sh", sh)):
        if body is not None:
            (folder / "scripts" / file).write_text(body)
    return folder


def write_routine(home: Home, name: str, *pipeline: str, **fields: Any) -> Path:
    """A routine file put into the home by hand: no repositories and no sandbox unless `fields` say so."""
    said = {"name": name, "pipeline": list(pipeline), "repositories": [], "sandbox": "none", **fields}
    file = home.routines / f"{name}.json"
    file.write_text(json.dumps(said))
    return file


def write_secrets(home: Home, secrets: Mapping[str, str], *, mode: int = 0o600) -> None:
    """The home's secrets file, with this mode."""
    home.secrets_file.write_text(json.dumps(secrets))
    home.secrets_file.chmod(mode)


@asynccontextmanager
async def at_work(
    home: Home, *, on_event: Callable[[str, Event], None] | None = None, alerts: list[str] | None = None
) -> AsyncIterator[Minion]:
    """The home's owner in this process: its store and its Supervisor. Alerts are put on the list."""
    heard = alerts if alerts is not None else []
    async with opened(
        home, "a test", clock=utc_now, alert=heard.append, on_event=on_event, owns_process=False
    ) as minion:
        yield minion


async def admit_together(minion: Minion) -> None:
    """Have everything in the home admitted by one child: a run starts one for its routine, one for the rest."""
    home = minion.home
    documents = [routine_candidate(file, file.read_bytes()) for file in sorted(home.routines.glob("*.*"))]
    skills = [load_skill(home, name).candidate() for name in skill_places(home)]
    with contextlib.suppress(Refusal):  # the run itself is what refuses a bad one
        await admit(minion.writer, [process_candidate(PROCESS, process_file()), *skills, *documents])


async def run_once(
    minion: Minion, name: str, *, given: str | None = None, repository: str | None = None
) -> str:
    """Perform one run of a routine under this owner; its id."""
    trigger = Trigger("manual", f"manual:{new_id('dec_')[4:]}", utc_now(), given)
    order, lock = await minion.prepare(name, trigger, engine=None, repository=repository)
    await minion.run(order, lock)
    return order.run_id


async def perform(
    home: Home,
    name: str,
    *,
    given: str | None = None,
    repository: str | None = None,
    on_event: Callable[[str, Event], None] | None = None,
    alerts: list[str] | None = None,
) -> dict[str, Any]:
    """Own the home, perform one run of the routine, let go; the run as `minion show --json` has it."""
    async with at_work(home, on_event=on_event, alerts=alerts) as minion:
        await admit_together(minion)
        run_id = await run_once(minion, name, given=given, repository=repository)
    return run_of(home, run_id)


def performed(home: Home, name: str, **options: Any) -> dict[str, Any]:
    """`perform`, waited for."""
    return asyncio.run(perform(home, name, **options))


def run_of(home: Home, run_id: str) -> dict[str, Any]:
    """A kept run as `minion show --json` has it."""
    with read_only(home.store) as db:
        return whole_run(db, run_id)


def results_in(home: Home, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of a run's skills: name, state, text, why."""
    with read_only(home.store) as db:
        return results_of(db, run["id"])


def events_of(home: Home, run: dict[str, Any], type_: str | None = None) -> list[dict[str, Any]]:
    """The `data` of a run's events as the store keeps them, of one type if asked."""
    query = "SELECT data FROM events WHERE run_id = ? AND ? IN (type, '') ORDER BY ordinal"
    with read_only(home.store) as db:
        return [json.loads(row[0]) for row in db.execute(query, (run["id"], type_ or "")).fetchall()]


def steps_of(run: dict[str, Any], kind: str = "step") -> list[tuple[str, str, str | None]]:
    """The (code, state, why) of a run's steps of one kind, in order."""
    steps = [step for block in run["blocks"] for step in block["steps"] if step["kind"] == kind]
    return [(step["code"], step["state"], step["why"]) for step in steps]


class Ended(NamedTuple):
    """How a command ended: its exit status, what it printed and what it said beside that."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def clean_environment(home: Home) -> dict[str, str]:
    """What a command needs of the environment, and nothing of the caller's."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.root.parent),
        "LC_ALL": "C.UTF-8",
        "TZ": "Europe/Berlin",
        "COLUMNS": "120",
    }


def command_line(home: Home, *arguments: str | Path) -> list[str]:
    """The command line of the installed program for this home."""
    return [str(MINION), "--home", str(home.root), *map(str, arguments)]


def run_cli(home: Home, *arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Say a command line to this home, in `cwd` or the folder the home lies in.

    What runs something, or begins a home, is the installed `minion` as a process of its own; all else is the same
    command line in this process, which spares each test an interpreter's start.
    """
    if str(arguments[0]) in _AT_HAND:
        return _say(home, *map(str, arguments), cwd=cwd or home.root.parent)
    return run_process(home, *arguments, cwd=cwd)


def run_process(home: Home, *arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Run the installed `minion` as a process of its own, in `cwd` or the folder the home lies in."""
    ended = subprocess.run(
        command_line(home, *arguments),
        cwd=cwd or home.root.parent,
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


# Verbs that start no runner.
_AT_HAND: Final = frozenset({"routine", "skill", "runs", "show", "effects", "verify", "where", "down"})


def _say(home: Home, *arguments: str, cwd: Path) -> Ended:
    """The command line in this process, with the environment and the closed input that a process would have."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before, called, typed = dict(os.environ), sys.argv, sys.stdin
    clean = clean_environment(home)
    try:
        os.environ.clear()
        os.environ.update(clean)
        time.tzset()
        sys.argv = command_line(home, *arguments)
        with (
            Path(os.devnull).open() as sys.stdin,
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = run(minion, "minion", sys.argv[1:])
    finally:
        sys.argv, sys.stdin = called, typed
        os.environ.clear()
        os.environ.update(before)
        time.tzset()
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode())
    return Ended(status, *said)
