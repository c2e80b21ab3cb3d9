"""Looks whether a routine can have what it needs on this machine: its repositories, its skills.

Run as `python -I -m minion.hq.preflight HOME ROUTINE`; prints a JSON list of `{name, state, says}`. HQ waits for
it while somebody creates the routine, so each thing has little time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from minion.config import Home, passed_environment, search_path
from minion.runner.git import Git, GitFailed, safe_spellings
from minion.skills.loader import skill_places
from minion.store.local_db import read_only
from minion.store.routines import find_routine
from server.contract.refusals import Refusal

_REPOSITORY_S: Final = 1.5
_ALL_S: Final = 2.0
_MOST: Final = 10


def main(arguments: Sequence[str]) -> int:
    """Say what was found of a routine; nothing where there is none."""
    home, name = Home(Path(arguments[0])), arguments[1]
    with contextlib.suppress(Refusal):
        with read_only(home.store) as db:
            document = find_routine(db, name).document
        sys.stdout.write(json.dumps([*_skills(home, document), *asyncio.run(_repositories(document))]))
    return 0


def _skills(home: Home, document: Mapping[str, Any]) -> list[dict[str, str]]:
    places = skill_places(home)
    missing = [name for name in dict.fromkeys(document["pipeline"]) if name not in places]
    return [_said(f"skill {name}", "missing", f"The skill {name} is not here.") for name in missing[:_MOST]]


async def _repositories(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Whether git reaches each repository of a routine."""
    wanted = [item for item in document["repositories"] or () if isinstance(item, Mapping)][:_MOST]
    if not wanted:
        return []
    with tempfile.TemporaryDirectory() as folder:
        safe = [path for item in wanted if item["url"].startswith("/") for path in safe_spellings(item["url"])]
        git = Git.prepare(
            Path(folder), agent="preflight", safe=safe, search_path=search_path(), passed_env=passed_environment()
        )
        looks = [asyncio.create_task(_repository(git, str(item["url"]), item["branch"])) for item in wanted]
        await asyncio.wait(looks, timeout=_ALL_S)
        late = [look for look in looks if not look.done()]
        for look in late:
            look.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    names = [f"repository {item['name']}" for item in wanted]
    return [
        _said(name, "unknown", "It did not answer in time.") if look in late else _said(name, *look.result())
        for name, look in zip(names, looks, strict=True)
    ]


async def _repository(git: Git, url: str, branch: str | None) -> tuple[str, str]:
    try:
        reference = "HEAD" if branch is None else f"refs/heads/{branch}"
        answer = await git.run("ls-remote", "--quiet", "--", url, reference, timeout_s=_REPOSITORY_S)
    except (GitFailed, OSError, ValueError):
        return "unreachable", "git cannot read it from there."
    if not answer.strip() and branch is not None:
        return "missing", f"It has no branch {branch}."
    return "ok", "git reads it."


def _said(name: str, state: str, says: str) -> dict[str, str]:
    return {"name": name, "state": state, "says": says}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
