"""What a session with a model costs: billed input in one cached session, time a turn beside the SDK, memory."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest

from minion.config import Home
from minion.daemon.closing import read_events
from minion.wire import Event
from server.contract.digest import parse_instant
from server.contract.prices import DEFAULT_MODEL, price_of
from tests.conformance.engine_kit import reach, reports
from tests.faults.kills import runner_of
from tests.messages_api import MessagesApi, Said, scripted, text, use
from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, write_routine, write_skill

pytestmark = pytest.mark.bench

INPUT_GOAL: Final = 0.4
OVERHEAD_GOAL_MS: Final = 15.0
TURNS: Final = 40
ROUNDS: Final = 5
SKILLS: Final = ("gather", "judge", "write", "check")
FILES: Final = 6


def a_shop(folder: Path) -> Repository:
    """A repository with six files of 6 KB, which every skill's work is about."""
    shop = Repository(folder)
    for number in range(FILES):
        shop.write(f"part{number}.md", f"Part {number} of the roof leaks here and there.\n" * 130)
    shop.commit("Begin")
    return shop


def studious(asked: dict[str, Any]) -> Said:
    """A model that reads what it has not read in this conversation, then says what it makes of it."""
    blocks = [block for message in asked["messages"] for block in message["content"]]
    if "# Execution report" in str(blocks[-1].get("text")):
        return [reports("success")]
    if any(block["type"] == "tool_result" for block in blocks):
        return [text("It leaks. " * 60)]
    return [use("read", path=f"part{number}.md") for number in range(FILES)]


def billed(api: MessagesApi) -> tuple[float, int]:
    """What the prompts of all requests cost in US dollars at the default model's price, and their tokens."""
    price = price_of(DEFAULT_MODEL)
    assert price is not None
    rates, dollars, tokens = price.rates, 0.0, 0
    for used in api.used:
        plain, read, written = (
            used["input_tokens"], used["cache_read_input_tokens"], used["cache_creation_input_tokens"],
        )  # fmt: skip
        tokens += plain + read + written
        dollars += (plain * rates.input + read * rates.cache_read + written * rates.cache_write) / 1e6
    return dollars, tokens


def test_a_pipeline_of_four_skills_in_one_session_beside_four_sessions(tmp_path: Path) -> None:
    def home_with(name: str, api: MessagesApi, *pipelines: tuple[str, ...]) -> Home:
        (tmp_path / name).mkdir()
        home, shop = make_home(tmp_path / name), a_shop(tmp_path / name)
        for skill in SKILLS:
            write_skill(home, skill)
        reach(home, api)
        for number, pipeline in enumerate(pipelines):
            fields = {"engine": "messages", "sandbox": "required", "repositories": [str(shop.folder)]}
            write_routine(home, f"work{number}", *pipeline, **fields)
        return home

    with scripted(model=studious) as api:
        home = home_with("one", api, SKILLS)
        assert performed(home, "work0")["state"] == "completed"
        one, one_tokens = billed(api)
    with scripted(model=studious) as api:
        home = home_with("four", api, *((skill,) for skill in SKILLS))
        for number in range(len(SKILLS)):
            assert performed(home, f"work{number}")["state"] == "completed"
        four, four_tokens = billed(api)
    print(f"\nbilled input of {len(SKILLS)} skills, {DEFAULT_MODEL}: "
          f"one session ${one:.4f} ({one_tokens:,} tokens read), "
          f"four sessions ${four:.4f} ({four_tokens:,}); {one / four:.2f}x  "
          f"goal {INPUT_GOAL}x {'met' if one / four <= INPUT_GOAL else 'MISSED'}")  # fmt: skip


def looking(asked: dict[str, Any]) -> Said:
    """A model that looks around for so many turns, then is done."""
    turns = sum(message["role"] == "assistant" for message in asked["messages"])
    if "# Execution report" in str(asked["messages"][-1]["content"]):
        return [reports("success")]
    return [use("glob", pattern="*.md")] if turns < TURNS else [text("Done.")]


async def raw_turns(api: MessagesApi, asked: list[dict[str, Any]]) -> float:
    """Milliseconds a turn that the SDK takes for the same requests, one after another on one connection."""
    client = anthropic.AsyncAnthropic(api_key="sk-bench-0000000000", base_url=api.url, max_retries=0)
    took = []
    for request in asked:
        said = {name: value for name, value in request.items() if name != "stream"}
        began = time.perf_counter()
        async with client.beta.messages.stream(**said) as stream:
            await stream.get_final_message()
        took.append((time.perf_counter() - began) * 1000)
    await client.close()
    return statistics.mean(took[1:])


def run_turns(home: Home) -> tuple[float, Mapping[str, float]]:
    """Milliseconds a turn that a run takes, from one model call's beginning to the next one's; MB at its peak."""
    peak: dict[str, float] = {}

    def on_event(run_id: str, event: Event) -> None:
        if event.type == "report":
            pid = runner_of(home.runs / run_id)
            with contextlib.suppress(OSError):
                said = Path(f"/proc/{pid}/status").read_text()
                peak["runner"] = int(said.partition("VmHWM:")[2].split()[0]) / 1024

    run = performed(home, "work", on_event=on_event)
    assert run["state"] == "completed", run["why"]
    events = read_events(home.runs / run["id"] / "events.ndjson")
    began = [
        parse_instant(event.at) for event in events
        if event.type == "step.started" and event.data["kind"] == "llm_response"
    ][: TURNS + 1]  # fmt: skip
    gaps = [(after - before).total_seconds() * 1000 for before, after in pairwise(began)]
    return statistics.mean(gaps[1:]), peak


def test_a_turn_of_a_run_beside_the_raw_sdk(tmp_path: Path) -> None:
    home, shop = make_home(tmp_path), a_shop(tmp_path)
    raw, ours, peaks = [], [], []
    with scripted(model=looking) as api:
        reach(home, api)
        fields = {"engine": "messages", "sandbox": "required", "limits": {"turns": TURNS + 10}}
        write_routine(home, "work", content="Look around.", repositories=[str(shop.folder)], **fields)
        for _ in range(ROUNDS + 1):
            del api.asked[:]
            took, peak = run_turns(home)
            asked = api.asked[:TURNS]
            ours.append(took)
            peaks.append(peak["runner"])
            raw.append(asyncio.run(raw_turns(api, asked)))
    over = [mine - theirs for mine, theirs in zip(ours[1:], raw[1:], strict=True)]
    middle = statistics.median(over)
    print(f"\na turn of {TURNS}, median of {ROUNDS} rounds: raw SDK {statistics.median(raw[1:]):.1f} ms, "
          f"in a run (tool call in the sandbox, log and commit included) {statistics.median(ours[1:]):.1f} ms; "
          f"{middle:+.1f} ms ({min(over):+.1f} … {max(over):+.1f})  "
          f"goal {OVERHEAD_GOAL_MS:g} ms {'met' if middle <= OVERHEAD_GOAL_MS else 'MISSED'}\n"
          f"peak memory of its runner: {statistics.median(peaks):.0f} MB")  # fmt: skip
