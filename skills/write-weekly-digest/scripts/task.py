"""Reads the task that the engine gives on stdin: its instants, zone, repositories and settings."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from plain_text import clean

PROTOCOL = 1
SETTING_LIMIT = 120


class TaskRefused(Exception):
    """A task that says too little or something unreadable; the message is one sentence naming the field."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked. `now` and `since` are whole seconds since 1970, rounded up; `since` is None if not said.

    Each repository has the texts `name` and `history`, and may have the texts `path` and `branch`.
    """

    now: int
    since: int | None
    zone: tzinfo
    zone_name: str
    repositories: Sequence[Mapping[str, Any]]
    input: str
    content: str

    def setting(self, name: str) -> str | None:
        """The value of the first line `name: value` of the input, else of the routine's content."""
        for line in (*self.input.splitlines(), *self.content.splitlines()):
            key, colon, value = line.partition(":")
            if colon and key.strip(" \t>*-`").casefold() == name:
                said = clean(value, SETTING_LIMIT).lstrip("* ").strip("`'\" ")
                if said:
                    return said
        return None


def read_task(raw: bytes) -> Task:
    """The task in the bytes of stdin. Raises `TaskRefused`."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise TaskRefused("The task on stdin is not one JSON document.") from None
    if not isinstance(document, dict):
        raise TaskRefused("The task on stdin is not a JSON object.")
    if document.get("v") != PROTOCOL:
        raise TaskRefused(f"v is {document.get('v')!r}, and this skill speaks version {PROTOCOL}.")
    zone, zone_name = _zone(document.get("timezone"))
    routine = document.get("routine")
    return Task(
        now=_moment(document.get("now"), "now"),
        since=None if document.get("since") is None else _moment(document["since"], "since"),
        zone=zone,
        zone_name=zone_name,
        repositories=_repositories(document.get("repositories")),
        input=_text(document.get("input")),
        content=_text(routine.get("content")) if isinstance(routine, dict) else "",
    )


def instant(seconds: int | None) -> str | None:
    """Seconds since 1970 as `2026-11-20T08:00:00.000Z`; None for none and for a time no calendar has."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    except (OverflowError, OSError, ValueError):
        return None


def print_result(result: Mapping[str, Any]) -> None:
    """The skill's one JSON document on stdout, in UTF-8."""
    sys.stdout.buffer.write(json.dumps(result, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def _moment(value: object, field: str) -> int:
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise TaskRefused(f"{field} is no instant such as 2026-11-20T08:00:00.000Z.") from None
    if moment.tzinfo is None:
        raise TaskRefused(f"{field} has no zone; write it as 2026-11-20T08:00:00.000Z.")
    return max(0, ceil(moment.timestamp()))


def _zone(name: object) -> tuple[tzinfo, str]:
    if name in (None, "", "UTC"):
        return UTC, "UTC"
    try:
        return ZoneInfo(str(name)), clean(str(name), 40)
    except (KeyError, OSError, ValueError):
        print(f"The zone {clean(str(name), 40)} is not known here; times are UTC.", file=sys.stderr)
        return UTC, "UTC"


def _repositories(repositories: object) -> list[Mapping[str, Any]]:
    if not isinstance(repositories, list) or not repositories:
        raise TaskRefused("repositories is empty: the routine names no repository to look into.")
    for number, repository in enumerate(repositories):
        for field in ("name", "history"):
            if not isinstance(repository, dict) or not isinstance(repository.get(field), str):
                raise TaskRefused(f"repositories[{number}].{field} is missing.")
        for field in ("branch", "path"):
            if not isinstance(repository.get(field), str | None):
                raise TaskRefused(f"repositories[{number}].{field} is not a text.")
    return repositories


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
