"""A month of everything that the terminal view's lists can show."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from minion.store.decisions import answer_decision
from minion.store.slots import SlotRecord, advance, claim, settle
from server.contract.digest import instant
from tests.minion.stored_runs import CODES, Teller
from tests.tui.run_stories import strayed
from tests.tui.stories import ZONE, Shelf, before, lacking


def cut_off(told: Teller) -> Teller:
    """A run that was cut off between its intent to send and the answer."""
    told.beginning().step("LLM-EXECUTE-PROMPT").report(summary="7 pull requests wait.").leave()
    told.enter(CODES[3])
    told.intend(told.stage("message", "slack"))
    return told


def wordy(told: Teller) -> Teller:
    """A run that says a great deal, in wide letters and in some that would drive a terminal."""
    summary = "\x1b[31m日本語の報告 [bold]not bold[/bold]\r\n\ttabs " + "and much more " * 7_000
    told.beginning().step("LLM-EXECUTE-PROMPT").report(summary=summary).leave()
    told.enter(CODES[3])
    effect = told.stage("file", "レポート.md")
    told.intend(effect)
    told.tell("effect.result", id=effect, state="delivered", detail="digest read\x07 back",
              destination="/out/レポート.md", reverse="rm '/out/レポート.md'")  # fmt: skip
    return told.step("SCR-PUSH-BRANCH").leave()


async def a_full_month(shelf: Shelf) -> None:
    """All that the lists can show: slots of every kind and one that is not there, holds, unknown effects, gaps."""
    await shelf.routine("morning-report", cron="0 9 * * 1-5")
    await shelf.routine("nightly-triage", cron="0 2 * * *", lock="strict")
    await shelf.routine("release-notes", cron="0 17 * * 5", lock="strict")
    await shelf.routine("pr-review")
    for day in range(28, -1, -1):
        due = before(days=day, minutes=5, seconds=12)
        if due.weekday() < 5 and day != 9:  # of that day's slot there is no record
            run = await shelf.run("morning-report", due, seconds=50, dollars=0.11)
            await shelf.slot("morning-report", due, "ran", run=run)
    nights = [before(days=day, hours=7, minutes=5, seconds=12) for day in range(29, -1, -1)]
    await shelf.slot("nightly-triage", nights[11], "missed", count=12, why="the local day of the newest is over")
    for number, due in enumerate(nights[12:], start=12):
        if number == 20:
            await shelf.slot("nightly-triage", due, "skipped", why="its run before that went on still")
        elif number < 29:
            run = await shelf.run("nightly-triage", due, seconds=20, tell=lacking if number == 25 else None)
            if number == 18:
                await _late(shelf, "nightly-triage", due, run)
            else:
                await shelf.slot("nightly-triage", due, "ran", run=run)
    await shelf.question("nightly-triage")
    await shelf.slot("nightly-triage", nights[29], "due")
    refused = await shelf.question("release-notes")
    at = instant(before(hours=19))
    await shelf.writer.transact(lambda db: answer_decision(db, refused, "reject", by="alice", now=at))
    await shelf.run("pr-review", before(days=2), tell=strayed, trigger="api", engine="claude-code", dollars=0.21)
    await shelf.run("pr-review", before(days=1), tell=cut_off, trigger="api", end="interrupted",
                    why="the minion stopped while it was running")  # fmt: skip
    await shelf.run("pr-review", before(hours=3), tell=wordy, trigger="manual")
    await shelf.run("pr-review", before(hours=1), seconds=3, end="failed", why="the engine was not there",
                    tell=lacking)  # fmt: skip
    crons = {"morning-report": "0 9 * * 1-5", "nightly-triage": "0 2 * * *", "release-notes": "0 17 * * 5"}
    seen = instant(before(minutes=5))
    triggers = [(shelf.routines[name], f"{cron}|{ZONE}", seen) for name, cron in crons.items()]
    await shelf.writer.transact(lambda db: advance(db, triggers))


async def _late(shelf: Shelf, name: str, due: datetime, run: str) -> None:
    """A slot that began ten minutes after it was due."""
    key, routine = f"late {instant(due)}", shelf.routines[name]
    record = SlotRecord(routine, name, "cron", key, instant(due), due.astimezone(ZoneInfo(ZONE)).isoformat())
    began = instant(due + timedelta(minutes=10))
    await shelf.writer.transact(lambda db: claim(db, record, now=began))
    await shelf.writer.transact(lambda db: settle(db, routine, key, "late", now=began, run_id=run))
