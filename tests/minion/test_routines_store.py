"""Routines as the store keeps them: by name, with their history, found by name and by id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from minion.store.routines import (
    KeptRoutine,
    find_routine,
    keep_routine,
    last_run_of,
    list_routines,
    remove_routine,
)
from minion.store.writer import Writer
from server.contract.digest import is_id
from server.contract.refusals import BadUse, NotFound, Refusal, Refused
from tests.minion.stored_runs import (
    LATER,
    NOW,
    Teller,
    looking,
    make_order,
    numbered_id,
    perform,
    rows,
    start,
    with_store,
)


def document(
    name: str = "triage", content: str = "Look at the alerts", id_: str | None = None
) -> dict[str, Any]:
    """An admitted routine, as far as the store looks at it."""
    return {"name": name, "id": id_, "minion_id": None, "content": content}


async def keep(
    writer: Writer, said: Mapping[str, Any], *, replace: bool = False, source: str = "f.json", now: str = NOW
) -> KeptRoutine:
    """Keep a routine in a transaction of its own."""
    return await writer.transact(lambda db: keep_routine(db, said, source=source, replace=replace, now=now))


async def remove(writer: Writer, name: str) -> None:
    """Remove a routine in a transaction of its own."""
    await writer.transact(lambda db: remove_routine(db, name, now=LATER))


def kept_names(folder: Path) -> list[str]:
    """The routines in use, as they are listed."""
    with looking(folder) as db:
        return [kept.name for kept in list_routines(db)]


def history(folder: Path) -> list[tuple[Any, ...]]:
    """(name, revision, whether there is a document) of every revision."""
    query = "SELECT name, revision, document IS NOT NULL FROM routine_history ORDER BY name, revision"
    return rows(folder, query)


def test_a_new_routine_gets_an_id_which_its_document_carries(tmp_path: Path) -> None:
    kept = with_store(tmp_path, lambda writer: keep(writer, document()))
    assert is_id(kept.id, "trig_")
    assert kept.document == document(id_=kept.id)
    assert (kept.name, kept.revision, kept.source, kept.changed_at) == ("triage", 1, "f.json", NOW)
    assert kept.last_delivered_at is None


def test_a_routine_keeps_the_id_it_was_given(tmp_path: Path) -> None:
    given = numbered_id("trig_", 7)
    assert with_store(tmp_path, lambda writer: keep(writer, document(id_=given))).id == given


def test_the_same_content_again_changes_nothing(tmp_path: Path) -> None:
    async def story(writer: Writer) -> list[KeptRoutine]:
        first = await keep(writer, document())
        return [
            first,
            await keep(writer, document(), now=LATER),
            await keep(writer, first.document, now=LATER),
        ]

    first, second, third = with_store(tmp_path, story)
    assert first == second == third
    assert history(tmp_path) == [("triage", 1, 1)]


@pytest.mark.promise("DOC-2")
def test_other_content_needs_replace_and_keeps_the_history(tmp_path: Path) -> None:
    async def story(writer: Writer) -> tuple[Refused, KeptRoutine]:
        first = await keep(writer, document())
        with pytest.raises(Refused) as caught:
            await keep(writer, document(content="Something else"))
        changed = await keep(writer, document(content="Something else"), replace=True, now=LATER)
        assert changed.id == first.id
        return caught.value, changed

    refusal, changed = with_store(tmp_path, story)
    assert (refusal.code, "--replace" in refusal.hint) == ("routine_exists", True)
    assert (changed.revision, changed.changed_at) == (2, LATER)
    assert history(tmp_path) == [("triage", 1, 1), ("triage", 2, 1)]
    assert rows(tmp_path, "SELECT created_at FROM routines") == [(NOW,)]


def test_a_removed_routine_is_not_listed_and_keeps_its_history(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await keep(writer, document())
        await remove(writer, "triage")

    with_store(tmp_path, story)
    assert kept_names(tmp_path) == []
    assert history(tmp_path) == [("triage", 1, 1), ("triage", 2, 0)]


def test_a_name_that_comes_back_gets_its_id_and_last_delivery_back(tmp_path: Path) -> None:
    async def story(writer: Writer) -> tuple[KeptRoutine, KeptRoutine]:
        first = await keep(writer, document())
        await writer.transact(lambda db: db.execute("UPDATE routines SET last_delivered_at = ?", (NOW,)))
        await remove(writer, "triage")
        return first, await keep(writer, document(content="Another task"), now=LATER)

    first, again = with_store(tmp_path, story)
    assert (again.id, again.revision, again.last_delivered_at) == (first.id, 3, NOW)
    assert again.document["content"] == "Another task"
    assert kept_names(tmp_path) == ["triage"]


def test_a_name_out_of_use_goes_to_another_routine_with_an_id_of_its_own_and_back(tmp_path: Path) -> None:
    other = numbered_id("trig_", 7)

    async def story(writer: Writer) -> list[KeptRoutine]:
        first = await keep(writer, document())
        await remove(writer, "triage")
        second = await keep(writer, document(content="Another's", id_=other))
        with pytest.raises(Refused) as caught:  # in use it is nobody else's
            await keep(writer, document(id_=first.id), replace=True)
        assert caught.value.code == "routine_id"
        await remove(writer, "triage")
        return [first, second, await keep(writer, document(id_=first.id))]

    first, second, again = with_store(tmp_path, story)
    assert (second.id, second.revision, again.id, again.revision) == (other, 1, first.id, 3)
    assert (again.document, kept_names(tmp_path)) == (first.document, ["triage"])
    query = "SELECT routine_id, revision FROM routine_history ORDER BY rowid"
    assert rows(tmp_path, query) == [(first.id, 1), (first.id, 2), (other, 1), (other, 2), (first.id, 3)]


@pytest.mark.parametrize("known", [True, False])
def test_an_id_that_belongs_to_another_routine_is_refused(tmp_path: Path, known: bool) -> None:
    async def story(writer: Writer) -> Refused:
        first = await keep(writer, document("first"))
        if known:
            await keep(writer, document("second"))
        with pytest.raises(Refused) as caught:
            await keep(writer, document("second", content="stolen", id_=first.id), replace=True)
        return caught.value

    assert with_store(tmp_path, story).code == "routine_id"
    with looking(tmp_path) as db:
        assert {kept.document["content"] for kept in list_routines(db)} == {"Look at the alerts"}


def test_what_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await keep(writer, document())
        await remove(writer, "triage")
        for name in ("triage", "nobody"):
            with pytest.raises(NotFound, match=f"no routine {name}"):
                await remove(writer, name)

    with_store(tmp_path, story)


def keep_two(folder: Path) -> None:
    """Two routines whose ids begin alike."""

    async def story(writer: Writer) -> None:
        await keep(writer, document("beta", id_=numbered_id("trig_", 1)))
        await keep(writer, document("alpha", id_=numbered_id("trig_", 2)))

    with_store(folder, story)


def refused(folder: Path, text: str) -> Refusal:
    """Why a text names no routine."""
    with looking(folder) as db, pytest.raises(Refusal) as caught:
        find_routine(db, text)
    return caught.value


def test_a_routine_is_found_by_its_name_its_id_and_the_id_s_beginning(tmp_path: Path) -> None:
    keep_two(tmp_path)
    assert kept_names(tmp_path) == ["alpha", "beta"]
    with looking(tmp_path) as db:
        assert find_routine(db, "beta").name == "beta"
        assert find_routine(db, numbered_id("trig_", 2)).name == "alpha"
    assert isinstance(refused(tmp_path, "trig_01"), BadUse)
    assert refused(tmp_path, "trig_01").code == "ambiguous"


@pytest.mark.parametrize("text", ["", "trig_02", "%", "omega"])
def test_a_text_that_names_nothing_is_refused_with_the_names_there_are(tmp_path: Path, text: str) -> None:
    keep_two(tmp_path)
    assert (refused(tmp_path, text).code, refused(tmp_path, text).hint) == (
        "no_such_routine",
        "name one of: alpha, beta",
    )


def test_in_an_empty_store_the_hint_says_how_to_begin(tmp_path: Path) -> None:
    with_store(tmp_path, lambda writer: writer.transact(lambda db: db.execute("SELECT 1")))
    hint = "begin one with `minion routine new --list` or `minion routine add FILE`"
    assert refused(tmp_path, "triage").hint == hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Standup-Prep", "standup-prep"),
        ("Standup", "standup-prep"),
        ("evning", "evening-review"),
        ("revew", "evening-review"),
        ("standupprep", "standup-prep"),
        ("alhpa", "alpha"),
        ("al", "alpha"),
    ],
)
def test_a_slip_of_a_name_is_told_the_nearest_one_first(tmp_path: Path, text: str, meant: str) -> None:
    keep_two(tmp_path)

    async def story(writer: Writer) -> None:
        for name in ("evening-review", "standup-prep"):
            await keep(writer, document(name))

    with_store(tmp_path, story)
    assert refused(tmp_path, text).hint == f"did you mean {meant}? `minion routine list` shows them all"


def test_when_there_are_many_names_the_hint_says_how_many_more(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        for number in range(11):
            await keep(writer, document(f"r{number:02}"))

    with_store(tmp_path, story)
    listed = ", ".join(f"r{number:02}" for number in range(8))
    hint = f"name one of: {listed} and 3 more, which `minion routine list` shows"
    assert refused(tmp_path, "zzzz").hint == hint


def test_the_last_run_of_a_routine_is_its_newest(tmp_path: Path) -> None:
    async def story(writer: Writer) -> None:
        await perform(writer, make_order(1, routine="triage"), Teller(1).plain())
        await start(writer, make_order(2, routine="other"))

    with_store(tmp_path, story)
    with looking(tmp_path) as db:
        last = last_run_of(db, "triage")
        assert last_run_of(db, "nobody") is None
    assert last == {
        "id": numbered_id("run_", 1),
        "verdict": "unchecked",
        "created_at": NOW,
        "ended_at": LATER,
    }
