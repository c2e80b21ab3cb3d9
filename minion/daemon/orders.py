"""Makes the self-contained order of a run: admitted routine, copied skills, canonical steps, limits, paths.

The canonical steps are derived here, once, from the process, its variant and the skills' codes (DECISIONS).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from minion.config import Config, Home, passed_environment, search_path
from minion.daemon.triggers import Trigger
from minion.skills.loader import REPORT, SkillFolder, is_pinned
from minion.store.routines import FIRST_SINCE_DAYS, KeptRoutine
from minion.wire import Order, OrderedRepository, OrderedSkill
from server.contract.digest import digest_bytes, digest_of, instant, new_id
from server.contract.quota import Limits
from server.contract.topology import CanonicalBlock, canonical_blocks, skill_code

VARIANT: Final[Mapping[str, str]] = {"manual": "V01", "schedule": "V01", "api": "V02", "github": "V03"}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What an order is made of, read fresh: folders and admitted forms of the skills, the admitted process."""

    routine: KeptRoutine
    process: Mapping[str, Any]
    folders: Mapping[str, SkillFolder]
    admitted: Mapping[str, Mapping[str, Any]]
    pinned: Mapping[str, str]


def make_order(
    parts: Ingredients,
    trigger: Trigger,
    *,
    home: Home,
    config: Config,
    repositories: Sequence[Mapping[str, Any]],
    engine: str,
) -> Order:
    """The order of one run, its run folder made (0700) and its skills copied into it."""
    document = dict(parts.routine.document)
    run_id = trigger.run_id or new_id("run_")
    run_dir = home.runs / run_id
    run_dir.mkdir(mode=0o700, parents=True)
    skills = tuple(_ordered(name, parts, run_dir) for name in document["pipeline"])
    report = _ordered(REPORT, parts, run_dir)
    since = parts.routine.last_delivered_at or instant(trigger.at - timedelta(days=FIRST_SINCE_DAYS))
    return Order(
        run_id=run_id,
        session_id=new_id("session_"),
        key=trigger.key,
        trigger=trigger.kind,
        routine=document,
        routine_digest=digest_of(document),
        minion_id=config.minion_id,
        agent=config.name,
        engine=engine,
        process=parts.process["code"],
        variant=VARIANT[trigger.kind],
        blocks=_canonical(parts.process, [skill.code for skill in skills]),
        block_names={block["code"]: block["name"] for block in parts.process["blocks"]},
        skills=skills,
        report_skill=report,
        repositories=tuple(_repository(item) for item in repositories),
        limits=Limits.from_data(document["limits"]),
        sandbox=document["sandbox"],
        effects=_allowlist(document, parts),
        since=since,
        timezone=document["timezone"] or config.timezone,
        run_dir=str(run_dir),
        outbox_dir=str(home.outbox / document["name"]),
        secrets_file=str(home.secrets_file),
        search_path=search_path(),
        input=trigger.input,
        forges=dict(config.forges),
        passed_env=passed_environment(),
        parent_pid=os.getpid(),
        report_token=new_token(),
    )


def lock_of(order: Order, process: Mapping[str, Any]) -> dict[str, str]:
    """The digests of all that decides how this run goes: routine, process, engine, model, tools and skills."""
    skills = {f"skill:{skill.name}": skill.digest for skill in (*order.skills, order.report_skill)}
    by_engine = {"engine": order.engine, "model": str(order.routine.get("model")), "tools": tools_digest()}
    return {"routine": order.routine_digest, "process": digest_of(dict(process)), **by_engine, **skills}


def new_token() -> str:
    """256 random bits: who holds them may make the report of one run."""
    return os.urandom(32).hex()


@functools.cache
def tools_digest() -> str:
    """The digest of the program that executes whatever a skill or a model does."""
    return digest_bytes((Path(__file__).parents[1] / "sandbox" / "tool_host.py").read_bytes())


def _ordered(name: str, parts: Ingredients, run_dir: Path) -> OrderedSkill:
    """A skill as copied for this run; one that is not installed keeps its place, without a path."""
    folder = parts.folders.get(name)
    if folder is None:
        return OrderedSkill(name, skill_code(name), "", "", None, pinned=False)
    target = run_dir / "skills" / name
    if not target.exists():  # a pipeline may name a skill twice
        folder.copy_to(target)
    admitted = parts.admitted[name]
    return OrderedSkill(
        name=name,
        code=skill_code(name, admitted["code"]),
        path=str(target),
        digest=folder.digest,
        script=folder.script,
        pinned=is_pinned(folder, parts.pinned),
        effects=tuple(admitted["effects"]),
    )


def _canonical(process: Mapping[str, Any], codes: Sequence[str]) -> tuple[CanonicalBlock, ...]:
    blocks = [
        CanonicalBlock(block["code"], block["kind"], tuple(step["code"] for step in block["steps"]))
        for block in process["blocks"]
    ]
    return canonical_blocks(blocks, codes)


def _repository(item: Mapping[str, Any]) -> OrderedRepository:
    return OrderedRepository(item["name"], item["url"], item["branch"], local=item["url"].startswith("/"))


def _allowlist(document: Mapping[str, Any], parts: Ingredients) -> tuple[str, ...]:
    """The routine's own list of effects; without one, what the bundled skills of its pipeline declare."""
    if document["effects"] is not None:
        return tuple(document["effects"])
    declared = [
        effect
        for name in document["pipeline"]
        if name in parts.folders and parts.folders[name].bundled
        for effect in parts.admitted[name]["effects"]
    ]
    return tuple(dict.fromkeys(declared))
