"""How states, moments and lengths of time are spelled for people: marks, words and numbers, without colours.

What shows them, the command line and the terminal view, gives the marks their colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from server.contract.digest import parse_instant
from server.contract.run import RunState, Verdict

# A mark and its colour, by the word it stands beside.
MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "ok": ("✓", "green"), "completed": ("✓", "green"), "delivered": ("✓", "green"), "passed": ("✓", "green"),
    "unchecked": ("○", "cyan"), "accepted": ("○", "cyan"),
    "failed": ("✗", "red"), "not-delivered": ("✗", "red"), "refused": ("✗", "red"), "violated": ("✗", "red"),
    "partial": ("◐", "yellow"), "unknown": ("?", "yellow"), "interrupted": ("?", "yellow"),
    "skipped": ("–", "yellow"), "cancelled": ("–", "yellow"), "withheld": ("–", "yellow"),
    "running": ("●", "blue"), "waiting": ("●", "blue"), "timed_out": ("✗", "red"),
    "warning": ("!", "yellow"), "problem": ("✗", "red"),
    "ran": ("✓", "green"), "late": ("✓", "yellow"), "missed": ("✗", "red"), "due": ("●", "blue"),
    "held": ("!", "yellow"), "paused": ("–", "yellow"), "off": ("–", "yellow"), "pending": ("●", "blue"),
    "broken": ("✗", "red"), "rejected": ("✗", "red"),
}  # fmt: skip
# What a run can be asked for by: how it stands, or what came of it.
STATES: Final = tuple(sorted({*get_args(RunState), *get_args(Verdict)}))
MEANINGS: Final[Mapping[str, str]] = {
    "ok": "a check or a confirmed delivery shows that it worked",
    "unchecked": "it says it worked; nothing here could confirm it",
    "not-delivered": "it was made, but did not arrive",
    "partial": "only a part of it was done",
    "failed": "it did not work",
    "unknown": "it cannot be told whether it worked",
    "skipped": "it was stopped before it was done",
}

# What a step is that is no plain one.
STEP_KINDS: Final[Mapping[str, str]] = {
    "tool_call": "tool call", "llm_response": "answer of the model", "decision": "decision", "report": "report",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DecisionWords:
    """A decision for people: what it is, what each answer does to the routine, what holds `until` there is one."""

    name: str
    yes: str
    no: str
    until: str = "Until then it does not run."


# By its kind: a lock that changed, a question of a run; any other holds a run.
_DECISIONS: Final[Mapping[str, DecisionWords]] = {
    "lock": DecisionWords(
        "hold", "it runs with what changed, from now on",
        "it does not run until that is changed back, or approved after all",
    ),
    "question": DecisionWords(
        "question", "its next run is told yes", "its next run is told no", "Its next run is told the answer."
    ),
}  # fmt: skip
_HELD: Final = DecisionWords("hold", "the run that is held begins", "the run that is held does not begin")


def decision_words(kind: str) -> DecisionWords:
    """The words for a decision of a kind."""
    return _DECISIONS.get(kind, _HELD)


def answer_words(question: Mapping[str, Any]) -> str:
    """What has come of a question that a run asked people."""
    if question["state"] == "open":
        return f"waits for an answer: {question['decision']}"
    return {"approve": "approved", "reject": "rejected"}.get(question["state"], "asked elsewhere")


def spell_dollars(amount: float) -> str:
    """US dollars to the cent; less than one cent to a hundredth of it."""
    return f"${amount:.4f}" if 0 < amount < 0.01 else f"${amount:,.2f}"


def spell_cost(used: Mapping[str, Any]) -> str:
    """What a step or run used of a model: turns, tokens, US dollars, as far as it says; empty without any."""
    turns, tokens, cost = (_number(used.get(name)) for name in ("turns", "tokens", "dollars"))
    parts = [f"{turns:,} turn{'' if turns == 1 else 's'}"] if turns else []
    parts += [f"{tokens:,} tokens"] if tokens else []
    parts += [spell_dollars(cost)] if cost else []
    return ", ".join(parts)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def took(started: str | None, ended: str | None) -> str:
    """How long something took, for people; empty when it has not begun or ended."""
    if started is None or ended is None:
        return ""
    return spell_ms((parse_instant(ended) - parse_instant(started)).total_seconds() * 1000)


def spell_ms(milliseconds: float) -> str:
    """A length of time for people."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{round(milliseconds)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def local_time(moment: str | None) -> str:
    """An instant in the machine's own time, to the minute; a dash when there is none."""
    return parse_instant(moment).astimezone().strftime("%Y-%m-%d %H:%M") if moment else "–"


def spell_instant(moment: str) -> str:
    """An instant as its own zone's clock shows it, with the weekday: what people check a schedule by."""
    return datetime.fromisoformat(moment).strftime("%a %Y-%m-%d %H:%M")


def clip(text: str, most: int) -> str:
    """A text as one line of at most so many characters; `…` stands for what is left out."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= most else line[: most - 1] + "…"


def plain(text: str) -> str:
    """Text from a run without control characters: a result cannot drive the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and c != "\x7f" and not "\x80" <= c <= "\x9f"))


def one_line(text: str) -> str:
    """Text from a run as one line, so that it neither drives the terminal nor passes for a line of ours."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def report_text(results: Sequence[Mapping[str, Any]], most: int = 120) -> list[str]:
    """The text people want to read: the longest-lived result of the run's first skill that made one."""
    texts = [result["text"] for result in results if result["state"] == "completed" and result["text"].strip()]
    lines = plain(texts[0]).strip().splitlines() if texts else []
    return lines if len(lines) <= most else [*lines[:most], f"… {len(lines) - most} more lines"]
