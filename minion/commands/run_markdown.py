"""A run as a Markdown page, for people who read it outside a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minion.spelling import plain, report_text, took


def run_markdown(run: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The lines of a run's page: verdict, summary, steps, checks, effects, gaps, the report it made."""
    length = took(run["started_at"], run["ended_at"]) or "–"
    yield f"# {run['routine']}: {run['verdict']}"
    yield f"\n_{run['id']}, started {run['started_at'] or '–'}, took {length}_\n"
    yield from [plain(run["summary"] or "No report was filed."), ""]
    if run["why"]:
        yield f"Why: {plain(run['why'])}\n"
    yield from ["| step | state | took |", "|---|---|---|"]
    for block in run["blocks"]:
        yield _row(f"**{block['code']} {block['name']}**", block)
        for step in block["steps"]:
            if step["kind"] != "tool_call":
                yield _row(step["code"], step)
    for title, lines in (
        ("Checks", [f"{c['state']}: {c['kind']} {c['expected']}: {c['detail']}" for c in run["checks"]]),
        ("Effects", [f"{e['state']}: {e['kind']}:{e['target']} {e['destination'] or ''}" for e in run["effects"]]),
        ("Gaps", [f"{g['requested_code']}: {g['description']}" for g in run["gaps"]]),
    ):
        if lines:
            yield "\n".join([f"\n## {title}\n", *(f"- {plain(line).strip()}" for line in lines)])
    report = report_text(results)
    if report:
        yield "\n".join(["\n## Report\n", *report])


def _row(name: str, item: Mapping[str, Any]) -> str:
    return f"| {name} | {item['state']} | {took(item['started_at'], item['ended_at'])} |"
