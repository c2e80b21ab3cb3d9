"""What a minion says when HQ asks about a routine: why it runs or does not, and whether it has what it needs."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.hq.answering import answered
from minion.hq.standing import hello_of
from server.contract.documents import admit
from server.contract.joining import Hello
from tests.whole.homes import at_work, make_home, write_routine, write_secrets, write_skill

pytestmark = pytest.mark.heavy


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose routine has one repository, lacks another and a skill."""
    made = make_home(tmp_path)
    write_skill(made, "quick", 'answer(text="done")')
    repository = tmp_path / "there"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q",
         "--allow-empty", "-m", "first"], check=True,
    )  # fmt: skip
    repositories = [
        {"url": str(repository), "name": "there"}, {"url": str(tmp_path / "gone"), "name": "gone"},
        {"url": str(repository), "name": "branch", "branch": "other"},
    ]  # fmt: skip
    write_routine(made, "own", "quick", "not-here", repositories=repositories)

    async def taken_in() -> None:
        async with at_work(made) as minion:
            await minion.routines.current("own")

    asyncio.run(taken_in())
    return made


def asked(home: Home, **question: Any) -> dict[str, Any]:
    """What is answered to a question."""
    return asyncio.run(answered(home, {"id": "q", "kind": "why", "routine": "own", **question}))


@pytest.mark.promise("GIV-5")
def test_the_answer_says_why_and_whether_what_is_needed_can_be_had(home: Home) -> None:
    said = asked(home)
    assert (said["routine"], isinstance(said["sentence"], str)) == ("own", True)
    assert {part["name"]: part["state"] for part in said["preflight"]} == {
        "skill not-here": "missing", "repository there": "ok", "repository gone": "unreachable",
        "repository branch": "missing",
    }  # fmt: skip
    assert str(home.root) not in str(said["preflight"])


@pytest.mark.parametrize(
    "question",
    [{"routine": "../etc"}, {"routine": "--help"}, {"kind": "dance"}, {"at": "9:00; true"}, {"at": "--json"},
     {"routine": "unknown"}],
)  # fmt: skip
def test_what_is_no_question_is_refused_and_reaches_no_command_line(home: Home, question: dict[str, Any]) -> None:
    assert list(asked(home, **question)) == ["refused"]


def test_a_minion_says_which_engines_and_skills_it_has_of_its_own(home: Home) -> None:
    async def said() -> dict[str, Any]:
        async with at_work(home) as minion:
            return hello_of(home, minion.config, "1")

    hello = admit(Hello, asyncio.run(said()), source="The minion")
    assert (hello.engines, hello.connectors) == (("script",), ())
    write_secrets(home, {"anthropic_api_key": "sk-ant-of-a-test"})
    assert asyncio.run(said())["engines"] == ["script", "messages"]
    home.secrets_file.chmod(0o644)
    assert asyncio.run(said())["engines"] == ["script"]
    home.secrets_file.unlink()
    assert {"quick", "write-daily-report"} <= set(hello.skills or ())
