"""`minion forecast`, and the line that creating a routine prints: what runs cost, measured or assumed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minion.clock import utc_now
from minion.config import Home, load_config, save_config
from minion.foresight.forecast import forecast
from minion.foresight.prospect import Wanted
from server.contract.refusals import Refused
from tests.conformance.engine_kit import KEY, reach
from tests.messages_api import Turn, scripted, text, use
from tests.whole.homes import (
    at_work,
    make_home,
    performed,
    run_cli,
    run_of,
    write_routine,
    write_secrets,
    write_skill,
)

pytestmark = pytest.mark.heavy
WEEKDAYS = "0 9 * * 1-5"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the prompt routine `asks`, which was never run."""
    made = make_home(tmp_path)
    write_secrets(made, {"anthropic_api_key": KEY})
    write_routine(made, "asks", engine="messages", content="Look.", cron_expression=WEEKDAYS)
    kept(made, "asks")
    return made


def kept(home: Home, *names: str) -> None:
    """These routines are in the home's store."""

    async def own() -> None:
        async with at_work(home) as minion:
            for name in names:
                await minion.routines.current(name)

    asyncio.run(own())


def told(home: Home, *arguments: str, name: str = "asks") -> dict[str, Any]:
    """The forecast as JSON."""
    ended = run_cli(home, "forecast", name, "--json", *arguments)
    assert ended.code == 0, ended.err
    return dict(ended.json())


def one_run(home: Home, tokens: int) -> dict[str, Any]:
    """A run whose model writes so many tokens; it is then over."""
    said = Turn([text("Done.")], usage={"output_tokens": tokens})
    report = Turn([use("report_execution", outcome="success", summary="Done.")], usage={"output_tokens": 0})
    with scripted(said, report) as api:
        reach(home, api)
        run = performed(home, "asks")
    assert run["state"] == "completed", run
    return run


@pytest.mark.promise("BUD-4")
def test_without_a_run_all_that_a_figure_rests_on_is_said_to_be_assumed(home: Home) -> None:
    said = told(home)
    assert (said["basis"], said["runs"], said["left_out"]) == ("assumed", 0, None)
    assert 0 < said["dollars"]["p50"] < said["dollars"]["p95"] <= said["limit_dollars"] == 1.0
    assumed = said["assumptions"]
    assert (assumed["counted_by_the_api"], assumed["characters_per_token"]) == (False, 4)
    assert 1_000 < assumed["first_request_tokens"] < 20_000
    month = said["month"]
    assert 20 <= month["runs"] <= 23
    assert month["dollars"]["p50"] == pytest.approx(month["runs"] * said["dollars"]["p50"])
    words = run_cli(home, "forecast", "asks").out
    assert "from      assumptions, for no completed run is like it:" in words
    assert "4 characters each;" in words
    assert "95 of 100" not in words
    cheap = told(home, "--model", "claude-haiku-5-5")
    assert cheap["dollars"]["p50"] < said["dollars"]["p50"] / 5


@pytest.mark.promise("BUD-4")
def test_completed_runs_with_the_same_model_are_what_it_goes_by(home: Home) -> None:
    dollars = sorted(one_run(home, tokens)["usage"]["dollars"] for tokens in (10_000, 30_000, 20_000))
    said = told(home)
    assert (said["basis"], said["runs"], said["assumptions"]) == ("runs", 3, None)
    assert said["dollars"] == {"p50": dollars[1], "p95": dollars[2]}
    assert 0 < said["seconds"]["p50"] <= said["seconds"]["p95"]
    assert "95 of 100 at most $0.3" in run_cli(home, "forecast", "asks").out
    write_routine(home, "asks", engine="messages", content="Look.", limits={"dollars": 0.01})
    capped = told(home)
    assert (capped["dollars"], capped["capped"]) == ({"p50": 0.01, "p95": 0.01}, True)
    write_routine(home, "asks", engine="messages", content="Look.")
    other = told(home, "--model", "claude-opus-5-5")
    assert (other["basis"], other["left_out"]) == (
        "assumed", "3 earlier runs left out: the model was claude-sonnet-5-5",
    )  # fmt: skip


