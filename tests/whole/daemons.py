"""Real daemons in a test's home: started, asked over their socket, killed, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minion.config import Home, holder_of
from minion.daemon_client import connected
from minion.store.local_db import read_only
from minion.store.slots import list_slots
from tests.waiting import wait_until
from tests.whole.homes import clean_environment

UP_S = 20.0
DONE_S = 30.0


class DaemonAtWork:
    """A daemon's process and what it can be asked."""

    def __init__(self, home: Home, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process

    def ask(self, verb: str, **params: Any) -> Any:
        """What it answers. Raises the `Refusal` that it answers with."""
        client = connected(self.home)
        assert client is not None, self.log()
        with client:
            return client.ask(verb, params, timeout_s=DONE_S)

    def run(self, routine: str, **params: Any) -> str:
        """Have a routine run to its end; the run's id."""
        return str(self.ask("run", routine=routine, **params)["run"])

    def begin(self, routine: str) -> str:
        """Have a routine run; the run's id at once."""
        return str(self.ask("run", routine=routine, detach=True)["run"])

    def state_of(self, run_id: str) -> str:
        """How a run stands in the store."""
        with read_only(self.home.store) as db:
            return str(db.execute("SELECT state FROM runs WHERE id = ?", (run_id,)).fetchone()[0])

    def slots(self, routine: str | None = None) -> list[dict[str, Any]]:
        """The records of slots, newest first."""
        with read_only(self.home.store) as db:
            return list_slots(db, routine=routine, limit=1000)

    def log(self) -> str:
        """What it logged."""
        return self.home.daemon_log.read_text() if self.home.daemon_log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        self.process.kill()
        self.process.wait(DONE_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """A signal, and the status it ended with."""
        self.process.send_signal(number)
        return self.process.wait(DONE_S)


def start_daemon(home: Home, *, env: Mapping[str, str] | None = None) -> DaemonAtWork:
    """A daemon of this home, without waiting for it; its runtime folder is the home's."""
    argv = [sys.executable, "-I", "-m", "minion.always_on", str(home.root)]
    runtime = {"XDG_RUNTIME_DIR": str(_runtime(home))}
    with (home.root / "daemon.err").open("wb") as errors:
        os.fchmod(errors.fileno(), 0o600)
        process = subprocess.Popen(
            argv, cwd=home.root, env={**clean_environment(home), **runtime, **(env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
    return DaemonAtWork(home, process)


@contextmanager
def daemon_up(
    home: Home, *, env: Mapping[str, str] | None = None, patience_s: float = UP_S
) -> Iterator[DaemonAtWork]:
    """A daemon that answers; killed at the end if it is still there."""
    daemon = start_daemon(home, env=env)
    try:
        assert wait_until(lambda: answers(daemon) or daemon.process.poll() is not None, patience_s), daemon.log()
        assert daemon.process.poll() is None, daemon.log() + (home.root / "daemon.err").read_text()
        yield daemon
    finally:
        with contextlib.suppress(ProcessLookupError):
            daemon.process.kill()
        daemon.process.wait(DONE_S)


def answers(daemon: DaemonAtWork) -> bool:
    """Whether this very daemon owns its home and can be connected to."""
    holder = holder_of(daemon.home)
    if holder is None or holder[0] != daemon.process.pid:
        return False
    client = connected(daemon.home)
    if client is None:
        return False
    with client:
        return True


def _runtime(home: Home) -> Path:
    folder = home.root / "runtime"
    folder.mkdir(mode=0o700, exist_ok=True)
    # A test's folder may be too deep for a socket's address; then the daemon takes one in /tmp by itself.
    return folder if len(os.fsencode(folder)) < 60 else Path("/nowhere")
