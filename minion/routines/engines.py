"""Which engine a routine runs on: the one that is named, or the one that `auto` stands for, chosen once.

`auto` means `script` where every skill has one, else the first engine with a model that is ready here. It is
chosen when the routine is saved, and the document that is kept says which and for what: from then on it stays,
whatever becomes ready or is gone. It is chosen anew only where somebody saves the routine by a command after its
prompt or pipeline was changed, and for a file that named an engine before; one that was edited by hand keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from minion.config import AUTO, Config, Home
from minion.engines.registry import ENGINES, SecretNames, check_engine, lack_of
from minion.secrets_file import secret_names
from minion.skills.loader import load_skill
from server.contract.digest import digest_of
from server.contract.refusals import Refused

# The key of a kept document that says what `auto` chose its engine for; no file has it.
CHOSEN_FOR: Final = "engine_chosen_for"


def secrets_of(home: Home) -> SecretNames:
    """The names of a home's secrets, read when somebody asks for them."""
    return lambda: secret_names(home.secrets_file)


def with_engine(
    home: Home, document: Mapping[str, Any], before: Mapping[str, Any] | None, *, anew: bool
) -> dict[str, Any]:
    """An admitted routine with the engine that `auto` stands for in it.

    `before` is the document that is kept of it so far; `anew`: somebody saves it by a command. Raises `Refused`
    when no engine fits, `NotFound` for a skill that is not there.
    """
    what_for = digest_of([document["content"], document["pipeline"]])
    if before is not None and is_chosen(before) and not (anew and before[CHOSEN_FOR] != what_for):
        return {**document, "engine": before["engine"], CHOSEN_FOR: before[CHOSEN_FOR]}
    return {**document, "engine": fitting_engine(home, document), CHOSEN_FOR: what_for}


def is_auto(document: Mapping[str, Any], config: Config) -> bool:
    """Whether a routine's file leaves its engine to `auto`, by itself or because minion.json does."""
    return (document["engine"] or config.engine) == AUTO


def is_chosen(document: Mapping[str, Any]) -> bool:
    """Whether `auto` chose the engine of a kept routine."""
    return CHOSEN_FOR in document


def engine_for(home: Home, document: Mapping[str, Any], wanted: str) -> str:
    """The engine for one run of a routine that is to run on `wanted`. Raises `Refused` when it is not ready."""
    return fitting_engine(home, document) if wanted == AUTO else check_engine(wanted, secrets_of(home))


def fitting_engine(home: Home, document: Mapping[str, Any]) -> str:
    """The engine that `auto` stands for now. Raises `Refused` when none fits, `NotFound` for an unknown skill."""
    pipeline = document["pipeline"]
    without = next((name for name in pipeline if load_skill(home, name).script is None), None)
    if pipeline and without is None:
        return "script"
    looked_for = ["script cannot answer a prompt" if not pipeline else f"the skill {without} has no script"]
    hints = []
    for entry in ENGINES:
        if entry.model:
            lack = lack_of(entry.name, secrets_of(home))
            if lack is None:
                return entry.name
            looked_for.append(f"{entry.name} {lack.words}")
            hints.append(lack.hint)
    says = f"The engine auto finds none for {document['name']}: {', '.join(looked_for)}."
    raise Refused("engine_missing", says, hint=hints[0])
