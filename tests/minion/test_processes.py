"""Ending orphans: strangers that came to this process are ended, what it started itself is left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each scene is a process of its own: every child of it is looked at.
SCENE = """
import asyncio, logging, os, subprocess, sys
from minion.daemon.processes import adopt_orphans, end_orphans
pipe, null = subprocess.PIPE, subprocess.DEVNULL
"""
STRANGERS = """
adopt_orphans()
ours = subprocess.Popen([sys.executable, "-I", "-m", "minion.check"], stdin=pipe, stdout=null)
runner = subprocess.Popen([sys.executable, "-I", "-m", "minion.runner"], stdin=pipe, stdout=null, stderr=null)
# A grandchild whose parent is gone comes to this process.
subprocess.run(["sh", "-c", "sleep 600 & exit 0"], stdin=null, stdout=null, check=True)
print(end_orphans(frozenset()), ours.poll(), runner.poll(), end_orphans(frozenset()))
ours.kill(); runner.kill(); ours.wait(); runner.wait()
"""
ENDS = """
logging.basicConfig(stream=sys.stdout)
async def main():
    # All are there before anybody looks: one that is begun meanwhile is known to nobody yet.
    argv = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read(); sys.exit(3)")
    begun = [await asyncio.create_subprocess_exec(*argv, stdin=pipe) for _ in range(20)]
    async def child(each):
        each.stdin.close()
        return await each.wait()
    going = [asyncio.ensure_future(child(each)) for each in begun]
    while not all(each.done() for each in going):
        # Nobody here knows them by name: their ends are taken by who started them all the same.
        known = frozenset(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and alive(int(pid)))
        await asyncio.to_thread(end_orphans, known)
    print(sorted({each.result() for each in going}))
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
asyncio.run(main())
"""

DEAD = """
import threading
from minion.daemon import processes
processes._LEFT_S = 10.0
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"])
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
ending = threading.Thread(target=end_orphans, args=(frozenset(),), daemon=True)
ending.start()
ending.join(0.3)
print(ending.is_alive(), child.wait())
"""
FOREIGN = """
import threading
from minion.daemon import processes
processes._LEFT_S = 60.0
child = subprocess.Popen(["sh", "-c", "exit 3"])
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
found = []
ending = threading.Thread(target=lambda: found.append(end_orphans(frozenset())), daemon=True)
ending.start()
ending.join(20)
print(ending.is_alive(), *found)
"""


def played(scene: str) -> str:
    """What a scene prints."""
    argv = [sys.executable, "-c", SCENE + scene]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to this process on Linux only")
@pytest.mark.promise("RUN-8")
def test_an_orphan_is_ended_and_what_this_program_started_beside_is_not() -> None:
    assert played(STRANGERS) == "1 None None 0"


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to this process on Linux only")
def test_the_end_of_a_child_is_left_to_who_started_it() -> None:
    assert played(ENDS) == "[3]"


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to this process on Linux only")
def test_a_dead_child_that_this_program_cannot_have_started_keeps_nobody_waiting() -> None:
    assert played(FOREIGN) == "False 1"


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to this process on Linux only")
def test_who_started_a_child_that_is_dead_has_some_time_to_take_its_end() -> None:
    assert played(DEAD) == "True 3"
