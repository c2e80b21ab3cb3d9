"""Runs that may go on after they were killed, and the audit of how they ended: whole, and no effect twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minion.app import Minion
from minion.config import Home
from minion.store.local_db import read_only
from minion.store.run_history import breaches
from tests.faults.kills import GONE_S, ROOT, processes_of
from tests.skills.repositories import Repository
from tests.waiting import wait_until
from tests.whole.homes import at_work, events_of, make_home, run_of, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook

# Each skill stages what the run's input names: a file, a push, a message.
DRAFT = """
answer(text="drafted", data={"long": "x" * 70_000},
       effects=[{"kind": "file", "target": task["input"] + ".md", "body": task["input"]}])
"""
MEND = """
open("roof.txt", "a").write(task["input"])
answer(text="mended", effects=[{"kind": "push", "target": "shop:claude/" + task["input"], "body": "Mended."}])
"""
SEND = """
assert len(task["results"][0]["data"]["long"]) == 70_000
assert [r["effects"][0]["kind"] for r in task["results"]] == ["file", "push"]
answer(text="sent", effects=[{"kind": "message", "target": "team", "body": task["input"]}])
"""


def home_to_resume(folder: Path, hook: Webhook, *, sandbox: str) -> tuple[Home, Repository]:
    """A home whose routine `work` goes on when it is interrupted, and the repository it pushes to."""
    home, shop = make_home(folder), Repository(folder)
    shop.write("roof.txt", "leaks\n")
    shop.commit("Begin")
    for name, script in (("draft", DRAFT), ("mend", MEND), ("send", SEND)):
        write_skill(home, name, script)
    write_secrets(home, {"team_webhook": hook.url("/ok")})
    write_routine(
        home, "work", "draft", "mend", "send", sandbox=sandbox, resume=True, repositories=[str(shop.folder)],
        effects=["file:*.md", "message:team", "push:shop:claude/*"], environment={"env": {"MARK": str(home.root)}},
        expect=[{"file": "shop/roof.txt"}, {"delivered": "*.md"}],
    )  # fmt: skip
    return home, shop


async def go_on(minion: Minion) -> list[str]:
    """Have every interrupted run go on to its end under this owner; their ids."""
    runs = await minion.supervisor.interrupted()
    for run in runs:
        await minion.supervisor.resume(run)
    return [run.run_id for run in runs]


async def open_and_go_on(home: Home) -> list[str]:
    """Own the home until nothing interrupted is left to go on; the ids of the runs that did."""
    async with at_work(home) as minion:
        return await go_on(minion)


def start_resuming_driver(home: Home, last: int) -> subprocess.Popen[bytes]:
    """A process that owns the home and has interrupted runs go on, killing itself at event `last`."""
    argv = [sys.executable, "-m", "tests.faults.driver", str(home.root), "-", "", str(last)]
    return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def audit_resumed(home: Home, shop: Repository, run_id: str, given: str, hook: Webhook) -> list[str]:
    """What is wrong with a run that was killed and went on; nothing, as promised."""
    run = run_of(home, run_id)
    wrong = [*_wrong_end(run), *_wrong_work(home, run), *_wrong_effects(home, shop, run, given, hook)]
    with read_only(home.store) as db:
        wrong += [f"the chain {breach.chain} is broken at {breach.position}" for breach in breaches(db)]
    if not wait_until(lambda: not processes_of(home), GONE_S):
        wrong.append(f"left alive: {processes_of(home)}")
    return wrong


def _wrong_end(run: dict[str, Any]) -> Iterator[str]:
    unknown = any(effect["state"] == "unknown" for effect in run["effects"])
    if (run["state"], run["verdict"]) != ("completed", "unknown" if unknown else "ok"):
        yield f"the run is {run['state']}, {run['verdict']}: {run['why']}"
    if run["conformance"] != "conformant" or run["topology"] != run["canonical"]:
        yield f"it is {run['conformance']}: {run['topology']}"
    if [block["state"] for block in run["blocks"]] != ["completed"] * 4:
        yield f"its blocks are {[block['state'] for block in run['blocks']]}"
    # The report was told what each skill staged, whoever of the sessions it was that had run the skill.
    told = all(word in run["summary"] for word in ("file", "push", "message"))
    if run["outcome"] != "success" or not told:
        yield f"its report says {run['outcome']}: {run['summary']}"


def _wrong_work(home: Home, run: dict[str, Any]) -> Iterator[str]:
    """Each skill has one result, each check was made once, and each session is another one."""
    skills = Counter(data["skill"] for data in events_of(home, run, "skill.result"))
    if skills != Counter(("draft", "mend", "send")):
        yield f"results of {dict(skills)}"
    checks = Counter(check["expected"] for check in run["checks"])
    if checks != Counter(("shop/roof.txt", "*.md")):
        yield f"checks {dict(checks)}"
    reports = [data for data in events_of(home, run, "report") if data["filed_by"] == "session"]
    if len(reports) != 1:
        yield f"{len(reports)} reports of a session"


def _wrong_effects(home: Home, shop: Repository, run: dict[str, Any], given: str, hook: Webhook) -> Iterator[str]:
    states = {effect["kind"]: effect["state"] for effect in run["effects"]}
    if len(run["effects"]) != 3 or (states["file"], states["push"]) != ("delivered", "delivered"):
        yield f"effects {[(effect['kind'], effect['state'], effect['detail']) for effect in run['effects']]}"
        return
    if (home.outbox / "work" / f"{given}.md").read_text() != given:
        yield "the file holds something else"
    push = next(effect["id"] for effect in run["effects"] if effect["kind"] == "push")
    commits = shop.git("log", "--format=%(trailers:key=Minion-Effect,valueonly)", f"main..claude/{given}").split()
    if commits != [push]:
        yield f"the branch has the commits {commits}, the effect is {push}"
    posts = hook.texts("/ok").count(given)
    if posts > 1 or posts < (states["message"] == "delivered"):
        yield f"{posts} messages were sent, the store says {states['message']}"
    if states["message"] not in ("delivered", "unknown"):
        yield f"the message is {states['message']}"
    results = Counter(data["id"] for data in events_of(home, run, "effect.result"))
    twice = [effect for effect, count in results.items() if count > 1]
    if twice:
        yield f"results said twice: {twice}"
