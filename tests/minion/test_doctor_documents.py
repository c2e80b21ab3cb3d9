"""What the doctor sees of a home's routines and skills: each is admitted as a run would, all in one child."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home, load_config
from minion.doctor.documents import documents, looking_into_repositories
from minion.doctor.finding import Finding, refused
from minion.doctor.repositories import repositories
from minion.skills.loader import bundled_names, load_skill
from minion.store.routines import keep_routine
from server.contract.refusals import BadDocument
from tests.minion.patients import NOW, finished, give, only
from tests.skills.repositories import Repository
from tests.whole.homes import at_work, make_home, write_routine, write_secrets, write_skill


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home where most that can be wrong with a document is wrong."""
    home = make_home(tmp_path_factory.mktemp("faulty"))
    write_skill(home, "act", "print('#')")
    write_skill(home, "needy", "print('#')")
    skill = home.skills / "needy" / "SKILL.md"
    skill.write_text(skill.read_text().replace("---\n\n#", 'metadata:\n  minion-requires: "absent"\n---\n\n#', 1))
    (write_skill(home, "linked", "print('#')") / "scripts" / "out.py").symlink_to("/etc/hostname")
    (home.skills / "wordless").mkdir()
    (home.skills / "wordless" / "SKILL.md").write_text("no header at all\n")
    write_routine(home, "good", "act", cron_expression="0 9 * * 1-5", timezone="Asia/Tokyo")
    write_routine(home, "never", "act", cron_expression="0 0 30 2 *")
    write_routine(home, "four", "act", cron_expression="0 9 * *")
    write_routine(home, "nowhere", "act", cron_expression="0 9 * * *", timezone="Mars/Olympus")
    write_routine(home, "skilled", "act", "no-such-skill")
    write_routine(home, "foreign", "act", minion_id="6f1f8a52-3a51-4d1c-9a43-2f6f6f1d9d10")
    write_routine(home, "modelled", "act", engine="claude-code")
    (home.routines / "other.json").write_text(write_routine(home, "spare", "act").read_text())
    (home.routines / "torn.yaml").write_text("name: [torn\n")
    return home


@pytest.fixture(scope="module")
def found(faulty: Home) -> dict[str, Finding]:
    """What is found there, by name."""
    return {finding.name: only([finding]) for finding in documents(faulty, NOW)}


@pytest.mark.promise("CLI-5")
@pytest.mark.parametrize(
    ("routine", "says"),
    [
        ("never", "never"),
        ("four", "`cron_expression`"),
        ("nowhere", "Mars/Olympus"),
        ("skilled", "no-such-skill, which is not there"),
        ("foreign", "belongs to the minion 6f1f8a52"),
        ("modelled", "The engine claude-code is not in this version"),
        ("other", "holds the routine spare"),
        ("torn", "torn.yaml"),
    ],
)
def test_a_routine_that_could_not_run_is_a_problem_that_names_it_and_its_file(
    found: dict[str, Finding], routine: str, says: str
) -> None:
    finding = found[f"routine {routine}"]
    assert (finding.state, finding.fix) == ("problem", f"minion routine edit {routine}")
    assert says in finding.says


def test_a_bad_routine_comes_with_its_hint(found: dict[str, Finding]) -> None:
    says = found["routine four"].says
    assert says.partition("; ")[2].startswith("write ")


@pytest.mark.parametrize(
    ("skill", "says"), [("needy", "requires the skill absent"), ("linked", "out.py"), ("wordless", "SKILL.md")]
)
def test_an_own_skill_that_cannot_be_used_is_a_problem_with_the_file_to_open(
    faulty: Home, found: dict[str, Finding], skill: str, says: str
) -> None:
    finding = found[f"skill {skill}"]
    assert (finding.state, finding.fix) == (
        "problem", f"${{EDITOR:-vi}} {faulty.skills / skill / 'SKILL.md'}"
    )  # fmt: skip
    assert says in finding.says


