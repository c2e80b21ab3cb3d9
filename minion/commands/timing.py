"""How schedules and proposed routines look: in words, as cron, with the next instants, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from minion.commands.context import print_json
from minion.commands.presentation import mark, table
from minion.spelling import local_time, plain, spell_instant
from server.contract.phrases import describe
from server.contract.refusals import BadDocument
from server.contract.schedule import next_slots, restore_schedule

if TYPE_CHECKING:
    from minion.routines.added import Added
    from minion.routines.phrased import Proposal
    from minion.store.routines import KeptRoutine
    from server.contract.phrases import Reading

_SHOWN = 3


def timed(reading: Reading, due: Sequence[str]) -> dict[str, Any]:
    """A reading as JSON: `cron` (null for one instant, which `at` has), `timezone`, `words` and `next`."""
    once = "T" in reading.expression
    return {
        "cron": None if once else reading.expression,
        "at": reading.expression if once else None,
        "timezone": reading.zone,
        "words": reading.words,
        "next": list(due),
    }


def print_reading(reading: Reading, due: Sequence[str]) -> None:
    """What was read: in words, as cron, and the next instants."""
    click.echo(f"  when          {reading.words}")
    written = "once at" if "T" in reading.expression else "cron"
    click.echo(f"  {written:<13} {reading.expression}  ({reading.zone})")
    click.echo(f"  next          {'  '.join(spell_instant(item) for item in due)}")


def print_proposal(proposal: Proposal) -> None:
    """A routine before it is agreed to: when, what was chosen for which words, on what, and what to mind."""
    choice = proposal.choice
    click.echo(click.style(proposal.name, bold=True))
    print_reading(proposal.reading, proposal.next)
    steps = " → ".join((*choice.pipeline, "execution-report")) if choice.pipeline else "a prompt: your words"
    click.echo(f"  does          {steps}")
    click.echo(f"  chosen        {chosen(proposal)}")
    others = [offer.name for offer in choice.others]
    if others:
        click.echo(f"  {'also fits' if choice.pipeline else 'nearest':<13} {', '.join(others)}")
    click.echo(f"  works on      {', '.join(proposal.repositories) or 'no repository'}")
    for caution in proposal.cautions:
        click.echo(f"  {click.style('!', fg='yellow', bold=True)}             {caution}")


def chosen(proposal: Proposal) -> str:
    """What was chosen and the words that spoke for it, as one line."""
    choice = proposal.choice
    because = plain(", ".join(f"“{word}”" for word in choice.because))
    if choice.chosen is not None:
        kind = "the template" if choice.chosen.is_template else "your skill"
        return f"{kind} {choice.chosen.name}, for {because}"
    return "the skills you named" if choice.pipeline else "nothing: no template or skill fits your words"


def proposed(proposal: Proposal, added: Added | None) -> dict[str, Any]:
    """A proposal as one JSON document; `saved` says whether it was kept, `id` and `file` then where."""
    choice = proposal.choice
    return timed(proposal.reading, proposal.next) | {
        "routine": proposal.name,
        "pipeline": list(choice.pipeline),
        "content": proposal.reading.task,
        "repositories": list(proposal.repositories),
        "template": proposal.template,
        "chosen": chosen(proposal),
        "because": list(choice.because),
        "also_fits": [offer.name for offer in choice.others],
        "cautions": list(proposal.cautions),
        "saved": added is not None,
        "id": added.kept.id if added is not None else None,
        "file": str(added.file) if added is not None else None,
    }


def words_of(document: Mapping[str, Any], zone: str) -> list[str]:
    """Each schedule of an admitted routine in words; `zone` is for those that name none."""
    return [_words(_expression(trigger), trigger["timezone"] or zone) for trigger in document["triggers"]]


def _words(expression: str, zone: str) -> str:
    try:
        return describe(expression, zone)
    except BadDocument:  # a zone that this machine lost: the listing goes on with what is written
        return f"{expression}, {zone}"


def upcoming(document: Mapping[str, Any], zone: str, now: datetime, count: int) -> list[str]:
    """The next `count` instants of all schedules of an admitted routine, with the offset of their zone."""
    due = set()
    for trigger in document["triggers"]:
        try:
            schedule = restore_schedule(_expression(trigger), trigger["timezone"] or zone)
        except BadDocument:  # a zone that this machine lost
            continue
        due |= {slot.at for slot in next_slots(schedule, now, count)}
    return [at.isoformat() for at in sorted(due)[:count]]


def scheduled(item: KeptRoutine, last: Mapping[str, Any] | None, zone: str, now: datetime) -> dict[str, Any]:
    """A routine's schedule as a listing has it: `cron`, `timezone`, `words`, `next`, `paused`, its last run."""
    document = item.document
    triggers = document["triggers"]
    return {
        "name": item.name,
        "cron": document["cron_expression"] or next((t["cron"] for t in triggers if "cron" in t), None),
        "timezone": next((t["timezone"] for t in triggers if t["timezone"]), document["timezone"]) or zone,
        "words": words_of(document, zone),
        "next": upcoming(document, zone, now, _SHOWN),
        "paused": document["paused"],
        "pipeline": document["pipeline"],
        "last_run": last,
        "id": item.id,
    }


def print_scheduled(listed: Sequence[Mapping[str, Any]]) -> None:
    """The routines with when they run, when they are due, and how the last run went."""
    rows = []
    for item in listed:
        last = item["last_run"]
        due = spell_instant(item["next"][0]) if item["next"] else "–"
        rows.append(
            [
                item["name"], "; ".join(item["words"]) or "on demand", "paused" if item["paused"] else due,
                f"{mark(last['verdict'])} {local_time(last['created_at'])}" if last else "never ran",
            ]
        )  # fmt: skip
    click.echo("\n".join(table(["routine", "when", "due next", "last run"], rows)))


def print_update(name: str, before: Sequence[str], reading: Reading, due: Sequence[str]) -> None:
    """What a routine's times were and would be."""
    click.echo(click.style(name, bold=True))
    click.echo(f"  until now     {'; '.join(before) or 'on demand'}")
    print_reading(reading, due)


def print_times(reading: Reading, due: Sequence[str], *, as_json: bool) -> None:
    """A reading that no routine goes with."""
    if as_json:
        print_json(timed(reading, due) | {"routine": None, "saved": False})
    else:
        print_reading(reading, due)


def _expression(trigger: Mapping[str, Any]) -> str:
    return str(trigger["cron"] if trigger["type"] == "schedule" else trigger["at"])
