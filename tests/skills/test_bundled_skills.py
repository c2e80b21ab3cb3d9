"""The bundled skills follow the Agent Skills standard, are pinned, and leave no trace of their running."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skills_ref  # type: ignore[import-untyped]

from tests.house.skill_digests import SKILLS, differences, main
from tests.skills.tasks import run_skill

NAMES = (
    "execution-report",
    "prepare-standup",
    "review-the-day",
    "send-to-slack",
    "triage-folder",
    "write-daily-report",
    "write-weekly-digest",
)


@pytest.mark.promise("SKL-1")
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_skill_passes_the_validator_of_the_standard(name: str) -> None:
    assert skills_ref.validate(SKILLS / name) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_skill_names_every_reference_it_sends_its_reader_to(name: str) -> None:
    folder = SKILLS / name
    text = (folder / "SKILL.md").read_text("utf-8")
    references = [path.relative_to(folder).as_posix() for path in folder.glob("references/*")]
    assert all(reference in text for reference in references)
    assert "scripts/run.py" in text


def test_only_two_skills_declare_an_effect() -> None:
    declared = {name: skills_ref.read_properties(SKILLS / name).metadata or {} for name in NAMES}
    assert {name: metadata for name, metadata in declared.items() if metadata} == {
        "send-to-slack": {"minion-effects": "message:slack"},
        "triage-folder": {"minion-effects": "file:triage.md"},
    }


def test_a_script_that_several_skills_have_is_the_same_in_all_of_them() -> None:
    copies: dict[str, set[bytes]] = {}
    for script in SKILLS.glob("*/scripts/*.py"):
        copies.setdefault(script.name, set()).add(script.read_bytes())
    # A skill stands alone, so what two need is copied; only the entry is each one's own.
    assert [name for name, bodies in copies.items() if len(bodies) > 1] == ["run.py"]


def test_the_pins_are_those_of_the_folders() -> None:
    assert differences(SKILLS) == []
    assert sorted(json.loads((SKILLS / "digests.json").read_text("utf-8"))) == sorted(NAMES)


def test_a_changed_skill_is_named_and_the_check_fails(tmp_path: Path) -> None:
    copied = tmp_path / "skills"
    shutil.copytree(SKILLS, copied)
    with (copied / "send-to-slack" / "SKILL.md").open("a") as file:
        file.write("One more line.\n")
    checked = subprocess.run(
        [sys.executable, "-m", "tests.house.skill_digests", "--skills", str(copied)],
        cwd=SKILLS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 1
    assert checked.stderr.startswith("send-to-slack differs from its pin: sha256:")
    assert len(checked.stderr.splitlines()) == 1


def test_a_new_a_removed_and_an_added_file_break_the_pin_and_writing_mends_it(tmp_path: Path) -> None:
    copied = tmp_path / "skills"
    shutil.copytree(SKILLS, copied)
    (copied / "send-to-slack" / "scripts" / "more.py").write_text("")
    shutil.rmtree(copied / "execution-report")
    (copied / "new").mkdir()
    (copied / "new" / "SKILL.md").write_text("")
    named = [sentence.split()[0] for sentence in differences(copied)]
    assert named == ["execution-report", "new", "send-to-slack"]
    assert main(["--write", "--skills", str(copied)]) == 0
    assert differences(copied) == []


def test_what_python_compiled_is_no_part_of_a_skill(tmp_path: Path) -> None:
    copied = tmp_path / "skills"
    shutil.copytree(SKILLS, copied)
    compiled = copied / "send-to-slack" / "scripts" / "__pycache__"
    compiled.mkdir(exist_ok=True)
    (compiled / "inline.cpython-311.pyc").write_bytes(b"x")
    (copied / "send-to-slack" / "old.pyc").write_bytes(b"x")
    assert differences(copied) == []


@pytest.mark.parametrize("name", NAMES)
def test_running_a_script_writes_nothing_into_its_folder(name: str) -> None:
    def listing() -> list[Path]:
        return sorted((SKILLS / name).rglob("*"))

    before = listing()
    run_skill(name)
    assert listing() == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"v": 2}', b"[" * 100_000], ids=["empty", "list", "cut", "v2", "deep"]
)
def test_an_unreadable_task_ends_with_exit_2_and_one_sentence(name: str, raw: bytes) -> None:
    ended = run_skill(name, raw=raw)
    assert (ended.exit, ended.out) == (2, b"")
    assert len(ended.log.splitlines()) == 1
    assert "Traceback" not in ended.log
