"""A minion's home: which one is meant, what its file may say, and that one process at a time owns it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.app import initialise
from minion.config import (
    Config,
    Home,
    held,
    holder_now,
    home_at,
    load_config,
    machine_zone,
    passed_environment,
    write_private,
)
from server.contract.refusals import BadDocument, NotFound, Refusal, Refused

# A process that owns a home until it is told to go on, or is ended.
OWNER = """
import sys
from pathlib import Path
from minion.config import Home, held
with held(Home(Path(sys.argv[1])), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""
GOOD = {"minion_id": "6f1f8a52-3a51-4d1c-9a43-2f6f6f1d9d10", "name": "tester"}


@contextmanager
def owner(home: Home, command: str = "minion run nightly") -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the home; gone at the end of the block."""
    argv = [sys.executable, "-c", OWNER, str(home.root), command]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def refused(home: Home) -> Refused:
    """Why the home cannot be owned now."""
    with pytest.raises(Refused) as caught, held(home, "a test"):
        raise AssertionError("two owners at once")
    return caught.value


@pytest.mark.promise("STO-4")
def test_a_second_owner_is_refused_and_told_who_the_first_one_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with owner(home, "minion run nightly") as first:
        refusal = refused(home)
        assert (refusal.code, refusal.exit_code) == ("home_held", 3)
        named = f"The home {tmp_path} is in use by `minion run nightly` (process {first.pid})."
        assert refusal.sentence == named
        assert refused(home).sentence == named
        assert first.poll() is None


@pytest.mark.promise("STO-4")
def test_the_lock_ends_with_the_block_and_with_the_process(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for _ in range(2):
        with held(home, "a test"):
            pass
    with owner(home) as first:
        first.communicate("\n", timeout=20)
        with held(home, "the next one"):
            pass


@pytest.mark.promise("STO-4")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_dies_with_an_owner_that_is_killed(tmp_path: Path, blow: signal.Signals) -> None:
    home = Home(tmp_path)
    with owner(home) as first:
        assert refused(home).code == "home_held"
        first.send_signal(blow)
        assert first.wait(20) == -blow
        with held(home, "the next one"):
            assert json.loads((tmp_path / "lock").read_bytes())["command"] == "the next one"


@pytest.mark.promise("STO-4")
def test_an_owner_s_children_do_not_keep_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    argv = [sys.executable, "-c", "print('here', flush=True); input()"]
    with held(home, "the parent"):
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
    with child, held(home, "the next one"):
        assert child.poll() is None
        child.kill()


def test_a_holder_is_gone_once_it_was_killed_though_nobody_took_note_of_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with owner(home, "minion up") as first:
        assert holder_now(home) == (first.pid, "minion up")
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        assert holder_now(home) is None


def test_a_process_that_got_the_id_of_a_dead_holder_is_not_taken_for_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with held(home, "minion up"):
        said = json.loads((tmp_path / "lock").read_bytes())
        assert holder_now(home) == (os.getpid(), "minion up")
        (tmp_path / "lock").write_text(json.dumps(said | {"started": "1"}))
        assert holder_now(home) is None


def test_an_owner_whose_work_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(LookupError), held(Home(tmp_path), "a test"):
        raise LookupError
    with held(Home(tmp_path), "the next one"):
        assert refused(Home(tmp_path)).sentence.endswith(f"`the next one` (process {os.getpid()}).")


@pytest.mark.parametrize("words", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"pid": 1}'])
def test_a_holder_that_left_no_name_is_another_process(tmp_path: Path, words: bytes) -> None:
    with owner(Home(tmp_path)):
        (tmp_path / "lock").write_bytes(words)
        assert refused(Home(tmp_path)).sentence == f"The home {tmp_path} is in use by another process."


def test_the_home_is_the_one_that_is_said_else_the_environment_s_else_the_platform_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINION_HOME", str(tmp_path / "from-environment"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert home_at("said").root == tmp_path / "said"
    assert home_at("~/mine").root == tmp_path / "mine"
    assert home_at(None).root == tmp_path / "from-environment"
    monkeypatch.setenv("MINION_HOME", "")
    found = home_at(None).root
    assert (found.is_absolute(), found.name, tmp_path in found.parents) == (True, "minion", True)


def test_everything_of_a_home_lies_inside_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    places = [
        home.config_file,
        home.store,
        home.routines,
        home.skills,
        home.runs,
        home.outbox,
        home.secrets_file,
    ]
    assert {place.parent for place in places} == {tmp_path}
    assert len(set(places)) == 7


def test_a_home_is_made_private_with_an_id_of_its_own(tmp_path: Path) -> None:
    configs = [initialise(Home(tmp_path / name), name="tester", timezone="Europe/Berlin") for name in "ab"]
    assert configs[0].minion_id != configs[1].minion_id
    home = Home(tmp_path / "a")
    assert load_config(home) == configs[0]
    for folder in (home.root, home.routines, home.skills, home.runs, home.outbox):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.config_file.stat().st_mode) == 0o600


def test_a_home_that_exists_is_not_made_again(tmp_path: Path) -> None:
    first = initialise(Home(tmp_path), name="first", timezone="UTC")
    with pytest.raises(Refused, match="already") as caught:
        initialise(Home(tmp_path), name="second", timezone="UTC")
    assert caught.value.code == "home_exists"
    assert load_config(Home(tmp_path)) == first


@pytest.mark.parametrize("below", ["a-file", "a-file/deeper"])
def test_a_home_that_cannot_be_made_is_refused_in_words(tmp_path: Path, below: str) -> None:
    (tmp_path / "a-file").write_text("in the way")
    with pytest.raises(Refused) as caught:
        initialise(Home(tmp_path / below), name="tester", timezone="UTC")
    assert str(tmp_path / below) in caught.value.sentence
    assert caught.value.hint
    assert (tmp_path / "a-file").read_text() == "in the way"


def loaded(folder: Path, body: object) -> Config:
    """The configuration that a home's file says."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    (folder / "minion.json").write_bytes(text)
    return load_config(Home(folder))


def test_what_the_file_does_not_say_has_its_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert config == Config(GOOD["minion_id"], "tester", "script", "UTC", 200, ())
    assert loaded(tmp_path, config.as_data()) == config


def test_a_file_may_change_every_default(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "engine": "messages",
        "timezone": "Asia/Tokyo",
        "keep_runs": 5,
        "repositories": ["/srv/a"],
    }
    config = loaded(tmp_path, GOOD | more)
    assert (config.engine, config.timezone, config.keep_runs, config.repositories) == (
        "messages",
        "Asia/Tokyo",
        5,
        ("/srv/a",),
    )


@pytest.mark.promise("DOC-2")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b" " * 70_000, "over 64 KiB"),
        ([GOOD], "not a JSON object"),
        ({"name": "tester"}, "minion_id"),
        (GOOD | {"minion_id": "tester"}, "minion_id"),
        (GOOD | {"minion_id": 7}, "minion_id"),
        (GOOD | {"minion_id": None}, "minion_id"),
        (GOOD | {"name": "Two Words"}, "name"),
        (GOOD | {"name": ""}, "name"),
        (GOOD | {"name": "a\n"}, "name"),
        (GOOD | {"keep_runs": 0}, "keep_runs"),
        (GOOD | {"keep_runs": True}, "keep_runs"),
        (GOOD | {"keep_runs": "200"}, "keep_runs"),
        (GOOD | {"repositories": "/srv/a"}, "repositories"),
        (GOOD | {"repositories": [1]}, "repositories"),
        (GOOD | {"engine": 1}, "engine"),
        (GOOD | {"timezone": None}, "timezone"),
        (GOOD | {"timezone": "Mars/Olympus"}, "timezone"),
        (GOOD | {"timezone": "../../etc/passwd"}, "timezone"),
        (GOOD | {"colour": "red"}, "'colour'"),
    ],
)
def test_a_file_that_says_something_wrong_is_refused_with_the_field_named(
    tmp_path: Path, body: object, named: str
) -> None:
    with pytest.raises(BadDocument) as caught:
        loaded(tmp_path, body)
    assert (caught.value.code, caught.value.exit_code) == ("bad_config", 2)
    assert named in caught.value.sentence
    assert str(tmp_path / "minion.json") in caught.value.sentence
    assert caught.value.hint


