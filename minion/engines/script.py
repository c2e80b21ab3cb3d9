"""The `script` engine: runs each skill's own script in the tool host, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minion.engines.base import Stage, StagedEffect, TaskResult
from minion.engines.task_document import task_document
from minion.sandbox.tool_client import ToolResult
from minion.wire import OrderedSkill
from server.contract.digest import canonical_json
from server.contract.run import EFFECT_KINDS
from server.contract.topology import PROMPT_STEP

NEEDS_A_MODEL = "needs a model"
REPORT_BYTES = 262_144
RESULT_KEYS = frozenset({"text", "data", "effects"})
EFFECT_KEYS = frozenset({"kind", "target", "body", "path", "title"})
# Far beyond any real result, and far below what would exhaust whoever walks or records it.
DEEPEST = 64
MOST_EFFECTS = 100
# Enough of a failed script's own words to act on; the whole of it is in the run's log.
WORDS_OF_FAILURE = 600
# Characters of what a script said on stderr that its run's log keeps: the end, where the reason stands.
LOGGED = 32_768
# Where the tool host cut output, half a secret may stand, which nobody knows for one: so many characters go too.
# Of stdout so many more are fetched than are kept, so that none of what is kept is lost by it.
CUT_EDGE = 8_192


class ScriptEngine:
    """Executes skills by their `scripts/run.py` or `scripts/run.sh`."""

    name = "script"

    async def open(self, stage: Stage) -> ScriptSession:
        """A session is nothing but the list of results so far: scripts keep no memory."""
        return ScriptSession(stage)


class ScriptSession:
    """One session of scripts: every script reads one JSON document and prints its result."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def skill(
        self, skill: OrderedSkill, earlier: Sequence[tuple[str, TaskResult]], *, timeout_s: float
    ) -> TaskResult:
        """Run the skill's script. A skill without one is skipped: it needs a model, and that is a gap."""
        if skill.script is None:
            why = f"The skill {skill.name} has no script and the script engine has no model."
            return TaskResult("skipped", why=NEEDS_A_MODEL, gap=("step", skill.code, why))
        most = self._stage.order.limits.output_bytes
        async with self._stage.ledger.step(skill.script, kind="tool_call", given=skill.digest) as call:
            document = task_document(self._stage, skill.name, earlier)
            result = await self._run(skill, document, timeout_s, most + CUT_EDGE)
            found = read_result(result, self._stage.redact, most)
            call.state, call.why, call.out = found.state, found.why, found.text
        return found

    async def prompt(self, *, timeout_s: float) -> TaskResult:  # noqa: ARG002 - the Protocol's signature
        """A prompt cannot be executed by scripts: skipped, with the gap that says so."""
        why = "The routine is a prompt and the script engine has no model."
        return TaskResult("skipped", why=NEEDS_A_MODEL, gap=("step", PROMPT_STEP, why))

    async def report(
        self,
        earlier: Sequence[tuple[str, TaskResult]],
        *,
        facts: Mapping[str, Any],
        reminder: str | None,
        timeout_s: float,
    ) -> Mapping[str, Any] | None:
        """What the bundled execution-report script prints; None when it fails or prints something else."""
        skill = self._stage.order.report_skill
        document = task_document(self._stage, skill.name, earlier) | {"run": dict(facts)}
        if reminder is not None:
            document["reminder"] = reminder
        # The routine's own limit is for its skills: however small, the run must still be able to say how it went.
        result = await self._run(skill, document, timeout_s, REPORT_BYTES)
        if result.exit != 0 or result.truncated:
            return None
        try:
            claim = json.loads(result.stdout)
        except (ValueError, RecursionError):
            return None
        return self._stage.redact(claim) if isinstance(claim, dict) and _holdable(claim) is None else None

    async def close(self) -> None:
        """Scripts leave nothing open."""

    async def _run(
        self, skill: OrderedSkill, document: Mapping[str, Any], timeout_s: float, max_bytes: int
    ) -> ToolResult:
        stage = self._stage
        folder = stage.skill_paths[skill.name]
        script = f"{folder}/{skill.script}"
        # Ours need nothing that is installed beside Python; others may count on `exit`, which -S takes away.
        bare = ("-S",) if skill.pinned else ()
        argv = ["/bin/sh", script] if script.endswith(".sh") else [stage.python, "-I", *bare, script]
        cwd = stage.repositories[0].path if stage.repositories else stage.scratch
        return await stage.tools.run(
            argv,
            cwd=cwd,
            env=stage.env,
            stdin=canonical_json(document),
            timeout_s=timeout_s,
            max_bytes=max_bytes,
        )


