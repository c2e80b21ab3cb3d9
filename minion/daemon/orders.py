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
from minion.engines.registry import has_model
from minion.models import Models
from minion.skills.loader import REPORT, SkillFolder, is_pinned
from minion.store.routines import FIRST_SINCE_DAYS, KeptRoutine
from minion.wire import Order, OrderedRepository, OrderedSkill
from server.contract.digest import digest_bytes, digest_of, instant, new_id
from server.contract.policy import Policy
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
    models: Models,
    answers: Sequence[Mapping[str, str]] = (),
) -> Order:
    """The order of one run, its run folder made (0700) and its skills copied into it.

    `answers` are questions of earlier runs that people have answered.
    """
    document = dict(parts.routine.document)
    run_id = trigger.run_id or new_id("run_")
    run_dir = home.runs / run_id
    run_dir.mkdir(mode=0o700, parents=True)
    told = has_model(engine)
    skills = tuple(_ordered(name, parts, run_dir, models, told=told) for name in document["pipeline"])
    report = _ordered(REPORT, parts, run_dir, models, told=False)
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
        since=parts.routine.last_delivered_at or instant(trigger.at - timedelta(days=FIRST_SINCE_DAYS)),
        timezone=document["timezone"] or config.timezone,
        input=trigger.input,
        model=models.usual,
        policy=_policy(parts.process, VARIANT[trigger.kind]),
        answers=tuple(answers),
        **_of_this_place(home, config, document["name"], run_dir),
    )


def _of_this_place(home: Home, config: Config, routine: str, run_dir: Path) -> dict[str, Any]:
    """What an order says of the home, its machine and the process that starts the run."""
    return {
        "run_dir": str(run_dir),
        "outbox_dir": str(home.outbox / routine),
        "secrets_file": str(home.secrets_file),
        "search_path": search_path(),
        "forges": dict(config.forges),
        "passed_env": passed_environment(),
        "parent_pid": os.getpid(),
        "report_token": new_token(),
        "prices": dict(config.prices),
        "api_url": config.api_url,
    }


def lock_of(order: Order, process: Mapping[str, Any]) -> dict[str, str]:
    """The digests of all that decides how this run goes: routine, process, engine, model, tools and skills."""
    skills = {f"skill:{skill.name}": skill.digest for skill in (*order.skills, order.report_skill)}
    by_engine = {"engine": order.engine, "model": _model_of(order), "tools": tools_digest()}
    return {"routine": order.routine_digest, "process": digest_of(dict(process)), **by_engine, **skills}


def _model_of(order: Order) -> str:
    """The model that a run really has, and those of its skills; without one, what its routine says of it."""
    if not has_model(order.engine):
        return str(order.routine.get("model"))
    own = {skill.name: skill.model for skill in order.skills if skill.model not in (None, order.model)}
    return ", ".join([order.model, *(f"{name}: {model}" for name, model in sorted(own.items()))])


def new_token() -> str:
    """256 random bits: who holds them may make the report of one run."""
    return os.urandom(32).hex()


@functools.cache
def tools_digest() -> str:
    """The digest of the program that executes whatever a skill or a model does."""
    sandbox = Path(__file__).parents[1] / "sandbox"
    inside = ("tool_host.py", "tool_requests.py", "kernel_doors.py", "file_tools.py", "file_search.py", "shell.py")
    return digest_bytes(b"\0".join((sandbox / name).read_bytes() for name in inside))


def _policy(process: Mapping[str, Any], code: str) -> Policy:
    """The policy of the process's variant."""
    return Policy.of_variant(next((each for each in process["variants"] if each["code"] == code), None))


def _ordered(name: str, parts: Ingredients, run_dir: Path, models: Models, *, told: bool) -> OrderedSkill:
    """A skill as copied for this run; one that is not installed keeps its place, without a path.

    `told`: a model performs it, and has to be told what it says.
    """
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
        model=models.of_skills.get(name),
        description=admitted["description"] if told else "",
        instructions=admitted["instructions"] if told else "",
        allowed_tools=tuple(admitted["allowed_tools"]),
        tools=dict(admitted["tools"]),
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
