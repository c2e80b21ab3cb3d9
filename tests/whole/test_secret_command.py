"""`minion secret`: kept from standard input or typed unseen, listed by name, removed; never in an argument."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minion.cli import minion
from minion.commands.completion import candidates
from minion.config import Home, held
from minion.routines.secret_users import check_holds_none
from minion.secrets_file import read_secrets
from server.contract.refusals import Refusal, Refused
from tests.whole.homes import (
    admit_together,
    at_work,
    clean_environment,
    command_line,
    make_home,
    run_cli,
    write_routine,
    write_secrets,
)
from tests.whole.sittings import contents, leaks, say_secret
from tests.whole.terminals import END_OF_INPUT, INTERRUPT, at_terminal

KEY = "sk-ant-of-a-test-0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home without secrets."""
    return make_home(tmp_path)


def test_a_secret_is_kept_from_standard_input_without_the_newline_that_ends_it(home: Home) -> None:
    for name, given, kept in (
        ("a", b"six-chars\n", "six-chars"),
        ("b", b"with windows\r\n", "with windows"),
        ("c", b"-----BEGIN\nlines\n-----END\n", "-----BEGIN\nlines\n-----END"),
        ("d.e-f_G", "grüße €\n\n".encode(), "grüße €\n"),
        ("anthropic_api_key", f"  {KEY} \n".encode(), KEY),
    ):
        ended = say_secret(home, "set", name, stdin=given)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"{name} is kept.\n")
        assert read_secrets(home.secrets_file)[name] == kept
    assert home.secrets_file.stat().st_mode & 0o777 == 0o600
    assert len(read_secrets(home.secrets_file)) == 5


def test_setting_again_says_whether_anything_changed(home: Home) -> None:
    values = (b"first-one", b"first-one", b"other!")
    said = [say_secret(home, "set", "a", "--json", stdin=value).json() for value in values]
    assert [(one["new"], one["changed"]) for one in said] == [(True, True), (False, False), (False, True)]
    assert say_secret(home, "set", "a", stdin=b"other!").out == "a is as it was.\n"
    assert say_secret(home, "set", "a", stdin=b"third!").out == "a is changed.\n"


def test_the_key_of_an_engine_is_said_to_make_it_ready_and_who_pays(home: Home) -> None:
    told = say_secret(home, "set", "anthropic_api_key", stdin=KEY.encode()).out
    assert "messages is ready – paid by your API key, billed per token" in told
    assert KEY not in told


@pytest.mark.parametrize(
    ("words", "stdin", "refusal", "code"),
    [
        (("set", "a", KEY), b"", "secret_in_argv", 2),
        (("set", KEY), b"", "secret_in_argv", 2),
        (("set", "a", "-plain"), b"", "secret_in_argv", 2),
        (("set", "--json", "a", "plain"), b"", "secret_in_argv", 2),
        (("set", "https://hooks.slack.com/services/T0/B0/x"), b"", "secret_in_argv", 2),
        (("remove", KEY), b"", "secret_in_argv", 2),
        (("set", "two words"), b"value-of-it", "bad_secret_name", 2),
        (("set", ""), b"value-of-it", "bad_secret_name", 2),
        (("set", "n" * 65), b"value-of-it", "bad_secret_name", 2),
        (("set", "a"), b"", "no_secret", 2),
        (("set", "a"), b"\n", "no_secret", 2),
        (("set", "a"), b"\xff\xfe\xfd\xfc\xfb\xfa", "bad_secret", 2),
        (("set", "a"), b"short\n", "secrets_short", 2),
        (("set", "a"), b"x" * 70_000, "secrets_large", 3),
        (("set", "anthropic_api_key"), b"sk-ant-first second-word", "bad_secret", 2),
        (("set", "anthropic_api_key"), f"{KEY}\nX-Other: header".encode(), "bad_secret", 2),
        (("set", "anthropic_api_key"), "sk-ant-größer".encode(), "bad_secret", 2),
        (("remove", "nothing"), b"", "no_such_secret", 2),
    ],
    ids=range(18),
)  # fmt: skip
def test_what_is_refused_changes_nothing_and_repeats_nothing(
    home: Home, words: tuple[str, ...], stdin: bytes, refusal: str, code: int
) -> None:
    write_secrets(home, {"kept": "value-of-kept"})
    before = contents(home)
    ended = say_secret(home, *words, stdin=stdin)
    assert (ended.code, ended.refusal, ended.out, contents(home)) == (code, refusal, "", before)
    hidden = [word for word in (*words[1:], *stdin.decode("utf-8", "replace").split()) if len(word) > 5]
    assert [word for word in hidden if word in ended.err and word not in ("--json", "anthropic_api_key")] == []
    assert len(ended.err.splitlines()) == 2


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_file_that_others_can_read_takes_no_secret_until_it_is_closed(home: Home, mode: int) -> None:
    write_secrets(home, {"kept": "value-of-kept"}, mode=mode)
    for words in (("set", "a"), ("list",), ("remove", "kept")):
        ended = say_secret(home, *words, stdin=b"value-of-a")
        assert (ended.code, ended.refusal) == (3, "secrets_mode")
    assert home.secrets_file.stat().st_mode & 0o777 == mode


