"""Where hostile git is tried (F23): a remote that must not change, and the order of a run that works on it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from minion.doctor.trial import trial_order
from minion.runner.workspace import WorkspaceFailed, lay_out
from minion.wire import Order, OrderedRepository
from tests.skills.repositories import Repository

NOW: Final = "2026-11-22T09:00:00.000Z"
# Says, as ssh would do it, whether an option made it run something.
SSH: Final = (
    "#!/bin/sh\nfor each; do case $each in -oProxyCommand=*|-F*) : > '@FIRED/ssh' ;; esac; done\nexit 255\n"
)


class Scene:
    """A bare repository with branches that must not move, and a place where whatever was run leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fired, self.bare = folder, folder / "fired", folder / "shop.git"
        self.number = itertools.count(1)
        self.fired.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        (programs / "ssh").write_text(SSH.replace("@FIRED", str(self.fired)))
        (programs / "ssh").chmod(0o755)
        self.path = f"{programs}:{os.environ['PATH']}"
        work = Repository(folder)
        work.write("roof.txt", "leaks\n")
        work.commit("Begin")
        work.git("tag", "v1")
        work.git("checkout", "-q", "-b", "claude/kept")
        work.commit("Somebody's own")
        work.git("checkout", "-q", "main")
        work.git("clone", "-q", "--bare", ".", str(self.bare))
        work.git("bundle", "create", "-q", f"{self.bare}.bundle", "main")

    def filled(self, text: str) -> str:
        """A text of a corpus with this scene's places in it; each mark says which text left it."""
        mark = self.fired / f"mark-{next(self.number)}"
        return text.replace("@M", f"touch {mark}").replace("@F", str(mark)).replace("@R", str(self.bare))

    def marks(self) -> list[str]:
        """What was left by something that ran."""
        return sorted(path.name for path in self.fired.iterdir())

    def refs(self) -> dict[str, str]:
        """The refs of the bare repository."""
        done = subprocess.run(
            ["git", "for-each-ref", "--format=%(refname) %(objectname)"], cwd=self.bare, capture_output=True,
            text=True, check=True, env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull},
        )  # fmt: skip
        return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}

    def order(self, url: str, branch: str | None = None) -> Order:
        """The order of a run on one repository, whose routine would allow any push and any file."""
        order = trial_order(self.folder / f"run-{next(self.number)}", engine="script", now=NOW)
        item = OrderedRepository("shop", url, branch, local=url.startswith("/"))
        return replace(
            order, repositories=(item,), effects=("push:*", "pull_request:*", "file:*"), search_path=self.path,
            passed_env={}, forges={"forge.invalid": "https://forge.invalid/api"},
        )  # fmt: skip

    def tried(self, url: str, branch: str | None = None) -> str:
        """What came of laying out a run on this repository: `cloned` or `refused`."""
        order = self.order(url, branch)
        try:
            asyncio.run(lay_out(order))
        except (WorkspaceFailed, ValueError, OSError):
            return "refused"
        finally:
            shutil.rmtree(order.run_dir)
        return "cloned"


def refs_in(git_dir: Path) -> dict[str, bytes]:
    """The refs and the HEAD of a git directory, read as files."""
    found = (git_dir / "HEAD", git_dir / "packed-refs", *git_dir.glob("refs/**/*"))
    return {str(path): path.read_bytes() for path in found if path.is_file()}
