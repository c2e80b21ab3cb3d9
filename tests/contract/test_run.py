"""A run's states, legal moves and four truths, and the one table that makes a verdict of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.contract.refusals import IllegalMove
from server.contract.run import (
    EXIT_CODES,
    LEGAL_MOVES,
    CheckKind,
    Delivery,
    EffectState,
    Outcome,
    RunState,
    Truths,
    Verdict,
    check_move,
    delivery_of,
    has_ended,
    verdict_of,
)

STATES: tuple[RunState, ...] = get_args(RunState)
ENDS = {"completed", "failed", "cancelled", "timed_out", "interrupted", "violated"}

# DESIGN §2: the happy path, the ways out of it, and resume as the only way back.
MOVES = {
    "draft": {"validated", "failed", "cancelled", "interrupted"},
    "validated": {"queued", "failed", "cancelled", "interrupted"},
    "queued": {"running", "failed", "cancelled", "interrupted"},
    "running": {"waiting", *ENDS},
    "waiting": {"running", "cancelled", "timed_out", "interrupted"},
    "interrupted": {"running"},
}

TRUTHS = st.builds(
    Truths,
    # Most rows of the table are about completed runs.
    state=st.just("completed") | st.sampled_from(STATES),
    outcome=st.sampled_from(get_args(Outcome)),
    delivery=st.sampled_from(get_args(Delivery)),
    expects=st.lists(st.tuples(st.sampled_from(get_args(CheckKind)), st.booleans()), max_size=4).map(tuple),
    effects_unknown=st.booleans(),
)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_run_moves_as_the_table_says_and_in_no_other_way(before: RunState, after: RunState) -> None:
    if after in MOVES.get(before, set()):
        check_move(before, after)
        return
    with pytest.raises(IllegalMove) as caught:
        check_move(before, after)
    assert caught.value.sentence == f"A run cannot go from {before} to {after}."
    assert "report it" in caught.value.hint


def test_every_state_has_its_row_and_every_run_can_end() -> None:
    assert set(LEGAL_MOVES) == set(STATES)
    for state in STATES:
        reached: set[str] = set()
        frontier: set[str] = {state}
        while frontier:
            reached |= frontier
            frontier = {after for before in frontier for after in LEGAL_MOVES[before]} - reached
        assert reached & ENDS, state


def test_the_ends_are_the_states_that_only_a_resume_leaves() -> None:
    assert {state for state in STATES if has_ended(state)} == ENDS
    assert {state for state in ENDS if LEGAL_MOVES[state]} == {"interrupted"}


def failed_expects(truths: Truths) -> list[str]:
    """The kinds of the checks that failed."""
    return [kind for kind, passed in truths.expects if not passed]


# DECISIONS "Verdict and effects", row by row: the first that matches is the verdict.
ROWS: list[tuple[str, Callable[[Truths], bool], Verdict]] = [
    ("waiting", lambda t: t.state == "waiting", "waiting"),
    ("not ended", lambda t: t.state not in ENDS, "running"),
    ("failed", lambda t: t.state == "failed", "failed"),
    ("timed out", lambda t: t.state == "timed_out", "failed"),
    ("violated", lambda t: t.state == "violated", "failed"),
    ("cancelled", lambda t: t.state == "cancelled", "skipped"),
    ("interrupted", lambda t: t.state == "interrupted", "unknown"),
    ("an effect unknown", lambda t: t.effects_unknown or t.delivery == "unknown", "unknown"),
    ("outcome failure", lambda t: t.outcome == "failure", "failed"),
    ("another expect failed", lambda t: bool(set(failed_expects(t)) - {"delivered"}), "failed"),
    ("expect delivered failed", lambda t: "delivered" in failed_expects(t), "not-delivered"),
    ("delivery failed", lambda t: t.delivery == "failed", "not-delivered"),
    ("outcome partial", lambda t: t.outcome == "partial", "partial"),
    ("outcome unknown", lambda t: t.outcome == "unknown", "unknown"),
    ("a check passed", lambda t: any(passed for _, passed in t.expects), "ok"),
    ("delivered", lambda t: t.delivery == "delivered", "ok"),
    ("else", lambda _: True, "unchecked"),
]


@settings(max_examples=200)
@given(truths=TRUTHS)
def test_the_verdict_is_the_first_row_that_matches(truths: Truths) -> None:
    assert verdict_of(truths) == next(word for _, matches, word in ROWS if matches(truths))


@given(truths=TRUTHS)
def test_the_verdict_is_total_and_never_a_word_of_slots(truths: Truths) -> None:
    verdict = verdict_of(truths)
    assert verdict in get_args(Verdict)
    assert verdict not in ("late", "missed")
    assert (verdict in ("running", "waiting")) == (not has_ended(truths.state))


@pytest.mark.promise("RUN-11")
@given(truths=TRUTHS)
def test_ok_needs_what_the_runner_saw(truths: Truths) -> None:
    if verdict_of(truths) == "ok":
        assert truths.state == "completed"
        assert truths.outcome == "success"
        assert truths.delivery == "delivered" or any(passed for _, passed in truths.expects)
        assert all(passed for _, passed in truths.expects)


DONE = Truths("completed", "success")


@pytest.mark.promise("RUN-11")
@pytest.mark.parametrize(
    ("truths", "verdict"),
    [
        (Truths("draft", "unknown"), "running"),
        (Truths("queued", "failure", "failed"), "running"),
        (Truths("waiting", "success", "delivered"), "waiting"),
        (Truths("failed", "success", "delivered"), "failed"),
        (Truths("timed_out", "success", "delivered", effects_unknown=True), "failed"),
        (Truths("violated", "success", "delivered", (("file", True),)), "failed"),
        (Truths("cancelled", "success", "unknown", effects_unknown=True), "skipped"),
        (Truths("interrupted", "failure"), "unknown"),
        (Truths("completed", "failure", "delivered", effects_unknown=True), "unknown"),
        (Truths("completed", "success", "unknown", (("file", True),)), "unknown"),
        (Truths("completed", "success", "failed", effects_unknown=True), "unknown"),
        (Truths("completed", "failure", "delivered", (("file", True),)), "failed"),
        (Truths("completed", "success", "delivered", (("file", False), ("delivered", False))), "failed"),
        (Truths("completed", "partial", "delivered", (("delivered", False),)), "not-delivered"),
        (Truths("completed", "partial", "failed"), "not-delivered"),
        (Truths("completed", "partial", "delivered"), "partial"),
        (Truths("completed", "unknown", "delivered", (("file", True),)), "unknown"),
        (Truths("completed", "success", "none", (("contains", True),)), "ok"),
        (Truths("completed", "success", "delivered"), "ok"),
        (Truths("completed", "success", "accepted"), "unchecked"),
        (DONE, "unchecked"),
    ],
    ids=str,
)
def test_each_row_of_the_table_beats_the_rows_below_it(truths: Truths, verdict: Verdict) -> None:
    assert verdict_of(truths) == verdict


@pytest.mark.promise("CLI-3")
def test_every_verdict_has_its_exit_code() -> None:
    assert set(EXIT_CODES) == set(get_args(Verdict))
    by_code = {code: {word for word, other in EXIT_CODES.items() if other == code} for code in (0, 1, 4)}
    assert by_code[0] == {"ok", "unchecked", "running", "waiting"}
    assert by_code[1] == {"failed", "not-delivered"}
    assert by_code[4] == {"partial", "unknown", "skipped", "late", "missed"}


# The worst comes first.
ORDER: list[tuple[set[EffectState], Delivery]] = [
    ({"failed", "refused", "withheld"}, "failed"),
    ({"unknown", "intended"}, "unknown"),
    ({"staged"}, "none"),
    ({"accepted"}, "accepted"),
    ({"delivered"}, "delivered"),
]


def test_a_run_without_effects_delivered_nothing() -> None:
    assert delivery_of([]) == "none"


@pytest.mark.parametrize("state", get_args(EffectState))
def test_every_state_of_one_effect_is_a_delivery(state: EffectState) -> None:
    assert delivery_of([state]) == next(word for states, word in ORDER if state in states)


@given(effects=st.lists(st.sampled_from(get_args(EffectState)), min_size=1, max_size=6))
def test_the_worst_effect_wins(effects: list[EffectState]) -> None:
    assert delivery_of(effects) == next(word for states, word in ORDER if states & set(effects))


def test_the_order_of_the_effects_does_not_matter() -> None:
    effects: tuple[EffectState, ...] = ("delivered", "accepted", "unknown", "failed")
    assert {delivery_of(order) for order in permutations(effects)} == {"failed"}
