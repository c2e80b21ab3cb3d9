"""The order of a run that nobody makes: from the home as it is now, through read-only connections.

It is put together as the owner of the home would (`minion.app`), but in a folder of its own that is gone
afterwards; nothing is kept, and what would refuse the run is gathered instead of raised.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from minion.admission import answers_kept, process_candidate, routine_candidate
from minion.config import Config, Home, load_config
from minion.daemon.allowance import allowance_spent, used_up
from minion.daemon.orders import Ingredients, lock_of, make_order
from minion.daemon.triggers import Trigger
from minion.engines.registry import has_model
from minion.models import Models, check_priced, models_for
from minion.repositories import repository_at
from minion.routines.engines import engine_for, with_engine
from minion.routines.files import read_file, routine_files
from minion.routines.process_file import PROCESS, process_file
from minion.secrets_file import read_secrets
from minion.settings import AUTO
from minion.skills.loader import REPORT, SkillFolder, check_codes, check_requires, load_skill, pinned_digests
from minion.store.decisions import changed_parts
from minion.store.foresight import Reader, accepted_lock_now, answers_now, spent_so_far
from minion.store.local_db import read_only
from minion.store.routines import KeptRoutine, find_routine
from minion.store.standing import halt_now
from minion.wire import Order
from server.contract.digest import digest_of, new_id
from server.contract.quota import Spent, standing
from server.contract.refusals import BadUse, NotFound, Refusal, Refused

# What `auto` stands for where none is ready: the first with a model, so that there is something to see.
_INSTEAD: Final = "messages"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody says for one run, as `minion run` takes it."""

    engine: str | None = None
    model: str | None = None
    repository: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True)
class Prospect:
    """A run as it would be made now. `against` is what would refuse it, or have it fail before its session.

    `spent` are the US dollars of this day and month. The order's skills lie in a folder that is gone after the
    block; the folder that it names for the run is none that is made.
    """

    config: Config
    routine: KeptRoutine
    order: Order
    models: Models
    lock: Mapping[str, str]
    against: tuple[Refusal, ...]
    spent: tuple[float, float]


@contextmanager
def prospect(home: Home, text: str, wanted: Wanted, *, now: datetime) -> Iterator[Prospect]:
    """The run that `minion run` would make of a routine at `now`.

    Raises `NotFound`, and a `Refusal` for a routine, skill or setting that cannot be read at all.
    """
    config = load_config(home)
    with read_only(home.store) as db, tempfile.TemporaryDirectory(prefix="minion-") as folder:
        against: list[Refusal] = []
        kept = _routine(home, config, db, text, against)
        repositories = kept.document["repositories"] or ()
        if wanted.repository is not None:
            repositories = (repository_at(wanted.repository),)
        parts = _parts(home, db, kept, against)
        engine = _engine(home, config, kept.document, wanted.engine, against)
        in_use = [parts.admitted[name] for name in kept.document["pipeline"] if name in parts.admitted]
        models = models_for(kept.document, in_use, config, wanted.model)
        spent = spent_so_far(db, zone=config.timezone, now=now)
        if has_model(engine):
            _check_money(models, config, spent, against)
        elif wanted.model is not None:
            hint = "add --engine messages, or leave --model out"
            raise BadUse("model_unused", f"The engine {engine} has no model to choose.", hint=hint)
        order = make_order(
            parts, Trigger("manual", f"manual:{new_id('dec_')[4:]}", now, wanted.input), home=Home(Path(folder)),
            config=config, repositories=repositories, engine=engine, models=models,
            answers=answers_now(db, kept.id) if has_model(engine) else (),
        )  # fmt: skip
        outbox = str(home.outbox / kept.name)
        order = replace(order, outbox_dir=outbox, secrets_file=str(home.secrets_file))
        lock = lock_of(order, parts.process)
        _check_standing(home, db, order, lock, against)
        yield Prospect(config, kept, order, models, lock, tuple(against), spent)


def _routine(home: Home, config: Config, db: Reader, text: str, against: list[Refusal]) -> KeptRoutine:
    """The routine as its file says now; of a file that became bad, the last good version."""
    name = text if routine_files(home, text) and "/" not in text else find_routine(db, text).name
    files = routine_files(home, name)
    if not files:
        hint = f"put it back, or take the routine out of use: minion routine remove {name}"
        raise NotFound("routine_file_gone", f"The file of {name} is gone from the home.", hint=hint)
    try:
        good: KeptRoutine | None = find_routine(db, name)
    except NotFound:
        good = None
    (answer,) = answers_kept(db, [routine_candidate(files[0], read_file(files[0]))])
    if isinstance(answer, Refusal) or answer["name"] != name:
        if good is not None:
            return good
        raise answer if isinstance(answer, Refusal) else NotFound(
            "no_such_routine", f"There is no routine {name}.", hint="minion routine list"
        )
    return _as_kept(home, config, answer, good, str(files[0]), against)


