"""Files of a home, and of an input, made to hurt their reader (F19): refused in bounded memory, never repeated."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.commands.run import given_input
from minion.config import Home, load_config
from minion.secrets_file import read_secrets
from server.contract.refusals import BadDocument, BadUse, Refusal
from tests.contract.bombs import BOMBS
from tests.minion.stored_runs import MINION_ID

MIB = 2**20
JSON_BOMBS = {name: body for name, body in BOMBS.items() if name.endswith(".json")}
GOOD: dict[str, Any] = {"minion_id": MINION_ID, "name": "tester"}
# Well formed, and wrong in what is said.
CONFIG_BOMBS = {
    "a huge number of runs": json.dumps(GOOD)[:-1].encode() + b', "keep_runs": ' + b"9" * 4_000 + b"}",
    "an infinite number of runs": json.dumps(GOOD)[:-1].encode() + b', "keep_runs": 1e400}',
    "a long zone": json.dumps(GOOD | {"timezone": "Europe/" * 5_000}).encode(),
    "a zone with a NUL": json.dumps(GOOD | {"timezone": "Europe/\0"}).encode(),
    "half a letter for a zone": json.dumps(GOOD | {"timezone": "\ud800"}).encode(),
    "a way out for a zone": json.dumps(GOOD | {"timezone": "../../../dev/zero"}).encode(),
    "a long name": json.dumps(GOOD | {"name": "a-" * 30_000}).encode(),
    "a long unknown key": json.dumps(GOOD | {"\x1b[31m" * 9_000: 1}).encode(),
    "a deep list of forges": json.dumps(GOOD).encode()[:-1] + b', "forges": ' + b"[" * 60_000,
    "forges of forges": json.dumps(GOOD | {"forges": {"a": {"b": {}}}}).encode(),
}
SECRET_BOMBS = {
    "a list for a secret": b'{"slack_webhook": [1, [2, [3]]]}',
    "half a letter in a secret": b'{"slack_webhook": "\\ud800abcdefghij"}',
    "half a letter in a name": b'{"\\ud800": "abcdefghij"}',
    "a short secret of a hostile name": b'{"\\u001b[31m' + b"x" * 9_000 + b'": "abc"}',
}


@contextmanager
def little_memory() -> Iterator[None]:
    """What is done here allocates less than 64 MiB at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


def refusal_of(read: Callable[[], object]) -> Refusal:
    """Why it was refused: in one printable line that is not long."""
    with little_memory(), pytest.raises(Refusal) as caught:
        read()
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.promise("CLI-11")
@pytest.mark.parametrize("body", [*JSON_BOMBS.values(), *CONFIG_BOMBS.values()], ids=[*JSON_BOMBS, *CONFIG_BOMBS])
def test_a_hostile_minion_json_is_refused_by_its_path(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "minion.json").write_bytes(body)
    refusal = refusal_of(lambda: load_config(Home(tmp_path)))
    assert (type(refusal), refusal.code) == (BadDocument, "bad_config")
    assert str(tmp_path / "minion.json") in refusal.sentence


@pytest.mark.promise("CLI-11")
@pytest.mark.parametrize("body", [*JSON_BOMBS.values(), *SECRET_BOMBS.values()], ids=[*JSON_BOMBS, *SECRET_BOMBS])
def test_a_hostile_secrets_json_is_refused_and_nothing_in_it_is_repeated(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "secrets.json"
    file.write_bytes(body)
    file.chmod(0o600)
    refusal = refusal_of(lambda: read_secrets(file))
    assert refusal.code in ("secrets_format", "secrets_short")
    assert str(file) in refusal.sentence
    assert "abc" not in str(refusal)


def endless(folder: Path) -> str:
    """A file without an end."""
    return "/dev/zero"


def gigantic(folder: Path) -> str:
    """A file of a TiB that takes no room."""
    file = folder / "gigantic"
    file.touch()
    os.truncate(file, 2**40)
    return str(file)


def just_over(folder: Path) -> str:
    """A file that has one character more than is taken, each of the longest kind."""
    file = folder / "over"
    file.write_text("\U0001f600" * 65_537)
    return str(file)


def test_a_gigantic_file_of_a_home_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for file in (home.config_file, home.secrets_file):
        Path(gigantic(tmp_path)).rename(file)
        file.chmod(0o600)
    assert refusal_of(lambda: load_config(home)).code == "bad_config"
    assert refusal_of(lambda: read_secrets(home.secrets_file)).code == "secrets_format"


@pytest.mark.promise("CLI-11")
@pytest.mark.parametrize("made", [endless, gigantic, just_over])
def test_an_input_file_without_measure_is_refused_before_it_is_read_whole(
    tmp_path: Path, made: Callable[[Path], str]
) -> None:
    refusal = refusal_of(lambda: given_input("@" + made(tmp_path)))
    assert (type(refusal), refusal.code) == (BadUse, "long_input")


def test_an_input_file_of_exactly_what_is_taken_is_taken_whole(tmp_path: Path) -> None:
    text = "\U0001f600" * 65_536
    (tmp_path / "in.txt").write_text(text)
    assert given_input(f"@{tmp_path / 'in.txt'}") == text