def test_secrets_can_be_seen_to_while_another_command_owns_the_home(home: Home) -> None:
    with held(home, "minion run long"):
        assert say_secret(home, "set", "a", stdin=b"value-of-a").code == 0
        assert say_secret(home, "list", "--json").json() == [{"name": "a", "used_by": []}]
        assert say_secret(home, "remove", "a", "--json").json() == {"removed": "a", "used_by": []}


def test_without_a_minion_there_is_nothing_to_keep_secrets_for(tmp_path: Path) -> None:
    for words in (("set", "a"), ("list",), ("remove", "a")):
        ended = say_secret(Home(tmp_path / "none"), *words, stdin=b"value-of-a")
        assert (ended.code, ended.refusal) == (2, "no_home")
    assert not (tmp_path / "none").exists()


@pytest.mark.heavy
def test_of_several_that_are_set_at_once_none_undoes_another(home: Home) -> None:
    script = (
        "import sys; from pathlib import Path; from minion.secrets_file import keep_secret\n"
        "for number in range(20):\n"
        "    keep_secret(Path(sys.argv[1]), f'{sys.argv[2]}-{number}', 'value-of-it')"
    )

    def hand(name: str) -> int:
        argv = [sys.executable, "-c", script, str(home.secrets_file), name]
        return subprocess.run(argv, check=False, timeout=60).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(hand, ("a", "b", "c", "d"))) == [0, 0, 0, 0]
    assert set(read_secrets(home.secrets_file)) == {f"{hand}-{number}" for hand in "abcd" for number in range(20)}


async def _told_of_users(home: Home) -> None:
    async with at_work(home) as minion:
        await admit_together(minion)
        for file in sorted(home.routines.iterdir()):
            await minion.routines.current(file.stem)


@pytest.mark.heavy
def test_a_secret_is_listed_with_who_uses_it_and_never_with_its_value(home: Home) -> None:
    write_routine(home, "report", "send-to-slack")
    write_routine(home, "quiet", "send-to-slack", effects=[])
    telling = {"effects": ["message:team"], "notify": [{"slack": "ops"}], "watch": {"ping": "dms"}}
    write_routine(home, "tell", content="x", **telling)
    write_routine(home, "asks", content="x", engine="messages")
    names = ("anthropic_api_key", "slack_webhook", "team", "ops_webhook", "dms", "x")
    values = {name: f"value-of-{name}" for name in names}
    write_secrets(home, values)
    config = json.loads(home.config_file.read_bytes())
    home.config_file.write_text(json.dumps(config | {"notify": [{"slack": "ops"}]}))
    asyncio.run(_told_of_users(home))
    listed = {one["name"]: one["used_by"] for one in say_secret(home, "list", "--json").json()}
    assert listed == {
        "anthropic_api_key": ["asks"], "slack_webhook": ["report"], "team": ["tell"], "dms": ["tell"], "x": [],
        "ops_webhook": ["tell", "minion.json"],
    }  # fmt: skip
    shown = say_secret(home, "list").out
    assert [line.split() for line in shown.splitlines()[1:]][-1] == ["x", "–"]
    assert [value for value in values.values() if value in shown] == []
    removed = say_secret(home, "remove", "team")
    assert removed.out == "team is removed; where it was made it stays valid: revoke it there.\n"
    assert removed.err == "! It is still used by tell.\n"
    assert "team" not in read_secrets(home.secrets_file)