@pytest.mark.promise("BUD-4")
def test_more_than_the_minion_may_spend_is_said(home: Home) -> None:
    save_config(home, replace(load_config(home), dollars_per_day=0.01, dollars_per_month=0.5))
    over = told(home)["month"]["over"]
    assert [words.partition(",")[0].partition(" would")[0] for words in over] == [
        "The busiest day's 1 runs", f"The month's {told(home)['month']['runs']} runs",
    ]  # fmt: skip
    assert "over dollars_per_month ($0.5): not all would start." in run_cli(home, "forecast", "asks").out
    said = {"engine": "messages", "content": "Look.", "cron_expression": WEEKDAYS}
    write_routine(home, "asks", limits={"dollars": 0.02}, **said)
    held = told(home)
    assert (held["dollars"], held["capped"]) == ({"p50": 0.02, "p95": 0.02}, True)


@pytest.mark.promise("BUD-4")
def test_the_api_counts_the_first_request_only_where_that_is_asked_for(home: Home) -> None:
    with scripted() as api:
        reach(home, api)
        guessed = told(home)["assumptions"]["first_request_tokens"]
        assert api.paths == []
        counted = told(home, "--count")["assumptions"]
        assert api.paths == ["POST /v1/messages/count_tokens"]
    assert (counted["counted_by_the_api"], counted["characters_per_token"]) == (True, None)
    # The loopback API counts the bytes of the whole request, which are a few more.
    assert guessed * 0.8 < counted["first_request_tokens"] < guessed * 1.5


def test_tokens_that_cannot_be_counted_are_said_so_and_nothing_is_guessed_instead(home: Home) -> None:
    save_config(home, replace(load_config(home), api_url="http://127.0.0.1:9"))
    for secrets, why in (({"anthropic_api_key": KEY}, "The API cannot be reached"), ({}, "there is no secret")):
        write_secrets(home, secrets)
        with pytest.raises(Refused) as caught:
            forecast(home, "asks", Wanted(), now=utc_now(), count=True)
        assert (caught.value.code, why in caught.value.sentence) == ("not_counted", True)
        assert KEY not in str(caught.value)


def test_a_routine_without_a_model_costs_nothing_and_its_runs_say_how_long_they_take(home: Home) -> None:
    write_skill(home, "act", "answer(text='1')")
    write_routine(home, "acts", "act", engine="script")
    kept(home, "acts")
    said = told(home, name="acts")
    assert (said["basis"], said["dollars"], said["seconds"], said["month"]) == (
        "none", {"p50": 0.0, "p95": 0.0}, None, None,
    )  # fmt: skip
    run = performed(home, "acts")
    said = told(home, name="acts")
    assert (said["basis"], said["runs"]) == ("runs", 1)
    assert said["seconds"]["p50"] == run_of(home, run["id"])["usage"]["wall_ms"] / 1000
    words = run_cli(home, "forecast", "acts").out
    assert "costs nothing: no model; " in words
    assert "on demand: as often as somebody runs it" in words


@pytest.mark.promise("BUD-4")
def test_creating_a_routine_prints_what_its_runs_and_its_month_cost(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    said = {"name": "new", "content": "Look.", "repositories": [], "cron_expression": WEEKDAYS}
    file.write_text(json.dumps(said | {"engine": "messages"}))
    made = run_cli(home, "routine", "add", file)
    assert made.code == 0, made.err
    (line,) = [line for line in made.out.splitlines() if line.startswith("  estimate ")]
    month = told(home, name="new")["month"]
    assert line.startswith(f"  estimate      about $0.0{line.partition('$0.0')[2][0]}")
    cost, runs = month["dollars"]["p50"], month["runs"]
    assert f"${cost:.2f} a month ({runs} runs); billed to your API key; assumed" in line
    assert line.endswith(" forecast new")
    write_skill(home, "act", "answer(text='1')")
    file.write_text(json.dumps(said | {"name": "acts", "pipeline": ["act"], "engine": "script"}))
    assert "  estimate      costs nothing: no model\n" in run_cli(home, "import", file).out
