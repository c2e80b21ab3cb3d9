"""The documents of a home: each routine file and each skill is admitted as a run would, in one child for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from minion.admission import Candidate, ScheduleCheck, answers_of, routine_candidate
from minion.config import Home
from minion.doctor.finding import Finding, ok, problem, refused, warning
from minion.doctor.house import config_of
from minion.doctor.remedies import edit, edit_routine, quoted, reinstall
from minion.engines.registry import has_model
from minion.models import check_priced, models_for
from minion.routines.engines import engine_for, is_auto, is_chosen
from minion.routines.files import all_routine_files, read_file
from minion.routines.telling import missing_for, missing_for_notify
from minion.runner.webhook import webhook_of
from minion.secrets_file import read_secrets
from minion.skills.loader import (
    REPORT,
    SkillFolder,
    bundled_names,
    check_requires,
    is_pinned,
    load_skill,
    pinned_digests,
    skill_places,
)
from minion.store.local_db import read_only
from minion.store.routines import list_routines
from server.contract.refusals import Refusal

# The bundled skill that looks into no repository; nor does the one that reports.
_SEND: Final = "send-to-slack"


@dataclass(slots=True)
class _Skills:
    """The skills that are there: their folders, what they were admitted as, why they cannot be used."""

    folders: dict[str, SkillFolder] = field(default_factory=dict)
    admitted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)


def documents(home: Home, now: str, fit: list[Mapping[str, Any]] | None = None) -> list[Finding]:
    """What is to be said of the home's skills and routines, and of the secrets that those routines need.

    The routines that can be run as far as their documents say are put into `fit`.
    """
    try:
        places = skill_places(home)
    except Refusal as clash:
        twice = next(home.skills / name for name in sorted(bundled_names()) if (home.skills / name).is_dir())
        return [refused("skills", clash, f"mv {quoted(twice)} {quoted(twice)}-own")]
    skills = _Skills()
    for name in places:
        try:
            skills.folders[name] = load_skill(home, name)
        except Refusal as refusal:
            skills.refused[name] = refusal
    files = all_routine_files(home)
    routines = [routine_candidate(path, read_file(path)) for path in files]
    answers = _answers(home, routines, skills, now)
    found = _skill_findings(home, skills, places)
    admitted: list[Mapping[str, Any]] = []
    bad: list[Finding] = []
    kept = _kept(home)
    for file, answer in zip(files, answers, strict=True):
        if isinstance(answer, Refusal):
            bad.append(refused(f"routine {file.stem}", answer, edit_routine(file.stem)))
        elif (says := _unfit(home, file, answer, skills)) is not None:
            bad.append(problem(f"routine {file.stem}", says, edit_routine(file.stem)))
        elif (lack := _without_engine(home, answer, skills, kept.get(file.stem))) is not None:
            bad.append(refused(f"routine {file.stem}", lack, edit_routine(file.stem)))
        else:
            admitted.append(answer)
    bad += _gone(home, kept, {file.stem for file in files})
    if not bad:
        bad = [ok("routines", _list_of(admitted))]
    if fit is not None:
        fit.extend(admitted)
    lacking = [*_without_repository(admitted), *_missing_secrets(home, admitted, skills), *_untold(home, admitted)]
    return [*found, *bad, *_passed(admitted), *lacking]


def _answers(
    home: Home, routines: Sequence[Candidate], skills: _Skills, now: str
) -> list[dict[str, Any] | Refusal]:
    """What the child says of each routine, schedules and zones included; the skills' answers go to `skills`."""
    config = config_of(home)
    check = ScheduleCheck(config.timezone if config is not None else "UTC", now, past=True)
    answers = answers_of([*routines, *(folder.candidate() for folder in skills.folders.values())], check)
    for name, answer in zip(skills.folders, answers[len(routines) :], strict=True):
        if isinstance(answer, Refusal):
            skills.refused[name] = answer
        else:
            skills.admitted[name] = answer
    return answers[: len(routines)]


def _skill_findings(home: Home, skills: _Skills, places: Mapping[str, tuple[Path, bool]]) -> list[Finding]:
    found = []
    for name, refusal in sorted(skills.refused.items()):
        path, bundled = places[name]
        found.append(refused(f"skill {name}", refusal, reinstall() if bundled else edit(path / "SKILL.md")))
    for name, document in sorted(skills.admitted.items()):
        try:
            check_requires(home, [document])
        except Refusal as refusal:
            path, bundled = places[name]
            found.append(refused(f"skill {name}", refusal, reinstall() if bundled else edit(path / "SKILL.md")))
    pinned = pinned_digests()
    changed = [name for name, one in skills.folders.items() if one.bundled and not is_pinned(one, pinned)]
    if changed:
        says = f"The bundled {', '.join(sorted(changed))} differs from what was released, and so needs a sandbox."
        found.append(warning("skills", says, reinstall()))
    if found:
        return found
    own = sum(not bundled for _, bundled in places.values())
    yours = f" and {own} of your own" if own else ""
    return [ok("skills", f"{len(places) - own} bundled ones{yours} load, and none lacks another.")]


