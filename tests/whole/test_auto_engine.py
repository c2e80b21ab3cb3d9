"""Which engine and model a routine gets: `auto` chooses once and says so, the strongest word names the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minion.app import Minion
from minion.clock import utc_now
from minion.config import Home, load_config, save_config
from minion.daemon.triggers import Trigger
from minion.routines.files import look_at_files
from minion.store.routines import KeptRoutine
from minion.wire import Order
from server.contract.digest import new_id
from server.contract.prices import DEFAULT_MODEL
from server.contract.refusals import BadUse, Refusal, Refused
from tests.whole.daemons import daemon_up
from tests.whole.homes import at_work, make_home, run_cli, write_routine, write_secrets, write_skill
from tests.whole.sittings import say_secret

pytestmark = pytest.mark.heavy

KEY = {"anthropic_api_key": "sk-ant-of-a-test"}
PAID = "paid by your API key, billed per token"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a skill that has a script, and one that needs a model."""
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    write_skill(home, "think")
    return home


def said_of(home: Home, **config: Any) -> None:
    """Have the minion's settings say this."""
    save_config(home, replace(load_config(home), **config))


def doing(home: Home, story: Callable[[Minion], Awaitable[Any]]) -> tuple[Any, list[str]]:
    """What comes of a story under the home's owner, and what the owner is told meanwhile."""
    heard: list[str] = []

    async def told() -> Any:
        async with at_work(home, alerts=heard) as minion:
            return await story(minion)

    return asyncio.run(told()), heard


def added(
    home: Home, name: str, *pipeline: str, again: bool = False, **fields: Any
) -> tuple[KeptRoutine, list[str]]:
    """A routine as it is kept when its file is added by a command."""
    body = json.dumps({"name": name, "pipeline": list(pipeline), "repositories": [], "sandbox": "none", **fields})

    async def story(minion: Minion) -> KeptRoutine:
        file = Path(f"{name}.json")
        return (await minion.routines.add(file, body.encode(), replace=again, folder=home.root)).kept

    kept, heard = doing(home, story)
    return kept, heard


def taken_in(home: Home) -> tuple[list[KeptRoutine | Refusal | None], list[str]]:
    """What becomes of all files of the home when they are taken in as a daemon does."""

    async def story(minion: Minion) -> list[KeptRoutine | Refusal | None]:
        return [read.kept or read.refusal for read in await minion.routines.take_in(look_at_files(home))]

    kept, heard = doing(home, story)
    return kept, heard


def prepared(home: Home, name: str, **said: Any) -> tuple[Order, dict[str, str]]:
    """The order and the lock of a run that is not begun."""

    async def story(minion: Minion) -> tuple[Order, dict[str, str]]:
        trigger = Trigger("manual", f"manual:{new_id('dec_')[4:]}", utc_now(), None)
        return await minion.prepare(name, trigger, **{"engine": None, "repository": None, **said})

    made: tuple[Order, dict[str, str]] = doing(home, story)[0]
    return made


def test_auto_is_script_where_every_skill_has_one_and_nobody_is_asked_for_a_key(home: Home) -> None:
    for secrets in ({}, KEY):
        write_secrets(home, secrets)
        kept, heard = added(home, f"acts-{len(secrets)}", "act", "act", engine="auto")
        assert (kept.document["engine"], heard) == ("script", [])
    home.secrets_file.chmod(0o644)  # a script needs no secrets, and so none that can be read
    assert added(home, "acts", "act", engine="auto")[0].document["engine"] == "script"


