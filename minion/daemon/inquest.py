"""What the watchdog makes of what happened, inside one transaction: which alerts open, which are over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from minion.daemon.judgement import (
    BAD,
    GOOD,
    after,
    bad_file,
    brief,
    failing,
    is_missed,
    made_up_for,
    missed,
    not_delivered,
    not_paused,
    on_time_again,
    paused_itself,
    rise,
    well_again,
)
from minion.store.alerts import (
    Kind,
    close_alert,
    make_notices,
    open_alert,
    open_one,
    open_ones,
    unsent_ways,
    untold_alerts,
    withdraw_notice,
)
from minion.store.run_resume import STOPPED_BY_A_PERSON, why_not_resumed
from minion.store.watches import (
    RunEnded,
    SlotEnded,
    Watched,
    answer_to,
    bad_files,
    document_of,
    forget_watched,
    is_question,
    keep_watched,
    open_questions,
    pause_due,
    paused_ones,
    take_facts,
    undelivered,
    watched_of,
)
from server.contract.digest import canonical_json, instant, parse_instant

if TYPE_CHECKING:
    from minion.store.writer import Connection

    Document = Mapping[str, Any]


@dataclass(slots=True)
class Inquest:
    """One look at `now` (aware UTC). `notify`: who is told where a routine names nobody; `zone`: the minion's.

    `to_ping`: (routine, secret, run, when it ended, whether it went well) of each run with a dead-man's switch.
    `news`: what opened or is over, for the daemon's log.
    """

    now: datetime
    notify: Sequence[Mapping[str, Any]]
    zone: tzinfo
    to_ping: list[tuple[str, str, str, datetime, bool]] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    _documents: dict[str, Document] = field(default_factory=dict)

    async def hear(self, db: Connection, *, most: int) -> bool:
        """Take in the runs and slots that ended; whether there may be more of them."""
        facts, more = await take_facts(db, most=most)
        for fact in facts:
            if isinstance(fact, RunEnded):
                await self._run(db, fact)
            else:
                await self._slot(db, fact)
        return more

    async def look(self, db: Connection) -> list[str]:
        """Compare with bad files, open decisions and paused routines as they are now; the routines to pause."""
        await self._look_at_files(db)
        await self._look_at_decisions(db)
        for name in await paused_ones(db, "itself"):
            if not (await self._document(db, name)).get("paused"):
                watched = await watched_of(db, name)
                await keep_watched(db, name, replace(watched, failures=0, newest=None, paused="no"))
                await self._close(db, name, "auto_paused", f"{name} was resumed.")
        for name in await pause_due(db):
            await keep_watched(db, name, replace(await watched_of(db, name), paused="due"))
        return await paused_ones(db, "due")

    async def named(self, db: Connection) -> list[str]:
        """The routines of which an alert is open."""
        return list(dict.fromkeys(alert.routine for alert in await open_ones(db)))

    async def reread(self, db: Connection, gone: Sequence[str]) -> None:
        """After a change of files or settings: what is `gone` needs nobody, and others may be told now."""
        for name in gone:
            await forget_watched(db, name)
        for alert in await open_ones(db):
            name = alert.routine
            if name in gone:
                await self._close(db, name, alert.kind, f"The file of {name} is gone.", quietly=True)
            elif alert.kind == "ping_failed" and (await self._watch(db, name)).get("ping") is None:
                await self._close(db, name, "ping_failed", f"{name} has no dead-man's switch any more.")
        for position, name, way in await unsent_ways(db):
            if way not in {canonical_json(dict(each)) for each in await self._ways(db, name)}:
                await withdraw_notice(db, position)
        for alert in await untold_alerts(db):
            ways = await self._ways(db, alert.routine)
            await make_notices(db, alert.position, ways, over=False, now=instant(self.now))

    async def paused(self, db: Connection, name: str, problem: str | None) -> None:
        """Note that a routine paused itself, or with a `problem` that it could not."""
        watched = await watched_of(db, name)
        await keep_watched(db, name, replace(watched, paused="itself" if problem is None else "no"))
        says = paused_itself(name, watched) if problem is None else not_paused(name, watched, problem)
        await self._open(db, name, "auto_paused", says, tally=watched.failures)

    async def switches(self, db: Connection, told: Mapping[str, str | None]) -> None:
        """Note which dead-man's switches were called, and which cannot be: None or why, by routine."""
        for name, problem in told.items():
            if problem is None:
                says = f"The dead-man's switch of {name} is called again."
                await self._close(db, name, "ping_failed", says)
            else:
                says = f"The dead-man's switch of {name} cannot be called: {brief(problem)}."
                await self._open(db, name, "ping_failed", says)

    async def _look_at_files(self, db: Connection) -> None:
        files = await bad_files(db)
        told = {alert.routine: alert.text for alert in await open_ones(db, "bad_file")}
        for name, (problem, good) in files.items():
            says = bad_file(name, problem, good=good)
            if told.get(name) != says:
                await self._open(db, name, "bad_file", says)
        for name in told.keys() - files.keys():
            await self._close(db, name, "bad_file", f"The file of {name} is good again.")

    async def _look_at_decisions(self, db: Connection) -> None:
        questions = await open_questions(db)
        told = {alert.routine: alert.ref for alert in await open_ones(db, "waits")}
        for name, (decision, kind, question) in questions.items():
            if told.get(name) != decision:
                does = "asks people" if kind == "question" else "waits for a decision"
                says = f"{name} {does}: {brief(question)}"
                if kind != "question" and await is_question(db, told.get(name)):
                    # What holds the routine is told anew, though people were told of a question before.
                    await close_alert(db, name, "waits", says, now=instant(self.now), quietly=True)
                await self._open(db, name, "waits", says, ref=decision)
        for name, ref in told.items():
            if name not in questions:
                answer = await answer_to(db, ref or "") or "answered"
                await self._close(db, name, "waits", f"{name} waits no more: its decision was {answer}.")

    async def _run(self, db: Connection, run: RunEnded) -> None:
        name = run.routine
        if run.state == "interrupted" and not run.final:
            if await why_not_resumed(db, run.run_id, now=self.now) is None:
                return  # it may go on: what comes of it counts, not where it was cut off
            if (run.why or "").startswith(STOPPED_BY_A_PERSON):
                return
        watch = await self._watch(db, name)
        watched = after(await watched_of(db, name), run)
        await keep_watched(db, name, watched)
        if run.verdict in GOOD:
            await self._went_well(db, run, watched)
        elif run.verdict in BAD:
            await self._went_wrong(db, run, watched.failures, watch.get("failures", 1))
        if run.state == "completed":
            await self._costs(db, run, watched, watch.get("cost_rise"))
        if watch.get("ping") is not None and run.verdict in BAD | GOOD:
            good = run.verdict in GOOD
            self.to_ping.append((name, watch["ping"], run.run_id, parse_instant(run.ended_at), good))

    async def _went_well(self, db: Connection, run: RunEnded, watched: Watched) -> None:
        name, zone = run.routine, self.zone
        alert = await open_one(db, name, "failing")
        await self._close(db, name, "failing", well_again(run, alert.tally if alert is not None else 1, zone))
        await self._close(db, name, "not_delivered", well_again(run, 1, zone))
        await self._close(db, name, "slot_missed", made_up_for(run, zone))
        if watched.paused == "no":  # then it is open because pausing was refused, and there is no need any more
            await self._close(db, name, "auto_paused", f"{name} went well before it was paused.")

    async def _went_wrong(self, db: Connection, run: RunEnded, failures: int, needed: int) -> None:
        if run.verdict == "not-delivered":
            says = not_delivered(run, await undelivered(db, run.run_id), self.zone)
            await self._open(db, run.routine, "not_delivered", says, ref=run.run_id)
        elif failures >= needed:
            says = failing(run, failures, self.zone)
            await self._open(db, run.routine, "failing", says, ref=run.run_id, tally=failures)

    async def _costs(self, db: Connection, run: RunEnded, watched: Watched, most: float | None) -> None:
        found = rise(watched.costs)
        if most is not None and found is not None and found[0] >= most:
            says = f"{run.routine} costs {found[0]:.1f} times what it did: {found[1]}."
            await self._open(db, run.routine, "cost_rise", says, ref=run.run_id)
        else:
            now = found[1] if found is not None else "it is not watched any more"
            await self._close(db, run.routine, "cost_rise", f"{run.routine} costs no more than it did: {now}.")

    async def _slot(self, db: Connection, slot: SlotEnded) -> None:
        if slot.state in ("ran", "late"):
            await self._close(db, slot.routine, "slot_missed", on_time_again(slot, self.zone))
        elif is_missed(slot):
            before = await open_one(db, slot.routine, "slot_missed")
            tally = slot.count + (before.tally if before is not None else 0)
            says = missed(slot, tally, self.zone)
            await self._open(db, slot.routine, "slot_missed", says, tally=tally)

    async def _open(
        self, db: Connection, name: str, kind: Kind, text: str, *, ref: str | None = None, tally: int = 1
    ) -> None:
        ways, now = await self._ways(db, name), instant(self.now)
        if await open_alert(db, name, kind, text, ways=ways, now=now, ref=ref, tally=tally):
            self.news.append(f"alert: {text}")

    async def _close(self, db: Connection, name: str, kind: Kind, closing: str, *, quietly: bool = False) -> None:
        if await close_alert(db, name, kind, closing, now=instant(self.now), quietly=quietly):
            self.news.append(f"over: {closing}")

    async def _ways(self, db: Connection, name: str) -> Sequence[Mapping[str, Any]]:
        """Whom to tell of a routine: those it names, else those the minion does."""
        return (await self._document(db, name)).get("notify") or self.notify

    async def _watch(self, db: Connection, name: str) -> Document:
        return (await self._document(db, name)).get("watch") or {}

    async def _document(self, db: Connection, name: str) -> Document:
        if name not in self._documents:
            self._documents[name] = await document_of(db, name) or {}
        return self._documents[name]
