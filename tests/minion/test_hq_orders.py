"""What a minion does about HQ's orders and routines at its own place: what it refuses, and in which words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from minion.cli import minion
from minion.hq.joining import join
from minion.hq.mirror import take_in
from minion.hq.orders import carry_out, perform
from minion.owner import Owner
from minion.skills.install import remove_skill
from server.contract.digest import digest_of
from server.contract.refusals import BadDocument, BadUse, Refusal, Refused
from tests.minion.test_mirror import routine, said, skill
from tests.whole.homes import at_work, make_home, run_process, write_routine, write_skill

ORDER = {"id": "order_1", "key": "order_1", "routine": "nightly", "run": "run_01" + "0" * 20, "kind": "run"}


def refused(folder: Path, order: dict[str, Any]) -> Refusal:
    """How a minion, that has a routine of its own called nightly, refuses an order."""
    home = make_home(folder)
    write_skill(home, "quick", 'answer(text="done")')
    write_routine(home, "nightly", "quick")

    async def play() -> Refusal:
        async with at_work(home) as owner:
            with pytest.raises(Refusal) as caught:
                await perform(Owner(owner), order)
            settled = await carry_out(Owner(owner), order)
            assert (settled["order"], settled["state"]) == ("order_1", "refused")
            assert caught.value.sentence in settled["why"]
            return caught.value

    return asyncio.run(play())


@pytest.mark.promise("JOI-3")
def test_an_order_for_hqs_routine_never_starts_the_minions_own_of_that_name(tmp_path: Path) -> None:
    assert refused(tmp_path, ORDER).code == "own_routine"


def test_an_order_for_a_routine_that_is_not_there_yet_says_so(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ORDER, "routine": "other"}).code == "no_such_routine"


def test_an_order_of_a_kind_of_tomorrow_is_refused_by_name(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ORDER, "kind": "dance"}).code == "unknown_order"


def test_a_run_that_does_not_go_on_here_is_not_cancelled(tmp_path: Path) -> None:
    assert refused(tmp_path, {**ORDER, "kind": "cancel"}).code == "not_running"


def test_an_answer_to_what_is_not_asked_here_is_refused(tmp_path: Path) -> None:
    order = {**ORDER, "kind": "decide", "decision": "dec_01" + "0" * 20, "digest": "sha256:0", "answer": "approve"}
    assert refused(tmp_path, order).code == "other_question"


def test_an_order_that_is_none_is_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    async def play() -> dict[str, Any]:
        async with at_work(home) as owner:
            return await carry_out(Owner(owner), {"id": "order_1", "kind": "decide", "answer": "perhaps"})

    assert asyncio.run(play()) == {"order": "order_1", "state": "refused", "why": "the order cannot be read there"}


@pytest.mark.promise("JOI-3")
def test_what_hq_gave_is_not_changed_at_the_minion(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    document = routine(1, "nightly")["document"] | {"pipeline": ["tell"], "content": "Do."}
    given = {**routine(1, "nightly"), "document": document, "digest": digest_of(document)}
    take_in(home, said("e:1", given, skills=[skill("tell")]), {})

    async def play() -> list[str]:
        codes = []
        async with at_work(home) as owner:
            routines = owner.routines
            for change in (routines.remove("nightly"), routines.change("nightly", {"paused": True})):
                with pytest.raises(Refused) as caught:
                    await change
                codes.append(caught.value.code)
        return codes

    assert asyncio.run(play()) == ["from_hq", "from_hq"]
    with pytest.raises(Refused) as caught:
        remove_skill(home, "tell")
    assert caught.value.code == "skill_from_hq"


def test_an_answer_that_is_none_of_hqs_says_which_two_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BadDocument) as caught:
        take_in(make_home(tmp_path), {"cursor": "e:1"}, {})
    assert caught.value.code == "bad_differences"


@pytest.mark.promise("JOI-2")
def test_joining_nobody_is_refused_and_keeps_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    async def play() -> str:
        async with at_work(home) as owner:
            with pytest.raises(Refused) as caught:
                await join(Owner(owner), "http://127.0.0.1:9", "T" * 40)
            return caught.value.code

    assert asyncio.run(play()) == "hq_away"
    assert not (home.root / "hq.json").exists()


def test_a_token_is_asked_of_a_person_or_read_from_a_file(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with pytest.raises(BadUse) as caught:
        minion.main(["--home", str(home.root), "join", "http://127.0.0.1:9"], standalone_mode=False)
    assert (caught.value.code, "--token-file" in caught.value.hint) == ("no_hq_token", True)
    no_file = run_process(home, "join", "http://127.0.0.1:9", "--token-file", tmp_path / "gone")
    assert (no_file.code, "gone cannot be read" in no_file.err) == (2, True)
    left = run_process(home, "leave")
    assert (left.code, "has joined no HQ" in left.err) == (3, True)
