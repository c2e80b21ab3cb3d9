"""What a routine expects: checked by the runner itself, whatever a session claims, and with consequences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, run_cli, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook, webhook

EXPECTED = [
    {"file": "docs/*.md"},
    {"command": ["grep", "-q", "tight", "roof.txt"]},
    {"contains": "All tight"},
    {"delivered": "slack"},
]
STAGED = [
    {"kind": "push", "target": "shop:claude/mend", "title": "Mend", "body": ""},
    {"kind": "message", "target": "slack", "body": "The roof was mended."},
    {"kind": "file", "target": "report.md", "body": "mended"},
]


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    """The webhook of this file's tests."""
    with webhook() as served:
        yield served


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository to work on."""
    shop = Repository(tmp_path)
    shop.write("roof.txt", "leaks\n")
    shop.commit("Begin")
    return shop


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, hook: Webhook) -> Home:
    """A home whose routine `mend` expects a file, a command, a text and a delivery."""
    home = make_home(tmp_path_factory.mktemp("expectations"))
    write_skill(home, "act", "exec(task['input'])")
    allowed = ["push:shop:claude/*", "message:slack", "message:gone", "file:*.md"]
    write_routine(home, "mend", "act", effects=allowed, expect=EXPECTED)
    write_secrets(home, {"slack_webhook": hook.url("/ok"), "gone_webhook": hook.url("/gone")})
    return home


def work(*, folder: str = "docs", roof: str = "tight", says: str = "All tight now.", gone: bool = False) -> str:
    """The input that has the skill do the work, or a part of it badly, and stage its effects."""
    staged = [effect | ({"target": "gone"} if gone and effect["target"] == "slack" else {}) for effect in STAGED]
    note = f"os.makedirs({folder!r}); open({folder + '/a.md'!r}, 'w').close()"
    return f"{note}\nopen('roof.txt', 'w').write({roof!r})\nanswer(text={says!r}, effects={staged!r})"


def states(items: list[dict[str, Any]]) -> list[str]:
    """The states of checks or effects in order."""
    return [item["state"] for item in items]


@pytest.mark.promise("RUN-11")
def test_a_run_whose_every_check_passes_is_ok_and_delivers_everything(home: Home, shop: Repository) -> None:
    run = performed(home, "mend", given=work(), repository=str(shop.folder))
    assert [(check["kind"], check["state"]) for check in run["checks"]] == [
        ("file", "passed"),
        ("command", "passed"),
        ("contains", "passed"),
        ("delivered", "passed"),
    ]
    assert states(run["effects"]) == ["delivered"] * 3
    assert (run["verdict"], run["outcome"]) == ("ok", "success")
    assert shop.git("log", "-1", "--format=%s", "claude/mend") == "Mend"


@pytest.mark.promise("RUN-11")
@pytest.mark.promise("ENV-4")
@pytest.mark.parametrize(
    ("fault", "failed"),
    [({"folder": "papers"}, "file"), ({"roof": "leaks"}, "command"), ({"says": "No idea."}, "contains")],
)
def test_a_failed_check_withholds_pushes_but_people_are_still_told(
    home: Home, hook: Webhook, shop: Repository, fault: dict[str, str], failed: str
) -> None:
    hook.requests.clear()
    run = performed(home, "mend", given=work(**fault), repository=str(shop.folder))  # type: ignore[arg-type]
    assert [check["kind"] for check in run["checks"] if check["state"] == "failed"] == [failed]
    assert states(run["effects"]) == ["withheld", "delivered", "delivered"]
    assert "failed" in run["effects"][0]["detail"]
    assert hook.texts("/ok") == ["The roof was mended."]
    assert shop.git("branch", "--list", "claude/*") == ""
    assert (run["state"], run["verdict"]) == ("completed", "failed")
    assert failed in run["summary"]


@pytest.mark.promise("RUN-11")
def test_a_delivery_that_was_expected_and_did_not_come_makes_the_run_not_delivered(
    home: Home, shop: Repository
) -> None:
    given = work(gone=True)
    ended = run_cli(home, "run", "mend", "--json", "--input", given, "--repo", shop.folder)
    run = ended.json()
    assert states(run["checks"]) == ["passed", "passed", "passed", "failed"]
    assert states(run["effects"]) == ["delivered", "failed", "delivered"]
    assert (ended.code, run["verdict"]) == (1, "not-delivered")


@pytest.mark.promise("RUN-11")
def test_a_file_check_is_not_fooled_by_a_link_and_a_command_that_is_missing_fails(tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.write("roof.txt", "tight\n")
    shop.commit("Begin")
    home = make_home(tmp_path)
    write_skill(home, "act", "exec(task['input'])")
    expect = [{"file": "proof.md"}, {"command": ["no-such-program"]}, {"command": ["false"]}, {"file": "roof.txt"}]
    write_routine(home, "check", "act", repositories=[str(shop.folder)], expect=expect)
    run = performed(home, "check", given="os.symlink('/etc/passwd', 'proof.md'); print('Proof: proof.md')")
    assert states(run["checks"]) == ["failed", "failed", "failed", "passed"]
    assert "not found: no-such-program" in run["checks"][1]["detail"]
    assert run["checks"][2]["detail"] == "exit 1"
    assert run["verdict"] == "failed"


def test_a_check_command_gets_the_skills_environment_and_nothing_of_the_callers(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print(sorted(os.environ))")
    seen = tmp_path / "seen"
    command = ["python3", "-c", f"import os; open({str(seen)!r}, 'w').write(' '.join(sorted(os.environ)))"]
    write_routine(home, "env", "say", expect=[{"command": command}], environment={"env": {"COLOUR": "blue"}})
    run = performed(home, "env")
    assert set(os.environ) - set(seen.read_text().split())
    names = {"COLOUR", "GIT_CEILING_DIRECTORIES", "HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"}
    # LC_CTYPE is Python's own, set in itself for want of a locale.
    assert set(seen.read_text().split()) - {"LC_CTYPE"} == names | {"PYTHONDONTWRITEBYTECODE"}
    assert run["verdict"] == "ok"
