"""Why a routine fires or does not: what stands in its way, when it is due, how its last run went, in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from server.contract.catch_up import stagger_s
from server.contract.phrases import describe
from server.contract.refusals import BadDocument
from server.contract.run import RunState, Verdict, has_ended
from server.contract.schedule import Schedule, next_slots, restore_schedule
from server.domain.readiness import There, lacks_of, not_looked_at

NOBODY: Final = "nobody will be told if this fails"
PAUSED: Final = "It is paused."
SHOWN_INSTANTS: Final = 3
_FALLBACK_ZONE: Final = "UTC"
_ASKS_FOR_ROUTINES: Final = re.compile(
    r"\b(?:create|update|run)_routine\b|(?<![\w/])/schedule\b|\bminion (?:schedule|routine (?:add|new))\b"
    r"|\b(?:create|add|make|schedule|set up|register)\s+(?:[\w-]+\s+){0,3}routines?\b",
    re.IGNORECASE,
)
_WENT: Final[Mapping[Verdict, str]] = {
    "ok": "worked", "unchecked": "says it worked, and nothing confirmed it",
    "not-delivered": "did its work, which did not arrive", "partial": "did a part of its work only",
    "failed": "failed", "unknown": "ended without anybody knowing whether it worked",
    "skipped": "was cancelled before it was done", "running": "goes on", "waiting": "waits for a human",
}  # fmt: skip
_WELL: Final = frozenset({"ok", "unchecked", "running"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of where a routine stands.

    `minion` is the name of the one that has it (None: no minion has it), `left` whether that one has left,
    `joined` the names of all that have joined. `zone` (IANA) counts where a trigger names none; None: unknown.
    `there` is what its minion said of itself, `published` the skills that HQ gives out.
    """

    name: str
    document: Mapping[str, Any]
    minion: str | None
    left: bool
    joined: Sequence[str]
    zone: str | None
    there: There | None = None
    published: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a routine: its id, how it stands, since when (an instant), why, where its steps differ."""

    id: str
    state: RunState
    verdict: Verdict
    at: str
    why: str | None
    difference: Sequence[str | None] | None


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and what to do about it."""

    sentence: str
    remedy: str


def known_zone(text: object) -> str | None:
    """The IANA zone that a minion says it is in, where it is one that is known here."""
    try:
        restore_schedule("@daily", text if isinstance(text, str) else "")
    except BadDocument:
        return None
    return str(text)


def schedules_of(facts: Facts) -> list[Schedule]:
    """The schedules of an admitted routine; one whose zone is no longer known here is left out."""
    found = []
    for trigger in facts.document["triggers"]:
        try:
            zone = trigger["timezone"] or facts.zone or _FALLBACK_ZONE
            found.append(restore_schedule(trigger["at"] if trigger["type"] == "once" else trigger["cron"], zone))
        except BadDocument:
            continue
    return found


def next_instants(facts: Facts, routine_id: str, now: datetime, count: int = SHOWN_INSTANTS) -> list[str]:
    """When a routine is due next by all its schedules together, each with the offset that its zone has then."""
    # With a stagger it starts later than it is due: what is due already may still start.
    after = now - timedelta(seconds=stagger_s(routine_id, facts.document["stagger_s"]))
    due = {slot.at for schedule in schedules_of(facts) for slot in next_slots(schedule, after, count)}
    return [at.isoformat() for at in sorted(due)[:count]]


def in_words(facts: Facts) -> list[dict[str, str]]:
    """Each schedule as it is written, and what it means."""
    return [
        {"schedule": schedule.expression, "words": describe(schedule.expression, schedule.zone)}
        for schedule in schedules_of(facts)
    ]


def hindrance(facts: Facts, due: Sequence[str]) -> Said | None:
    """What keeps a routine from firing by itself; None where nothing does. `due` are its next instants."""
    first = _first_hindrance(facts, due)
    if first is None or not facts.document["paused"] or first.sentence == PAUSED:
        return first
    return Said(f"{first.sentence} It is paused, too.", first.remedy)


