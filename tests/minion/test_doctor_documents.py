"""What the doctor sees of a home's routines and skills: each is admitted as a run would, all in one child."""

from __future__ import annotations

from pathlib import Path

import pytest

from minion.config import Home, load_config
from minion.doctor.documents import documents
from minion.doctor.finding import Finding
from tests.minion.patients import NOW, give, only
from tests.whole.homes import make_home, write_routine, write_secrets, write_skill


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
    write_routine(home, "modelled", "act", engine="messages")
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
        ("modelled", "engine messages"),
        ("other", "holds the routine spare"),
        ("torn", "torn.yaml"),
    ],
)
def test_a_routine_that_could_not_run_is_a_problem_that_names_it_and_its_file(
    faulty: Home, found: dict[str, Finding], routine: str, says: str
) -> None:
    finding = found[f"routine {routine}"]
    suffix = ".yaml" if routine == "torn" else ".json"
    assert finding.state == "problem"
    assert finding.fix == f'"${{EDITOR:-vi}}" {faulty.routines / routine}{suffix}'
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
        "problem", f'"${{EDITOR:-vi}}" {faulty.skills / skill / "SKILL.md"}'
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
        ("warning", f'(umask 077; "${{EDITOR:-vi}}" {home.secrets_file})'),
    ]
    assert missing[0].says.startswith("report, tell would post to slack, but there is no secret slack_webhook")
    write_secrets(home, {"slack_webhook": "https://example.org/1", "team_webhook": "https://example.org/2"})
    assert [finding.name for finding in documents(home, NOW)] == ["skills", "routines"]
