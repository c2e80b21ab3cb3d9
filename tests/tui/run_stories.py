"""Runs worth opening, for the screen of one run: failed, strayed, under way, long, odd."""

from __future__ import annotations

from typing import Any, Final

from server.contract.digest import digest_of
from tests.minion.stored_runs import CODES, NOW, Teller, numbered_id
from tests.tui.stories import Shelf, before, not_delivered, under_way

# The runs of `runs_to_open`, in the order they are told.
FAILED: Final = numbered_id("run_", 1)
STRAYED: Final = numbered_id("run_", 2)
NOT_DELIVERED: Final = numbered_id("run_", 3)
UNDER_WAY: Final = numbered_id("run_", 4)
REPORT: Final = "# shop: 12 commits\n\n- **fixed** the till\n- see [notes](https://e.test/x) [bold]not markup[/]"


def skill(told: Teller, name: str, text: Any, **changes: Any) -> Teller:
    """A skill's step with the call of its script inside, its stderr, and its result."""
    state, why = changes.pop("state", "completed"), changes.pop("why", None)
    code, outer = f"LLM-{name.upper()}", len(told.events) + 1000
    told.tell("step.started", **_said(outer, code, "step"))
    inner = _said(outer + 1, "scripts/run.py", "tool_call")
    told.tell("step.started", **inner)
    told.tell("step.finished", **inner, state=state, why=why, started_at=NOW, digest_out=digest_of(text))
    if "log" in changes:
        told.tell("log", level="error", skill=name, text=changes.pop("log"))
    told.tell("skill.result", **{
        "skill": name, "state": state, "text": text, "data": {"commits": 12}, "exit": 0, "truncated": 0,
        "duration_ms": 134, "why": why, "timed_out": False, "effects": 0, **changes,
    })  # fmt: skip
    ended = {"state": state, "why": why, "started_at": NOW, "digest_out": digest_of(text)}
    return told.tell("step.finished", **_said(outer, code, "step"), **ended)


def _said(number: int, code: str, kind: str) -> dict[str, Any]:
    return {"number": number, "code": code, "kind": kind, "agent": "tester", "digest_in": digest_of(code)}


def second_skill_failed(told: Teller) -> Teller:
    """A run of two skills of which the second failed, with all that a script says on the way."""
    told.block(CODES[0], "TSK-VALIDATE-TRIGGER").enter(CODES[1]).begin_step("SCR-CLONE-REPO")
    told.tell("log", level="info", text="cloned shop at 03f03cad30c40f168f9a61da4e28937a386d4438")
    told.end_step("SCR-CLONE-REPO").leave().enter(CODES[2])
    told.tell("session.opened", session_id=numbered_id("session_", 900), engine="script", sandbox="bubblewrap")
    skill(told, "write-daily-report", REPORT)
    skill(told, "send-to-slack", "half a message", state="failed", exit=3, log="Traceback:\n  KeyError: 'text'",
          why="the script ended with exit code 3", data={"characters": 14})  # fmt: skip
    told.report("failure", "The report could not be sent.", "- **send-to-slack**: exit code 3")
    return told.leave("failed", "send-to-slack failed").block(CODES[3], "SCR-PUSH-BRANCH")


def strayed(told: Teller) -> Teller:
    """A run whose session took a step of its own, and whose branch was pushed."""
    told.beginning().step("LLM-EXECUTE-PROMPT").step("LLM-VERIFY-OUTPUT").report(summary="Reviewed.").leave()
    told.enter(CODES[3])
    effect = told.stage("push", "shop:claude/review")
    told.intend(effect)
    told.tell("effect.result", id=effect, state="delivered", detail="read back", destination="shop claude/review",
              reverse="git push shop --delete claude/review")  # fmt: skip
    return told.step("SCR-PUSH-BRANCH").leave()


async def runs_to_open(shelf: Shelf) -> None:
    """A run that failed, one that strayed, one that did not arrive, and one that goes on."""
    await shelf.routine("morning-report", cron="0 9 * * 1-5")
    await shelf.routine("pr-review")
    await shelf.run("morning-report", before(hours=3), tell=second_skill_failed, end="failed", seconds=26,
                    why="send-to-slack failed: the script ended with exit code 3",
                    pipeline=("write-daily-report", "send-to-slack"))  # fmt: skip
    await shelf.run("pr-review", before(hours=2), tell=strayed, trigger="api", dollars=0.21, engine="claude-code")
    await shelf.run("morning-report", before(minutes=30), tell=not_delivered, dollars=0.11)
    await shelf.run("pr-review", before(minutes=1, seconds=52), seconds=100, tell=under_way, end=None,
                    trigger="api", engine="claude-code", dollars=0.08)  # fmt: skip


def long_one(told: Teller) -> Teller:
    """A run of 50 steps and some 5,000 events, with a result that lies in its folder and texts of 100 KB."""
    told.block(CODES[0], "TSK-VALIDATE-TRIGGER").block(CODES[1], "SCR-CLONE-REPO").enter(CODES[2])
    told.tell("session.opened", session_id=numbered_id("session_", 901), engine="script", sandbox="bubblewrap")
    whole = {"file": "bodies/000009-skill.result-text.txt", "digest": digest_of(1), "bytes": 64_000_000,
             "start": "the beginning of it"}  # fmt: skip
    skill(told, "gather", whole)
    for number in range(46):
        said = _said(3000 + number, f"LLM-STEP-{number:02d}", "step")
        told.tell("step.started", **said)
        for line in range(104):
            told.tell("log", level="info", text=f"line {line} of step {number}\n" * (1 + line % 4))
        ended = {"state": "completed", "why": None, "started_at": NOW, "digest_out": digest_of(number)}
        told.tell("step.finished", **said, **ended)
    skill(told, "write-it-down", "x" * 100_000 + "\n" + "word " * 20_000)
    return told.report(summary="It was long.").leave().block(CODES[3], "SCR-PUSH-BRANCH")


def odd(told: Teller) -> Teller:
    """A run whose events are of later engines, or hold what nobody expects."""
    told.beginning().begin_step("LLM-EXECUTE-PROMPT")
    told.tell("log", level="info", text="\x1b[31mred\x1b[0m \x07bell [b]bold[/b] " + "語" * 200)
    told.tell("log", level=None, text={"file": 1, "bytes": "many", "start": ["a"]})
    told.tell("brought.forth", what={"a": [1, 2]}, why="nobody here knows this event")
    told.tell("skill.result", skill=7, state="completed", text=["no", "text"], data="no data", exit="?",
              truncated="some", duration_ms="long", why=None)  # fmt: skip
    inner = {**_said(50, "Bash", "tool_call"), "cost": {"tokens": 1200, "dollars": 0.01}}
    told.tell("step.started", **inner)
    told.tell("step.finished", **inner, state="odd", why="because " * 200, started_at=NOW, digest_out=None)
    told.tell("check", kind="file", expected="*.md", state="failed", detail="none \x1b]52;c;eA==\x07 there")
    return told.report(summary=">" * 3000 + "\n" + "[a](javascript:b) " * 50, details="- " * 5000)


async def a_long_run(shelf: Shelf) -> None:
    """One run, which is long."""
    await shelf.routine("morning-report")
    await shelf.run("morning-report", before(hours=1), tell=long_one, seconds=900, dollars=0.4)


async def an_odd_run(shelf: Shelf) -> None:
    """One run, of which nothing is as usual."""
    await shelf.routine("morning-report")
    await shelf.run("morning-report", before(hours=1), tell=odd, end="interrupted", why="why " * 20_000)
