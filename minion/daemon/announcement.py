"""One message of all notices that go the same way at a time: plain sentences for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from minion.daemon.judgement import look
from minion.store.alerts import Notice, as_data
from server.contract.digest import canonical_json

# So many things are told one by one; the others are counted.
MOST_TOLD: Final = 20


def by_way(notices: Sequence[Notice]) -> list[list[Notice]]:
    """The notices that go the same way, together, each in their order."""
    groups: dict[str, list[Notice]] = {}
    for notice in notices:
        groups.setdefault(canonical_json(dict(notice.way)), []).append(notice)
    return list(groups.values())


def message(
    notices: Sequence[Notice], *, minion: str, called: Callable[[str], str] = lambda command: command
) -> dict[str, Any]:
    """One message for the messenger: `way`, `text` for people, `alert` for a program.

    `called` makes of a command one that reaches this minion's home from anywhere.

    An alert that opened and ended before anybody was told of it is one thing to tell, and not two.
    """
    things: dict[int, list[Notice]] = {}
    for notice in notices:
        things.setdefault(notice.alert.position, []).append(notice)
    told = [_told(group, called) for group in things.values()]
    shown, more = told[:MOST_TOLD], max(0, len(told) - MOST_TOLD)
    lines = [said for said, _ in shown]
    if more:
        lines.append(f"and {more} more: {called('minion alerts --all')}")
    many = "\n".join([f"{len(told)} notices", *(f"- {line}" for line in lines)])
    text = f"minion {minion}: {lines[0] if len(told) == 1 else many}"
    alert = {"v": 1, "kind": "alert", "minion": minion, "text": text, "alerts": [data for _, data in shown]}
    return {"way": dict(notices[0].way), "text": text, "alert": {**alert, "more": more}}


def _told(group: Sequence[Notice], called: Callable[[str], str]) -> tuple[str, dict[str, Any]]:
    """One alert's line and data; its end counts only where that is to be told, else it may come later."""
    alert, kinds = group[-1].alert, {notice.over for notice in group}
    commands = [called(command) for command in look(alert.kind, alert.routine, alert.ref)]
    data = as_data(alert)
    if True not in kinds:
        data |= {"state": "open", "until": None, "closing": None}
    said = [alert.text] if False in kinds else []
    said.append(str(alert.closing) if True in kinds else f"Look: {', '.join(commands)}")
    return " ".join(said), {**data, "look": commands}
