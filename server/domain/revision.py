"""What becomes of a routine's document when fields of it are changed: those alone, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from server.contract.refusals import BadUse

# Changed key by key: who raises one limit keeps the others.
_MAPPINGS: Final = ("limits", "environment", "watch")
# Minions keep files and runs by name, and an order of before names it: another name is another routine.
_FIXED: Final[Mapping[str, str]] = {
    "name": "create it under the new name, and delete this one",
    "id": "leave it out",
    "minion_id": "leave it out, and say `minion` for a routine that no minion has",
}
_SCHEDULES: Final = frozenset({"cron_expression", "timezone", "triggers"})


def as_written(document: Mapping[str, Any]) -> dict[str, Any]:
    """An admitted document as a person would write it: without the trigger that `cron_expression` stands for.

    A trigger in the routine's own zone names none, so that it follows when the routine's zone is changed.
    """
    zone = document["timezone"]
    shorthand = {"type": "schedule", "cron": document["cron_expression"], "timezone": zone}
    triggers = [trigger for trigger in document["triggers"] if trigger != shorthand]
    own = [{**each, "timezone": None} if each["timezone"] == zone else dict(each) for each in triggers]
    return {**document, "triggers": own}


def changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document to be admitted when these fields of an admitted one are changed. Raises `BadUse`."""
    fixed = next((name for name in changes if name in _FIXED), None)
    if fixed is not None:
        raise BadUse("fixed_field", f"The {fixed} of a routine cannot be changed.", hint=_FIXED[fixed])
    result = as_written(document)
    for name, value in changes.items():
        before = result.get(name)
        if name in _MAPPINGS and isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = {**before, **value}
        else:
            result[name] = value
    return result


def reschedules(changes: Mapping[str, Any]) -> bool:
    """Whether these changes say anew when the routine is due."""
    return not _SCHEDULES.isdisjoint(changes)


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields in which two admitted documents differ."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
