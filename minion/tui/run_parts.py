"""What is said of a run above its parts, and of its parts all but the steps: transcript, effects, files, facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from difflib import SequenceMatcher
from typing import Any, Final

from textual.content import Content

from minion.spelling import MEANINGS, answer_words, clip, spell_ms
from minion.tui.event_words import Told
from minion.tui.lines import DIM, Column, cap, dollars, laid_out, marked, text
from minion.tui.run_files import FoundFile
from minion.tui.run_reading import FoundRun
from minion.tui.run_steps import spelled
from minion.tui.run_story import Moment
from minion.tui.widgets.listing import Entry, Line, in_columns, still
from minion.tui.widgets.paper import named, part, wrapped

_LIVE: Final = {
    "running": "it goes on", "waiting": "it waits for its turn, or for somebody",
}  # fmt: skip
_CONFORMANCE: Final = {
    "conformant": "as planned", "incomplete": "as planned, but not all of them", "drift": "changed",
    "violation": "a rigid block was broken", None: "not known yet",
}  # fmt: skip
_BAD_EFFECTS: Final = ("failed", "unknown", "refused", "withheld")
# What is told of an effect in a list, and only where it is shown whole.
_SHORT: Final = (("title", "title"), ("where", "destination"), ("saw", "detail"), ("undo", "reverse"))
_LONG: Final = (
    ("staged", "staged_at"), ("begun", "intended_at"), ("settled", "settled_at"), ("digest", "digest"),
    ("id", "id"),
)  # fmt: skip
_MOST_STEPS: Final = 400
_LONGEST: Final = 2000
_CAUSES: Final = 4
_ROWS_EACH: Final = 2
_LINES: Final = 6
_FILES: Final = (Column("name", least=20), Column("size", right=True))


def headline(found: FoundRun, width: int, now: datetime) -> Content:
    """The verdict with its meaning, the routine, how long it took, and the id; what has no room goes."""
    run = found.run
    verdict, meaning = str(run["verdict"]), meaning_of(found)
    name = text(run["routine"], "bold")
    rest = [name, text(spelled(found.began, found.ended, now)), text(run["id"], DIM)]
    with_meaning = Content(" · ").join([marked(verdict, f" {meaning}"), *rest])
    return with_meaning if with_meaning.cell_length <= width else Content(" · ").join([marked(verdict), *rest])


def meaning_of(found: FoundRun) -> str:
    """What the verdict means, in words."""
    verdict = str(found.run["verdict"])
    return MEANINGS.get(verdict) or _LIVE.get(verdict, "")


def causes(found: FoundRun, width: int, now: datetime) -> list[Content]:
    """Why it ended so and what helps, as far as that has room; then what the run says of itself."""
    said: list[Content] = []
    run = found.run
    meaning = meaning_of(found)
    if meaning and meaning not in headline(found, width, now).plain:
        said.append(text(meaning, DIM))
    if run["why"]:
        said.append(text("why: ", "bold") + text(_clipped(run["why"])))
    if run["hint"]:
        said.append(text("hint: ", "bold") + text(_clipped(run["hint"]), "$text-accent"))
    said += [_effect_line(effect) for effect in run["effects"] if effect["state"] in _BAD_EFFECTS]
    said += [_check_line(check, "check ") for check in run["checks"] if check.get("state") == "failed"]
    said += [text(_clipped(f"gap {gap['requested_code']}: {gap['description']}")) for gap in run["gaps"]]
    said += [text(_clipped(f"asked: {each['question']}")) for each in run["questions"] if each["state"] == "open"]
    if run["verdict"] == "not-delivered":
        said.append(text("R", "bold") + text(" redeliver", DIM))
    if run["summary"]:
        said.append(text(_clipped(run["summary"])))
    return [line for each in said for line in _at_most(each, width)][:_CAUSES]


def _clipped(words: str) -> str:
    # Before it is broken into lines, which takes long for a text that nobody could read here anyway.
    return clip(words, _LONGEST)


def _at_most(words: Content, width: int) -> list[Content]:
    lines = words.wrap(width)
    if len(lines) <= _ROWS_EACH:
        return lines
    return [*lines[: _ROWS_EACH - 1], (lines[_ROWS_EACH - 1].rstrip() + " …").truncate(width, ellipsis=True)]


def _check_line(check: Mapping[str, Any], before: str = "") -> Content:
    words = f"{before}{check.get('kind')} {check.get('expected')}: {_clipped(str(check.get('detail')))}"
    return marked(str(check.get("state")), words)


def _effect_line(effect: Mapping[str, Any]) -> Content:
    where = f" → {effect['destination']}" if effect["destination"] else ""
    detail = f" ({_clipped(effect['detail'])})" if effect["detail"] else ""
    return marked(effect["state"], f"{effect['kind']}:{effect['target']}{where}{detail}")


def said(moment: Moment, zone: tzinfo) -> list[Entry]:
    """A moment of the transcript: its line, and the first lines of its text."""
    lines = moment.told.text.rstrip().splitlines() if moment.told.text else []
    entries = [Entry(lambda _: _moment_line(moment, zone), f"event:{moment.place}")]
    entries += [Entry(_below(line)) for line in lines[:_LINES]]
    if len(lines) > _LINES:
        entries.append(Entry(_below(f"… {len(lines) - _LINES:,} more lines: enter", DIM)))
    return entries


def _moment_line(moment: Moment, zone: tzinfo) -> Content:
    inner = moment.block is not None and not moment.type.startswith("block.")
    if inner and moment.step is not None and not moment.type.startswith("step."):
        margin = "    "
    else:
        margin = "  " if inner else ""
    at = f"{moment.at.astimezone(zone):%H:%M:%S}"
    return text(f"{at}  ", DIM) + margin + _words(moment.told, bold=moment.type.startswith("block."))


def _words(told: Told, *, bold: bool) -> Content:
    words = text(told.words, "bold" if bold else "")
    return marked(told.mark) + " " + words if told.mark is not None else words


def _below(line: str, style: str = "") -> Line:
    # Made when it is shown: a run may have said more than anybody reads.
    return lambda _: text(" " * 14) + text("│ ", DIM) + text(line.expandtabs(4), style)


def whole_moment(moment: Moment, width: int, zone: tzinfo) -> list[Content]:
    """All of an event, as far as it is kept for the screen: words, text, and what it holds by its names."""
    lines = [*_words(moment.told, bold=True).wrap(width)]
    at = f"{moment.at.astimezone(zone):%a %H:%M:%S %Z}"
    lines.append(text(f"{moment.type}  {at}  entry {moment.place} of the log", DIM))
    if moment.told.text:
        lines += [Content(), *wrapped(moment.told.text, width)]
    held = {name: value for name, value in moment.data.items()
            if value is not None and str(value) != moment.told.text}  # fmt: skip
    return [*lines, *part("DATA", (line for name, value in held.items() for line in _held(name, value, width)))]


def _held(name: str, value: Any, width: int) -> Iterator[Content]:
    yield from named(name, _clipped(str(value)), width, 13)


def compared(found: FoundRun, width: int) -> list[Content]:
    """The canonical steps against those taken, line by line, the first difference pointed at."""
    run = found.run
    how = _CONFORMANCE.get(run["conformance"], str(run["conformance"]))
    lines = [text("steps ", DIM) + text(how, "bold")]
    rows, difference = _rows(run["canonical"][:_MOST_STEPS], found.taken[:_MOST_STEPS], over=found.is_over)
    if difference is not None:
        lines += text(f"▸ first difference: {_difference(run, difference)}", "$text-warning").wrap(width)
    lines.append(Content())
    columns = (Column("", spare=0), Column("planned", least=16), Column("taken", least=16), Column("", least=6))
    head = [text(""), text("planned", DIM), text("taken", DIM), text("")]
    lines += laid_out(columns, [head, *rows], width)
    lines += [Content(), *named("planned", run["canonical_fingerprint"] or "", width)]
    return [*lines, *named("taken", run["fingerprint"] or "known when it has ended", width)]


def _rows(
    planned: Sequence[str], taken: Sequence[str], *, over: bool
) -> tuple[list[list[Content]], tuple[str | None, str | None] | None]:
    rows: list[list[Content]] = []
    first: tuple[str | None, str | None] | None = None
    for tag, a, b, c, d in SequenceMatcher(None, planned, taken, autojunk=False).get_opcodes():
        for number in range(max(b - a, d - c)):
            want = planned[a + number] if a + number < b else None
            took = taken[c + number] if c + number < d else None
            to_come = not over and took is None and c == len(taken)
            differs = tag != "equal" and not to_come
            words = "not yet" if to_come else _became(want, took)
            mark = "▸" if differs and first is None else "≠" if differs else " "
            style = "$text-warning" if differs else DIM if to_come else ""
            first = first or ((want, took) if differs else None)
            rows.append([text(mark, style), text(want or "–", style), text(took or "–", style),
                         text(words, style or DIM)])  # fmt: skip
    return rows, first


def _became(want: str | None, took: str | None) -> str:
    if want == took:
        return "as planned"
    if took is None:
        return "not taken"
    return "added" if want is None else "instead"


def _difference(run: Mapping[str, Any], seen: tuple[str | None, str | None]) -> str:
    told = run["first_difference"]
    if isinstance(told, list) and len(told) == 3:
        block, want, took = told
        names = {item["code"]: item["name"] for item in run["blocks"]}
        place = f"in {block} {names.get(block, '')}".rstrip() + " "
    else:
        place, (want, took) = "", seen
    if want is None:
        return f"{place}{took} was taken, which is not planned"
    return f"{place}{want} was planned, {took} was taken" if took else f"{place}{want} was planned and not taken"


def effect_entries(found: FoundRun, matches: Any) -> list[Entry]:
    """Each effect with its state, where it went, what was seen, and the command that takes it back."""
    entries: list[Entry] = []
    for effect in found.run["effects"]:
        if not matches(effect["kind"], effect["target"], effect["state"], effect["destination"]):
            continue
        line = marked(effect["state"], f"{effect['kind']}:{effect['target']}") + text(f"  {_size(effect)}", DIM)
        entries.append(Entry(still(line), f"effect:{effect['id']}"))
        for name, key in _SHORT:
            if effect[key]:
                # The key that copies it stands before it.
                head = text("    u", "bold") if name == "undo" else text("     ")
                entries.append(Entry(still(head + text(f" {name:<5} ", DIM) + text(effect[key]))))
    if not entries:
        words = "It staged no effects." if not found.run["effects"] else "No effect is called so."
        entries.append(Entry(still(text(words, DIM))))
    return entries


def whole_effect(effect: Mapping[str, Any], width: int, body: str | None) -> list[Content]:
    """All that is known of an effect; `body` is what it was to bring, None where that is not kept any more."""
    lines = [marked(effect["state"], f"{effect['kind']}:{effect['target']}"), Content()]
    for name, key in (*_SHORT, *_LONG):
        if effect[key]:
            lines += named(name, str(effect[key]), width)
    lines += named("size", _size(effect), width)
    return [*lines, *part("WHAT IT BRINGS", wrapped(body, width) if body else ())]


def _size(effect: Mapping[str, Any]) -> str:
    size = effect["bytes"]
    return f"{size:,} bytes" if isinstance(size, int) else ""


def file_entries(files: Sequence[FoundFile], matches: Any) -> list[Entry]:
    """The files of the run's folder with their sizes."""
    shown = [file for file in files if matches(file.path)]
    rows = [
        (f"file:{file.path}" if file.size is not None else None,
         [text(file.path) if file.path else text(file.what, DIM),
          text(f"{file.size:,}" if file.size is not None else file.what if file.path else "", DIM)])
        for file in shown
    ]  # fmt: skip
    if rows:
        return in_columns(_FILES, rows)
    words = "No file is called so." if files else "Its folder is empty, or gone."
    return [Entry(still(text(words, DIM)))]