def _as_kept(
    home: Home, config: Config, document: dict[str, Any], before: KeptRoutine | None, source: str,
    against: list[Refusal],
) -> KeptRoutine:  # fmt: skip
    if document["minion_id"] not in (None, config.minion_id):
        says = f"The routine {document['name']} belongs to the minion {document['minion_id']}."
        raise Refused("other_minion", says, hint=f"write this minion's own id, {config.minion_id}")
    routine_id = before.id if before is not None else document["id"] or new_id("trig_")
    full = {**document, "minion_id": config.minion_id, "id": routine_id}
    if (document["engine"] or config.engine) == AUTO:
        try:
            full = with_engine(home, full, None if before is None else before.document, anew=False)
        except Refusal as refusal:
            against.append(refusal)
            full = {**full, "engine": _INSTEAD}
    if before is not None and digest_of(full) == before.digest:
        return before
    last = before.last_delivered_at if before is not None else None
    return KeptRoutine(routine_id, full["name"], 0, full, digest_of(full), source, "", last)


def _parts(home: Home, db: Reader, kept: KeptRoutine, against: list[Refusal]) -> Ingredients:
    """Process and skills as the order needs them. Raises the first refusal of one that cannot be read."""
    folders: dict[str, SkillFolder] = {}
    for name in dict.fromkeys((*kept.document["pipeline"], REPORT)):
        try:
            folders[name] = load_skill(home, name)
        except NotFound as refusal:
            if name == REPORT:
                raise
            against.append(refusal)
    candidates = [process_candidate(PROCESS, process_file()), *(each.candidate() for each in folders.values())]
    admitted = []
    for answer in answers_kept(db, candidates):
        if isinstance(answer, Refusal):
            raise answer
        admitted.append(answer)
    process, *skills = admitted
    try:
        check_requires(home, skills)
        check_codes(process, skills)
    except Refusal as refusal:
        against.append(refusal)
    return Ingredients(kept, process, folders, dict(zip(folders, skills, strict=True)), pinned_digests())


def _engine(
    home: Home, config: Config, document: Mapping[str, Any], said: str | None, against: list[Refusal]
) -> str:
    """The engine that would perform it, ready or not."""
    wanted = said or document["engine"] or config.engine
    try:
        return engine_for(home, document, wanted)
    except Refusal as refusal:
        against.append(refusal)
        return _INSTEAD if wanted == AUTO else wanted


def _check_money(
    models: Models, config: Config, spent: tuple[float, float], against: list[Refusal]
) -> None:
    try:
        check_priced(models, config)
    except Refused as refusal:
        against.append(refusal)
    why, hint = used_up(*spent, config)
    if why:
        against.append(allowance_spent(why, hint))


def _check_standing(
    home: Home, db: Reader, order: Order, lock: Mapping[str, str], against: list[Refusal]
) -> None:
    """What of the minion, this machine and the routine's lock stands against a run now."""
    try:
        read_secrets(home.secrets_file)
    except Refusal as refusal:
        against.append(refusal)
    halted = halt_now(db)
    if halted is not None:
        against.insert(0, Refused("halted", f"The minion is halted: {halted['why']}.", hint="minion unhalt"))
    accepted = accepted_lock_now(db, order.routine["id"]) if order.routine.get("lock") == "strict" else None
    parts = changed_parts(accepted, lock) if accepted is not None else []
    if parts:
        says = f"The routine {order.routine['name']} is strict, and {', '.join(parts)} changed since it last ran."
        against.append(Refused("lock_changed", says, hint="run it: then it waits for your decision"))
    nothing = standing(Spent(0.0, 0, 0, 0.0), order.limits).over
    if has_model(order.engine) and nothing:
        says = f"The routine's limit of {nothing[0]} is 0, so that its model can be asked nothing."
        against.append(Refused("no_budget", says, hint=f"raise limits.{nothing[0]}"))
    for item in order.repositories:
        if item.local and not Path(item.url).is_dir():
            says = f"The repository {item.url} is not there."
            against.append(NotFound("no_repository", says, hint="mend the routine's repositories"))
    if order.sandbox != "none" and shutil.which("bwrap", path=order.search_path) is None:
        says = "No bubblewrap is found on this machine, so that there is no sandbox."
        against.append(Refused("no_sandbox", says, hint="minion doctor"))

