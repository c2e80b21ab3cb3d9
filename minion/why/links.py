"""The links up to a run: is it due, does a daemon run, what became of the slot, is its engine there.

Each function looks at one link of a case and says how it is; nothing is written or printed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from minion.daemon.judgement import COULD_NOT_START, paused_itself
from minion.engines.registry import API_KEY, AUTO_CHOICE, INSTALLED, lack_of, needed_secret
from minion.standing import GONE, scheduling
from minion.store.overview import Reader, first_up_at, paused_since, pausing_itself, run_going_on
from minion.store.routines import problem_files
from minion.store.standing import halt_now
from minion.store.watches import Watched
from minion.why.chain import Facts, Link, day_and_time, zone_of
from server.contract.catch_up import catch_up, left_out
from server.contract.digest import parse_instant

if TYPE_CHECKING:
    from datetime import datetime

    from minion.store.routines import KeptRoutine
    from minion.why.occasion import Occasion

# A slot that was noticed within this long after it was due was seen by a daemon that ran then.
_NOTICED: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Case:
    """One instant of one routine. `current`: nobody asked about that instant, but about how things stand."""

    db: Reader
    kept: KeptRoutine
    facts: Facts
    occasion: Occasion
    current: bool

    @property
    def record(self) -> Mapping[str, Any] | None:
        """The slot's record."""
        return self.occasion.record

    def told(self, moment: str | datetime) -> str:
        """An instant in the routine's zone, in words."""
        at = parse_instant(moment) if isinstance(moment, str) else moment
        return day_and_time(at, zone_of(self.kept.document, self.facts.zone))


def stands_in_the_way(
    db: Reader, kept: KeptRoutine, facts: Facts, alerts: Mapping[str, str]
) -> Link | None:
    """Why a routine is not due at all now; None when it is due by itself. `alerts`: open ones of it, by kind."""
    document, name = kept.document, kept.name
    if not document["triggers"]:
        says = "It has no schedule: it runs when somebody asks for it."
        return Link("due", "off", says, scheduling(name))
    if name not in facts.files:
        return Link("due", "broken", f"It does not run: {GONE}.", f"minion routine remove {name}")
    problem = problem_files(db).get(name)
    if problem is not None:
        says = f"Its file is bad, and what it said before is in force: {problem.removeprefix(f'{name}: ')}"
        return Link("due", "broken", says, f"minion routine edit {name}")
    if document["paused"]:
        since = paused_since(db, kept.id)
        when = f" since {day_and_time(parse_instant(since), zone_of(document, facts.zone))}" if since else ""
        reason, pausing = alerts.get("auto_paused", ""), pausing_itself(db, name)
        if pausing is not None:  # its file says so already, and nobody was told yet
            reason = paused_itself(name, Watched(*pausing))
        if reason.startswith(itself := f"{name} paused itself: "):
            says = f"It paused itself{when}: {reason.removeprefix(itself)}"
            return Link("due", "broken", says, f"minion schedule resume {name}")
        return Link("due", "off", f"It is paused{when}.", f"minion schedule resume {name}")
    if document["scheduled_by"] != "minion":
        return Link("due", "off", "HQ schedules it, and not this minion.", f"minion routine edit {name}")
    return None


def due(case: Case) -> Link:
    """It is, or was, due."""
    if case.occasion.ahead:
        return Link("due", "holds", f"It is due next {case.occasion.when}.")
    return Link("due", "holds", f"It was due {case.occasion.when}.")


def daemon(case: Case) -> Link:
    """A daemon ran the minion then; and where nobody asked about a certain slot, one runs it now."""
    if case.current or case.record is None:
        trouble = _daemon_now(case)
        if trouble is not None:
            return trouble
    record = case.record
    if record is None:
        return Link("daemon", "holds", "The daemon is up and well.")
    why = record["why"] or ""
    if record["state"] == "missed" and (left_out(why) or why.startswith("the minion stopped")):
        return _missed(case, record)
    if parse_instant(record["noticed_at"] or record["due_at"]) - case.occasion.due >= _NOTICED:
        return Link("daemon", "holds", f"A daemon noticed it at {case.told(record['noticed_at'])}.")
    return Link("daemon", "holds", "A daemon ran the minion then.")