def read_result(result: ToolResult, redact: Callable[[Any], Any], most: int) -> TaskResult:
    """What a script's end means. Only exit status 0 is a success; one that cannot be read is a failure.

    `redact` takes secrets out of all that it said: text, data, effects and the words of a failure. `most` bytes of
    its output are kept.
    """
    said, log = _said(result, redact)
    over = result.truncated + max(0, len(result.stdout) - most)
    common: dict[str, Any] = {
        "exit": result.exit,
        "truncated": over,
        "duration_ms": result.duration_ms,
        "log": log,
    }
    if result.exit != 0:
        words = said[-WORDS_OF_FAILURE:]
        ended = f"exit {result.exit}" if result.exit is not None else (result.why or "no exit status")
        why = f"{ended}: {words}" if words else ended
        return TaskResult("failed", why=why, timed_out=result.why == "timeout", **common)
    text = result.stdout.decode("utf-8", "replace")
    if over:
        clean: str = redact(text)
        kept = clean[:-CUT_EDGE] if result.truncated else clean
        return _cut_short(kept.encode("utf-8", "replace")[:most].decode("utf-8", "ignore"), over, common)
    return _read_output(text, redact, common)


def _said(result: ToolResult, redact: Callable[[Any], Any]) -> tuple[str, str]:
    """What a script said on stderr, as far as it was kept, and that as its run's log keeps it."""
    # Redacted before it is cut: half a secret would not be known for one.
    said: str = redact(result.stderr.decode("utf-8", "replace").strip())
    if result.dropped:
        said = said[CUT_EDGE:]
        return said, f"… over {result.dropped} bytes before …\n{said[-LOGGED:]}"
    return said, said if len(said) <= LOGGED else f"… {len(said) - LOGGED} characters before …\n{said[-LOGGED:]}"


def _cut_short(text: str, dropped: int, common: dict[str, Any]) -> TaskResult:
    if text.lstrip().startswith("{"):
        why = f"its JSON result is {dropped} bytes over the output limit"
        return TaskResult("failed", why=why, **common)
    note = f"\n\n_(output capped: {dropped} more bytes were dropped)_\n"
    return TaskResult("completed", text=text + note, **common)


def _read_output(text: str, redact: Callable[[Any], Any], common: dict[str, Any]) -> TaskResult:
    document = None
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, dict):
        return TaskResult("completed", text=redact(text), **common)
    problem = _holdable(document)
    document = redact(document) if problem is None else {}
    problem = problem or _problem_of(document)
    if problem is not None:
        return TaskResult("failed", why=f"its result is not understood: {problem}", **common)
    effects = tuple(StagedEffect(**effect) for effect in document.get("effects") or ())
    return TaskResult(
        "completed", text=document.get("text") or "", data=document.get("data") or {}, effects=effects, **common
    )


def _holdable(document: Any) -> str | None:
    """Why a document that Python could read cannot be written down again, None when it can."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return f"it is nested deeper than {DEEPEST} levels"
        holders = [item for item in level if isinstance(item, dict | list)]
        level = [value for item in holders for value in (item.values() if isinstance(item, dict) else item)]
    try:
        canonical_json(document).encode()
    except ValueError:
        return "it holds a number or a text that JSON in UTF-8 cannot hold"
    return None


def _problem_of(document: Mapping[str, Any]) -> str | None:
    unknown = sorted(set(document) - RESULT_KEYS)
    if unknown:
        return f"unknown key {unknown[0]!r} (known: data, effects, text)"
    if not isinstance(document.get("text"), str | None):
        return "text is not a string"
    if not isinstance(document.get("data"), dict | None):
        return "data is not an object"
    effects = document.get("effects")
    if effects is None:
        return None
    if not isinstance(effects, list) or len(effects) > MOST_EFFECTS:
        return f"effects is not a list of at most {MOST_EFFECTS}"
    for number, effect in enumerate(effects, 1):
        if not isinstance(effect, dict) or not {"kind", "target"} <= set(effect) <= EFFECT_KEYS:
            return f"effect {number} needs kind and target, and may have body, path and title"
        optional = [effect.get(key) for key in EFFECT_KEYS - {"kind", "target"}]
        strings = isinstance(effect["kind"], str) and isinstance(effect["target"], str)
        if not strings or not all(isinstance(value, str | None) for value in optional):
            return f"effect {number} has a value that is not a string"
        if effect["kind"] not in EFFECT_KINDS:
            return f"effect {number} is of kind {effect['kind'][:40]!r} (known: {', '.join(EFFECT_KINDS)})"
    return None
