"""Skills that take what is not theirs, each in its own way; and what must be true when one of them was stopped.

All of them are mild by their own nature: what writes or eats does so at a known rate, what forks ends by itself
after seconds and after so many, so that a cap which does not hold is a failed test and not a lost machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minion.app import Minion
from minion.config import Home
from minion.daemon.cgroups import Ground
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from tests.faults.kills import Trials, processes_of
from tests.waiting import wait_until
from tests.whole.homes import make_home, run_of, run_once, write_routine, write_skill

MIB: Final = 1024 * 1024
PROCESSES: Final = 20
DISK: Final = 16 * MIB
MEMORY: Final = 256 * MIB
WALL_S: Final = 2.0
# What the writers write at most, each second.
RATE: Final = 64 * MIB
# The bar is the cap and 5 s. On a machine that others use too, a trial fails only when it is far beyond that.
LATE_S: Final = 20.0
GONE_S: Final = 15.0
_BEAT_S: Final = 0.01

# What it takes it takes at this pace, and what holds on holds on so long: by a timer of the kernel's.
_PACED: Final = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
def pace(seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.sigwait({signal.SIGALRM})
"""
_BOMB: Final = _PACED + """
import time
until = time.monotonic() + 10
null = os.open(os.devnull, os.O_RDWR)
for _ in range(80):
    try:
        middle = os.fork()
    except OSError:
        pace(0.02)
        continue
    if middle == 0:
        os.setsid()
        for fd in range(3):
            os.dup2(null, fd)
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(0)
        while time.monotonic() < until:
            sum(range(1000))
        os._exit(0)
    os.waitpid(middle, 0)
pace(10)
"""
_FORKS: Final = _PACED + """
import subprocess
for _ in range(60):
    subprocess.Popen(["sleep", "30"])
    pace(0.01)
pace(30)
"""
_MANY: Final = _PACED + f"""
for number in range(4096):
    with open(f"file-{{number}}", "wb") as file:
        file.write(bytes(65_536))
    pace(65_536 / {RATE})
pace(30)
"""
_ONE: Final = _PACED + f"""
with open("large", "ab", buffering=0) as file:
    for _ in range(4096):
        file.write(bytes(65_536))
        pace(65_536 / {RATE})
"""
_UNNAMED: Final = _PACED + f"""
held = []
for number in range(64):
    file = open(f"held-{{number}}", "wb")
    os.unlink(f"held-{{number}}")
    held.append(file)
    for _ in range(32):
        file.write(bytes(65_536))
        file.flush()
        pace(65_536 / {RATE})
pace(30)
"""
_EATS: Final = _PACED + """
held = []
for _ in range(60):
    held.append(b"x" * 16_000_000)
    pace(0.05)
pace(30)
"""
_SPEWS: Final = """
while True:
    sys.stdout.write("x" * 65_536)
    sys.stderr.write("y" * 65_536)
"""
# Kills what holds it, and stays: only where there is no sandbox. It takes the group, or a daemon, to end it.
_BREAKS_OUT: Final = _PACED + """
host = os.getppid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.kill(host, signal.SIGKILL)
        pace(60)
    os._exit(0)
pace(60)
"""


@dataclass(frozen=True, slots=True)
class Taker:
    """A kind of taking: the skill, how its run must end, and what its record must say of the cap."""

    script: str
    state: str
    why: str


TAKERS: Final[Mapping[str, Taker]] = {
    "loops": Taker("while True:\n    pass\n", "timed_out", f"it passed its cap of {WALL_S:g} s"),
    "sleeps": Taker("import signal\nsignal.pause()\n", "timed_out", f"it passed its cap of {WALL_S:g} s"),
    "spews": Taker(_SPEWS, "timed_out", f"it passed its cap of {WALL_S:g} s"),
    "forks": Taker(_FORKS, "failed", f"it passed its cap of {PROCESSES} processes"),
    "bombs": Taker(_BOMB, "failed", f"it passed its cap of {PROCESSES} processes"),
    "fills with many": Taker(_MANY, "failed", f"it passed its cap of {DISK // MIB} MiB on the disk"),
    "fills with one": Taker(_ONE, "failed", f"it passed its cap of {DISK // MIB} MiB on the disk"),
    "fills unseen": Taker(_UNNAMED, "failed", f"it passed its cap of {DISK // MIB} MiB on the disk"),
    "eats": Taker(_EATS, "failed", f"it passed its cap of {MEMORY // MIB} MiB of memory"),
    "breaks out": Taker(_BREAKS_OUT, "failed", ""),
}
SANDBOXES: Final = ("none", "required")
ROUND: Final = tuple(
    (kind, sandbox) for kind in TAKERS for sandbox in SANDBOXES if (kind, sandbox) != ("breaks out", "required")
)