def _daemon_now(case: Case) -> Link | None:
    said, occasion, halted = case.facts.daemon, case.occasion, halt_now(case.db)
    if halted is not None:
        says = f"The minion is halted since {case.told(halted['at'])}: {halted['why']}."
        return Link("daemon", "broken", says, "minion unhalt")
    if said is None:
        never = " None ever did." if first_up_at(case.db) is None else ""
        if case.record is None and not occasion.ahead:
            says = f"It was due {occasion.when}, and no daemon ran the minion.{never}{_made_up_for(case)}"
        elif occasion.ahead:
            says = f"No daemon runs the minion: what is due {occasion.when} would not start.{never}"
        else:
            says = "No daemon runs the minion: its next one would not start."
        return Link("daemon", "broken", says, "minion up")
    if said["health"] == "silent":
        says = f"The daemon (process {said['pid']}) does not answer: {' '.join(said['trouble'])}."
        return Link("daemon", "broken", says, said["fix"])
    if said.get("stopping"):
        return Link("daemon", "broken", "The daemon is ending: nothing starts any more.", "minion up")
    if said["trouble"]:
        return Link("daemon", "broken", f"The daemon is in trouble: {' '.join(said['trouble'])}", "minion doctor")
    return None


def _made_up_for(case: Case) -> str:
    """What a start of the daemon would do about an overdue slot."""
    entry, now = case.occasion.entry, case.facts.now
    if entry is None or first_up_at(case.db) is None:
        return ""
    rules = entry.rules
    after = max(entry.last, entry.floor or entry.last)
    arrived = catch_up(
        entry.schedule, after, now, policy=rules.catch_up, window_s=rules.window_s, stagger=rules.stagger
    )
    says = " One that comes up now "
    return f"{says}runs it late." if arrived.run else f"{says}does not make up for it ({arrived.why})."


def _missed(case: Case, record: Mapping[str, Any]) -> Link:
    noticed = case.told(record["noticed_at"]) if record["noticed_at"] else None
    count = f", and {record['count'] - 1} before it" if record["count"] > 1 else ""
    came = f" One noticed it {noticed}:" if noticed and left_out(record["why"]) else " Then"
    says = f"It was due {case.occasion.when}{count}, and no daemon ran the minion then.{came} {record['why']}."
    # What was missed can be run now; that it is not missed again is the daemon's to be up.
    fix = "minion up" if case.facts.daemon is None else f"minion run {case.kept.name}"
    return Link("daemon", "broken", says, fix)


def slot(case: Case) -> Link:
    """The slot was claimed, and started a run."""
    record, when = case.record, case.occasion.when
    if record is None:
        if case.occasion.ahead:
            return Link("slot", "holds", f"It will be claimed {when}.")
        return _without_record(case)
    state, why = record["state"], record["why"] or "no reason was written down"
    if state in ("ran", "late"):
        return Link("slot", "holds", _started(case, record))
    if state == "due":
        return Link("slot", "pending", f"It was due {when} and waits for its turn.", "minion status")
    if state == "held":
        fix = f"minion decide {record['decision_id']} approve"
        return Link("slot", "broken", f"It was due {when} and waits for a person: {why}", fix)
    if why.startswith(COULD_NOT_START):
        if _is_of_the_engine(why):
            return Link("slot", "holds", f"It was claimed {when}.")
        # Which model it is to have stands in its file.
        verb = "routine edit" if why.startswith(f"{COULD_NOT_START}The model ") else "run"
        return Link("slot", "broken", f"It was due {when}, and {why}", f"minion {verb} {case.kept.name}")
    return _kept_from_it(case, record, why)