def _unfit(home: Home, file: Path, document: Mapping[str, Any], skills: _Skills) -> str | None:
    """Why an admitted routine could not be run here, None when it could."""
    config = config_of(home)
    if document["name"] != file.stem:
        return f"{file} holds the routine {document['name']}; a file has its routine's name."
    if config is not None and document["minion_id"] not in (None, config.minion_id):
        return f"{file} belongs to the minion {document['minion_id']}; this one is {config.minion_id}."
    known = {*skills.folders, *skills.refused}
    missing = [name for name in document["pipeline"] if name not in known]
    if missing:
        return f"{file} names the skill {missing[0]}, which is not there (minion skill list)."
    return None


def _without_engine(
    home: Home, document: Mapping[str, Any], skills: _Skills, before: Mapping[str, Any] | None
) -> Refusal | None:
    """Why the engine or a model of a routine cannot be used here; `before` is how the routine is kept."""
    config = config_of(home)
    if config is None:
        return None
    wanted = document["engine"] or config.engine
    if is_auto(document, config) and before is not None and is_chosen(before):
        wanted = before["engine"]
    try:
        if has_model(engine_for(home, document, wanted)):
            own = [skills.admitted[name] for name in document["pipeline"] if name in skills.admitted]
            check_priced(models_for(document, own, config), config)
    except Refusal as refusal:
        # What is wrong with the secrets themselves is a finding of its own.
        return None if refusal.code.startswith("secrets_") else refusal
    return None


def _kept(home: Home) -> dict[str, Mapping[str, Any]]:
    """The routines as they are kept, by name; none where there is no store yet, or the finding on it says so."""
    try:
        with read_only(home.store) as db:
            return {routine.name: routine.document for routine in list_routines(db)}
    except Refusal:
        return {}


def _gone(home: Home, kept: Collection[str], names: Collection[str]) -> list[Finding]:
    """The routines in use whose files are gone: nothing of them runs."""
    return [
        problem(f"routine {name}", f"Its file is gone from {home.routines}, so it does not run;"
                " put it back, or take the routine out of use.", f"minion routine remove {name}")
        for name in kept if name not in names
    ]  # fmt: skip


def _untold(home: Home, routines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The programs and secrets by which people are to be told, and that are not there."""
    try:
        held = read_secrets(home.secrets_file)
    except (Refusal, OSError):
        return []  # said by the finding on the secrets
    config = config_of(home)
    lacks = [(f"routine {routine['name']}", edit_routine(routine["name"]), lack)
             for routine in routines for lack in missing_for(routine, held)]  # fmt: skip
    if config is not None:
        lacks += [("config", "minion setup", lack) for lack in missing_for_notify(config.notify, held)]
    told = [(name, f"Its {lack.says}: nobody is told that way.", fix, lack) for name, fix, lack in lacks]
    return [
        warning(name, says, _set(lack.name) if lack.kind == "secret" else fix)
        for name, says, fix, lack in told
    ]


def _passed(routines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The routines that nothing starts any more because their one time is over, which is as it should be."""
    return [
        ok(f"routine {routine['name']}", f"Its time is over ({', '.join(once)}): no schedule starts it any more.")
        for routine in routines
        if not routine["next"] and (once := _instants(routine))
    ]


def _instants(routine: Mapping[str, Any]) -> list[str]:
    return [str(trigger["at"]) for trigger in routine["triggers"] if trigger["type"] == "once"]


def looking_into_repositories() -> frozenset[str]:
    """The bundled skills that can do nothing without a repository."""
    return bundled_names() - {_SEND, REPORT}


def _without_repository(routines: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The routines whose bundled skills look into a repository while the routine names none."""
    looking = looking_into_repositories()
    return [
        warning(
            f"routine {routine['name']}",
            f"It names no repository, and {skill} needs one: its runs fail unless they are given one with --repo.",
            edit_routine(routine["name"]),
        )
        for routine in routines
        if not routine["repositories"]
        and (skill := next((name for name in routine["pipeline"] if name in looking), None)) is not None
    ]


def _missing_secrets(home: Home, routines: Sequence[Mapping[str, Any]], skills: _Skills) -> list[Finding]:
    """The webhooks that routines post to and nobody gave: their messages go to the outbox instead."""
    try:
        held = read_secrets(home.secrets_file)
    except (Refusal, OSError):
        return []  # said by the finding on the secrets
    users: dict[str, list[str]] = {}
    for routine in routines:
        for effect in dict.fromkeys(_effects(routine, skills)):
            kind, _, target = effect.partition(":")
            if kind == "message" and webhook_of(target, held) is None:
                users.setdefault(target, []).append(routine["name"])
    return [
        warning(
            "secrets",
            f"{', '.join(names)} would post to {target}, but there is no secret {target}_webhook:"
            " until then the outbox gets it.",
            "minion setup" if target == "slack" else _set(f"{target}_webhook"),
        )
        for target, names in sorted(users.items())
    ]


def _set(secret: str) -> str:
    return f"minion secret set {quoted(secret)}"


def _effects(routine: Mapping[str, Any], skills: _Skills) -> list[str]:
    """What a routine may do outside: its own list, else what the bundled skills of its pipeline declare."""
    if routine["effects"] is not None:
        return list(routine["effects"])
    bundled = [name for name in routine["pipeline"] if name in skills.admitted and skills.folders[name].bundled]
    return [effect for name in bundled for effect in skills.admitted[name]["effects"]]


def _list_of(routines: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(str(routine["name"]) for routine in routines)
    count = len(routines)
    if not count:
        return "There are no routines yet."
    said = "routine is" if count == 1 else "routines are"
    return f"{count} {said} admitted, schedules and zones included: {names}."
