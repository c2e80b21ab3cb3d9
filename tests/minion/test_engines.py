"""Which engines are installed, which are ready in a home, and what a home lacks for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minion.engines.registry import (
    API_KEY,
    AUTO_CHOICE,
    ENGINES,
    INSTALLED,
    check_engine,
    has_model,
    lack_of,
    needed_secret,
    payer_of,
    ready_engines,
)
from minion.routines.engines import is_chosen, with_engine
from minion.settings import AUTO, ENGINE_NAMES
from server.contract.refusals import NotFound, Refused
from tests.whole.homes import make_home, write_secrets, write_skill


def never_asked() -> frozenset[str]:
    """The names of secrets that nobody should need."""
    raise AssertionError("the secrets were looked at")


def test_an_engine_is_installed_where_its_module_is_and_ready_where_its_key_is_too() -> None:
    assert INSTALLED == ("script", "messages")
    assert ready_engines(frozenset) == ("script",)
    assert ready_engines(lambda: {API_KEY, "other"}) == ("script", "messages")
    assert [entry.name for entry in ENGINES if has_model(entry.name)] == ["messages", "claude-code"]
    assert [needed_secret(name) for name in ENGINE_NAMES] == [None, API_KEY, None, None]
    assert (AUTO_CHOICE.name, (*(entry.name for entry in ENGINES), AUTO)) == (AUTO, ENGINE_NAMES)


def test_who_pays_is_known_of_every_word_that_can_be_chosen() -> None:
    assert all(payer_of(name) not in ("", "–") for name in ENGINE_NAMES)
    assert payer_of("gpt") == "–"


def test_an_engine_that_needs_no_secret_looks_at_none() -> None:
    assert check_engine("script", never_asked) == "script"
    assert lack_of("claude-code", never_asked) is not None


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("messages", f"The engine messages lacks the secret {API_KEY}.", f"minion secret set {API_KEY}"),
        ("claude-code", "The engine claude-code is not in this version.", "choose script or messages"),
        ("gpt", "The engine 'gpt' is none that there is.", "choose script or messages"),
        ("auto", "The engine 'auto' is none that there is.", "choose script or messages"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_with_what_mends_it(name: str, sentence: str, hint: str) -> None:
    with pytest.raises(Refused) as caught:
        check_engine(name, frozenset)
    assert (caught.value.code, caught.value.sentence, caught.value.hint) == ("engine_missing", sentence, hint)


def of(*pipeline: str, content: str | None = None) -> dict[str, Any]:
    """An admitted routine that leaves its engine to auto, as far as that is looked at."""
    return {"name": "a", "engine": AUTO, "content": content, "pipeline": list(pipeline)}


def test_auto_chooses_once_for_a_prompt_or_pipeline_and_anew_only_for_another_one(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    first = with_engine(home, of("act"), None, anew=False)
    assert (first["engine"], is_chosen(first)) == ("script", True)
    write_secrets(home, {API_KEY: "sk-ant-of-a-test"})
    by_hand = with_engine(home, of(content="?"), first, anew=False)
    assert by_hand["engine"] == "script"
    assert with_engine(home, of("act"), by_hand, anew=True)["engine"] == "script"
    by_command = with_engine(home, of(content="?"), by_hand, anew=True)
    assert by_command["engine"] == "messages"
    home.secrets_file.unlink()
    assert with_engine(home, of(content="?"), by_command, anew=True) == by_command
    with pytest.raises(Refused) as caught:
        with_engine(home, of(content="!"), by_command, anew=True)
    assert caught.value.code == "engine_missing"


def test_what_a_file_named_before_is_nothing_that_auto_chose(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    named = {**of("act"), "engine": "messages"}
    assert not is_chosen(named)
    assert with_engine(home, of("act"), named, anew=False)["engine"] == "script"


def test_auto_cannot_choose_for_a_skill_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        with_engine(make_home(tmp_path), of("nowhere"), None, anew=True)
    assert caught.value.code == "no_such_skill"
