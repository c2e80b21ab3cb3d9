"""What needs somebody, most pressing first: what waits for an answer, what went wrong, what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from minion.tui.reading import Snapshot

# Verdicts of a newest run that somebody should look at.
_BAD: Final = ("failed", "not-delivered", "unknown", "partial")
# Alerts that only repeat what a newest run says itself.
_TOLD: Final = frozenset({"failing", "not_delivered", "bad_file", "waits"})
_DECIDE, _WHY, _SEND, _OPEN = ("d", "decide"), ("w", "why"), ("R", "redeliver"), ("enter", "open")
_EFFECTS, _UNHALT = ("enter", "settle"), ("H", "unhalt")


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs somebody.

    `key` is its kind and id, as in `run:run_…`; `word` the state whose mark stands before it; `name` what it is
    about; `since` a UTC instant or None; `keys` the keys that help, each with its word; `routine` None for what is
    none's.
    """

    key: str
    word: str
    name: str
    says: str
    since: str | None
    keys: tuple[tuple[str, str], ...]
    routine: str | None = None


def needs_of(found: Snapshot) -> list[Need]:
    """All that needs somebody."""
    if found.document is None:
        return []
    said = found.document
    return [*_halted(said), *_decisions(said), *_files(said), *_runs(found), *_effects(said), *_alerts(said),
            *_rejected(said), *_gaps(found)]  # fmt: skip


def _halted(said: Mapping[str, Any]) -> Iterator[Need]:
    if said["halted"] is not None:
        words = f"nothing starts: {said['halted']['why']}"
        yield Need("halted", "held", "halted", words, said["halted"]["at"], (_UNHALT,))


def _decisions(said: Mapping[str, Any]) -> Iterator[Need]:
    for item in said["decisions"]:
        words = item["question"].removeprefix(f"{item['routine']}: ")
        key = f"decision:{item['id']}"
        yield Need(key, "held", item["routine"], words, item["opened_at"], (_DECIDE,), item["routine"])


def _files(said: Mapping[str, Any]) -> Iterator[Need]:
    for item in said["routines"]:
        if item["problem"]:
            words = item["problem"].removeprefix(f"{item['name']}: ")
            yield Need(f"file:{item['name']}", "problem", item["name"], words, None, (_WHY,), item["name"])


def _runs(found: Snapshot) -> Iterator[Need]:
    """The newest run of each routine that has ended, where it is not well."""
    assert found.document is not None  # noqa: S101 - told apart by who calls
    for item in found.document["routines"]:
        last = item["last_run"]
        if last is None or last["verdict"] not in _BAD:
            continue
        run = next((each for each in found.runs.get(item["name"], ()) if each["id"] == last["id"]), None)
        keys = (_WHY, _SEND) if last["verdict"] == "not-delivered" else (_WHY, _OPEN)
        words = _of_a_run(last["verdict"], run)
        since = last["ended_at"] or last["created_at"]
        yield Need(f"run:{last['id']}", last["verdict"], item["name"], words, since, keys, item["name"])


def _of_a_run(verdict: str, run: Mapping[str, Any] | None) -> str:
    if verdict == "not-delivered":
        lost = (run or {}).get("lost")
        return "written, NOT DELIVERED" + (f" ({lost})" if lost else "")
    return (run or {}).get("why") or {
        "failed": "it did not work", "partial": "only a part of it was done",
        "unknown": "it cannot be told whether it worked",
    }[verdict]  # fmt: skip


def _effects(said: Mapping[str, Any]) -> Iterator[Need]:
    for item in said["unknown_effects"]:
        words = f"{item['kind']}:{item['target']}: nobody knows whether it arrived"
        yield Need(f"effect:{item['id']}", "unknown", item["routine"], words, item["since"], (_EFFECTS,),
                   item["routine"])  # fmt: skip


def _alerts(said: Mapping[str, Any]) -> Iterator[Need]:
    for item in said["alerts"]:
        if item["kind"] not in _TOLD:
            words = item["text"].removeprefix(f"{item['routine']}: ")
            key = f"alert:{item['kind']}:{item['routine']}"
            yield Need(key, "warning", item["routine"], words, item["opened_at"], (_WHY,), item["routine"])


def _rejected(said: Mapping[str, Any]) -> Iterator[Need]:
    for item in said["routines"]:
        if item["state"] == "rejected":
            words = "does not run: what changed was rejected"
            key = f"rejected:{item['rejected']}"
            yield Need(key, "rejected", item["name"], words, None, (_DECIDE,), item["name"])


def _gaps(found: Snapshot) -> Iterator[Need]:
    for gap in found.gaps:
        many = f"{gap['runs']} runs" if gap["runs"] > 1 else "1 run"
        key = f"gap:{gap['gap_type']}:{gap['requested_code']}"
        name = f"gap {gap['requested_code']}"
        yield Need(key, "unknown", name, f"{many} lacked it: {gap['description']}", gap["last_at"], (_OPEN,))
