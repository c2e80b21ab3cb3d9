"""Entry of the skill: turns a run's results, checks and gaps into the one JSON claim about its outcome."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

PROTOCOL = 1
OWN_NAME = "execution-report"
PROMPT = "the prompt"
SUMMARY_LIMIT = 300
SAID_LIMIT = 160
WHY_LIMIT = 400
LISTED = 50

ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
MARKUP = re.compile(r"^[\s>#*+-]+|[*`]+|~~")


@dataclass(frozen=True, slots=True)
class Result:
    """What one skill came to; `achieved` is a clause such as `reported 14 commits`, or empty."""

    skill: str
    state: str
    achieved: str
    why: str


def main() -> int:
    """Exit status: 0 with the claim on stdout, 2 when the task is unreadable."""
    try:
        document = json.loads(sys.stdin.buffer.read())
        if not isinstance(document, dict) or document.get("v") != PROTOCOL:
            raise ValueError
    except (ValueError, RecursionError):
        print(f"The task on stdin is not a JSON object of version {PROTOCOL}.", file=sys.stderr)
        return 2
    made = json.dumps(claim(document), ensure_ascii=False)
    sys.stdout.buffer.write(made.encode("utf-8", "replace") + b"\n")
    return 0


def claim(document: Mapping[str, Any]) -> dict[str, str]:
    """The claim: `outcome`, `summary` of one line and at most 300 characters, `details` in Markdown."""
    results = [_result(item) for item in _objects(document.get("results")) if item.get("skill") != OWN_NAME]
    run = document.get("run")
    facts = run if isinstance(run, dict) else {}
    checks = [_check(item) for item in _objects(facts.get("checks"))]
    failed_checks = [check for check, state, _ in checks if state == "failed"]
    gaps = list(_gaps(facts.get("gaps")))
    missing = _pipeline(document)
    outcome = _outcome(results, missing, bool(failed_checks), bool(gaps))
    summary = "; ".join(_clauses(results, missing, failed_checks, gaps))
    details = [*_result_lines(results, missing), *_check_lines(checks), *_gap_lines(gaps)]
    return {
        "outcome": outcome,
        "summary": _sentence(summary, names={result.skill for result in results if result.skill != PROMPT}),
        "details": "\n".join(details),
    }


def _outcome(results: Sequence[Result], missing: Sequence[str], check_failed: bool, gap: bool) -> str:
    states = {result.state for result in results}
    if not results:
        # Skills that should have run and did not: nothing was achieved. No skills at all: nothing was tried.
        return "failure" if missing else "partial"
    if states & {"failed", "timed_out", "cancelled"}:
        return "failure"
    if states - {"completed", "skipped"}:
        return "unknown"
    return "partial" if "skipped" in states or check_failed or gap else "success"


def _clauses(
    results: Sequence[Result], missing: Sequence[str], failed_checks: Sequence[str], gaps: Sequence[str]
) -> Iterator[str]:
    if not results:
        yield (
            f"None of the pipeline's {len(missing)} skills ran"
            if missing
            else "Nothing was executed: the routine is a prompt without skills, and that needs a model"
        )
    for result in results:
        if result.state == "failed":
            yield f"{result.skill} failed" + (f": {result.why.rstrip('.')}" if result.why else "")
    for result in results:
        if result.state == "completed":
            yield result.achieved or f"{result.skill} completed"
    other = [result for result in results if result.state not in ("completed", "failed")]
    for result in other:
        yield f"{result.skill} was {result.state}" + (f" ({result.why.rstrip('.')})" if result.why else "")
    if failed_checks:
        yield f"{_count(len(failed_checks), 'check')} failed ({', '.join(failed_checks[:3])})"
    if gaps:
        yield f"{_count(len(gaps), 'missing capability', 'missing capabilities')} recorded"


def _result(item: Mapping[str, Any]) -> Result:
    data, skill = item.get("data"), _line(item.get("skill"), 64)
    own = _line(data.get("summary"), SAID_LIMIT) if isinstance(data, dict) else ""
    staged = _staged(item.get("effects"))
    said = [own, staged] if own or staged else [_first_line(item.get("text"))]
    return Result(
        skill=PROMPT if skill == "prompt" else skill or "a skill without a name",
        state=_line(item.get("state"), 30) or "in an unknown state",
        achieved="; ".join(part.rstrip(".") for part in said if part),
        why=_line(item.get("why"), WHY_LIMIT),
    )


def _staged(effects: object) -> str:
    """`staged 1 message for slack`: staged is all a skill can do; the runner performs it later."""
    kinds = [(_line(item.get("kind"), 30), _line(item.get("target"), 80)) for item in _objects(effects)]
    counted = Counter((kind.replace("_", " "), target) for kind, target in kinds)
    named = [f"{_count(number, kind)} for {target}" for (kind, target), number in counted.items()]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"staged {', '.join(named[:3])}{more}" if named else ""


def _first_line(text: object) -> str:
    lines = (MARKUP.sub("", line) for line in text.splitlines()) if isinstance(text, str) else iter(())
    return next((shown for line in lines if (shown := _line(line, SAID_LIMIT))), "")


def _gaps(gaps: object) -> Iterator[str]:
    for gap in gaps if isinstance(gaps, list) else []:
        if isinstance(gap, dict):
            code = " ".join(filter(None, (_line(gap.get(key), 80) for key in ("gap_type", "requested_code"))))
            told = _line(gap.get("description"), WHY_LIMIT)
            yield ": ".join(filter(None, (code, told))) or "an unnamed capability"
        else:
            yield _line(gap, WHY_LIMIT) or "an unnamed capability"


def _pipeline(document: Mapping[str, Any]) -> list[str]:
    routine = document.get("routine")
    pipeline = routine.get("pipeline") if isinstance(routine, dict) else None
    return [_line(name, 64) for name in pipeline] if isinstance(pipeline, list) else []


def _result_lines(results: Sequence[Result], missing: Sequence[str]) -> list[str]:
    if not results:
        names = [f"- **{name}**: not run" for name in missing[:LISTED]]
        return names or ["- no skill ran: this run had a prompt only, and no model to give it to"]
    lines = []
    for result in results[:LISTED]:
        said = "; ".join(part for part in (result.achieved, result.why) if part)
        lines.append(f"- **{result.skill}**: {result.state}" + (f": {said}" if said else ""))
    return lines + _more(len(results))


def _check(item: Mapping[str, Any]) -> tuple[str, str, str]:
    named = " ".join(filter(None, (_line(item.get("kind"), 60), _line(item.get("expected"), 80))))
    return named or "a check", _line(item.get("state"), 30), _line(item.get("detail"), WHY_LIMIT)


def _check_lines(checks: Sequence[tuple[str, str, str]]) -> list[str]:
    if not checks:
        return []
    shown = checks[:LISTED]
    lines = [f"- {check}: {state}" + (f" ({detail})" if detail else "") for check, state, detail in shown]
    return ["", "**Checks**", *lines, *_more(len(checks))]


def _gap_lines(gaps: Sequence[str]) -> list[str]:
    return ["", "**Gaps**", *(f"- {gap}" for gap in gaps[:LISTED]), *_more(len(gaps))] if gaps else []


def _more(number: int) -> list[str]:
    return [f"- and {number - LISTED} more"] if number > LISTED else []


def _sentence(text: str, *, names: Set[str]) -> str:
    # The name of a skill is written as it is, at the start of a sentence too.
    whole = text if text.partition(" ")[0] in names else text[:1].upper() + text[1:]
    return whole + "." if len(whole) < SUMMARY_LIMIT else whole[: SUMMARY_LIMIT - 1].rstrip() + "…"


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _line(value: object, limit: int) -> str:
    if not isinstance(value, str):
        return ""
    bare = ESCAPE.sub("", value[: limit * 10])
    line = " ".join(NOT_SHOWN.sub(" ", bare).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


if __name__ == "__main__":
    sys.exit(main())
