"""What goes wrong with model calls: each kind has its own ending, its hint, and what may follow."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from minion.engines.base import Interruption, TaskResult
from minion.engines.model_calls import proxy_for
from minion.engines.troubles import KINDS, kind_of
from server.contract.policy import Policy
from server.contract.quota import Limits
from tests.messages_api import Fault, Turn, scripted, text, use
from tests.minion.model_sessions import a_skill, order_in, session_of

pytestmark = pytest.mark.heavy
DONE = [text("Done.")]
SOON = {"retry-after": "0"}
NO_RETRY = Policy(max_retries=0)


def attempt(
    folder: Path, *script: Any, faults: list[Fault | None], policy: Policy = NO_RETRY, model: Any = None
) -> Any:
    """A prompt run against an API with these faults: its result or its interruption, and the API and ledger."""

    async def work() -> Any:
        with scripted(*(script or (DONE,)), faults=faults, model=model) as api:
            async with session_of(order_in(folder, api, policy=policy), api) as opened:
                ended: TaskResult | Interruption
                try:
                    ended = await opened.prompt()
                except Interruption as interruption:
                    ended = interruption
            return ended, api, opened.ledger, opened.order.run_id

    return asyncio.run(work())


STATUSES = {
    "key_refused": Fault(401, "authentication_error", "invalid x-api-key"),
    "not_permitted": Fault(403, "permission_error", "no access to this model"),
    "no_credit": Fault(400, "invalid_request_error", "Your credit balance is too low"),
    "rate_limited": Fault(429, "rate_limit_error", "5 requests a minute", {"retry-after": "3600"}),
}


@pytest.mark.parametrize("kind", sorted(STATUSES))
@pytest.mark.promise("MOD-2")
def test_what_can_be_mended_interrupts_the_run_and_says_how_to_go_on(tmp_path: Path, kind: str) -> None:
    ended, api, ledger, run_id = attempt(tmp_path, faults=[STATUSES[kind]])
    assert isinstance(ended, Interruption)
    assert f"minion resume {run_id}" in ended.hint
    assert len(api.keys) == 1
    ((_, state, why),) = ledger.of_kind("llm_response")
    assert (state, why) == ("failed", ended.why)


@pytest.mark.parametrize(
    "fault",
    [Fault(404, body=b"<html>no such page</html>"), Fault(307, headers={"location": "http://127.0.0.1:9/steal"})],
    ids=["a page", "a redirect"],
)
@pytest.mark.promise("MOD-2")
def test_what_is_not_the_api_is_told_nothing_more_and_named(tmp_path: Path, fault: Fault) -> None:
    ended, api, _, _ = attempt(tmp_path, faults=[fault])
    assert isinstance(ended, Interruption)
    assert "What answers is not the API" in ended.why
    assert "api_url" in ended.hint
    assert len(api.keys) == 1


@pytest.mark.parametrize("body", [b"<html>a captive portal</html>", b"", b"[1]"])
@pytest.mark.promise("MOD-2")
def test_an_answer_that_is_none_is_asked_for_again(tmp_path: Path, body: bytes) -> None:
    ended, api, ledger, _ = attempt(tmp_path, faults=[Fault(200, body=body)])
    assert (ended.state, len(api.keys)) == ("completed", 2)
    assert "its answer is not understood" in ledger.logged[0]


def test_how_long_the_api_asks_to_wait_is_said_where_it_is_too_long(tmp_path: Path) -> None:
    fault = Fault(429, "rate_limit_error", "5 a minute", {"retry-after": "3600"})
    ended, _, _, _ = attempt(tmp_path, faults=[fault])
    assert "5 a minute; it asks to wait 3,600 s" in str(ended)


def test_every_kind_of_trouble_says_something_of_its_own() -> None:
    assert len({ending.why for ending in KINDS.values()}) == len(KINDS)
    assert all(("minion resume" in ending.hint) == ending.later for ending in KINDS.values())
    assert all(ending.later for ending in KINDS.values() if ending.again)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(404, "not_found_error", "model: claude-x"), "knows no model"),
        (Fault(400, "invalid_request_error", "prompt is too long: 1000001 tokens > 1000000"), "no longer fits"),
        (Fault(413, "request_too_large", "Request exceeds the maximum size"), "no longer fits"),
        (Fault(400, "invalid_request_error", "messages.1: bad"), "refused the request (400): messages.1: bad."),
    ],
)
def test_what_would_only_come_again_fails_the_task(tmp_path: Path, fault: Fault, words: str) -> None:
    ended, api, _, _ = attempt(tmp_path, faults=[fault])
    assert ended.state == "failed"
    assert words in ended.why
    assert ended.hint
    assert len(api.keys) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(529, headers=SOON), Fault(500, "api_error", "Internal", SOON), Fault(503, "api_error", "x", SOON),
        Fault(429, "rate_limit_error", "x", SOON),
    ],
    ids=["overloaded", "500", "503", "429"],
)  # fmt: skip
@pytest.mark.promise("MOD-2")
def test_what_passes_is_tried_again_and_the_task_goes_on(tmp_path: Path, fault: Fault) -> None:
    ended, api, ledger, _ = attempt(tmp_path, faults=[fault, fault])
    assert (ended.state, ended.text) == ("completed", "Done.")
    assert len(api.keys) == 3
    assert len([line for line in ledger.logged if line.startswith("warning: ")]) == 2
    assert len(ledger.of_kind("llm_response")) == 1


def test_a_call_is_tried_so_often_and_then_the_run_is_interrupted(tmp_path: Path) -> None:
    ended, api, _, _ = attempt(tmp_path, faults=[Fault(headers=SOON)] * 20)
    assert isinstance(ended, Interruption)
    assert "overloaded (529)" in ended.why
    assert len(api.keys) == 5


def test_a_variant_may_have_a_task_begun_again(tmp_path: Path) -> None:
    soon = [Fault(headers=SOON)] * 7
    ended, api, ledger, _ = attempt(tmp_path, faults=[*soon], policy=Policy(max_retries=2))
    assert isinstance(ended, Interruption)  # whoever says when to come back is not begun again with at once
    assert len(api.keys) == 5
    assert ledger.of_kind("decision") == []
    cut = Turn([text("half")], stop="max_tokens")
    ended, api, ledger, _ = attempt(tmp_path / "b", *([cut] * 3), DONE, faults=[], policy=Policy(max_retries=2))
    assert (ended.state, ended.text) == ("completed", "Done.")
    assert [code for code, _, _ in ledger.of_kind("decision")] == ["retry"]


def test_an_answer_that_breaks_off_is_counted_and_asked_for_again(tmp_path: Path) -> None:
    ended, api, ledger, _ = attempt(tmp_path, [text("A long answer.")], faults=[Fault(cut=3)])
    assert (ended.state, ended.text) == ("completed", "A long answer.")
    assert len(api.keys) == 2
    cut, whole = ledger.calls
    assert (cut.turns, whole.turns) == (0, 1)
    assert cut.tokens.prompt > 0
    assert cut.dollars > 0


def test_an_api_that_is_not_there_interrupts_the_run(tmp_path: Path) -> None:
    async def work() -> None:
        with scripted(DONE) as api:
            order = order_in(tmp_path, api, policy=NO_RETRY)
        # It is gone now; nothing listens there.
        async with session_of(order, api) as opened:
            with pytest.raises(Interruption, match="cannot be reached"):
                await opened.prompt(timeout_s=4)

    asyncio.run(work())


def test_a_model_that_declines_fails_the_task_and_the_report_is_still_asked_for(tmp_path: Path) -> None:
    async def work() -> None:
        refusal = Turn([text("I will")], stop="refusal")
        report = [use("report_execution", outcome="failure", summary="It was declined.")]
        with scripted(refusal, model=None) as api:
            async with session_of(order_in(tmp_path, api, policy=NO_RETRY), api) as opened:
                result = await opened.prompt()
                assert result.state == "failed"
                assert "declined to go on" in (result.why or "")
                api._script = [report]
                claim = await opened.session.report(
                    [("prompt", result)], facts={}, reminder=None, timeout_s=20
                )
        assert claim is not None
        assert claim["summary"] == "It was declined."
        # What it declined in the middle of is not put into its mouth again.
        assert all("I will" not in str(message) for message in api.asked[-1]["messages"])

    asyncio.run(work())


def test_an_answer_that_is_cut_off_goes_on_in_pieces_and_half_a_call_is_never_made(tmp_path: Path) -> None:
    cut = Turn([text("Writing."), use("write", path="a.md", content="half")], stop="max_tokens")
    ended, api, ledger, _ = attempt(tmp_path, cut, [text("In pieces.")], faults=[])
    assert (ended.state, ended.text) == ("completed", "Writing.\nIn pieces.")
    assert ledger.of_kind("tool_call") == []
    assert "cut off at" in api.read()
    ended, _, _, _ = attempt(tmp_path / "b", *([cut] * 9), faults=[])
    assert ended.state == "failed"
    assert "three times in a row" in ended.why


def test_blank_text_and_thoughts_without_an_end_are_not_sent_back(tmp_path: Path) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    looks = [text("  "), use("glob", pattern="*")]
    turns = iter([looks, Turn([thought], stop="max_tokens"), DONE])
    ended, api, _, _ = attempt(tmp_path, faults=[], model=lambda _: next(turns))
    assert (ended.state, ended.text) == ("completed", "Done.")
    blocks = [block for message in api.asked[-1]["messages"] for block in message["content"]]
    assert not any(block["type"] == "thinking" or not block.get("text", "x").strip() for block in blocks)


def test_a_context_that_is_full_fails_the_task(tmp_path: Path) -> None:
    full = Turn([text("x")], stop="model_context_window_exceeded")
    ended, _, _, _ = attempt(tmp_path, full, faults=[])
    assert (ended.state, "no longer fits" in ended.why) == ("failed", True)


def test_a_model_that_is_silent_is_stopped_when_the_time_is_over(tmp_path: Path) -> None:
    async def work() -> None:
        silent = threading.Event()
        with scripted(DONE, faults=[Fault(hang=silent)]) as api:
            try:
                async with session_of(order_in(tmp_path, api), api) as opened:
                    result = await opened.prompt(timeout_s=0.5)
            finally:
                silent.set()
        assert (result.state, result.timed_out) == ("failed", True)

    asyncio.run(work())


def test_an_api_that_cannot_sum_up_is_asked_without_it(tmp_path: Path) -> None:
    unknown = Fault(400, "invalid_request_error", "context_management.edits.0: compact_20260112 is not supported")
    ended, api, _, _ = attempt(tmp_path, [use("glob", pattern="*")], DONE, faults=[unknown])
    assert ended.state == "completed"
    assert ["context_management" in asked for asked in api.asked] == [False, False]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "overloaded"),
        (500, "<html>", "api_error"), (502, None, "api_error"), (418, {}, "bad_request"),
        (400, {"error": "text"}, "bad_request"), (402, {}, "no_credit"),
    ],
)  # fmt: skip
def test_an_error_is_known_by_its_type_and_else_by_its_status(status: int, body: Any, kind: str) -> None:
    assert kind_of(status, body)[0] == kind


@pytest.mark.promise("MOD-2")
def test_a_call_whose_input_is_no_json_is_counted_and_asked_for_again(tmp_path: Path) -> None:
    bad = Turn([{"type": "tool_use", "name": "bash", "input": '{"command": "echo hi", }'}])
    turns = iter([bad, DONE])
    ended, _, ledger, _ = attempt(tmp_path, faults=[], model=lambda _: next(turns))
    assert (ended.state, ended.text) == ("completed", "Done.")
    assert [call.turns for call in ledger.calls] == [0, 1]
    assert "its answer is not understood" in ledger.logged[0]


def test_half_a_character_is_not_sent_back(tmp_path: Path) -> None:
    turns = iter([[text("one \ud83d two"), use("bash", command="echo hi")], DONE])
    ended, api, _, _ = attempt(tmp_path, faults=[], model=lambda _: next(turns))
    assert ended.state == "completed"
    assert "one ? two" in api.read()


@pytest.mark.parametrize("events", [1, 2, 3, 5])
@pytest.mark.promise("MOD-2")
def test_a_stream_that_ends_before_its_answer_does_is_no_answer(tmp_path: Path, events: int) -> None:
    staged = [text("I send it."), use("stage_effect", kind="file", target="a.md", body="all of it")]
    ended, api, ledger, _ = attempt(tmp_path, staged, DONE, faults=[Fault(cut=events, clean=True)])
    assert (ended.state, ended.text) == ("completed", "Done.")
    assert [effect.body for effect in ended.effects] == ["all of it"]
    assert len(api.keys) == 3
    assert "broke off" in ledger.logged[0]


@pytest.mark.promise("BUD-1")
def test_what_an_answer_had_written_when_it_broke_off_is_counted(tmp_path: Path) -> None:
    words = "word " * 3_000
    _, _, ledger, _ = attempt(tmp_path, [text(words)], faults=[Fault(cut=3)])
    cut, whole = ledger.calls
    assert cut.tokens.output >= len(words) // 4 - 100
    assert whole.tokens.output > 0


@pytest.mark.promise("BUD-1")
def test_an_answer_that_goes_on_beyond_what_it_was_let_to_write_costs_no_more_than_that(tmp_path: Path) -> None:
    _, api, ledger, _ = attempt(tmp_path, [text("word " * 40_000)], faults=[Fault(cut=3)])
    assert ledger.calls[0].tokens.output == api.asked[0]["max_tokens"]


@pytest.mark.promise("BUD-1")
def test_a_call_that_is_stopped_in_the_middle_is_counted(tmp_path: Path) -> None:
    async def work() -> None:
        silent = threading.Event()
        with scripted([text("word " * 3_000)], faults=[Fault(cut=3, hang=silent)]) as api:
            try:
                async with session_of(order_in(tmp_path, api), api) as opened:
                    result = await opened.prompt(timeout_s=1.5)
            finally:
                silent.set()
        assert (result.state, result.timed_out) == ("failed", True)
        (call,) = opened.ledger.calls
        assert (call.turns, call.tokens.prompt > 0, call.tokens.output > 3_000) == (0, True, True)
        assert result.cost["dollars"] > 0

    asyncio.run(work())


@pytest.mark.promise("BUD-1")
def test_a_call_is_not_tried_again_once_its_tries_have_used_up_the_run_s_dollars(tmp_path: Path) -> None:
    async def work() -> None:
        with scripted([text("x")], faults=[Fault(cut=3)] * 5) as api:
            async with session_of(order_in(tmp_path, api, limits=Limits(dollars=0.006)), api) as opened:
                result = await opened.prompt()
        assert result.state == "failed"
        assert "cap of $0.006" in (result.why or "")
        assert len(api.keys) == 1

    asyncio.run(work())


def test_a_model_that_cannot_sum_up_does_not_keep_another_from_it(tmp_path: Path) -> None:
    async def work() -> None:
        unknown = Fault(400, "invalid_request_error", "compact_20260112 is not supported")
        with scripted(DONE, DONE, faults=[unknown]) as api:
            order = order_in(
                tmp_path, api, a_skill(tmp_path, "one", model="claude-haiku-5-5"), a_skill(tmp_path, "two")
            )
            async with session_of(order, api) as opened:
                await opened.skills()
        assert ["context_management" in asked for asked in api.asked] == [False, True]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("around", "proxy"),
    [
        ("", "http://proxy:3128"), ("example.org, .anthropic.com", None), ("api.anthropic.com", None),
        ("*", None), ("anthropic.com", None), ("notanthropic.com", "http://proxy:3128"),
    ],
)  # fmt: skip
def test_the_machine_s_proxy_is_gone_around_where_it_says_so(around: str, proxy: str | None) -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": around}
    assert proxy_for(None, environment) == proxy
    assert proxy_for("http://127.0.0.1:8000", environment) is None
