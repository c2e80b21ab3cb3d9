"""What a fresh home begins with: the minion's name, and the routine `morning-report`, its schedule paused."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from minion.config import Config, Home
from minion.daemon_client import daemon_is_up
from server.contract.refusals import BadUse

if TYPE_CHECKING:  # what only reads these rules needs no event loop
    from minion.app import Minion

# The user's own example, word for word; its `<uuid>` becomes this minion's id.
FIRST_ROUTINE: Final[dict[str, Any]] = {
    "name": "morning-report",
    "pipeline": ["write-daily-report", "send-to-slack"],
    "content": "Write a daily report and post it to the team Slack channel",
    "cron_expression": "0 9 * * 1-5",
}
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def machine_name() -> str:
    """The name a minion has when nobody gives one: this machine's, as a slug."""
    host = socket.gethostname().split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", host)[:64].strip("-") or "minion"


def checked_name(name: str) -> str:
    """The name, if a minion can have it. Raises `BadUse`."""
    if _SLUG.fullmatch(name) is None:
        hint = "use small letters, digits and hyphens, such as my-desk"
        raise BadUse("bad_name", f"{name[:80]!r} is no name for a minion.", hint=hint)
    return name


def first_file(home: Home) -> Path:
    """Where the first routine's file lies."""
    return home.routines / f"{FIRST_ROUTINE['name']}.json"


def has_first_routine(home: Home) -> bool:
    """Whether the routine that every home begins with is still in it."""
    return first_file(home).is_file()


def is_paused(home: Home) -> bool:
    """Whether the first routine is there with its schedule paused."""
    return _said_by(first_file(home)).get("paused") is True


def next_commands(home: Home, program: str) -> list[str]:
    """What to type next with the first routine: a run that can succeed, what starts its schedule, the daemon."""
    name, said = FIRST_ROUTINE["name"], _said_by(first_file(home))
    if not has_first_routine(home):
        return []
    # Its skills look into a repository; `run` takes one for this time only.
    lent = " --repo PATH" if said.get("repositories") == [] else ""
    resumed = [f"{program} schedule resume {name}"] if is_paused(home) else []
    return [f"{program} run {name}{lent}", *resumed, *([] if daemon_is_up(home) else [f"{program} up"])]


def _said_by(file: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def first_routine(minion_id: str, repositories: Sequence[str] | None = None) -> dict[str, Any]:
    """The first routine as it is written; `repositories` None leaves them to the checkout around a folder."""
    given = {} if repositories is None else {"repositories": list(repositories)}
    return {**FIRST_ROUTINE, "minion_id": minion_id, "paused": True, **given}


def untouched_repositories(home: Home, config: Config) -> tuple[str, ...] | None:
    """The repositories of the first routine while nothing else in its file was changed; else None."""
    try:
        said = json.loads(first_file(home).read_bytes())
        listed = said.pop("repositories")
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return None
    ours = isinstance(listed, list) and all(isinstance(item, str) for item in listed)
    return tuple(listed) if ours and said == first_routine(config.minion_id) else None


async def put_first_routine(minion: Minion, repositories: Sequence[str] | None) -> None:
    """Put the first routine into a fresh home. Raises a `Refusal` with nothing written."""
    body = first_body(minion.config, repositories)
    await minion.routines.add(first_file(minion.home), body, replace=False, folder=Path.cwd())


def first_body(config: Config, repositories: Sequence[str] | None) -> bytes:
    """The first routine's file."""
    return (json.dumps(first_routine(config.minion_id, repositories), indent=2) + "\n").encode()
