"""The minion's own command, as `hq up` has things done by it: what is refused, said in whose words."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.contract.refusals import Refused
from server.local_minion import adopt, find_program

URL = "http://127.0.0.1:7717"
WHERE = '{"home": {"path": "/h", "exists": true}, "config": {"path": "/h/m", "exists": true}}'
JOINED = '{"minion": {"name": "alice"}, "pid": 7, "hq": {"url": "http://127.0.0.1:1", "linked": true}}'


def program(folder: Path, script: str) -> Path:
    """A program that stands in for `minion`."""
    path = folder / "minion"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def refused(folder: Path, script: str) -> Refused:
    """How having a minion is refused where its program does this."""
    with pytest.raises(Refused) as caught:
        adopt(URL, lambda name: name, home=str(folder / "a home"), program=program(folder, script))
    return caught.value


def test_what_the_minion_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    found = refused(tmp_path, "echo 'minion: The home is full.' >&2; echo 'hint: free space' >&2; exit 3")
    assert found.code == "minion_refused"
    assert (found.sentence.endswith("was refused: The home is full."), found.hint) == (True, "free space")
    assert f"minion --home '{tmp_path}/a home' where" in found.sentence


def test_a_minion_that_says_something_else_is_of_another_version(tmp_path: Path) -> None:
    assert refused(tmp_path, "echo hello").code == "minion_other"


def test_a_program_that_cannot_be_performed_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        adopt(URL, lambda name: name, home=None, program=tmp_path / "gone")
    assert caught.value.code == "minion_failed"
    assert caught.value.hint == "try it yourself: minion where"


def test_where_no_minion_is_installed_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        find_program(str(tmp_path / "python"), path=str(tmp_path))
    assert caught.value.code == "no_minion_program"
    program(tmp_path, "")
    assert find_program(str(tmp_path / "python"), path="/nowhere") == tmp_path / "minion"


def test_a_minion_of_another_hq_is_left_alone(tmp_path: Path) -> None:
    script = f"case \"$3\" in where) echo '{WHERE}';; status) echo '{JOINED}';; *) exit 9;; esac"
    found = refused(tmp_path, script)
    assert (found.code, "another HQ, http://127.0.0.1:1" in found.sentence) == ("has_joined", True)
    assert "minion --home" in found.hint
