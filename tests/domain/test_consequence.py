"""What follows from a decision, in words: what changes, what may be done then, how urgent it is."""

from __future__ import annotations

from typing import Any

import pytest

from server.domain.consequence import by_urgency, joined_deltas, permissions, urgency_of, what_changes

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.mark.promise("INB-2")
@pytest.mark.parametrize(
    ("kind", "evidence", "words"),
    [
        ("gap", {}, ["not said: whoever proposes it named none"]),
        ("gap", {"permissions": {}}, ["none"]),
        ("gap", {"needs": {"hosts": ["a.example", "b.example"], "tools": []}},
         ["+2 hosts: a.example, b.example, as its proposer says"]),
        ("gap", {"needs": {}}, ["none, as its proposer says"]),
        ("gap", {"needs": {}, "permissions": {"effects": {"added": ["message:slack"], "removed": []}}},
         ["+1 effect: message:slack"]),
        ("hold", {"permissions": {"effects": {"added": ["message:slack"], "removed": ["push:x:claude/*"]}}},
         ["+1 effect: message:slack", "-1 effect: push:x:claude/*"]),
        ("hold", {"permissions": {}, "not_compared": ["the engine"]},
         ["not known for the engine: HQ has nothing to compare"]),
        ("hold", {"permissions": None}, ["not said"]),
        ("variant", {}, ["not said"]),
        ("gap", {"permissions": "none", "not_compared": 7}, ["not said: whoever proposes it named none"]),
        ("gap", {"permissions": {"hosts": ["x"], "secrets": {"added": "y"}}}, ["none"]),
    ],
    ids=["nobody said", "none", "two hosts", "none stated", "read and none stated", "more and fewer",
         "not compared", "no delta", "another kind", "no delta either", "half a delta"],
)  # fmt: skip
def test_permissions_are_none_only_where_somebody_said_so(kind: str, evidence: Any, words: list[str]) -> None:
    assert permissions(kind, evidence) == words


def test_only_what_lets_somebody_do_more_or_less_is_told_of_a_skill() -> None:
    before = {"effects": {"added": ["a"], "removed": ["b"]}, "code": {"added": ["LLM-X"], "removed": []}}
    after = {"effects": {"added": ["b"], "removed": []}, "tools": {"added": [], "removed": ["Bash"]}}
    assert joined_deltas([before, after]) == {
        "effects": {"added": ["a", "b"], "removed": []}, "tools": {"added": [], "removed": ["Bash"]},
    }  # fmt: skip
    assert joined_deltas([]) == {}


@pytest.mark.promise("INB-2")
def test_a_hold_says_what_was_and_what_is_and_a_gap_what_is_proposed() -> None:
    changes = {
        "skill:tell-weather": {"from": ONE, "to": TWO}, "engine": {"from": "script", "to": "messages"},
        "skill:new": {"from": None, "to": TWO}, "odd": "no change",
    }  # fmt: skip
    said = {"routine": "nightly", "minion": "alice", "about": {"changes": changes}}
    assert what_changes("hold", said) == [
        "nightly runs on alice with what changed; a slot that is held runs too",
        "engine: script → messages",
        "the skill new: none → sha256:22222222…",
        "the skill tell-weather: sha256:11111111… → sha256:22222222…",
    ]
    for nothing in (None, {}, {"changes": []}, "x"):
        (_, second) = what_changes("hold", {**said, "about": nothing})
        assert second == "what it was before, its minion does not say"
    skill = {"name": "tell-weather", "version": 2, "digest": TWO, "before": 1}
    gap: dict[str, Any] = {"proposal": "A skill.", "requested_code": "LLM-X", "skill": skill}
    assert what_changes("gap", gap) == [
        "the skill tell-weather, version 2 (sha256:22222222…), is the answer, in place of version 1",
        "LLM-X counts as approved; it closes with the first run that passes with it",
    ]
    del gap["skill"]
    assert what_changes("gap", gap)[0].endswith("HQ adds nothing by itself")
    assert what_changes("variant", gap) == []


@pytest.mark.promise("INB-2")
def test_what_is_held_comes_first_then_what_is_lacked_often_or_runs_out() -> None:
    found = [
        {"id": number, "urgency": urgency_of(kind, evidence, until)}
        for number, (kind, evidence, until) in enumerate([
            ("gap", {"priority": "low"}, None), ("gap", {"priority": "high"}, None), ("hold", {}, None),
            ("variant", {}, "2026-04-01T09:00:00.000Z"), ("gap", {}, None), ("hold", {}, None),
        ])
    ]  # fmt: skip
    assert [[each["id"] for each in inside] for _, inside in by_urgency(found)] == [[2, 5], [1, 3], [0, 4]]
    assert by_urgency([]) == []
