"""Puts a minion together for one owner of its home: lock, store, supervisor; and what commands ask of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minion.admission import admit, process_candidate
from minion.clock import Clock
from minion.config import Config, Home, held, load_config, save_config, unwritable_home
from minion.daemon.orders import Ingredients, lock_of, make_order
from minion.daemon.supervisor import OnEnd, OnEvent, Supervisor
from minion.daemon.triggers import Trigger
from minion.repositories import repository_at
from minion.routines.keeping import RoutineKeeper, check_engine
from minion.routines.process_file import PROCESS, process_file
from minion.secrets_file import read_secrets
from minion.skills.loader import REPORT, SkillFolder, check_codes, check_requires, load_skill, pinned_digests
from minion.store.decisions import Decision, accept_lock, accepted_lock, ask_about_lock, changed_parts
from minion.store.local_db import SCHEMA_VERSION, create, examine
from minion.store.migrations import stored_version
from minion.store.routines import KeptRoutine
from minion.store.standing import halt_of
from minion.store.writer import Writer, open_writer
from minion.wire import Order
from server.contract.digest import instant
from server.contract.refusals import NotFound, Refused

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
        self, text: str, trigger: Trigger, *, engine: str | None, repository: str | None
    ) -> tuple[Order, dict[str, str]]:
        """The order for one run of a routine and its lock; routine, process and skills are read fresh.

        Raises a `Refusal` before anything is recorded.
        """
        # Refused here with the remedy; the runner, which opens the file itself, could only give up.
        read_secrets(self.home.secrets_file)
        kept = await self.routines.current(text)
        chosen = check_engine(engine or kept.document["engine"] or self.config.engine)
        repositories = kept.document["repositories"] or ()
        if repository is not None:
            repositories = (repository_at(repository),)
        parts = await self._gather(kept)
        order = make_order(
            parts, trigger, home=self.home, config=self.config, repositories=repositories, engine=chosen
        )
        return order, lock_of(order, parts.process)

    async def open_run(
        self, text: str, trigger: Trigger, *, engine: str | None = None, repository: str | None = None
    ) -> Order:
        """Open a run of a routine, which may be paused; who performs it is the caller's to see to.

        Raises `Refused` while the minion is halted, and for a strict routine that must be decided upon first;
        nothing is recorded then.
        """
        halted = await self.writer.transact(halt_of)
        if halted is not None:
            raise Refused("halted", f"The minion is halted: {halted['why']}.", hint="minion unhalt")
        order, lock = await self.prepare(text, trigger, engine=engine, repository=repository)
        held = await self.hold_of(order, lock)
        if held is not None:
            await asyncio.to_thread(shutil.rmtree, order.run_dir, ignore_errors=True)
            change = "what it runs with has changed"
            if held.answer == "reject":
                change = "the change of what it runs with was rejected"
            says = f"The routine {order.routine['name']} is strict, and {change}."
            raise Refused("lock_changed", says, hint=f"minion decide {held.id} approve")
        await self.supervisor.open(order, lock)
        return order

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
        """The decision that a run must wait for because what it runs with changed; None when it may start.

        Only a routine with `lock: strict` waits; its first run decides what it may run with.
        """
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
