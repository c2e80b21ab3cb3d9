"""Makes real git repositories with fixed people and dates, and reports on them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.skills.tasks import Ended, run_skill

ADA = "Ada Lovelace <ada@example.org>"
BOB = "Bob Kahn <bob@example.org>"
BEFORE = "2026-11-12T16:03:00+00:00"
MORNING = "2026-11-20T09:12:00+00:00"
NOON = "2026-11-20T11:00:00+00:00"
EVENING = "2026-11-20T17:47:00+00:00"


class Repository:
    """A repository with a work tree; everything that is committed is committed at a given time."""

    def __init__(self, folder: Path, name: str = "shop") -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, who: str = ADA, at: str = MORNING, given: bytes | None = None) -> str:
        """Call git here as `who` (`Name <address>`) at the instant `at`; its output, stripped."""
        name, _, address = who.rstrip(">").rpartition(" <")
        return self.call(list(arguments), name.encode(), address, at, given)

    def call(self, arguments: list[str], name: bytes, address: str, at: str, given: bytes | None) -> str:
        """Call git with a name of any bytes."""
        people = {
            f"GIT_{role}_{part}".encode(): value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", name), ("EMAIL", address.encode()), ("DATE", at.encode()))
        }
        ended = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={
                b"PATH": os.environb[b"PATH"],
                b"GIT_CONFIG_NOSYSTEM": b"1",
                b"GIT_CONFIG_GLOBAL": b"/dev/null",
                **people,
            },
            input=given,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.decode("utf-8", "replace").strip()

    def write(self, path: str | bytes, content: str | bytes) -> None:
        """Write a file of the work tree, folders included."""
        whole = os.fsencode(self.folder) + b"/" + os.fsencode(path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)  # noqa: PTH103, PTH120 - the path is bytes
        with open(whole, "wb") as file:  # noqa: PTH123
            file.write(content.encode() if isinstance(content, str) else content)

    def commit(self, subject: str | bytes, *, who: str = ADA, at: str = MORNING) -> str:
        """Commit all that is in the work tree, an empty commit too; its full id."""
        message = subject.encode() if isinstance(subject, str) else subject
        self.git("add", "-A")
        self.git(
            "-c", "commit.gpgSign=false", "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-",
            who=who, at=at, given=message,
        )  # fmt: skip
        return self.git("rev-parse", "HEAD")

    def history(self) -> dict[str, Any]:
        """A fresh bare clone, as the engine describes it to a skill."""
        bare = self.folder.parent / f"{self.name}.git"
        while bare.exists():
            bare = bare.with_name("again-" + bare.name)
        self.git("clone", "-q", "--bare", str(self.folder), str(bare))
        return {"name": self.name, "path": str(self.folder), "history": str(bare), "branch": "main"}


def lines(number: int, word: str = "line") -> str:
    """A text of this many different lines."""
    return "".join(f"{word} {count}\n" for count in range(number))


def report_on(*repositories: Repository, **fields: Any) -> Ended:
    """Run write-daily-report on fresh histories of these repositories."""
    return run_skill("write-daily-report", repositories=[item.history() for item in repositories], **fields)


def numbers_of(*repositories: Repository, **fields: Any) -> dict[str, Any]:
    """The first repository's numbers in the report's data."""
    ended = report_on(*repositories, **fields)
    assert ended.exit == 0, ended.log
    first = ended.result["data"]["repositories"][0]
    assert isinstance(first, dict)
    return first