def test_what_is_well_is_not_named_beside_what_is_not(found: dict[str, Finding]) -> None:
    assert {"routine good", "routine spare", "routines", "skills", "skill act"} & set(found) == set()


def test_a_home_whose_documents_are_well_says_so_in_two_lines(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    write_routine(home, "b", "act")
    write_routine(home, "a", "act", minion_id=load_config(home).minion_id)
    said = [(finding.state, finding.says) for finding in documents(home, NOW)]
    assert said[0][0] == "ok"
    assert " and 1 of your own load" in said[0][1]
    assert said[1:] == [("ok", "2 routines are admitted, schedules and zones included: a, b.")]


def test_two_skills_of_one_name_are_a_problem_that_renaming_mends(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "send-to-slack", "print('#')")
    finding = only(documents(home, NOW))
    assert finding.state == "problem"
    give(finding.fix)
    assert "problem send-to-slack" not in [f"{one.state} {one.name}" for one in documents(home, NOW)]


@pytest.mark.promise("CLI-5")
def test_a_secret_that_routines_need_and_nobody_gave_is_a_warning(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_routine(home, "report", "send-to-slack")
    write_routine(home, "tell", "send-to-slack", effects=["message:team", "message:slack"])
    missing = [finding for finding in documents(home, NOW) if finding.name == "secrets"]
    assert [(only([one]).state, one.fix) for one in missing] == [
        ("warning", "minion setup"),
        ("warning", "minion secret set team_webhook"),
    ]
    assert missing[0].says.startswith("report, tell would post to slack, but there is no secret slack_webhook")
    write_secrets(home, {"slack_webhook": "https://example.org/1", "team_webhook": "https://example.org/2"})
    assert [finding.name for finding in documents(home, NOW)] == ["skills", "routines"]


def test_programs_and_secrets_for_alerts_that_are_not_there_are_warnings_with_where_to_mend_them(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path)
    ways = [{"command": ["/nonexistent/x"]}, {"command": ["sh"]}, {"slack": "nosuch"}, {"slack": "team"}]
    write_routine(home, "a", content="x", notify=ways, watch={"ping": "gone"})
    write_secrets(home, {"team_webhook": "https://example.org/1"})
    assert [(one.state, one.says, one.fix) for one in documents(home, NOW) if one.name == "routine a"] == [
        ("warning", "Its notify names the program /nonexistent/x, which is not there: nobody is told that way.",
         "minion routine edit a"),
        ("warning", "Its notify names the secret nosuch, which is not there: nobody is told that way.",
         "minion secret set nosuch"),
        ("warning", "Its watch.ping names the secret gone, which is not there: nobody is told that way.",
         "minion secret set gone"),
    ]  # fmt: skip


@pytest.mark.promise("CLI-5")
def test_a_routine_whose_engine_has_no_key_or_whose_model_no_price_is_a_problem(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    write_skill(home, "think")
    write_routine(home, "asks", "think", engine="auto")
    write_routine(home, "scripted", "act", engine="auto")
    write_routine(home, "thinks", "act", engine="messages", model="claude-of-tomorrow")

    def said() -> dict[str, tuple[str, str | None]]:
        return {one.name: (one.says, only([one]).fix) for one in documents(home, NOW) if one.state == "problem"}

    assert said() == {
        "routine asks": (
            "The engine auto finds none for asks: the skill think has no script, messages lacks the secret"
            " anthropic_api_key, claude-code is not in this version.",
            "minion secret set anthropic_api_key",
        ),
        "routine thinks": (
            "The engine messages lacks the secret anthropic_api_key.", "minion secret set anthropic_api_key"
        ),
    }  # fmt: skip
    write_secrets(home, {"anthropic_api_key": "sk-ant-of-a-test"})
    ((name, (says, fix)),) = said().items()
    assert (name, fix) == ("routine thinks", "minion routine edit thinks")
    assert says.startswith("The model 'claude-of-tomorrow' has no price here")


def test_a_routine_whose_file_is_gone_is_a_problem_that_removing_it_mends(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    async def keep() -> None:
        async with at_work(home) as minion:
            document = {"name": "louder", "id": None}
            await minion.writer.transact(
                lambda db: keep_routine(db, document, source="f", replace=False, now=NOW)
            )

    asyncio.run(keep())
    finding = next(one for one in documents(home, NOW) if one.name == "routine louder")
    assert (finding.state, finding.fix) == ("problem", "minion routine remove louder")


def test_a_hint_that_asks_is_not_closed_with_a_second_sign() -> None:
    refusal = BadDocument("unknown_key", "x.yaml: `limit` is not a known key.", hint="did you mean `limits`?")
    assert refused("routine x", refusal, "fix").says.endswith("key; did you mean `limits`?")


def test_a_routine_whose_one_time_is_over_is_well_and_said_to_be_over(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "act", "print('#')")
    over = {"type": "once", "at": "2020-01-01T10:00"}
    write_routine(home, "done", "act", triggers=[over])
    write_routine(home, "still", "act", triggers=[over], cron_expression="0 9 * * 1-5")
    said = [(finding.name, finding.state, finding.says) for finding in documents(home, NOW)][1:]
    assert said == [
        ("routines", "ok", "2 routines are admitted, schedules and zones included: done, still."),
        ("routine done", "ok", "Its time is over (2020-01-01T10:00): no schedule starts it any more."),
    ]


@pytest.mark.promise("CLI-5")
def test_a_bundled_skill_that_looks_into_a_repository_and_has_none_is_a_warning(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_routine(home, "report", "write-daily-report")
    write_routine(home, "tell", "send-to-slack", effects=[])
    (finding,) = [one for one in documents(home, NOW) if one.state == "warning" and one.name != "secrets"]
    assert (finding.name, finding.fix) == ("routine report", "minion routine edit report")
    assert "write-daily-report needs one" in finding.says


def test_of_the_bundled_skills_those_are_said_to_need_a_repository_that_refuse_to_work_without_one() -> None:
    folders = {name: load_skill(Home(Path("/nonexistent")), name).path for name in bundled_names()}
    refusing = {
        name for name, folder in folders.items()
        if any("names no repository" in file.read_text() for file in folder.rglob("*.py"))
    }  # fmt: skip
    assert refusing == looking_into_repositories()


@pytest.mark.promise("CLI-5")
def test_a_repository_that_no_run_could_clone_is_a_problem_and_a_remote_one_is_only_said_to_be_untried(
    tmp_path: Path,
) -> None:
    home, shop, gone = make_home(tmp_path), Repository(tmp_path), tmp_path / "moved"
    url, away = str(shop.folder), "git@example.org:a/b.git"
    write_skill(home, "act", "print('#')")
    write_routine(home, "good", "act", repositories=[url, away])
    write_routine(home, "gone", "act", repositories=[url, str(gone)])
    write_routine(home, "empty", "act", repositories=[str(home.root)])
    write_routine(home, "branch", "act", repositories=[{"url": url, "branch": "no-such"}])
    fit: list[Mapping[str, Any]] = []
    assert {finding.state for finding in documents(home, NOW, fit)} == {"ok"}
    (tmp_path / "trial").mkdir()
    found = {finding.name: finding for finding in finished(lambda: repositories(tmp_path / "trial", fit))}
    for name, says in (
        ("gone", f"{gone} is not there."),
        ("empty", f"git cannot read {home.root} ("),
        ("branch", f"{url} has no branch no-such."),
    ):
        finding = found.pop(f"routine {name}")
        assert (finding.state, finding.fix) == ("problem", f"minion routine edit {name}")
        assert f"No run can clone its repository: {says}" in finding.says
    (told,) = found.values()
    says = f"git reads 1 repository of this machine; not tried: {away} (no network is used here)."
    assert (told.state, told.says) == ("ok", says)
