"""An HQ and its minions as real processes, with a way between them that a test can cut and heal."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from minion.config import Home
from minion.store.local_db import read_only
from tests.server import servers
from tests.waiting import wait_until
from tests.whole.daemons import DONE_S, UP_S, DaemonAtWork, answers
from tests.whole.homes import TASK, clean_environment, make_home, run_process

ROOT: Final = Path(__file__).parents[2]
# Long enough for whatever waits before it asks again; a test is over as soon as it comes true.
SOON_S: Final = 60.0


class Way:
    """A port of loopback that leads to HQ's, wherever that is now; it can be cut, and be silent, and heal."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._target: tuple[str, int] | None = None
        self._cut = self._mute = False
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def lead_to(self, url: str) -> None:
        """Lead to this HQ from now on."""
        place = urlsplit(url)
        self._target = (place.hostname or "", place.port or 0)

    def cut(self) -> None:
        """Break whatever goes on, and let nobody through."""
        self._cut = True
        self._break()

    def mute(self) -> None:
        """Take what is said, and hand nothing on: as a network does that drops packets."""
        self._mute = True

    def heal(self) -> None:
        """Let everybody through again; connections that were muted end."""
        self._cut = self._mute = False
        self._break()

    def close(self) -> None:
        """Be gone."""
        self._listening.close()
        self._break()

    def _break(self) -> None:
        with self._guard:
            broken, self._open = self._open, set()
        for each in broken:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._cut or self._target is None:
                    raise OSError
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._guard:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                if not self._mute:
                    sink.sendall(piece)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class Team:
    """HQ, the way to it, and the minions by name."""

    folder: Path
    way: Way
    hq: servers.Served
    token: str
    homes: dict[str, Home] = field(default_factory=dict)
    daemons: dict[str, DaemonAtWork] = field(default_factory=dict)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers to a Claude session."""
        caller = servers.Caller(self.hq.url, self.token)
        try:
            return caller.call(tool, **arguments)
        finally:
            caller.close()

    def kill_hq(self) -> None:
        """SIGKILL to HQ."""
        self.hq.kill()

    def restart_hq(self) -> None:
        """HQ is there again, at another port; the way leads there."""
        self.hq = _serve(self.folder, self.way)

    def add(self, name: str, *, joined: bool = True) -> Home:
        """A minion's home, which has joined."""
        home = make_home(self.folder / name, name=name, timezone="UTC")
        self.homes[name] = home
        if joined:
            self.join(name)
        return home

    def join(self, name: str) -> None:
        """Have a minion join, by a token that only a file has."""
        made = servers.told(self.hq.home, "token", "create", "--scope", "minion", "--name", name)
        file = self.homes[name].root.parent / "token"
        file.write_text(made["token"])
        done = run_process(self.homes[name], "join", self.way.url, "--token-file", file)
        assert done.code == 0, done.err

    def start(self, name: str, *, ahead: Path | None = None) -> DaemonAtWork:
        """A minion's daemon, answering; its clock is the test's where a file says how far ahead it is."""
        home = self.homes[name]
        argv = [sys.executable, "-m", "minion.always_on", str(home.root)]
        if ahead is not None:
            argv = [sys.executable, "-m", "tests.whole.clocked", str(home.root), str(ahead)]
        runtime = home.root.parent / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        where = {"XDG_RUNTIME_DIR": str(runtime if len(os.fsencode(runtime)) < 60 else "/nowhere"), "TZ": "UTC"}
        with (home.root / "daemon.err").open("ab") as errors:
            process = subprocess.Popen(
                argv, cwd=ROOT, env={**clean_environment(home), **where}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            )  # fmt: skip
        daemon = DaemonAtWork(home, process)
        self.daemons[name] = daemon
        up = wait_until(lambda: answers(daemon) or process.poll() is not None, UP_S)
        assert up and process.poll() is None, daemon.log() + (home.root / "daemon.err").read_text()
        return daemon

    def linked(self, name: str) -> bool:
        """Whether a minion's daemon says that HQ answers it."""
        return bool((self.daemons[name].ask("live")["hq"] or {}).get("linked"))

    def has(self, name: str, *routines: str) -> bool:
        """Whether a minion goes by exactly these routines of HQ's."""
        folder = self.homes[name].routines / "hq"
        files = {path.stem for path in folder.iterdir()} if folder.is_dir() else set()
        return files == set(routines)

    def reported(self, run: str) -> dict[str, Any]:
        """A run as HQ has it."""
        return self.call("get_run", run=run)

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        """The runs that a minion's store has, oldest first."""
        with read_only(self.homes[name].store) as db:
            query = "SELECT id, routine, trigger, state, order_key FROM runs ORDER BY ordinal"
            return [dict(row) for row in db.execute(query).fetchall()]

    def close(self) -> None:
        """End everything, whatever it does."""
        for daemon in self.daemons.values():
            with contextlib.suppress(ProcessLookupError):
                daemon.process.kill()
            daemon.process.wait(DONE_S)
        if self.hq.process.poll() is None:
            self.hq.kill()
        self.way.close()


@contextmanager
def team(folder: Path, *names: str) -> Iterator[Team]:
    """An HQ at work, and minions of these names that have joined and are up."""
    way = Way()
    hq = _serve(folder, way)
    token = servers.told(hq.home, "token", "create", "--scope", "session", "--name", "claude")["token"]
    made = Team(folder, way, hq, token)
    try:
        for name in names:
            made.add(name)
            made.start(name)
        yield made
    finally:
        made.close()


def publish(made: Team, name: str, script: str) -> None:
    """A skill of HQ's that runs this Python after `TASK`."""
    header = f"---\nname: {name}\ndescription: A skill of a test. Use it in tests.\n---\n\n# {name}\n\nDo it.\n"
    made.call("publish_skill", files={"SKILL.md": header, "scripts/run.py": TASK + script})


def put_ahead(file: Path, seconds: float) -> None:
    """Have the clock of a daemon that may be at work be so far ahead; it never reads half of what is written."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(str(seconds))
    draft.replace(file)


def soon(condition: Callable[[], object], seconds: float = SOON_S) -> bool:
    """Whether it came true while a test would wait."""
    return wait_until(condition, seconds)


def _serve(folder: Path, way: Way) -> servers.Served:
    served = servers.start(folder / "hq", HQ_PUBLIC_URL=way.url)
    way.lead_to(served.url)
    return served
