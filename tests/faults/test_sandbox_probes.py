"""Sandbox probes (F20): what a hijacked model would try in a real run's tool host, root's and another user's."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.probes.catalogue import PROBES
from tests.faults.probes.without_bwrap import BROKEN
from tests.minion.test_sandbox_envelope import WHY_NOT

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

ROOT: Final = Path(__file__).parents[2]
# The user that is not root; the same number that a session has inside, which nothing may follow from.
OTHER: Final = 65534
NETWORKS, FOLDERS = ("none", "list"), ("workspace", "elsewhere")
# What of a control's needs only root has.
OF_ROOT: Final = ("root", "cap-", "core-pattern", "devices", "ptrace", "own-code")
LONGEST_S: Final = 900.0
NO_ROOT: Final = "this is not root, and nobody else can be stepped down to"


@dataclass(frozen=True)
class Owner:
    """Whose minion it is: a folder of theirs, an interpreter that they may run, and how to become them."""

    name: str
    folder: Path
    code: Path
    python: str
    become: tuple[str, ...]
    planted: tuple[Path, ...]

    def run(self, module: str, plan: dict[str, Any]) -> Any:
        """What a module of the probes prints about a plan, as this user."""
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder / "user"), "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1", "MINION_PROBE": f"canary-environ-{secrets.token_hex(8)}",
        }  # fmt: skip
        told = {"folder": str(self.folder), "planted": [str(place) for place in self.planted], **plan}
        done = subprocess.run(
            [*self.become, self.python, "-m", f"tests.faults.probes.{module}"], input=json.dumps(told), text=True,
            capture_output=True, cwd=self.code, env=environment, start_new_session=True, timeout=LONGEST_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.name}: {done.stderr[-3000:]}"
        return json.loads(done.stdout)


def python_for(become: Sequence[str]) -> str | None:
    """An interpreter that this user may run: root's own may lie where nobody else can look."""
    # Asked of a child: who steps down may still start what it could see before.
    ask = "import subprocess as s, sys; s.run([sys.executable, '-c', '']); sys.exit(sys.version_info < (3, 11))"
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    for place in (own, "/usr/local/bin/python3", "/usr/bin/python3"):
        line = [*become, place, "-I", "-c", ask]
        if Path(place).exists():
            done = subprocess.run(line, capture_output=True, cwd="/", check=False)
            if done.returncode == 0:
                return place
    return None


@contextmanager
def owner(name: str) -> Iterator[Owner]:
    """Root's minion, or that of another user (of this one, when this is not root)."""
    root, is_root = name == "root", os.geteuid() == 0
    become = () if root or not is_root else ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
    if (root and not is_root) or (become and not shutil.which("setpriv")):
        pytest.skip(NO_ROOT)
    python = python_for(become) if become else sys.executable
    if python is None:
        pytest.skip("the other user may run no Python of 3.11 or newer")
    folder = Path(tempfile.mkdtemp(prefix="minion-probes-", dir="/var/tmp"))
    try:
        code = ROOT
        if become:  # the checkout may lie where only root can look
            code = folder / "code"
            for part in ("minion", "server", "skills", "tests/faults/probes"):
                shutil.copytree(ROOT / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
            for part in ("tests/__init__.py", "tests/faults/__init__.py"):
                shutil.copy(ROOT / part, code / part)
        planted = ()
        if is_root:
            planted = (folder / "planted",)
            planted[0].mkdir()
            shutil.copy(str(shutil.which("id")), planted[0] / "id")
            (planted[0] / "id").chmod(0o4755)
        place = folder / "host"
        place.mkdir()
        if become:
            folder.chmod(0o755)
            os.chown(place, OTHER, OTHER)
        yield Owner(name, place, code, python, become, planted)
    finally:
        shutil.rmtree(folder)


def alternating(who: str) -> dict[str, Any]:
    """A short plan for one of two owners: every other probe, in turn in each network and folder."""
    trials, controls = [], []
    for number, (name, probe) in enumerate(PROBES.items()):
        mine = who == "root" if probe.needs.startswith(OF_ROOT) else (number % 2 == 0) == (who == "root")
        network = "list" if name.startswith("egress") else NETWORKS[number // 4 % 2]
        trials += [(name, network, FOLDERS[number // 2 % 2])] if mine else []
        controls += [name] if mine else []
    return {"trials": trials, "controls": controls}


def everything(_who: str) -> dict[str, Any]:
    """Every probe in both networks and from both folders, and every control."""
    trials = [(name, network, place) for network in NETWORKS for place in FOLDERS for name in PROBES]
    return {"trials": trials, "controls": list(PROBES)}


def judged(results: Sequence[dict[str, Any]], title: str) -> tuple[list[Any], list[str]]:
    """Print the figures; the escapes, and the controls that were possible and showed nothing."""
    trials = [trial for result in results for trial in result["trials"]]
    controls = [control for result in results for control in result["controls"]]
    escapes = [trial for trial in trials if trial["escaped"]]
    possible = [control for control in controls if control["possible"]]
    silent = [control["probe"] for control in possible if not control["escaped"]]
    never = {control["probe"] for control in controls} - {control["probe"] for control in possible}
    bound = "" if escapes else f", bound {3 / len(trials):.2%}"
    print(f"\n{title}: trials {len(trials)} ({len(PROBES)} probes), failures {len(escapes)}{bound}")
    print(f"controls: {len(possible) - len(silent)} of {len(possible)} got out, as they must", end="")
    print(f"; not possible on this machine: {', '.join(sorted(never)) or 'none'}")
    for trial in escapes:
        print("  got out:", trial)
    return escapes, silent


@pytest.mark.heavy
def test_no_probe_gets_out_of_a_run_s_sandbox_and_each_gets_out_without_it() -> None:
    with owner("root") as root, owner("ordinary") as ordinary, ThreadPoolExecutor() as both:
        results = list(both.map(lambda who: who.run("arena", alternating(who.name)), (root, ordinary)))
    escapes, silent = judged(results, "sandbox probes, root's and another's, in turn")
    assert (escapes, silent) == ([], [])


@pytest.mark.faults
@pytest.mark.parametrize("who", ["root", "ordinary"])
def test_no_probe_gets_out_of_any_run_s_sandbox(who: str) -> None:
    with owner(who) as one:
        result = one.run("arena", everything(who))
    escapes, silent = judged([result], f"sandbox probes of {who}, with and without a network, from two folders")
    assert (escapes, silent) == ([], [])
    assert len(result["trials"]) >= 240


def due(kind: str, order: str) -> str:
    """What must come of an order with this kind of bubblewrap."""
    if kind == "real":
        return "sandboxed"
    return "unsandboxed" if order == "bundled" else "refused"


@pytest.mark.heavy
@pytest.mark.faults
@pytest.mark.promise("ENV-6")
@pytest.mark.parametrize("who", ["root", "ordinary"])
def test_a_run_that_needs_a_sandbox_is_refused_wherever_there_is_none(who: str) -> None:
    with owner(who) as one:
        results = one.run("without_bwrap", {})
    wrong = [result for result in results if result["came"] != due(result["kind"], result["order"])]
    trials = sum(result["kind"] != "real" for result in results)
    bound = "" if wrong else f", bound {3 / trials:.2%}"
    print(f"\nruns of {who} without a bubblewrap of use: trials {trials}, failures {len(wrong)}{bound}")
    assert (wrong, trials) == ([], 5 * len(BROKEN))