def test_a_slip_in_a_name_to_be_removed_is_answered_with_the_nearest(home: Home) -> None:
    write_secrets(home, {"slack_webhook": "value-of-it"})
    ended = say_secret(home, "remove", "slak_webhook")
    assert (ended.refusal, "did you mean slack_webhook?" in ended.err) == ("no_such_secret", True)


@pytest.mark.heavy
def test_at_a_terminal_a_secret_is_typed_unseen(home: Home) -> None:
    line, env = command_line(home, "secret", "set", "anthropic_api_key"), clean_environment(home)
    for key, code in ((INTERRUPT, 130), (END_OF_INPUT, 2)):
        with at_terminal(line, env=env, cwd=home.root) as terminal:
            terminal.type("not shown as you type: ", key)
            assert terminal.ended() == code
        assert read_secrets(home.secrets_file) == {}
    assert "secret set anthropic_api_key < FILE" in terminal.shown
    with at_terminal(line, env=env, cwd=home.root) as terminal:
        terminal.type("not shown as you type: ", KEY)
        assert terminal.ended() == 0
    assert (read_secrets(home.secrets_file), KEY in terminal.shown) == ({"anthropic_api_key": KEY}, False)
    assert leaks(home, KEY) == []


def test_names_of_secrets_are_completed(home: Home) -> None:
    write_secrets(home, {"slack_webhook": "value-of-it", "team": "value-of-it"})
    at = ["--home", str(home.root), "secret"]
    assert [item.value for item in candidates(minion, [*at, "remove"], "")] == ["slack_webhook", "team"]
    assert [item.value for item in candidates(minion, [*at, "set"], "a")] == ["anthropic_api_key"]
    home.secrets_file.chmod(0o644)
    assert candidates(minion, [*at, "remove"], "") == []


def test_a_refusal_of_the_file_never_quotes_what_lies_in_it(home: Home) -> None:
    home.secrets_file.write_text(f'{{"{KEY}": 3}}')
    home.secrets_file.chmod(0o600)
    with pytest.raises(Refusal) as caught:
        read_secrets(home.secrets_file)
    assert (caught.value.code, KEY in str(caught.value)) == ("secrets_format", False)
    assert say_secret(home, "set", "a", stdin=b"value-of-a").refusal == "secrets_format"


@pytest.mark.promise("MOD-6")
def test_a_routine_that_holds_a_kept_secret_is_refused_and_nothing_of_it_is_kept(
    home: Home, tmp_path: Path
) -> None:
    say_secret(home, "set", "anthropic_api_key", stdin=KEY.encode())
    file = tmp_path / "leaky.yaml"
    file.write_text(f"name: leaky\ncontent: Look.\nengine: script\nenvironment:\n  env: {{KEY: {KEY}}}\n")
    ended = run_cli(home, "routine", "add", str(file))
    assert ended.code == 3
    assert "The routine holds the value of the secret anthropic_api_key" in ended.err
    assert KEY not in ended.out + ended.err
    assert leaks(home, KEY) == []
    with pytest.raises(Refused) as caught:
        check_holds_none(home, f"content: use {KEY}".encode())
    assert caught.value.code == "routine_holds_secret"
