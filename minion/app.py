"""Puts a minion together for one owner of its home: lock, store, supervisor; and what commands ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minion.admission import admit, process_candidate
from minion.clock import Clock
from minion.config import Config, Home, held, load_config, save_config, unwritable_home
from minion.daemon.allowance import allowance_spent
from minion.daemon.orders import Ingredients, lock_of, make_order
from minion.daemon.supervisor import OnEnd, OnEvent, Supervisor
from minion.daemon.triggers import Trigger
from minion.engines.registry import check_engine, has_model
from minion.models import check_priced, models_for
from minion.repositories import repository_at
from minion.routines.engines import engine_for, secrets_of
from minion.routines.keeping import RoutineKeeper
from minion.routines.process_file import PROCESS, process_file
from minion.secrets_file import read_secrets
from minion.skills.loader import REPORT, SkillFolder, check_codes, check_requires, load_skill, pinned_digests
from minion.store.confidence import KIND as CONFIDENCE
from minion.store.confidence import ask_about_confidence, confidence_of, words
from minion.store.decisions import (
    Decision,
    accept_lock,
    accepted_lock,
    answered_questions,
    ask_about_lock,
    changed_parts,
)
from minion.store.local_db import SCHEMA_VERSION, create, examine, read_only
from minion.store.migrations import stored_version
from minion.store.routines import KeptRoutine
from minion.store.run_history import whole_run
from minion.store.run_resume import to_resume_by_hand
from minion.store.standing import halt_of
from minion.store.writer import Writer, open_writer
from minion.wire import Order
from server.contract.digest import instant
from server.contract.refusals import BadUse, NotFound, Refusal, Refused

if TYPE_CHECKING:
    from minion.store.writer import Connection


@dataclass(slots=True)
class Minion:
    """A minion whose home this process owns. `alert` is called with what an owner must hear of."""

    home: Home
    config: Config
    writer: Writer
    supervisor: Supervisor
    routines: RoutineKeeper
    clock: Clock
    alert: Callable[[str], None]

    async def prepare(
        self, text: str, trigger: Trigger, *, engine: str | None, repository: str | None, model: str | None = None
    ) -> tuple[Order, dict[str, str]]:
        """The order for one run of a routine and its lock; routine, process and skills are read fresh.

        Raises a `Refusal` before anything is recorded.
        """
        # Refused here with the remedy; the runner, which opens the file itself, could only give up.
        read_secrets(self.home.secrets_file)
        kept = await self.routines.current(text)
        wanted = engine or kept.document["engine"] or self.config.engine
        chosen = engine_for(self.home, kept.document, wanted)
        repositories = kept.document["repositories"] or ()
        if repository is not None:
            repositories = (repository_at(repository),)
        parts = await self._gather(kept)
        models = models_for(kept.document, _of_pipeline(parts), self.config, model)
        if has_model(chosen):
            check_priced(models, self.config)
            await self._check_allowance()
        elif model is not None:
            hint = "add --engine messages, or leave --model out"
            raise BadUse("model_unused", f"The engine {chosen} has no model to choose.", hint=hint)
        order = make_order(
            parts, trigger, home=self.home, config=self.config, repositories=repositories, engine=chosen,
            models=models, answers=await self._answers(kept.id) if has_model(chosen) else (),
        )
        return order, lock_of(order, parts.process)

    async def open_run(
        self, text: str, trigger: Trigger, *, engine: str | None = None, repository: str | None = None,
        model: str | None = None,
    ) -> Order:
        """Open a run of a routine, which may be paused; who performs it is the caller's to see to.

        Raises `Refused` while the minion is halted, and for a strict routine that must be decided upon first;
        nothing is recorded then.
        """
        halted = await self.writer.transact(halt_of)
        if halted is not None:
            raise Refused("halted", f"The minion is halted: {halted['why']}.", hint="minion unhalt")
        order, lock = await self.prepare(text, trigger, engine=engine, repository=repository, model=model)
        held = await self.hold_of(order, lock)
        if held is not None:
            await asyncio.to_thread(shutil.rmtree, order.run_dir, ignore_errors=True)
            raise _refused(order, held)
        await self.supervisor.open(order, lock)
        return order

    async def take_up(self, run_id: str, *, anyway: bool) -> Order:
        """Have an interrupted run be under way again because a person asks; who performs it is the caller's.

        `anyway`: though it was interrupted long ago. Raises a `Refusal`, the run as it was then.
        """
        now = self.clock()
        await self.writer.transact(lambda db: to_resume_by_hand(db, run_id, now=now, anyway=anyway))
        # Refused here with the remedy; the runner could only be interrupted again.
        read_secrets(self.home.secrets_file)
        with read_only(self.home.store) as db:
            engine = whole_run(db, run_id)["engine"]
        check_engine(engine, secrets_of(self.home))
        if has_model(engine):
            await self._check_allowance()
        return await self.supervisor.take_up(run_id, anyway=anyway)

    async def run(self, order: Order, lock: dict[str, str]) -> None:
        """Perform one run to its end and have the store keep it."""
        await self.supervisor.run(order, lock)

    def reconfigure(self, config: Config) -> None:
        """Go by other settings from now on; who the minion is stays."""
        if config.minion_id != self.config.minion_id:
            hint = "put minion.json back as it was, or stop the minion first"
            raise Refused("other_minion", "The file minion.json is that of another minion now.", hint=hint)
        self.config = self.routines.config = self.supervisor.config = config

    async def hold_of(self, order: Order, lock: dict[str, str]) -> Decision | None:
        """The decision that a run must wait for: what it runs with changed, or its runs go wrong too often.

        None when it may start. Only a routine with `lock: strict` waits for the one; its first run decides what it
        may run with. Raises `Refused` where its variant's policy has nobody look: the routine is paused then.
        """
        changed = await self._hold_of_lock(order, lock)
        return changed or await self._hold_of_confidence(order)

    async def _hold_of_confidence(self, order: Order) -> Decision | None:
        policy, routine = order.policy, order.routine
        name, variant, now = routine["name"], order.variant, self._now()
        floor = policy.confidence_floor
        if floor is None:
            return None

        async def judged(db: Connection) -> Decision | str | None:
            found = await confidence_of(db, routine["id"], variant)
            if not found.below(policy):
                return None
            if not policy.gates:
                return words(found, name, variant, floor)
            return await ask_about_confidence(db, routine["id"], name, variant, found, floor, now=now)

        held = await self.writer.transact(judged)
        if not isinstance(held, str):
            return held
        with contextlib.suppress(Refusal):  # a routine of HQ's is HQ's to pause
            await self.routines.change(name, {"paused": True})
        self.alert(f"{held}; {name} is paused. Look at its runs, then: minion schedule resume {name}")
        raise Refused("confidence_low", f"{held}.", hint=f"look at its runs, then minion schedule resume {name}")

    async def _hold_of_lock(self, order: Order, lock: dict[str, str]) -> Decision | None:
        if order.routine.get("lock") != "strict":
            return None
        routine_id, now = order.routine["id"], self._now()

        async def compared(db: Connection) -> Decision | None:
            accepted = await accepted_lock(db, routine_id)
            if accepted is None:
                await accept_lock(db, routine_id, lock, by="its first run", now=now)
                return None
            parts = changed_parts(accepted, lock)
            name = order.routine["name"]
            return await ask_about_lock(db, routine_id, name, lock, parts, now=now) if parts else None

        return await self.writer.transact(compared)

    def _now(self) -> str:
        return instant(self.clock())

    async def _check_allowance(self) -> None:
        """Raise `Refused` when the minion's dollars of this day or month are used up."""
        why, hint = await self.supervisor.allowance.why_not()
        if why:
            raise allowance_spent(why, hint)

    async def _answers(self, routine_id: str) -> list[dict[str, str]]:
        return await self.writer.transact(lambda db: answered_questions(db, routine_id))

    async def _gather(self, kept: KeptRoutine) -> Ingredients:
        folders: dict[str, SkillFolder] = {}
        for name in dict.fromkeys((*kept.document["pipeline"], REPORT)):
            try:
                folders[name] = load_skill(self.home, name)
            except NotFound:
                if name == REPORT:
                    raise
                # The run itself says so, and records the gap.
        candidates = [folder.candidate() for folder in folders.values()]
        process, *skills = await admit(self.writer, [process_candidate(PROCESS, process_file()), *candidates])
        check_requires(self.home, skills)
        check_codes(process, skills)
        admitted = dict(zip(folders, skills, strict=True))
        return Ingredients(kept, process, folders, admitted, pinned_digests())