def test_a_folder_that_is_no_home_is_told_how_to_become_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_config(Home(tmp_path))
    assert (caught.value.code, caught.value.hint) == ("no_home", "minion init")
    (tmp_path / "minion.json").mkdir()
    with pytest.raises(Refused, match="cannot be read"):
        load_config(Home(tmp_path))


def test_a_private_file_is_written_whole_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_private(path, "first")
    path.chmod(0o644)
    write_private(path, "second, with ü and €\r\n")
    assert path.read_bytes() == "second, with ü and €\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(Refused) as caught:
        write_private(tmp_path / "taken", "x")
    assert caught.value.code == "cannot_write"
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_private_file_is_utf_8_whatever_the_machine_s_language(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from minion.config import write_private\n"
    script += "write_private(Path(sys.argv[1]), '\\u20ac')"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script, tmp_path / "f"], env=plain, check=True, timeout=20)
    assert (tmp_path / "f").read_bytes() == "€".encode()


@pytest.mark.parametrize(
    ("said", "zone"), [("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo"), ("UTC", "UTC")]
)
def test_the_machine_s_zone_is_what_tz_says(monkeypatch: pytest.MonkeyPatch, said: str, zone: str) -> None:
    monkeypatch.setenv("TZ", said)
    assert machine_zone() == zone


@pytest.mark.parametrize("said", ["Mars/Olympus", "/etc/passwd", "../UTC", "Europe", ""])
def test_a_zone_nobody_knows_is_passed_over(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.delenv("TZ", raising=False)
    without = machine_zone()
    monkeypatch.setenv("TZ", said)
    assert machine_zone() == without


@pytest.mark.promise("ENV-2")
def test_only_what_git_needs_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-not-for-others")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    passed = passed_environment()
    assert passed["SSH_AUTH_SOCK"] == "/run/agent"
    known = {"HOME", "SSH_AUTH_SOCK", "USER", "LOGNAME"}
    assert set(passed) <= known | {"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"}


def test_refusals_of_the_home_all_say_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(Refusal) as caught,
        held(Home(tmp_path / "a" / "b"), "a test"),
        held(Home(tmp_path / "a" / "b"), "twice"),
    ):
        raise AssertionError("two owners at once")
    assert caught.value.hint == "wait until it is done, or stop it"
