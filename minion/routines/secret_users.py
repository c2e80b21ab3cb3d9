"""Who uses which secret of a home: its routines, and minion.json; and that none of them holds one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from minion.config import Config, Home
from minion.engines.registry import needed_secret
from minion.secrets_file import read_secrets
from minion.skills.inventory import known_skills
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal, Refused

# What stands for the minion's own settings among those who use a secret.
SETTINGS: Final = "minion.json"


def users_of(home: Home, config: Config, routines: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The names of the routines that each secret is for, and `minion.json` where it is; as far as documents say.

    A message's target may be kept under two names: both are said to be used.
    """
    declared = _declared_effects(home)
    used = [(routine["name"], _used_by(routine, config, declared)) for routine in routines]
    settings = _with_webhooks(way["slack"] for way in config.notify if "slack" in way)
    used.append((SETTINGS, settings | {needed_secret(config.engine)}))
    found: dict[str, list[str]] = {}
    for user, secrets in used:
        for secret in secrets - {None}:
            found.setdefault(str(secret), []).append(user)
    return found


def check_holds_none(home: Home, body: bytes) -> None:
    """A routine's file is kept, shown and sent as it is: one that holds a secret is refused. Raises `Refused`."""
    try:
        secrets = read_secrets(home.secrets_file)
    except Refusal:  # whoever needs one says so
        return
    written = body.decode("utf-8", "replace")
    held = next((name for name, value in secrets.items() if Redactor([value]).holds(written)), None)
    if held is not None:
        says = f"The routine holds the value of the secret {held}, which would be kept and shown with it."
        raise Refused("routine_holds_secret", says, hint="take it out of the file: no session is to know it")


def _used_by(
    routine: Mapping[str, Any], config: Config, declared: Mapping[str, Sequence[str]]
) -> set[str | None]:
    """The secrets of its alerts, its dead-man's switch, its messages and its engine."""
    effects = routine["effects"]
    if effects is None:
        effects = [effect for name in routine["pipeline"] for effect in declared.get(name, ())]
    targets = [way["slack"] for way in routine["notify"] if "slack" in way]
    targets += [target for kind, _, target in (effect.partition(":") for effect in effects) if kind == "message"]
    ping = (routine.get("watch") or {}).get("ping")
    return {ping, needed_secret(routine["engine"] or config.engine), *_with_webhooks(targets)}


def _declared_effects(home: Home) -> dict[str, Sequence[str]]:
    """What bundled skills may do outside: it holds for a routine that has no list of its own."""
    try:
        known = known_skills(home)
    except Refusal:  # `minion skill list` says so
        return {}
    return {skill.name: skill.admitted["effects"] for skill in known if skill.bundled and skill.admitted}


def _with_webhooks(targets: Iterable[str]) -> set[str | None]:
    """A message's target is looked for as its webhook and under its own name (`minion.runner.webhook`)."""
    return {name for target in targets for name in (target, f"{target}_webhook")}
