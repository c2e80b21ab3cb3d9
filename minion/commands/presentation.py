"""How runs look on the command line: marks and words, never colour alone; nothing is longer than it must be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from minion.commands.context import shown_path
from minion.spelling import MARKS, MEANINGS, STEP_KINDS, answer_words, clip, one_line, spell_cost, took


def mark(word: str) -> str:
    """A state or verdict with its mark, coloured where the terminal shows colour."""
    sign, colour = MARKS.get(word, ("·", "white"))
    return click.style(f"{sign} {word}", fg=colour)


def rule(title: str) -> str:
    """A line that opens a part, as wide as the terminal allows."""
    width = min(shutil.get_terminal_size((88, 24)).columns, 100)
    return click.style(f"── {title} ".ljust(width, "─"), dim=True)


# What happens inside a step: a session with a model has hundreds of them.
_INNER: Final = ("tool_call", "llm_response", "decision")


def tree(run: Mapping[str, Any], *, verbose: bool = False) -> list[str]:
    """Blocks and their steps with kinds, states and times; what a model did inside them is counted.

    With `verbose` each of its answers, calls and decisions has a line.
    """
    lines = []
    for block in run["blocks"]:
        name = f"{block['code']}  {block['name']:<26} {block['kind']:<8}"
        lines.append(f"{name} {_ended(block)}")
        inside: list[Mapping[str, Any]] = []
        for step in block["steps"]:
            if step["kind"] in _INNER and run["engine"] != "script" and not verbose:
                inside.append(step)
                continue
            lines += _counted(inside)
            inside = []
            code = one_line(step["code"]) + (f" ({_kind(step)})" if step["kind"] != "step" else "")
            indent = "   └ " if step["kind"] in _INNER else " · "
            lines.append(f"    {indent}{code:<{44 - len(indent)}} {_ended(step)}")
        lines += _counted(inside)
    return lines


def _kind(step: Mapping[str, Any]) -> str:
    return STEP_KINDS.get(step["kind"], step["kind"])


def _counted(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for what happened inside a step."""
    if not steps:
        return []
    words = []
    names = {"llm_response": "answers of the model", "tool_call": "tool calls", "decision": "decisions"}
    for kind, many in names.items():
        of_kind = [step for step in steps if step["kind"] == kind]
        failed = sum(step["state"] == "failed" for step in of_kind)
        if of_kind:
            name = many if len(of_kind) > 1 else STEP_KINDS[kind]
            words.append(f"{len(of_kind):,} {name}{f' ({failed} failed)' if failed else ''}")
    return [f"       └ {', '.join(words)}"]


def _ended(item: Mapping[str, Any]) -> str:
    time = took(item["started_at"], item["ended_at"])
    state = mark(item["state"]) + " " * max(0, 13 - len(item["state"]))
    return f"{state} {time:>8}  {clip(item.get('why') or '', 120)}".rstrip()


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
        said = one_line(f"{check['kind']} {check['expected']}: {check['detail']}")
        lines.append(f"check      {mark(check['state'])}  {said}")
    for effect in run["effects"]:
        where = f" → {shown_path(effect['destination'])}" if effect["destination"] else ""
        detail = f"  ({one_line(effect['detail'])})" if effect["detail"] else ""
        what = one_line(f"{effect['kind']}:{effect['target']}{where}")
        lines.append(f"effect     {mark(effect['state'])}  {what}{detail}")
    for gap in run["gaps"]:
        lines.append(f"gap        {gap['requested_code']}  {clip(gap['description'], 400)}")
    for asked in run["questions"]:
        lines.append(f"asked      {clip(asked['question'], 400)}  ({answer_words(asked)})")
    lines.append(f"steps      {_steps(run)}")
    engine = f"{run['engine']} engine, {_sandbox(run['sandbox'])}"
    lines.append(f"ran with   {engine}, variant {run['process']}.{run['variant']}")
    models, cost = run["usage"].get("models"), spell_cost(run["usage"])
    if models or cost:
        lines.append(f"used       {cost or 'nothing'} of {', '.join(models or ('a model',))}")
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
        where = f" (in {difference[0]}: {_became(difference[1], difference[2])})"
    return f"{run['fingerprint'] or '–'}  {words}{where}"


def _became(expected: str | None, took: str | None) -> str:
    """What became of a step that was expected, or of one that was not."""
    if expected is None:
        return f"{took} was added"
    return f"expected {expected}, took {took}" if took is not None else f"{expected} was not taken"


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
