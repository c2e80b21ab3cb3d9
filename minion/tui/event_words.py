"""What the events of a run say in words, any of them: known ones in a sentence, others by their name.

Nothing here trusts what an event holds: later engines say more, and a row may have been altered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from minion.spelling import STEP_KINDS, clip, spell_cost, spell_ms

# So much of one text is kept for the screen; all of it is in the run's log.
MOST: Final = 16_384
_WORDS_MOST: Final = 400
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An event in words: the state whose mark stands before it, its words, and the text below them."""

    words: str
    mark: str | None = None
    text: str = ""


def told(type_: str, data: Data, effects: Mapping[str, str], block: str | None) -> Told:
    """What an event says; `effects` names those that were staged before it."""
    tell = _WORDS.get(type_)
    if tell is None:
        return Told(type_, text=as_text(data) if data else "")
    said = tell({**data, "effect": effects.get(str(data.get("id")), "effect"), "block": block or ""})
    return Told(clip(said.words, _WORDS_MOST), said.mark, said.text)


def as_text(value: Any) -> str:
    """A text as it was said, bounded; of one kept in the run's folder its beginning; anything else as JSON."""
    if isinstance(value, dict) and {"file", "bytes", "start"} <= value.keys():
        return f"{_bounded(str(value['start']))}\n… {_count(value['bytes'])} bytes, whole in {value['file']}"
    if isinstance(value, str):
        return _bounded(value)
    if value is None or value in ({}, []):
        return ""
    return _bounded(json.dumps(value, ensure_ascii=False, indent=1, default=str))


def kind_of(step: Data) -> str:
    """What a step is where it is no plain one: a tool call, an answer of the model."""
    kind = str(step.get("kind") or "step")
    return "" if kind == "step" else STEP_KINDS.get(kind, kind.replace("_", " "))


def _bounded(text: str) -> str:
    if len(text) <= MOST:
        return text
    return f"{text[:MOST]}\n… {len(text) - MOST:,} more characters"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _why(data: Data) -> str:
    return f": {as_text(data['why'])}" if data.get("why") else ""


def _opened(data: Data) -> Told:
    return Told(f"opened by {data.get('trigger')}")


def _moved(data: Data) -> Told:
    return Told(f"{data.get('from')} → {data.get('to')}{_why(data)}")


def _finished(data: Data) -> Told:
    return Told(f"the runner ended: {data.get('state')}{_why(data)}", text=as_text(data.get("hint")))


def _session(data: Data) -> Told:
    return Told(f"session with the {data.get('engine')} engine, {data.get('sandbox')}")


def _block(data: Data) -> Told:
    if "state" in data:
        return Told(f"{data['block']}{_why(data)}", str(data["state"]))
    return Told(f"{data['block']}  {data.get('name')} ({data.get('kind')})")


def _step(data: Data) -> Told:
    kind = kind_of(data)
    cost = data.get("cost")
    more = f" ({kind})" if kind else ""
    if isinstance(cost, dict):
        said = spell_cost({**cost, "turns": None})
        more += f", {said}" if said else ""
    if "state" not in data:
        return Told(f"{data.get('code')}{more} begins")
    return Told(f"{data.get('code')}{more}{_why(data)}", str(data["state"]))


def _result(data: Data) -> Told:
    left = f", exit {data['exit']}" if data.get("exit") is not None and not data.get("why") else ""
    time = f", {spell_ms(data['duration_ms'])}" if isinstance(data.get("duration_ms"), int | float) else ""
    cut = f", {_count(data['truncated'])} bytes cut off" if data.get("truncated") else ""
    words = f"result of {data.get('skill')}{left}{time}{cut}{_why(data)}"
    state = str(data.get("state", "completed"))
    return Told(words, state if state != "completed" else None, as_text(data.get("text")))


def _log(data: Data) -> Told:
    said = as_text(data.get("text"))
    if "skill" not in data:
        first, _, rest = said.partition("\n")
        return Told(f"{data.get('level')}: {first}", text=rest)
    return Told(f"{data.get('level')}: said by {data['skill']} on stderr", text=said)


def _staged(data: Data) -> Told:
    size = f", {_count(data['bytes'])} bytes" if data.get("bytes") is not None else ""
    more = f": {as_text(data['detail'])}" if data.get("detail") else ""
    return Told(f"effect {data.get('kind')}:{data.get('target')} {data.get('state')}{size}{more}")


def _effect(data: Data) -> Told:
    if "state" not in data:
        return Told(f"{data['effect']} is performed now")
    where = f" → {data['destination']}" if data.get("destination") else ""
    detail = f" ({data['detail']})" if data.get("detail") else ""
    return Told(f"{data['effect']}{where}{detail}", str(data["state"]))


def _check(data: Data) -> Told:
    words = f"check {data.get('kind')} {data.get('expected')}: {data.get('detail')}"
    return Told(words, str(data.get("state")))


def _report(data: Data) -> Told:
    by = f", filed by the {data['filed_by']}" if data.get("filed_by") else ""
    parts = [as_text(data.get(name)) for name in ("summary", "details", "note")]
    return Told(f"report: {data.get('outcome')}{by}", text="\n".join(part for part in parts if part))


def _gap(data: Data) -> Told:
    return Told(f"gap {data.get('requested_code')}: {as_text(data.get('description'))}", "unknown")


def _asked(data: Data) -> Told:
    return Told(f"asked people: {as_text(data.get('question'))}", "held")


def _usage(data: Data) -> Told:
    if "model" in data:
        cut = "" if data.get("turns") else ", broken off"
        kinds = [f"{_count(data[name])} {name.removesuffix('_tokens').replace('_', ' ')}"
                 for name in data if name.endswith("_tokens") and data[name]]  # fmt: skip
        words = f"used of {data['model']}: {spell_cost(data) or 'nothing'}{cut}"
        return Told(words, text=f"tokens: {', '.join(kinds)}" if kinds else "")
    shown = [spell_ms(data["wall_ms"])] if isinstance(data.get("wall_ms"), int | float) else []
    shown += [f"{name} {_count(amount)}" for name, amount in data.items()
              if name not in ("wall_ms", "effect", "block")]  # fmt: skip
    return Told(f"used {', '.join(shown)}")


_WORDS: Final[Mapping[str, Callable[[Data], Told]]] = {
    "run.opened": _opened, "run.moved": _moved, "run.finished": _finished, "session.opened": _session,
    "block.started": _block, "block.finished": _block, "step.started": _step, "step.finished": _step,
    "skill.result": _result, "log": _log, "effect.staged": _staged, "effect.intent": _effect,
    "effect.result": _effect, "effect.settled": _effect,
    "effect.again": lambda data: Told(f"{data['effect']} is performed again, asked for by {data.get('by')}"),
    "check": _check, "report": _report, "gap": _gap, "decision": _asked, "usage": _usage,
    "report.claimed": lambda data: Told(
        f"its session reported {data.get('outcome')}", text=as_text(data.get("summary"))
    ),
}  # fmt: skip
