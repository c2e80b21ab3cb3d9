"""How runs look in a terminal: marks and words, never colour alone; nothing here is longer than it must be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, get_args

import click

from minion.commands.context import shown_path
from server.contract.digest import parse_instant
from server.contract.run import RunState, Verdict

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


def mark(word: str) -> str:
    """A state or verdict with its mark, coloured where the terminal shows colour."""
    sign, colour = MARKS.get(word, ("·", "white"))
    return click.style(f"{sign} {word}", fg=colour)


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


def rule(title: str) -> str:
    """A line that opens a part, as wide as the terminal allows."""
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    return click.style(f"── {title} ".ljust(width, "─"), dim=True)


def tree(run: Mapping[str, Any]) -> list[str]:
    """Blocks and their steps with kinds, states and times."""
    lines = []
    for block in run["blocks"]:
        name = f"{block['code']}  {block['name']:<26} {block['kind']:<8}"
        lines.append(f"{name} {_ended(block)}")
        for step in block["steps"]:
            code = step["code"] if step["kind"] == "step" else f"{step['code']} ({step['kind'].replace('_', ' ')})"
            indent = "   └ " if step["kind"] == "tool_call" else " · "
            lines.append(f"    {indent}{code:<{44 - len(indent)}} {_ended(step)}")
    return lines


def _ended(item: Mapping[str, Any]) -> str:
    time = took(item["started_at"], item["ended_at"])
    state = mark(item["state"]) + " " * max(0, 13 - len(item["state"]))
    why = f"  {item['why']}" if item.get("why") else ""
    return f"{state} {time:>8}{clip(why, 120)}".rstrip()


def headline(run: Mapping[str, Any]) -> str:
    """The verdict, the routine, how long it took, and the run's id."""
    time = took(run["started_at"], run["ended_at"])
    name = click.style(run["routine"], bold=True)
    return " · ".join(part for part in (mark(run["verdict"]), name, time, run["id"]) if part)


def facts(run: Mapping[str, Any], *, verbose: bool = False) -> list[str]:
    """The verdict and what it rests on, one fact a line."""
    meaning = MEANINGS.get(run["verdict"], "")
    lines = [f"verdict    {mark(run['verdict'])}{'  ' + meaning if meaning else ''}"]
    if run["why"]:
        lines.append(f"why        {clip(run['why'], 400)}")
    for check in run["checks"]:
        lines.append(f"check      {mark(check['state'])}  {check['kind']} {check['expected']}: {check['detail']}")
    for effect in run["effects"]:
        where = f" → {shown_path(effect['destination'])}" if effect["destination"] else ""
        detail = f"  ({effect['detail']})" if effect["detail"] else ""
        lines.append(f"effect     {mark(effect['state'])}  {effect['kind']}:{effect['target']}{where}{detail}")
    for gap in run["gaps"]:
        lines.append(f"gap        {gap['requested_code']}  {gap['description']}")
    lines.append(f"steps      {_steps(run)}")
    engine = f"{run['engine']} engine, {_sandbox(run['sandbox'])}"
    lines.append(f"ran with   {engine}, variant {run['process']}.{run['variant']}")
    if verbose:
        lines.append(f"taken      {' → '.join(run['topology'])}")
        lines.append(f"canonical  {' → '.join(run['canonical'])}  {run['canonical_fingerprint']}")
        lines += [f"lock       {name} {digest}" for name, digest in run["lock"].items()]
    lines.append(f"kept in    {shown_path(run['folder'])}")
    return lines


def _steps(run: Mapping[str, Any]) -> str:
    conformance = run["conformance"]
    words = {
        "conformant": "as planned", "incomplete": "as planned, but not all of them", "drift": "changed",
        "violation": "a rigid block was broken", None: "not known yet",
    }[conformance]  # fmt: skip
    difference = run["first_difference"]
    where = ""
    if conformance in ("drift", "violation") and difference:
        where = f" (in {difference[0]}: expected {difference[1]}, took {difference[2]})"
    return f"{run['fingerprint'] or '–'}  {words}{where}"


def _sandbox(word: str | None) -> str:
    if word == "unsandboxed":
        return click.style("unsandboxed", fg="yellow") + " (only unchanged bundled skills ran, or you allowed it)"
    return "no session opened" if word is None else f"sandboxed by {word}"


# What a person types again, or reads as a whole; a column of any other name may be cut.
_WHOLE: Final = frozenset(
    {"run", "id", "routine", "skill", "template", "verdict", "started", "took", "last run", "due next"}
    | {"due", "became", "runs", "time", "turns", "tokens", "dollars"}
)
_NARROWEST_COLUMN: Final = 8
# Below this no table fits: its lines are left to the terminal.
_NARROWEST_TERMINAL: Final = 40


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, margin: int = 0) -> list[str]:
    """Columns as wide as their widest cell; cells may carry styles.

    On a terminal the lines fit its width, less `margin` columns: texts are cut with `…`, and what still has no
    room is left out, columns of ids only where a name says the same. A file or pipe gets all of it.
    """
    shown = list(range(len(header)))
    widths = [max(len(click.unstyle(row[column])) for row in (header, *rows)) for column in shown]
    room = shutil.get_terminal_size().columns - margin
    if sys.stdout is not None and sys.stdout.isatty() and room >= _NARROWEST_TERMINAL:
        shown, widths = _fitted(header, widths, room)
    lines = []
    for number, row in enumerate((header, *rows)):
        cells = [_cell(row[column], widths[column]) for column in shown]
        line = "  ".join(cells).rstrip()
        lines.append(click.style(line, dim=True) if number == 0 else line)
    return lines


def _fitted(header: Sequence[str], widths: Sequence[int], room: int) -> tuple[list[int], list[int]]:
    """The columns that have room, and how wide each may be."""
    shown, whole, widths = list(range(len(header))), widths, list(widths)

    def missing() -> int:
        return sum(widths[column] for column in shown) + 2 * (len(shown) - 1) - room

    if missing() > 0 and "id" in header[1:]:
        shown.remove(header.index("id"))  # the name in front is as good
    while missing() > 0:
        free = [column for column in shown if header[column] not in _WHOLE]
        widest = max(free, default=0, key=widths.__getitem__)
        if free and widths[widest] > _NARROWEST_COLUMN:
            widths[widest] -= 1
            continue
        others = free or [column for column in shown[1:] if header[column] != "run"]
        if not others:
            break
        shown.remove(others[-1])
        widths = list(whole)
    return shown, widths


def _cell(text: str, width: int) -> str:
    plain_ = click.unstyle(text)
    return clip(plain_, width) if len(plain_) > width else text + " " * (width - len(plain_))


def clip(text: str, most: int) -> str:
    """A text as one line of at most so many characters; `…` stands for what is left out."""
    line = " ".join(text.split(" ")).replace("\n", " ")
    return line if len(line) <= most else line[: most - 1] + "…"


def plain(text: str) -> str:
    """Text from a run without control characters: a result cannot drive the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and c != "\x7f" and not "\x80" <= c <= "\x9f"))


def report_text(results: Sequence[Mapping[str, Any]], most: int = 120) -> list[str]:
    """The text people want to read: the longest-lived result of the run's first skill that made one."""
    texts = [result["text"] for result in results if result["state"] == "completed" and result["text"].strip()]
    lines = plain(texts[0]).strip().splitlines() if texts else []
    return lines if len(lines) <= most else [*lines[:most], f"… {len(lines) - most} more lines"]