def _refused(order: Order, held: Decision) -> Refused:
    """Why a run that a person asks for may not start before a decision."""
    name, hint = order.routine["name"], f"minion decide {held.id} approve"
    if held.kind == CONFIDENCE:
        return Refused("confidence_held", f"{held.question.partition(';')[0]}.", hint=hint)
    change = "what it runs with has changed"
    if held.answer == "reject":
        change = "the change of what it runs with was rejected"
    return Refused("lock_changed", f"The routine {name} is strict, and {change}.", hint=hint)


def _of_pipeline(parts: Ingredients) -> list[Mapping[str, Any]]:
    """The admitted skills of the pipeline; the report's is nobody's to choose a model for."""
    return [parts.admitted[name] for name in parts.routine.document["pipeline"] if name in parts.admitted]


@asynccontextmanager
async def opened(
    home: Home,
    command: str,
    *,
    clock: Clock,
    alert: Callable[[str], None],
    on_event: OnEvent | None = None,
    on_end: OnEnd | None = None,
    owns_process: bool = True,
    begin: Callable[[], Config] | None = None,
) -> AsyncIterator[Minion]:
    """Own a home: take its lock, open its store, end what a dead owner left. Raises a `Refusal`.

    `begin` makes a home that is not there yet; of several processes that begin at once, one does.
    """
    config = load_config(home) if begin is None else None
    with held(home, command):
        config = config or (begin() if begin is not None else load_config(home))
        if not examine(home.store, minion_id=config.minion_id, runs_dir=home.runs):
            create(home.store, config.minion_id)
        elif stored_version(home.store) < SCHEMA_VERSION:
            # Once in a version's life: nobody else loads what it takes.
            from minion.setup.upgrade import bring_up_to_date

            bring_up_to_date(home, config, clock(), alert)
        async with open_writer(home.store) as writer:
            supervisor = Supervisor(
                config, writer, clock, runs_dir=home.runs, on_event=on_event, on_end=on_end,
                owns_process=owns_process,
            )
            for run_id in await supervisor.recover():
                alert(f"The run {run_id} was left unfinished by an earlier owner of this home; it is closed now.")
            routines = RoutineKeeper(home, config, writer, clock, alert)
            yield Minion(home, config, writer, supervisor, routines, clock, alert)


def initialise(home: Home, *, name: str, timezone: str) -> Config:
    """Make a home: its folders (0700) and who the minion is, with a fresh id.

    Raises `Refused` when there is a minion already or the folder cannot be made.
    """
    try:
        if home.config_file.exists():
            raise Refused("home_exists", f"There is a minion in {home.root} already.", hint="minion routine list")
        for folder in (home.root, home.routines, home.skills, home.runs, home.outbox):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_home(home, error) from error
    from uuid import uuid4  # milliseconds that only who makes a home has to wait for

    config = Config(str(uuid4()), name, timezone=timezone)
    save_config(home, config)
    return config