def facts(found: FoundRun, width: int, now: datetime) -> list[Content]:
    """What a run used of its limits, what it ran with, and whether its log is intact."""
    run, zone = found.run, found.zone
    rows = [
        ("verdict", marked(str(run["verdict"]), f" {meaning_of(found)}")),
        ("truths", f"state {run['state']}, outcome {run['outcome']}, delivery {run['delivery']}"),
        ("why", _clipped(run["why"] or "")), ("hint", _clipped(run["hint"] or "")),
        ("began", f"{found.began.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}, by {run['trigger']}"),
        ("took", spelled(found.began, found.ended, now)),
        *_usage(run["usage"], found.order.limits),
        ("engine", text(f"{run['engine']}, ") + _sandbox(run["sandbox"])),
        ("variant", f"{run['process']}.{run['variant']}"),
        *(("session", f"{each['id']}  {each['engine']}, {each['sandbox']}") for each in run["sessions"]),
        *(("check", _check_line(each)) for each in run["checks"]),
        *(("gap", _clipped(f"{each['requested_code']}  {each['description']}")) for each in run["gaps"]),
        *(("asked", _clipped(f"{each['question']}  ({answer_words(each)})")) for each in run["questions"]),
        ("steps", f"{_CONFORMANCE.get(run['conformance'], run['conformance'])}  {run['fingerprint'] or ''}"),
        ("log", _log(found)), ("id", run["id"]), ("folder", str(found.folder)),
        ("entries", f"{len(found.moments):,} in the log"),
    ]  # fmt: skip
    lines = [line for name, words in rows if words for line in named(name, words, width)]
    held = [line for name, digest in run["lock"].items() for line in _locked(str(name), str(digest or "–"), width)]
    return [*lines, *part("WHAT IT RAN WITH", held)]


def _locked(name: str, digest: str, width: int) -> Iterator[Content]:
    yield from (text(name) + text(f"  {digest}", DIM)).wrap(width)


def _log(found: FoundRun) -> Content:
    if found.log is None:
        return text("sealed when the run ends", DIM)
    return text("✓ intact", "$text-success") if found.log == "intact" else text(f"✗ {found.log}", "$text-error")


def _sandbox(word: str | None) -> Content:
    if word == "unsandboxed":
        return text("! unsandboxed", "$text-warning")
    return text("no session opened" if word is None else f"sandboxed by {word}")


def _usage(used: Mapping[str, Any], limits: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """What was used, each against its limit where there is one; of an odd amount only what it says."""
    for name, amount in used.items():
        if not isinstance(amount, int | float) or isinstance(amount, bool):
            yield name, str(amount)
        elif name == "wall_ms":
            most = limits.get("wall_clock_s")
            yield "work", spell_ms(amount) + (f" of {spell_ms(most * 1000)}" if most else "")
        elif name == "dollars":
            most = limits.get("dollars")
            yield name, dollars(amount) + (f" of {cap(most)}" if most else "")
        else:
            most = limits.get(name)
            yield name, f"{amount:,}" + (f" of {most:,.0f}" if most else "")
