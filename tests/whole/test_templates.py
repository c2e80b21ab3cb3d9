"""The ready templates: each is admitted as it is, fires when it says, and does its work without a model."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from minion.clock import utc_now
from minion.routines.template_list import FOLDER, Template, template_named, templates
from minion.skills.loader import bundled_folder
from server.contract.documents import admit, load_document
from server.contract.refusals import NotFound
from server.contract.routine import Routine, check_schedules
from server.contract.schedule import next_slots
from tests.skills.repositories import Repository, lines
from tests.whole.homes import make_home, performed, results_in, run_cli

pytestmark = pytest.mark.heavy

NAMES = ("end-of-day-review", "inbox-triage", "morning-report", "standup-prep", "weekly-digest")
BERLIN = ZoneInfo("Europe/Berlin")
# A Thursday evening: the next morning is a Friday.
THURSDAY = datetime(2026, 11, 19, 20, 0, tzinfo=UTC)


def routine_of(template: Template) -> Routine:
    source = f"{template.name}.yaml"
    return admit(Routine, load_document(template.body, source=source), source=source)


def work_of_today(folder: Path) -> Repository:
    """A repository whose last commits were made a minute ago, with an inbox."""
    shop = Repository(folder)
    just_now = (utc_now() - timedelta(minutes=1)).isoformat(timespec="seconds")
    shop.write("inbox/letter.txt", "Please reply.\n")
    shop.write("src/cart.py", lines(25))
    shop.commit("feat: a cart", at=just_now)
    shop.git("checkout", "-q", "-b", "feature/pay")
    shop.write("src/pay.py", lines(5))
    shop.commit("feat: pay", at=just_now)
    shop.git("checkout", "-q", "main")
    return shop


@pytest.mark.promise("SKL-10")
@pytest.mark.parametrize("template", templates(), ids=lambda template: template.name)
def test_a_template_is_admitted_as_it_is_and_leaves_the_repositories_open(template: Template) -> None:
    routine = routine_of(template)
    assert routine.name == template.name
    assert (routine.id, routine.minion_id, routine.repositories) == (None, None, None)
    assert routine.content and len(routine.content.split()) >= 15
    assert set(routine.model_fields_set) == {"name", "content", "pipeline", "cron_expression"}
    assert all((bundled_folder() / skill / "scripts" / "run.py").is_file() for skill in routine.pipeline)


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        ("end-of-day-review", ["Fri 20 17:30", "Mon 23 17:30"]),
        ("inbox-triage", ["Fri 20 08:00", "Sat 21 08:00"]),
        ("morning-report", ["Fri 20 09:00", "Mon 23 09:00"]),
        ("standup-prep", ["Fri 20 08:45", "Mon 23 08:45"]),
        ("weekly-digest", ["Fri 20 16:00", "Fri 27 16:00"]),
    ],
)
def test_a_template_fires_when_its_first_lines_say(name: str, fires: list[str]) -> None:
    (schedule,) = check_schedules(routine_of(template_named(name)), default_zone="Europe/Berlin", now=THURSDAY)
    slots = next_slots(schedule, THURSDAY, len(fires))
    assert [f"{slot.at.astimezone(BERLIN):%a %d %H:%M}" for slot in slots] == fires


@pytest.mark.promise("SKL-10")
@pytest.mark.parametrize(
    ("name", "verdict", "title", "words"),
    [
        ("morning-report", "unchecked", "# shop: 1 commit by Ada Lovelace", "feat: a cart"),
        ("standup-prep", "unchecked", "# Standup: 2 commits by 1 person in shop", "In progress: `feature/pay`"),
        ("end-of-day-review", "unchecked", "# shop on ", "- [ ] Finish or merge `feature/pay`"),
        ("weekly-digest", "unchecked", "# The week in shop: 1 commit by Ada Lovelace", "`feature/pay`"),
        # A file that was read back is proof; a message without a webhook is none.
        ("inbox-triage", "ok", "# inbox of shop: 1 file, 1 to read first", "it says “please reply”"),
    ],
)
def test_a_template_put_into_a_home_runs_without_a_model(
    tmp_path: Path, name: str, verdict: str, title: str, words: str
) -> None:
    # In one of these zones it is nowhere near midnight, and commits of a minute ago are of the same day.
    zone = "Europe/London" if 6 <= utc_now().hour < 22 else "Asia/Tokyo"
    home, shop = make_home(tmp_path, timezone=zone), work_of_today(tmp_path)
    (home.routines / f"{name}.yaml").write_bytes(template_named(name).body)
    run = performed(home, name, repository=str(shop.folder))
    assert (run["state"], run["outcome"], run["verdict"]) == ("completed", "success", verdict), run["why"]
    first, *rest = results_in(home, run)
    assert first["text"].startswith(title) and words in first["text"]
    assert "Not looked at" not in first["text"]
    assert [result["skill"] for result in rest if result["skill"] != "execution-report"] in ([], ["send-to-slack"])
    (kept,) = [path for path in (home.root / "outbox" / name).iterdir() if path.suffix == ".md"]
    assert words.split("`")[-2 if "`" in words else 0] in kept.read_text()
    assert kept.name.endswith("triage.md" if name == "inbox-triage" else "-slack.md")


def test_a_template_added_in_a_checkout_is_about_that_repository(tmp_path: Path) -> None:
    home, shop = make_home(tmp_path), work_of_today(tmp_path)
    file = tmp_path / "digest.yaml"
    file.write_bytes(template_named("weekly-digest").body)
    added = run_cli(home, "routine", "add", file, "--json", cwd=shop.folder)
    assert (added.code, added.err) == (0, "")
    assert str(shop.folder) in added.out


def test_the_list_of_templates_is_by_name_and_each_says_what_it_is_for() -> None:
    assert tuple(template.name for template in templates()) == NAMES
    for template in templates():
        assert template.summary.endswith(".") and 40 <= len(template.summary) <= 120
        words = (*template.keywords, *template.also)
        assert len(template.keywords) >= 4 and len(words) >= 12 and len(set(words)) == len(words)
        assert all(word and word == word.lower() for word in words)
        assert template.body == (FOLDER / f"{template.name}.yaml").read_bytes()


def test_a_template_begins_with_comments_that_say_what_can_be_changed() -> None:
    for template in templates():
        head = template.body.decode().split("\nname: ")[0]
        assert all(line.startswith("#") or not line for line in head.splitlines())
        for field in ("cron_expression", "timezone", "repositories", "pipeline"):
            assert f"#   {field} " in head


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("morning-reprot", "did you mean morning-report?"),
        ("Standup", "did you mean standup-prep?"),
        ("digest", "did you mean weekly-digest?"),
        ("xyz", "name one of: end-of-day-review, inbox-triage, morning-report, standup-prep, weekly-digest"),
    ],
)
def test_a_template_that_is_not_there_is_refused_with_the_nearest_names(asked: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        template_named(asked)
    assert (caught.value.code, caught.value.hint) == ("no_such_template", hint)
    assert caught.value.sentence == f"There is no template {asked!r}."


def test_listing_templates_loads_no_yaml_and_no_models() -> None:
    script = (
        "import sys; from minion.routines.template_list import templates; templates();"
        "print([name for name in ('yaml', 'pydantic', 'click') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