@dataclass(slots=True)
class Figures:
    """What was measured over all trials: seconds, bytes, processes."""

    late_s: list[float] = field(default_factory=list)
    deaf_s: list[float] = field(default_factory=list)
    over_bytes: list[int] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The figures as one line; a lateness counts from the cap of time, or from the run's start for others."""
        late, over = sorted(self.late_s), max(self.over_bytes, default=0) / MIB
        return (
            f"late p50 {late[len(late) // 2]:.2f} s, most {late[-1]:.2f} s; the owner was deaf at most "
            f"{max(self.deaf_s):.2f} s; at most {over:.1f} MiB beyond the cap on the disk; "
            f"orphans: {self.orphans or 'none'}"
        )


def home_to_take_from(folder: Path) -> Home:
    """A home with a routine for each kind of taking, in a sandbox and not, and one that does no harm."""
    home = make_home(folder)
    limits = {"processes": PROCESSES, "disk_bytes": DISK, "memory_bytes": MEMORY, "wall_clock_s": WALL_S}
    mark = {"env": {"MARK": str(home.root)}}
    for kind, sandbox in ROUND:
        skill = kind.replace(" ", "-")
        write_skill(home, skill, TAKERS[kind].script)
        # A cap on the wall clock would come first for those who take something else.
        own = limits if TAKERS[kind].state == "timed_out" else {**limits, "wall_clock_s": 40}
        write_routine(home, f"{skill}-{sandbox}", skill, sandbox=sandbox, limits=own, environment=mark)
    write_skill(home, "harmless", "answer(text='done')")
    write_routine(home, "harmless", "harmless", environment=mark)
    return home


async def take(minion: Minion, kind: str, sandbox: str, figures: Figures) -> tuple[str, list[str]]:
    """One trial under an owner: how the run ended, and what is wrong with that."""
    home, taker = minion.home, TAKERS[kind]
    pulse = Pulse(figures.deaf_s)
    started = time.monotonic()
    try:
        run_id = await run_once(minion, f"{kind.replace(' ', '-')}-{sandbox}")
    finally:
        pulse.stop()
    late = time.monotonic() - started - (WALL_S if taker.state == "timed_out" else 0.0)
    figures.late_s.append(late)
    run = run_of(home, run_id)
    wrong = await asyncio.to_thread(_audit, home, run, taker, figures)
    if late > LATE_S:
        wrong.append(f"it went on for {late:.1f} s beyond its cap")
    after = run_of(home, await run_once(minion, "harmless"))
    if (after["state"], after["verdict"]) != ("completed", "unchecked"):
        wrong.append(f"the next run was {after['state']}: {after['why']}")
    return f"{run['state']}", wrong


def without_groups(minion: Minion) -> None:
    """Have an owner do with its own count, as where the kernel's groups may not be used."""
    minion.supervisor._ground = Ground()


def _audit(home: Home, run: dict[str, Any], taker: Taker, figures: Figures) -> list[str]:
    wrong = []
    if run["state"] != taker.state or taker.why not in (run["why"] or ""):
        wrong.append(f"it ended {run['state']}: {run['why']}")
    if taker.why and not run["hint"]:
        wrong.append("nothing is said of what to do about it")
    if not run["summary"] or not run["ended_at"]:
        wrong.append("no report was filed, or no end")
    left = processes_of(home)
    figures.orphans += [f"{run['routine']}: {words}" for _, words in left]
    if left and not wait_until(lambda: not processes_of(home), GONE_S):
        wrong.append(f"left alive: {processes_of(home)}")
    files = [path.lstat() for path in Path(run["folder"]).rglob("*")]
    over = sum(file.st_blocks * 512 for file in files) - DISK
    figures.over_bytes.append(over)
    if over > RATE * 5:
        wrong.append(f"{over // MIB} MiB beyond its cap lie on the disk")
    with read_only(home.store) as db:
        wrong += [f"the chain {breach.chain} is broken at {breach.position}" for breach in breaches(db)]
    return wrong


class Pulse:
    """Beats in the owner's own loop: how late a beat comes is for how long nobody who asked was answered."""

    def __init__(self, late_s: list[float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._late_s = late_s
        self._next = self._loop.call_later(_BEAT_S, self._beat, self._loop.time() + _BEAT_S)

    def stop(self) -> None:
        """Beat no more."""
        self._next.cancel()

    def _beat(self, due: float) -> None:
        now = self._loop.time()
        self._late_s.append(now - due)
        self._next = self._loop.call_later(_BEAT_S, self._beat, now + _BEAT_S)


def count(trials: Trials, kind: str, sandbox: str, number: int, came: tuple[str, list[str]]) -> None:
    """Take in one trial."""
    trials.count(f"{kind}, sandbox {sandbox}, {number}", f"{kind} {came[0]}", came[1])
