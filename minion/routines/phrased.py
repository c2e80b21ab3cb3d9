"""The routine that one sentence asks for: when by its phrase, what by the skills and templates its words fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from minion.admission import answers_kept, routine_candidate
from minion.config import Config, Home
from minion.repositories import repository_at, top_level
from minion.routines.files import routine_files
from minion.routines.matching import SEND, Choice, Offer, choose
from minion.routines.template_list import FOLDER, templates
from minion.secrets_file import read_secrets
from minion.skills.inventory import KnownSkill, known_skills
from minion.skills.loader import REPORT
from server.contract.layout import as_yaml
from server.contract.phrases import Reading, read_phrase
from server.contract.refusals import BadDocument, BadUse, Refusal
from server.contract.schedule import next_slots, parse_schedule

SHOWN: Final = 3
_MOST_TRIED: Final = 100
# A line of a template's content that its skill reads as a setting, such as `folder: inbox`.
# As the contract's `Slug`, which needs pydantic; the document check has the last word.
_SLUG: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_SETTING: Final = re.compile(r"^[a-z][a-z_-]*: \S.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A routine before anybody agreed to it: `body` is its file, `next` its instants with their zone's offset.

    `cautions` are sentences that somebody should read before agreeing.
    """

    reading: Reading
    next: tuple[str, ...]
    choice: Choice
    name: str
    repositories: tuple[str, ...]
    body: bytes
    cautions: tuple[str, ...]

    @property
    def template(self) -> str | None:
        """The template it was made from."""
        chosen = self.choice.chosen
        return chosen.name if chosen is not None and chosen.is_template else None


def read_time(text: str, *, zone: str, now: datetime) -> tuple[Reading, tuple[str, ...]]:
    """What a phrase or cron line says, and its next three instants. Raises `BadDocument`; `now` is aware UTC."""
    try:
        reading = read_phrase(text, zone=zone, now=now)
    except BadDocument as refusal:
        # Said as a part of a sentence about a file elsewhere; here it stands alone.
        whole = refusal.sentence[:1].upper() + refusal.sentence[1:].rstrip(".") + "."
        raise BadDocument(refusal.code, whole, hint=refusal.hint) from None
    schedule = parse_schedule(reading.expression, reading.zone, now=now)
    return reading, tuple(slot.at.isoformat() for slot in next_slots(schedule, now, SHOWN))


def timing(reading: Reading) -> dict[str, Any]:
    """The keys of a routine's file that say a reading: a cron line, or one instant."""
    if "T" in reading.expression:
        once = {"type": "once", "at": reading.expression, "timezone": reading.zone}
        return {"cron_expression": None, "timezone": reading.zone, "triggers": [once]}
    return {"cron_expression": reading.expression, "timezone": reading.zone, "triggers": []}


def propose(
    home: Home, config: Config, task: str, reading: Reading, due: Sequence[str], *, folder: Path, name: str | None,
    repositories: Sequence[str],
) -> Proposal:  # fmt: skip
    """The routine for `task` at the times of `reading`; nothing is written.

    It works on `repositories`, else the checkout around `folder`, else those the minion is set up with. Raises a
    `Refusal` for a repository that is none, and for skills that cannot be read.
    """
    if name is not None and _SLUG.fullmatch(name) is None:
        hint = "small letters, digits and single hyphens, such as team-commits"
        raise BadUse("bad_name", f"{name[:80]!r} is no name for a routine.", hint=f"use {hint}")
    known = known_skills(home)
    ready = _templates()
    offers = [*_own(known), *(offer for offer, _ in ready)]
    choice = choose(task, offers, [skill.name for skill in known if skill.refusal is None])
    given = tuple(str(repository_at(text)["url"]) for text in repositories)
    around = top_level(folder)
    works_on = given or ((str(around),) if around is not None else config.repositories)
    settings = next((_settings(document) for offer, document in ready if offer is choice.chosen), "")
    chosen_name = name or _free_name(home, choice.name)
    content = task + (f"\n\n{settings}" if settings else "")
    body = _file_of(chosen_name, content, choice, reading, works_on)
    cautions = tuple(_cautions(home, config, choice, known, works_on))
    return Proposal(reading, tuple(due), choice, chosen_name, works_on, body, cautions)


def _templates() -> list[tuple[Offer, Mapping[str, Any]]]:
    """The ready templates with what their files say."""
    ready = templates()
    candidates = [routine_candidate(FOLDER / f"{item.name}.yaml", item.body) for item in ready]
    found: list[tuple[Offer, Mapping[str, Any]]] = []
    for item, document in zip(ready, answers_kept(None, candidates), strict=True):
        if isinstance(document, Refusal):
            raise document
        pipeline = tuple(document["pipeline"])
        found.append((Offer(item.name, pipeline, item.keywords, item.also), document))
    return found


def _own(known: Iterable[KnownSkill]) -> list[Offer]:
    return [
        Offer(skill.name, (skill.name,), description=str(skill.admitted["description"]))
        for skill in known
        if not skill.bundled and skill.admitted is not None and skill.refusal is None
    ]


def _settings(document: Mapping[str, Any]) -> str:
    return "\n".join(_SETTING.findall(document["content"] or ""))


def _free_name(home: Home, name: str) -> str:
    numbered = (f"{name}-{number}" for number in range(2, _MOST_TRIED))
    free = (
        candidate for candidate in (name, *numbered)
        if not routine_files(home, candidate)
    )  # fmt: skip
    return next(free, name)


def _file_of(name: str, content: str, choice: Choice, reading: Reading, repositories: Sequence[str]) -> bytes:
    """The file as people would write it: every value on its line, the words it came from on top."""
    made_from = f", from the template {choice.chosen.name}" if choice.chosen and choice.chosen.is_template else ""
    said = {"name": name, "content": content, "pipeline": list(choice.pipeline)} | timing(reading)
    said["repositories"] = list(repositories)
    # Repositories are said even when there are none: left out, they mean the folder it is added from.
    kept = {key: value for key, value in said.items() if value not in (None, []) or key == "repositories"}
    # Its times stand below, and may change: a comment that said them would soon be wrong.
    return f"# Made by minion schedule{made_from}.\n{as_yaml(kept)}".encode()


def _cautions(
    home: Home, config: Config, choice: Choice, known: Sequence[KnownSkill], repositories: Sequence[str]
) -> Iterable[str]:
    if not choice.pipeline:
        yield "No skill or template fits these words, so they become a prompt."
        if config.engine == "script":
            yield "The script engine has no model to answer a prompt: its runs will end `partial`."
    if choice.pipeline and choice.unused:
        where = f"minion skill show {choice.pipeline[0]}"
        yield f"Chosen without {', '.join(choice.unused)}: what the skill can be told stands in `{where}`."
    for way in choice.unmet:
        yield f"Nothing here sends by {way}: `minion show NAME@last` has the result."
    if SEND in choice.pipeline and "slack_webhook" not in read_secrets(home.secrets_file):
        yield "No Slack webhook is kept yet: the message becomes a file in the outbox (minion setup)."
    bundled = {skill.name for skill in known if skill.bundled} - {SEND, REPORT}
    if bundled & set(choice.pipeline) and not repositories:
        yield "It has no repository to look at: name one with --repo."