def _first_hindrance(facts: Facts, due: Sequence[str]) -> Said | None:
    document, again = facts.document, "update_routine with changes"
    if facts.minion is None and not facts.joined:
        says = "No minion has joined this HQ, so nothing starts it."
        return Said(says, "have a minion join; until then a session can perform it: hq mcp --scope ledger")
    if facts.minion is None:
        says = "No minion has it, so nothing starts it."
        return Said(says, f"update_routine with minion: {_one_of(facts.joined)}")
    if facts.left:
        says = f"Its minion {facts.minion} has left this HQ."
        return Said(says, "have that minion join again, or create the routine for another one")
    if document["paused"]:
        return Said(PAUSED, f'{again} {{"paused": false}} resumes it')
    if not document["triggers"]:
        says = "It has no schedule: it runs when somebody asks for it."
        return Said(says, f'run_routine starts it; {again} {{"cron_expression": "0 9 * * 1-5"}} gives it one')
    if not due:
        says = "Its last instant is over: it is never due again."
        return Said(says, f"{again} to its cron_expression or triggers")
    lacks = [] if facts.there is None else lacks_of(document, facts.there, facts.published)
    return Said(lacks[0].sentence, lacks[0].remedy) if lacks else None


def explained(standing: Said | None, due: Sequence[str], last: LastRun | None) -> Said:
    """One sentence on a routine, and what to do: what stands in its way, when it is due, how its last run went."""
    sentence = standing.sentence if standing else f"It is due next {due[0]}."
    remedy = standing.remedy if standing else "nothing needs doing"
    if last is None:
        return Said(_joined(sentence, "it has not run yet"), remedy)
    if last.state == "queued":
        return Said(_joined(sentence, f"{last.id} waits for its minion since {last.at}"), remedy)
    words = f"its last run {last.id} ({last.at}) {_WENT.get(last.verdict, last.verdict)}{_details(last)}"
    if not has_ended(last.state) or last.verdict in _WELL:
        return Said(_joined(sentence, words), remedy)
    look = f"get_run {last.id} shows its steps"
    return Said(_joined(sentence, words), f"{standing.remedy}; {look}" if standing else look)


def told_when_it_fails(notices: Sequence[Mapping[str, Any]]) -> str:
    """Who is told when a run fails, by the notices that count for it."""
    words = [
        f"Slack, by the webhook in the secret {notice['slack']}" if notice.get("slack")
        else f"the command {notice['command'][0]}"
        for notice in notices
    ]  # fmt: skip
    return " and ".join(words) or NOBODY


def warnings(facts: Facts) -> list[str]:
    """What whoever made a routine should know, though it is admitted."""
    document = facts.document
    dated = any(trigger["timezone"] is None for trigger in document["triggers"])
    found = (
        (_ASKS_FOR_ROUTINES.search(document["content"] or "") is not None,
         "Its prompt asks for routines: a routine that creates routines recurses, and each of them costs."),
        (dated and facts.zone is None,
         "It names no time zone: its minion's counts, and the instants shown here are in UTC."),
        (not document["pipeline"] and _has_no_model(document["engine"], facts.there),
         "A prompt needs a model, and the engine script has none: its runs will be partial."),
        (not document["expect"],
         "It expects nothing that is checked: a run that delivers nothing is at best unchecked."),
        (document["sandbox"] == "none", "It asks to run without a sandbox."),
    )  # fmt: skip
    own = [words for holds, words in found if holds]
    return [*own, *not_looked_at(document, facts.there, facts.published)]


def _has_no_model(engine: str | None, there: There | None) -> bool:
    """Whether a routine's runs have no model: it asks for none, or its minion is known to have none."""
    if engine not in (None, "auto"):
        return engine == "script"
    return there is not None and there.engines is not None and set(there.engines) == {"script"}


def _details(last: LastRun) -> str:
    parts = [last.why.rstrip(".")] if last.why else []
    if last.difference:
        block, expected, taken = last.difference
        if expected is None:
            parts.append(f"first difference in {block}: {taken} was added")
        else:
            parts.append(f"first difference in {block}: {expected} was due, {taken or 'nothing'} was taken")
    return f": {'; '.join(parts)}" if parts else ""


def _joined(sentence: str, more: str) -> str:
    return f"{sentence.removesuffix('.')}; {more}."


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(names[:3]) + (" …" if len(names) > 3 else "")