def _without_record(case: Case) -> Link:
    when, since = case.occasion.when, case.facts.now - case.occasion.due
    if since < _NOTICED + timedelta(seconds=case.occasion.entry.rules.stagger if case.occasion.entry else 0):
        return Link("slot", "pending", f"It was due {when}, and is being started.", "minion status")
    says = f"It was due {when}, and no record says what became of it."
    return Link("slot", "broken", says, f"minion slots {case.kept.name}")


def _started(case: Case, record: Mapping[str, Any]) -> str:
    if record["state"] == "ran" or record["settled_at"] is None:
        return "It started on time."
    late = case.told(record["settled_at"])
    noticed = parse_instant(record["noticed_at"] or record["settled_at"])
    if noticed - case.occasion.due >= _NOTICED:
        return f"It started late, {late}: no daemon ran the minion when it was due."
    return f"It started late, {late}: it waited for its turn."


def _kept_from_it(case: Case, record: Mapping[str, Any], why: str) -> Link:
    """A slot that was skipped, or given up, while a daemon ran: each reason has its own remedy."""
    name, when, state = case.kept.name, case.occasion.when, record["state"]
    if why.startswith("the minion was halted"):
        halted = halt_now(case.db) is not None
        fix = "minion unhalt" if halted else f"minion run {name}"
        return Link("slot", "broken", f"It was due {when} and was skipped: {why}.", fix)
    if record["decision_id"] is not None:
        fix = f"minion decide {record['decision_id']} approve"
        return Link("slot", "broken", f"It was due {when} and {_was(state)}: {why}.", fix)
    going_on = run_going_on(case.db, case.kept.id, record["noticed_at"] or record["due_at"])
    if going_on is not None and ("still going" in why or "wait already" in why):
        says = f"It was due {when} and was skipped: {why} ({going_on['id']})."
        fix = f"minion cancel {going_on['id']}" if going_on["now"] else f"minion show {going_on['id']}"
        return Link("slot", "broken", says, fix)
    return Link("slot", "broken", f"It was due {when} and {_was(state)}: {why}.", f"minion run {name}")


def _was(state: str) -> str:
    return "was missed" if state == "missed" else "was skipped"


def engine(case: Case) -> Link:
    """What executes it is installed here."""
    record, document = case.record, case.kept.document
    why = (record["why"] or "") if record is not None else ""
    if why.startswith(COULD_NOT_START) and _is_of_the_engine(why):
        return _missing(case, why.removeprefix(COULD_NOT_START))
    if record is not None and record["run_id"] is not None:
        return Link("engine", "holds", "Its engine was there.")
    wanted = document["engine"] or case.facts.engine
    if wanted == AUTO_CHOICE.name:
        return Link("engine", "holds", "Its engine is chosen when its next run begins.")
    lack = lack_of(wanted, lambda: case.facts.secrets)
    if lack is not None:
        return _missing(case, lack.says)
    if case.occasion.ahead:
        return Link("engine", "holds", f"Its engine, {wanted}, is there.")
    return Link("engine", "holds", f"Its engine, {wanted}, is there now.")


def _missing(case: Case, sentence: str) -> Link:
    verb = "is" if case.occasion.ahead else "was"
    return Link("engine", "broken", f"It {verb} due {case.occasion.when}. {sentence}", _mending(case))


def _mending(case: Case) -> str:
    """The command after which the engine is there; where it is there by now, the one that runs the routine."""
    name, own = case.kept.name, case.kept.document["engine"]
    wanted = own or case.facts.engine
    chosen_later = wanted == AUTO_CHOICE.name
    needed = API_KEY if chosen_later else needed_secret(wanted)
    if needed is not None and needed not in case.facts.secrets:
        return f"minion secret set {needed}"
    if chosen_later or lack_of(wanted, lambda: case.facts.secrets) is None:
        return f"minion run {name}"
    return f"minion routine edit {name}" if own is not None else f"minion setup --engine {INSTALLED[0]}"


def _is_of_the_engine(why: str) -> bool:
    return why.startswith(f"{COULD_NOT_START}The engine ")
