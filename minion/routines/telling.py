"""Whether those whom a routine is to tell can be told: the programs and secrets it names that are not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from minion.config import search_path


@dataclass(frozen=True, slots=True)
class Missing:
    """A program or a secret that `field` of a document names and that is not there."""

    kind: Literal["program", "secret"]
    name: str
    field: str

    @property
    def says(self) -> str:
        """That it is not there, as a sentence without its end."""
        return f"{self.field} names the {self.kind} {self.name}, which is not there"


def missing_for_notify(
    notify: Iterable[Mapping[str, Any]], secrets: Collection[str] | None, *, field: str = "notify"
) -> list[Missing]:
    """What entries of a `notify` lack; `secrets` are the names of those that are kept, None when unknown."""
    found = []
    for way in notify:
        if "command" in way and not _is_program(way["command"][0]):
            found.append(Missing("program", way["command"][0], field))
        name = way.get("slack")
        if name is not None and secrets is not None and not {name, f"{name}_webhook"} & set(secrets):
            found.append(Missing("secret", name, field))
    return list(dict.fromkeys(found))


def missing_for(routine: Mapping[str, Any], secrets: Collection[str] | None) -> list[Missing]:
    """What a routine's own `notify` and its dead-man's switch lack."""
    found = missing_for_notify(routine["notify"], secrets)
    ping = (routine.get("watch") or {}).get("ping")
    if ping is not None and secrets is not None and ping not in secrets:
        found.append(Missing("secret", ping, "watch.ping"))
    return found


def _is_program(name: str) -> bool:
    """Whether the daemon, which works in `/`, finds a program of this name."""
    if "/" in name:
        place = Path("/") / name
        return place.is_file() and os.access(place, os.X_OK)
    return shutil.which(name, path=search_path()) is not None
