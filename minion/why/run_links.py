"""The links of a run: it ended, its task succeeded, what it made arrived, what was expected of it came true."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from minion.why.chain import Link
from server.contract.run import has_ended

# A run's own hint, where it is a command as it stands, or says which one goes on with the run.
_COMMAND: Final = re.compile(r"minion(?: [A-Za-z0-9_@.-]+)+|.*\bminion resume run_[0-9A-Z]+.*")
_ARRIVED: Final = ("delivered", "accepted")


def run(run_: Mapping[str, Any], began: str) -> Link:
    """It ran to its end; `began` says when it began, in words."""
    run_id, state, why = run_["id"], run_["state"], run_["why"]
    if not has_ended(state):
        if state == "queued":
            return Link("run", "pending", f"Its run waits for a place ({run_id}).", "minion status")
        doing = next((block["name"] for block in run_["blocks"] if block["state"] == "running"), None)
        at = f", at {doing}" if doing else ""
        return Link("run", "pending", f"It runs since {began}{at} ({run_id}).", f"minion logs -f {run_id}")
    if state == "completed":
        return Link("run", "holds", f"It ran {began} to its end.")
    words = {
        "failed": "Its run failed", "timed_out": "Its run was stopped at its time limit",
        "cancelled": "Its run was cancelled", "interrupted": "Its run was interrupted",
        "violated": "Its run broke a rigid block",
    }[state]  # fmt: skip
    place, reason = _where(run_["blocks"])
    said = reason or why
    # Why a run was stopped says more than the step that it was stopped in.
    if state in ("cancelled", "interrupted", "timed_out") and why and why != "timeout":
        said = why
    elif state == "timed_out":
        said = None
    says = f"{words}{f' in {place}' if place else ''}{f': {said}' if said else ''} ({run_id})."
    hint = run_["hint"] or ""
    fix = hint if _COMMAND.fullmatch(hint) else f"minion logs {run_id}"
    return Link("run", "broken", says, fix)


def _where(blocks: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """The block and step in which a run came to grief, and why; nothing when no block says so."""
    bad = ("failed", "interrupted", "cancelled")
    block = next((block for block in blocks if block["state"] in bad), None)
    if block is None:
        return None, None
    step = next((step for step in block["steps"] if step["state"] in bad and step["kind"] == "step"), None)
    if step is None:
        return f"{block['code']} {block['name']}", block["why"]
    return f"{block['code']} {block['name']}, step {step['code']}", step["why"] or block["why"]


def outcome(run_: Mapping[str, Any]) -> Link:
    """Its report says that the task succeeded."""
    said, run_id, summary = run_["outcome"], run_["id"], run_["summary"] or "no report was filed"
    if said == "success":
        return Link("outcome", "holds", f"It reports success: {summary}")
    words = {
        "failure": "It ran, but reports failure", "partial": "It ran, but did a part only",
        "unknown": "It ran, but nobody knows whether it succeeded",
    }[said]  # fmt: skip
    return Link("outcome", "broken", f"{words}: {summary} ({run_id})", _own_hint(run_) or f"minion logs {run_id}")


def _own_hint(run_: Mapping[str, Any]) -> str | None:
    hint = run_["hint"] or ""
    return hint if _COMMAND.fullmatch(hint) else None


def delivery(run_: Mapping[str, Any]) -> Link:
    """Each effect arrived, or was accepted; nothing to deliver is as good."""
    run_id, effects = run_["id"], run_["effects"]
    unclear = next((effect for effect in effects if effect["state"] in ("unknown", "intended")), None)
    if unclear is not None:
        says = f"Nobody knows whether {_named(unclear)} arrived{_detail(unclear)} ({run_id})."
        return Link("delivery", "broken", says, f"minion effects {run_id}")
    lost = next((effect for effect in effects if effect["state"] not in _ARRIVED), None)
    if lost is not None:
        words = {
            "failed": "was not delivered", "refused": "was refused", "withheld": "was withheld",
            "staged": "was not sent",
        }[lost["state"]]  # fmt: skip
        says = f"It ran, but {_named(lost)} {words}{_detail(lost)} ({run_id})."
        # What was refused or withheld is so again; what only failed may arrive now.
        again = lost["state"] == "failed" and run_["state"] == "completed"
        return Link("delivery", "broken", says, f"minion {'redeliver' if again else 'effects'} {run_id}")
    if not effects:
        return Link("delivery", "holds", "It had nothing to deliver.")
    places = ", ".join(dict.fromkeys(effect["destination"] or _named(effect) for effect in effects))
    sure = all(effect["state"] == "delivered" for effect in effects)
    words = "It was delivered to" if sure else "It was accepted, and not confirmed, by"
    return Link("delivery", "holds", f"{words} {places}.")


def _named(effect: Mapping[str, Any]) -> str:
    return f"{effect['kind']}:{effect['target']}"


def _detail(effect: Mapping[str, Any]) -> str:
    return f": {effect['detail']}" if effect["detail"] else ""


def expect(run_: Mapping[str, Any]) -> Link:
    """Every check that its routine expects of it passed."""
    failed = next((check for check in run_["checks"] if check["state"] != "passed"), None)
    if failed is not None:
        what = f"{failed['kind']} {failed['expected']}"
        says = f"It ran, but not as expected: {what}: {failed['detail']} ({run_['id']})."
        return Link("expect", "broken", says, f"minion show {run_['id']}")
    if run_["verdict"] not in ("ok", "unchecked"):
        says = f"It ran, but its verdict is {run_['verdict']} ({run_['id']})."
        return Link("expect", "broken", says, f"minion show {run_['id']}")
    checks = len(run_["checks"])
    if checks:
        return Link("expect", "holds", f"All {checks} checks passed." if checks > 1 else "Its check passed.")
    confirmed = run_["verdict"] == "ok"
    words = "Its delivery is its check." if confirmed else "It says that it worked; there is no check of that."
    return Link("expect", "holds", words)
