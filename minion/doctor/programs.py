"""The programs that a minion starts by name: git, and `minion` itself."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from minion.config import passed_environment, search_path
from minion.doctor.finding import Finding, ok, problem, warning
from minion.doctor.remedies import install, on_path, reinstall
from minion.doctor.trial import trial_order
from minion.runner.git import Git, GitFailed
from minion.runner.workspace import WorkspaceFailed, lay_out

OLDEST_GIT: Final = (2, 39, 4)
# The releases of May 2024 brought GIT_NO_LAZY_FETCH to the older lines too, each from this patch on.
_MENDED_FROM: Final = {(2, 40): 2, (2, 41): 1, (2, 42): 2, (2, 43): 4, (2, 44): 1}
_ASK_S: Final = 10.0
_TRIAL_S: Final = 30.0


async def git(folder: Path, now: str) -> list[Finding]:
    """A repository is made in `folder` (empty, of the doctor's own) and cloned just as a run clones it."""
    program = shutil.which("git", path=search_path())
    if program is None:
        return [problem("git", "There is no git on the search path.", install("git"))]
    said = _ask([program, "--version"])
    version = git_version(said)
    if version is None:
        return [problem("git", f"{program} does not say its version: {said}", install("git", again=True))]
    try:
        async with asyncio.timeout(_TRIAL_S):
            cloned = await _clone(folder, now)
    except (GitFailed, WorkspaceFailed, TimeoutError) as error:
        words = str(error) or f"no end after {_TRIAL_S:g} s"
        return [problem("git", f"No repository can be cloned: {words}", install("git", again=True))]
    if not cloned:
        return [problem("git", "A repository was cloned without its commit.", install("git", again=True))]
    number = ".".join(map(str, version))
    if not keeps_to_itself(version):
        says = f"git {number} may fetch for a hostile repository behind the runner's back; 2.39.4 does not."
        return [warning("git", says, install("git"))]
    return [ok("git", f"git {number} cloned a repository ({program}).")]


def git_version(said: str) -> tuple[int, int, int] | None:
    """The version in the words of `git --version`, None when there is none."""
    found = re.match(r"git version (\d+)\.(\d+)(?:\.(\d+))?", said)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found is not None else None


def keeps_to_itself(version: tuple[int, int, int]) -> bool:
    """Whether a git of this version obeys GIT_NO_LAZY_FETCH."""
    return version >= OLDEST_GIT and version[2] >= _MENDED_FROM.get(version[:2], 0)


def program() -> list[Finding]:
    """`minion` as it would be typed answers, and is of this version."""
    found = shutil.which("minion", path=search_path())
    if found is None:
        return [warning("program", "`minion` is not on the search path.", on_path())]
    own = metadata.version("minion-hq")
    said = re.match(r"minion, version (\S+)", _ask([found, "--version"]))
    if said is None:
        return [warning("program", f"{found} is another program: it does not answer as this one.", on_path())]
    if said[1] != own:
        return [warning("program", f"{found} is version {said[1]}, and this is {own}.", reinstall())]
    same = Path(found).resolve().parent == Path(sys.executable).parent
    where = "" if same else f" (another installation of it than {sys.argv[0]})"
    return [ok("program", f"`minion` is {found}, version {own}{where}.")]


async def _clone(folder: Path, now: str) -> bool:
    """Whether the clone that a run would make stands at the commit of its source."""
    git = Git.prepare(
        folder, agent="doctor", safe=[], search_path=search_path(), passed_env=passed_environment()
    )
    source, git_dir = folder / "source", folder / "source" / ".git"
    await git.run("init", "--quiet", "--template=", "--", str(source))
    await git.run(
        "commit", "--quiet", "--allow-empty", "--message", "trial", git_dir=git_dir, work_tree=source
    )
    made = await git.run("rev-parse", "--verify", "HEAD", git_dir=git_dir)
    workspace = await lay_out(trial_order(folder / "run", engine="script", now=now, repository=source))
    return workspace.repositories[0].head == made.decode().strip()


def _ask(argv: list[str]) -> str:
    """What a program prints; its own last words when it fails. Raises `OSError`, `TimeoutExpired`."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False)
    said = done.stdout if done.returncode == 0 else done.stderr
    return said.decode("utf-8", "replace").strip()
