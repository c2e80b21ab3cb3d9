"""The steps of a run in their blocks: a tree with bars of how long each took, and what is known of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from textual.content import Content

from minion.spelling import MARKS, spell_ms
from minion.tui.event_words import Told, as_text, kind_of
from minion.tui.lines import DIM, clocked, colour_of, marked, sign, text
from minion.tui.run_order import OrderedSkill
from minion.tui.run_reading import Block, FoundRun
from minion.tui.run_story import Moment, Step, within
from minion.tui.widgets.listing import Entry, Line
from minion.tui.widgets.paper import named, part, wrapped

# Rigid blocks are closed, elastic ones give way.
KINDS: Final = {"rigid": "▣", "elastic": "◇"}
_KINDS_MEAN: Final = {
    "rigid": "rigid: trusted code, always in this order",
    "elastic": "elastic: here the session decides, inside its limits",
}  # fmt: skip
_BAD: Final = ("failed", "interrupted", "cancelled")
_BAD_EFFECTS: Final = ("failed", "unknown", "refused")
_NEWEST: Final = 100
_NAME, _TIME, _LEAST_BAR, _MOST_BAR = 28, 10, 5, 48


def opening_key(found: FoundRun) -> str | None:
    """What the screen opens on: the first step that went wrong, or in which something did; else what goes on.

    Of a run in which all went well the first step of its elastic block.
    """
    steps = [step for step in found.steps.values() if step.inside is None]
    went_wrong = next((step.key for step in steps if step.state in _BAD), None) or _spoiled(found)
    if went_wrong is not None:
        return went_wrong
    block = next((block.key for block in found.blocks if block.state in _BAD), None)
    if block is not None:
        return block
    if not found.is_over:
        going_on = [step.key for step in steps if step.state == "running"]
        if going_on:
            return going_on[-1]
    elastic = [step.key for block in found.blocks if block.kind == "elastic" for step in block.steps]
    return next(iter((*elastic, *(step.key for step in steps), *(block.key for block in found.blocks))), None)


def _spoiled(found: FoundRun) -> str | None:
    """The step, else the block, in which an effect or a check failed though it did its own work."""
    bad = {effect["id"] for effect in found.run["effects"] if effect["state"] in _BAD_EFFECTS}
    missed = {(check.get("kind"), check.get("expected")) for check in found.run["checks"]
              if check.get("state") == "failed"}  # fmt: skip
    for moment in found.moments:
        of_effect = moment.type in ("effect.result", "effect.staged", "effect.intent")
        said = of_effect and moment.data.get("id") in bad and moment.data.get("state") != "staged"
        checked = moment.type == "check" and (moment.data.get("kind"), moment.data.get("expected")) in missed
        if said or checked:
            step = found.steps.get(moment.step or 0)
            return step.key if step is not None else f"block:{moment.block}"
    return None


def tree(found: FoundRun, now: datetime, sought: Sequence[str] = ()) -> list[Entry]:
    """The blocks with their steps, each with its mark, a bar and its time; of steps those with what is sought."""
    entries = [Entry(_scale(found, now))]
    for block in found.blocks:
        steps = [step for step in block.steps if _has(step, sought)]
        if sought and not steps:
            continue
        entries.append(Entry(_block_line(block, found, now), block.key))
        entries += [Entry(_step_line(step, found, now), step.key) for step in steps]
    if not found.blocks:
        entries.append(Entry(lambda _: text("It has not begun its first block yet.", DIM)))
    elif len(entries) == 1:
        entries.append(Entry(lambda _: text("No step is called so.", DIM)))
    return entries


def _has(step: Step, sought: Sequence[str]) -> bool:
    return all(word in f"{step.code} {step.state}".lower() for word in sought)


def _scale(found: FoundRun, now: datetime) -> Line:
    legend = text(f"{KINDS['rigid']} rigid  {KINDS['elastic']} elastic", DIM)
    return lambda width: _row(legend, Content(), _length(found.began, found.ended, now, dim=True), width)


def _block_line(block: Block, found: FoundRun, now: datetime) -> Line:
    kind = KINDS.get(block.kind, "·")
    if block.state is None:
        name = text(f"· {kind} {block.name}", DIM)
        return lambda width: _row(name, Content(), text("not begun", DIM), width)
    name = sign(block.state) + text(f" {kind} {block.name}", "bold")

    def line(width: int) -> Content:
        # The steps have the bars; a block that has none shows its own.
        drawn = Content() if block.steps else _bar(block.began, block.ended, block.state, found, now, width)
        return _row(name, drawn, _length(block.began, block.ended, now, dim=True), width)

    return line


def _step_line(step: Step, found: FoundRun, now: datetime) -> Line:
    depth = 1 if step.inside is None else 2
    kind = kind_of({"kind": step.kind})
    name = text("  " * depth) + sign(step.state) + text(f" {step.code}")
    more = text(f" {kind}", DIM)

    def line(width: int) -> Content:
        drawn = _bar(step.began, step.ended, step.state, found, now, width)
        time = _length(step.began, step.ended, now)
        whole = name + more if (name + more).cell_length <= _name_width(width) else name
        return _row(whole, drawn, time or text(step.state, DIM), width)

    return line


def _bar_width(width: int) -> int:
    room = width - _NAME - _TIME - 2
    return min(room, width // 3, _MOST_BAR) if room >= _LEAST_BAR else 0


def _name_width(width: int) -> int:
    bar_width = _bar_width(width)
    return max(8, width - _TIME - (bar_width + 1 if bar_width else 0) - 1)


def _row(name: Content, bar: Content, time: Content, width: int) -> Content:
    bar_width, room = _bar_width(width), _name_width(width)
    shown = name.truncate(room, ellipsis=True)
    line = shown + Content(" " * (room - shown.cell_length + 1))
    if bar_width:
        line += bar + Content(" " * (bar_width - bar.cell_length + 1))
    return line + time.truncate(_TIME).pad_left(max(0, _TIME - time.cell_length))


def _bar(
    began: datetime | None, ended: datetime | None, state: str | None, found: FoundRun, now: datetime, width: int
) -> Content:
    """When something went on, and how long, against the whole run."""
    cells = _bar_width(width)
    if began is None or not cells:
        return Content()
    whole = max(((found.ended or now) - found.began).total_seconds(), 0.001)
    first, last = ((at - found.began).total_seconds() / whole * cells for at in (began, ended or now))
    start = min(max(int(first), 0), cells - 1)
    end = min(max(round(last), start + 1), cells)
    drawn = ("━" * (end - start), colour_of(state or ""))
    return Content.assemble(("╌" * start, DIM), drawn, ("╌" * (cells - end), DIM))


def _length(began: datetime | None, ended: datetime | None, now: datetime, *, dim: bool = False) -> Content:
    if began is None:
        return Content()
    return text(spelled(began, ended, now), DIM if dim else "")


def spelled(began: datetime, ended: datetime | None, now: datetime) -> str:
    """How long something took, or has gone on."""
    if ended is None:
        return clocked((now - began).total_seconds())
    return spell_ms(max(0.0, (ended - began).total_seconds() * 1000))


def about(key: str | None, found: FoundRun, now: datetime, width: int) -> list[Content]:
    """What is known of the block or step a key stands for."""
    kind, _, name = (key or "").partition(":")
    if kind == "step" and name.isdigit() and int(name) in found.steps:
        return list(_about_step(found.steps[int(name)], found, now, width))
    block = next((block for block in found.blocks if block.key == key), None)
    return list(_about_block(block, found, now, width)) if block is not None else []


def _about_block(block: Block, found: FoundRun, now: datetime, width: int) -> Iterator[Content]:
    yield text(f"{block.code}  {block.name}", "bold")
    yield from wrapped(_KINDS_MEAN.get(block.kind, block.kind), width, DIM)
    stands = marked(block.state) if block.state else text("not begun", DIM)
    yield stands + _times(block.began, block.ended, found, now)
    if block.why:
        yield from wrapped(f"why: {block.why}", width, "$text-error" if block.state in _BAD else "")
    outside = [moment for moment in found.moments if moment.block == block.code and moment.step is None
               and not moment.type.startswith("block.")]  # fmt: skip
    yield from part("WHAT HAPPENED", _happened(outside, found, width))


def _about_step(step: Step, found: FoundRun, now: datetime, width: int) -> Iterator[Content]:
    kind = kind_of({"kind": step.kind})
    yield text(step.code, "bold") + text(f"  {kind or 'step'} {step.number}", DIM)
    yield marked(step.state) + _times(step.began, step.ended, found, now)
    if step.why:
        yield from wrapped(f"why: {step.why}", width, "$text-error" if step.state in _BAD else "")
    inside = within(step, found.moments)
    outer = found.steps.get(step.inside) if step.inside is not None else None
    results = [moment for moment in inside if moment.type == "skill.result"]
    if not results and outer is not None:  # what a call came to is said by the step that made it
        results = [moment for moment in within(outer, found.moments) if moment.type == "skill.result"]
    yield from part("INPUT", _given(step, found, width))
    made = [line for moment in results for line in _result(moment, width)]
    yield from part("OUTPUT", made or _none(step))
    rest = [moment for moment in inside if moment.type not in ("skill.result", "usage")]
    yield from part("WHAT HAPPENED", _happened(rest, found, width))
    digests = (("in", step.digest_in), ("out", step.digest_out))
    yield from part("DIGESTS", [line for name, digest in digests for line in named(name, digest or "", width, 5)])


def _times(began: datetime | None, ended: datetime | None, found: FoundRun, now: datetime) -> Content:
    if began is None:
        return Content()
    at = f"{began.astimezone(found.zone):%H:%M:%S}"
    until = f" to {ended.astimezone(found.zone):%H:%M:%S}" if ended is not None else ""
    return text(f"  {spelled(began, ended, now)}  {at}{until}", DIM)


def _given(step: Step, found: FoundRun, width: int) -> Iterator[Content]:
    """What a step began from: of a prompt its words, of a skill its script and what came before it."""
    order, skill = found.order, found.order.skill_of(step.code)
    said: list[tuple[str, str]] = []
    elastic = step.block in {block.code for block in found.blocks if block.kind == "elastic"}
    if skill is not None:
        said += _of_skill(skill)
    elif step.code == "LLM-EXECUTE-PROMPT":
        said.append(("prompt", order.prompt or ""))
    elif step.code == "TSK-VALIDATE-TRIGGER":
        said.append(("trigger", str(found.run["trigger"])))
    elif step.code == "SCR-CLONE-REPO":
        said += [("repository", f"{name}  {address}") for name, address in order.repositories]
    elif step.code == "SCR-PUSH-BRANCH":
        said += [("effect", f"{effect['kind']}:{effect['target']}, {effect['bytes']} bytes")
                 for effect in found.run["effects"]]  # fmt: skip
    if elastic:
        said += _before(step, found)
        said += [("fired with", as_text(order.input))] if order.input is not None else []
    said = [(name, words) for name, words in said if words]
    if not said:
        yield text("Only its digest is kept.", DIM)
    for name, words in said:
        head = name
        for paragraph in words.splitlines() or [""]:
            yield from named(head, paragraph, width)
            head = "" if paragraph else head


def _of_skill(skill: OrderedSkill) -> list[tuple[str, str]]:
    return [("skill", skill.name), ("script", skill.script or "none: the model follows its instructions")]


def _before(step: Step, found: FoundRun) -> list[tuple[str, str]]:
    """The results that an elastic step could build on."""
    results = [moment for moment in found.moments[: step.first] if moment.type == "skill.result"]
    said = [f"{each.data.get('skill')}: {each.data.get('state')}, {len(each.told.text):,} characters"
            for each in results]  # fmt: skip
    return [("result of", words) for words in said]


def _result(moment: Moment, width: int) -> Iterator[Content]:
    told = moment.told
    yield from (_mark(told) + text(told.words, DIM)).wrap(width)
    yield from wrapped(told.text, width) if told.text else ()
    data = as_text(moment.data.get("data"))
    if data:
        yield text("data", DIM)
        yield from wrapped(data, width, DIM)


def _none(step: Step) -> list[Content]:
    if step.ended is None:
        return [text("It goes on.", DIM)]
    if step.began is None:
        return [text("It was not begun.", DIM)]
    return [text("It made no text of its own.", DIM)]


def _happened(moments: Sequence[Moment], found: FoundRun, width: int) -> Iterator[Content]:
    if len(moments) > _NEWEST:
        yield from wrapped(f"… {len(moments) - _NEWEST:,} before these: see the transcript", width, DIM)
    for moment in moments[-_NEWEST:]:
        told = moment.told
        at = text(f"{moment.at.astimezone(found.zone):%H:%M:%S}  ", DIM)
        for number, line in enumerate((_mark(told) + text(told.words)).wrap(max(8, width - 10))):
            yield (at if number == 0 else Content(" " * 10)) + line
        for line in wrapped(told.text, max(8, width - 12)) if told.text else ():
            yield text(" " * 10) + text("│ ", DIM) + line


def _mark(told: Told) -> Content:
    if told.mark is None:
        return Content()
    known: Any = MARKS.get(told.mark)
    return (marked(told.mark) if known else text(told.mark)) + " "