@pytest.mark.parametrize("fields", [{"content": "What is new?"}, {"pipeline": ["act", "think"]}])
def test_auto_is_the_engine_with_a_model_that_is_ready_for_all_else(home: Home, fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        added(home, "asks", engine="auto", **fields)
    why = "script cannot answer a prompt" if "content" in fields else "the skill think has no script"
    assert (caught.value.code, caught.value.hint) == ("engine_missing", "minion secret set anthropic_api_key")
    assert caught.value.sentence == (
        f"The engine auto finds none for asks: {why}, messages lacks the secret anthropic_api_key,"
        " claude-code is not in this version."
    )
    assert list(home.routines.iterdir()) == []
    write_secrets(home, KEY)
    assert added(home, "asks", engine="auto", **fields)[0].document["engine"] == "messages"
    assert prepared(home, "asks")[0].engine == "messages"


def test_a_routine_that_names_no_engine_is_left_to_auto_only_where_the_minion_says_so(home: Home) -> None:
    write_secrets(home, KEY)
    assert added(home, "plain", content="What is new?")[0].document["engine"] is None
    assert prepared(home, "plain")[0].engine == "script"
    said_of(home, engine="auto")
    assert added(home, "left", content="What is new?")[0].document["engine"] == "messages"
    assert added(home, "named", content="What is new?", engine="script")[0].document["engine"] == "script"


def test_what_a_command_keeps_says_its_engine_and_who_pays_on_one_line(home: Home) -> None:
    write_secrets(home, KEY)
    (home.root.parent / "asks.json").write_text(json.dumps({"name": "asks", "content": "?", "engine": "auto"}))
    told = run_cli(home, "routine", "add", "asks.json").out
    assert f"  engine        messages, chosen by auto – {PAID}\n" in told
    assert f"engine        messages, chosen by auto – {PAID}\n" in run_cli(home, "routine", "show", "asks").out
    made = run_cli(home, "routine", "new", "--template", "standup-prep").out
    assert "  engine        script, the minion's default – paid by nobody: it runs on this machine\n" in made
    assert run_cli(home, "routine", "add", "asks.json", "--replace", "--json").json()["pays"] == PAID[8:]


@pytest.mark.promise("MOD-9")
def test_what_auto_chose_stays_whatever_becomes_ready_or_is_edited_by_hand(home: Home) -> None:
    kept, _ = added(home, "a", "act", engine="auto")
    write_secrets(home, KEY)
    write_routine(home, "a", "think", engine="auto")
    for _ in range(2):
        (now,), heard = taken_in(home)
        assert isinstance(now, KeptRoutine)
        assert (now.id, now.document["pipeline"], now.document["engine"]) == (kept.id, ["think"], "script")
        assert heard == []
    assert prepared(home, "a")[0].engine == "script"


def test_a_command_that_saves_another_pipeline_has_auto_choose_anew_and_says_so(home: Home) -> None:
    added(home, "a", "act", engine="auto")
    write_secrets(home, KEY)
    assert added(home, "a", "act", engine="auto", again=True, timezone="Asia/Tokyo") == (
        added(home, "a", "act", engine="auto", again=True, timezone="Asia/Tokyo")
    )
    kept, heard = added(home, "a", "think", engine="auto", again=True)
    assert kept.document["engine"] == "messages"
    assert heard == [f"a runs on messages instead of script, chosen by auto and {PAID}."]
    kept, heard = added(home, "a", "act", engine="auto", again=True)
    assert (kept.document["engine"], len(heard)) == ("script", 1)


def test_a_command_sees_what_was_changed_by_hand_since_auto_chose(home: Home) -> None:
    added(home, "a", "act", engine="auto")
    write_secrets(home, KEY)
    write_routine(home, "a", "think", engine="auto")
    taken_in(home)
    kept, heard = added(home, "a", "think", engine="auto", again=True)
    assert (kept.document["engine"], len(heard)) == ("messages", 1)


def test_a_file_that_names_an_engine_ends_what_auto_chose(home: Home) -> None:
    write_secrets(home, KEY)
    added(home, "a", "act", engine="auto")
    for engine in ("messages", "auto"):
        write_routine(home, "a", "act", engine=engine)
        (now,), heard = taken_in(home)
        assert isinstance(now, KeptRoutine)
        assert now.document["engine"] == {"messages": "messages", "auto": "script"}[engine]
    nobody = "paid by nobody: it runs on this machine"
    assert heard == [f"a runs on script instead of messages, chosen by auto and {nobody}."]


def test_a_file_put_there_by_hand_is_told_which_engine_auto_chose_and_who_pays(home: Home) -> None:
    write_secrets(home, KEY)
    write_routine(home, "asks", content="?", engine="auto")
    assert taken_in(home)[1] == [f"asks runs on messages, chosen by auto and {PAID}."]
    assert taken_in(home)[1] == []


@pytest.mark.promise("MOD-9")
def test_an_engine_that_is_gone_is_refused_and_never_silently_another(home: Home) -> None:
    write_secrets(home, KEY)
    added(home, "asks", "think", engine="auto")
    home.secrets_file.unlink()
    write_skill(home, "think", "print('#')")  # now a script would do
    for again in (lambda: prepared(home, "asks"), lambda: added(home, "asks", "think", engine="auto", again=True)):
        with pytest.raises(Refused) as caught:
            again()
        assert (caught.value.code, caught.value.hint) == ("engine_missing", "minion secret set anthropic_api_key")
        assert caught.value.sentence == "The engine messages lacks the secret anthropic_api_key."
    assert list(home.runs.iterdir()) == []


@pytest.mark.parametrize("engine", ["messages", "claude-code", "auto"])
def test_what_could_not_run_can_be_paused_all_the_same(home: Home, engine: str) -> None:
    added(home, "asks", content="?")
    said_of(home, engine=engine)

    async def pause(minion: Minion) -> bool:
        return bool((await minion.routines.change("asks", {"paused": True})).kept.document["paused"])

    assert doing(home, pause)[0] is True
    with pytest.raises(Refused, match="engine") as caught:
        prepared(home, "asks")
    assert caught.value.code == "engine_missing"


def test_an_engine_of_one_run_is_chosen_for_that_run(home: Home) -> None:
    added(home, "a", "act")
    write_secrets(home, KEY)
    asked = ("script", "messages", "auto", None)
    assert [prepared(home, "a", engine=engine)[0].engine for engine in asked] == [
        "script", "messages", "script", "script"
    ]  # fmt: skip


# models

def own_model(home: Home, skill: str, model: str) -> None:
    """Have a skill name its model."""
    file = home.skills / skill / "SKILL.md"
    file.write_text(file.read_text().replace("---\n\n#", f'metadata:\n  minion-model: "{model}"\n---\n\n#', 1))


def models_of(order: Order) -> tuple[str, list[str | None]]:
    """The usual model of an order, and those of its skills."""
    return order.model, [skill.model for skill in order.skills]


def test_the_strongest_word_chooses_the_model_and_the_lock_says_which(home: Home) -> None:
    write_secrets(home, KEY)
    added(home, "a", "act", "think", engine="messages")
    found = []

    def look(**said: Any) -> None:
        order, lock = prepared(home, "a", **said)
        found.append((*models_of(order), lock["model"]))

    look()
    said_of(home, model="claude-haiku-5-5")
    look()
    added(home, "a", "act", "think", engine="messages", model="claude-opus-5-5", again=True)
    look()
    own_model(home, "think", "claude-sonnet-5-5")
    look()
    look(model="claude-opus-5")
    assert found == [
        (DEFAULT_MODEL, [None, None], DEFAULT_MODEL),
        ("claude-haiku-5-5", [None, None], "claude-haiku-5-5"),
        ("claude-opus-5-5", [None, None], "claude-opus-5-5"),
        ("claude-opus-5-5", [None, "claude-sonnet-5-5"], "claude-opus-5-5, think: claude-sonnet-5-5"),
        ("claude-opus-5", [None, None], "claude-opus-5"),
    ]


def test_the_lock_of_a_run_without_a_model_is_as_it_was_before_there_were_any(home: Home) -> None:
    added(home, "a", "act")
    assert prepared(home, "a")[1]["model"] == "None"
    said_of(home, model="claude-opus-5-5")
    assert prepared(home, "a")[1]["model"] == "None"


@pytest.mark.parametrize("whose", ["command line", "skill", "routine", "minion"])
@pytest.mark.promise("BUD-3")
def test_a_model_without_a_price_is_refused_before_anything_is_recorded_until_it_has_one(
    home: Home, whose: str
) -> None:
    write_secrets(home, KEY)
    added(home, "a", "act", engine="messages")
    said: dict[str, Any] = {"model": "m-1"} if whose == "command line" else {}
    if whose == "skill":
        own_model(home, "act", "m-1")
    elif whose == "minion":
        said_of(home, model="m-1")
    elif whose == "routine":
        with pytest.raises(Refused) as caught:
            added(home, "a", "act", engine="messages", model="m-1", again=True)
        assert caught.value.code == "unknown_model"
        write_routine(home, "a", "act", engine="messages", model="m-1")
    with pytest.raises(Refused) as caught:
        prepared(home, "a", **said)
    assert (caught.value.code, caught.value.exit_code) == ("unknown_model", 3)
    by = "The model 'm-1' of the skill act has" if whose == "skill" else "The model 'm-1' has"
    assert caught.value.sentence.startswith(f"{by} no price here")
    assert caught.value.hint.startswith("name one of: claude-opus-5-5, ")
    assert "`prices` of minion.json" in caught.value.hint
    assert list(home.runs.iterdir()) == []
    said_of(home, prices={"m-1": {"input": 0.5, "output": 1}})
    order, _ = prepared(home, "a", **said)
    assert "m-1" in (order.model, order.skills[0].model)
    assert order.prices == {"m-1": {"input": 0.5, "output": 1}}


def test_a_model_named_for_an_engine_without_one_is_refused_and_not_passed_over(home: Home) -> None:
    added(home, "a", "act", model="m-1")
    with pytest.raises(BadUse) as caught:
        prepared(home, "a", model="claude-opus-5-5")
    assert caught.value.code == "model_unused"
    assert caught.value.sentence == "The engine script has no model to choose."


def test_where_the_api_is_goes_with_the_order_and_its_key_does_not(home: Home) -> None:
    write_secrets(home, KEY)
    said_of(home, api_url="http://127.0.0.1:9")
    added(home, "a", "act", engine="messages")
    order, _ = prepared(home, "a")
    assert order.api_url == "http://127.0.0.1:9"
    assert Order.read(order.line()) == order
    assert KEY["anthropic_api_key"].encode() not in order.line()


# a daemon

def test_a_daemon_takes_in_what_waited_for_a_key_as_soon_as_it_is_given(home: Home) -> None:
    with daemon_up(home) as at_work_:
        write_routine(home, "asks", content="?", engine="auto")
        for changed in (["asks"], []):
            told = run_cli(home, "reload", "--json").json()
            assert (told["changed"], list(told["problems"])) == (changed, ["asks"])
        assert "The engine auto finds none for asks" in at_work_.log()
        assert run_cli(home, "why", "asks", "--json").json()["links"][0]["state"] == "broken"
        given = say_secret(home, "set", "anthropic_api_key", stdin=b"sk-ant-of-a-test\n")
        assert (given.code, given.err) == (0, "")
        shown = run_cli(home, "routine", "show", "asks", "--json").json()
        assert shown["engine"] == "messages"
        assert f"asks runs on messages, chosen by auto and {PAID}." in at_work_.log()
        assert at_work_.log().count("Until it is mended, it does not run") == 1
        assert "sk-ant-of-a-test" not in at_work_.log()
