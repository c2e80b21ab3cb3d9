"""Trial runs: the order of a run that nobody keeps, for the runner's own parts to work on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from minion.config import Home, passed_environment, search_path
from minion.skills.loader import REPORT, is_pinned, load_skill, pinned_digests
from minion.wire import Order, OrderedRepository, OrderedSkill
from server.contract.digest import digest_of, new_id
from server.contract.quota import Limits
from server.contract.topology import skill_code

# A bundled skill that works on a text alone. It only stages a message; a trial performs no effect.
SKILL: Final = "send-to-slack"
CONTENT: Final = "The doctor asks whether skills can be run here."


def trial_order(folder: Path, *, engine: str, now: str, repository: Path | None = None) -> Order:
    """The order of a run of one bundled skill in `folder` (made, 0700), on a repository of this machine if any."""
    folder.mkdir(mode=0o700)
    routine = {"name": "doctor", "content": CONTENT, "pipeline": [SKILL], "expect": [], "environment": None}
    places = () if repository is None else (OrderedRepository("trial", str(repository), None, local=True),)
    return Order(
        run_id=new_id("run_"), session_id=new_id("session_"), key="doctor", trigger="manual",
        routine=routine, routine_digest=digest_of(routine), minion_id="", agent="doctor",
        engine=engine, process="", variant="", blocks=(), block_names={},
        skills=(_skill(folder, SKILL),), report_skill=_skill(folder, REPORT), repositories=places,
        limits=Limits(), sandbox="required", effects=(), since=now, timezone="UTC",
        run_dir=str(folder), outbox_dir=str(folder / "outbox"), secrets_file=str(folder / "secrets.json"),
        search_path=search_path(), passed_env=passed_environment(), parent_pid=os.getpid(),
    )  # fmt: skip


def _skill(folder: Path, name: str) -> OrderedSkill:
    """A bundled skill, copied for the trial: a home without skills of its own has those alone."""
    found = load_skill(Home(folder / "home"), name)
    target = folder / "skills" / name
    found.copy_to(target)
    pinned = is_pinned(found, pinned_digests())
    return OrderedSkill(name, skill_code(name), str(target), found.digest, found.script, pinned=pinned)
