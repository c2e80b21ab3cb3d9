"""Walks the links of a routine from due to delivered, and stops at the first that does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from minion.store.overview import Reader, began_at, is_kept, newest_run, newest_slot, paused_since, verdicts_of
from minion.store.run_history import whole_run
from minion.store.run_resume import goes_on
from minion.why import links, run_links
from minion.why.chain import Chain, Facts, Link, day_and_time, zone_of
from minion.why.links import Case, stands_in_the_way
from minion.why.occasion import at_the_time, newest
from server.contract.digest import parse_instant

if TYPE_CHECKING:
    from minion.store.routines import KeptRoutine
    from minion.why.asked import Asked


def explain(
    db: Reader, kept: KeptRoutine, facts: Facts, *, asked: Asked | None = None,
    alerts: Mapping[str, str] | None = None,
) -> Chain:  # fmt: skip
    """The links of one instant of a routine: the one asked about, else the newest, or next, at which it is due.

    A run that somebody asked for since, and that is not well, comes first; of a routine without a schedule it is
    the newest run that is looked at. `alerts` are the open ones of the routine, by kind.
    """
    if asked is None:
        asked_for = _asked_for(db, kept, facts)
        if asked_for is not None:
            return asked_for
        way = stands_in_the_way(db, kept, facts, alerts or {})
        if way is not None:
            return Chain(kept.name, None, (way,))
        found = newest(db, kept, facts)
    else:
        if not kept.document["triggers"] and (way := stands_in_the_way(db, kept, facts, {})) is not None:
            return Chain(kept.name, None, (way,))
        found = at_the_time(db, kept, facts, asked)
        if not isinstance(found, Link) and found.record is None:
            way = stands_in_the_way(db, kept, facts, alerts or {})
            found = found if way is None else way
    if isinstance(found, Link):
        return Chain(kept.name, None, (found,))
    return _of_an_occasion(Case(db, kept, facts, found, current=asked is None))


def _of_an_occasion(case: Case) -> Chain:
    at = case.occasion.due.astimezone(zone_of(case.kept.document, case.facts.zone)).isoformat()
    found = tuple(_until_broken(_links(case)))
    run_id = case.record["run_id"] if case.record is not None else None
    late = case.record is not None and case.record["state"] == "late"
    due = f"It was due {case.occasion.when}, "
    well = _well(case.db, case.kept, case.facts, run_id, due, late=late)
    return Chain(case.kept.name, at, found, well, f"{due}and " if run_id is not None else "")


def _well(
    db: Reader, kept: KeptRoutine, facts: Facts, run_id: str | None, due: str, *, late: bool = False
) -> str:
    """What is to be said of a run of which every link holds."""
    if run_id is None or not is_kept(db, run_id):
        return ""
    run = whole_run(db, run_id)
    zone = zone_of(kept.document, facts.zone)
    began = day_and_time(parse_instant(run["started_at"] or run["created_at"]), zone)
    arrived = run_links.delivery(run).words
    ran = f"ran {'late, ' if late else ''}{began}"
    return f"{due}{ran} and is {run['verdict']}; {arrived[:1].lower()}{arrived[1:]}"


def _until_broken(found: Iterator[Link]) -> Iterator[Link]:
    for link in found:
        yield link
        if link.state != "holds":
            return


def _links(case: Case) -> Iterator[Link]:
    steps: tuple[Callable[[Case], Link], ...] = (links.due, links.daemon, links.slot, links.engine)
    for step in steps:
        yield step(case)
    if case.record is None:
        yield Link("run", "pending", f"All is ready: it runs {case.occasion.when}.")
        return
    yield from _run_links(case.db, case.kept, case.facts, case.record["run_id"])


def _run_links(db: Reader, kept: KeptRoutine, facts: Facts, run_id: str) -> Iterator[Link]:
    if not is_kept(db, run_id):
        verdict = verdicts_of(db, [run_id]).get(run_id, "unknown")
        state = "holds" if verdict in ("ok", "unchecked") else "broken"
        says = f"It ran and was {verdict}; of the run itself no more is kept ({run_id})."
        yield Link("run", state, says, None if state == "holds" else f"minion slots {kept.name}")  # type: ignore[arg-type]
        return
    run = whole_run(db, run_id)
    began = day_and_time(parse_instant(run["started_at"] or run["created_at"]), zone_of(kept.document, facts.zone))
    if run["state"] == "interrupted" and facts.daemon is None and goes_on(run, kept.document):
        says = f"Its run was interrupted: {run['why']}; it goes on when the minion is up ({run_id})."
        yield Link("run", "broken", says, "minion up")
        return
    yield run_links.run(run, began)
    for step in (run_links.outcome, run_links.delivery, run_links.expect):
        yield step(run)


def _asked_for(db: Reader, kept: KeptRoutine, facts: Facts) -> Chain | None:
    """The links of the newest run, if no slot started it or came after it and it is not well, or all there is."""
    run_id, record = newest_run(db, kept.id), newest_slot(db, kept.id)
    if run_id is None:
        return None
    created = began_at(db, run_id)
    if record is not None and (record["run_id"] == run_id or record["due_at"] > created):
        return None
    paused = paused_since(db, kept.id) if kept.document["paused"] else None
    if paused is not None and paused > created:
        return None
    chain = _of_a_run(db, kept, facts, run_id)
    return chain if chain.end.state != "holds" or not kept.document["triggers"] else None


def _of_a_run(db: Reader, kept: KeptRoutine, facts: Facts, run_id: str) -> Chain:
    """The links of a run that somebody asked for."""

    def found() -> Iterator[Link]:
        yield Link("due", "holds", "Somebody asked for its newest run.")
        yield from _run_links(db, kept, facts, run_id)

    said = _well(db, kept, facts, run_id, "It was asked for, ")
    return Chain(kept.name, None, tuple(_until_broken(found())), said)
