"""Skills as folders: found, read under limits, pinned by digest, copied byte for byte."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minion.config import Home
from minion.skills.loader import (
    BYTES,
    FILES,
    SkillFolder,
    bundled_folder,
    is_pinned,
    load_skill,
    pinned_digests,
    skill_places,
)
from server.contract.refusals import NotFound, Refused

BUNDLED = sorted(pinned_digests())


def own_skill(tmp_path: Path, name: str = "greet") -> Path:
    """The folder of a small skill in the home's own skills."""
    folder = tmp_path / "skills" / name
    (folder / "scripts").mkdir(parents=True)
    (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: Greets.\n---\n")
    (folder / "scripts" / "run.py").write_bytes(b"print('hello')\r\n\xff")
    return folder


def load(tmp_path: Path, name: str = "greet") -> SkillFolder:
    """A skill read from the home in this folder."""
    return load_skill(Home(tmp_path), name)


def refusal(tmp_path: Path, name: str = "greet") -> Refused:
    """Why a skill of the home cannot be read."""
    with pytest.raises(Refused) as caught:
        load(tmp_path, name)
    assert caught.value.hint
    return caught.value


def test_bundled_and_own_skills_are_found_side_by_side(tmp_path: Path) -> None:
    own_skill(tmp_path)
    places = skill_places(Home(tmp_path))
    assert sorted(places) == sorted([*BUNDLED, "greet"])
    assert [name for name, (_, bundled) in sorted(places.items()) if bundled] == BUNDLED


def test_a_home_without_a_skills_folder_has_the_bundled_ones(tmp_path: Path) -> None:
    assert sorted(skill_places(Home(tmp_path))) == BUNDLED


def test_a_folder_without_a_skill_file_is_no_skill(tmp_path: Path) -> None:
    (tmp_path / "skills" / "notes").mkdir(parents=True)
    (tmp_path / "skills" / "README.md").write_text("hello")
    with pytest.raises(NotFound) as caught:
        load(tmp_path, "notes")
    assert (caught.value.code, str(tmp_path / "skills" / "notes") in caught.value.hint) == (
        "no_such_skill",
        True,
    )


@pytest.mark.parametrize("name", ["", ".", "..", "../skills/greet", "/etc", "greet/scripts", "Greet"])
def test_a_name_cannot_reach_anything_but_a_skill(tmp_path: Path, name: str) -> None:
    own_skill(tmp_path)
    with pytest.raises(NotFound):
        load(tmp_path, name)


@pytest.mark.promise("ENV-6")
@pytest.mark.parametrize("asked", ["send-to-slack", "execution-report", "greet"])
def test_a_skill_named_like_a_bundled_one_is_refused_whichever_is_asked_for(
    tmp_path: Path, asked: str
) -> None:
    own_skill(tmp_path)
    own_skill(tmp_path, "send-to-slack")
    found = refusal(tmp_path, asked)
    assert (found.code, "send-to-slack" in found.sentence) == ("skill_clash", True)


@pytest.mark.promise("ENV-6")
def test_only_an_unchanged_bundled_skill_is_pinned(tmp_path: Path) -> None:
    own_skill(tmp_path)
    pinned = pinned_digests()
    assert [name for name in (*BUNDLED, "greet") if is_pinned(load(tmp_path, name), pinned)] == BUNDLED
    slack = load(tmp_path, "send-to-slack")
    changed = SkillFolder(slack.name, slack.path, True, {**slack.files, "SKILL.md": b"changed"})
    stranger = SkillFolder(slack.name, slack.path, False, slack.files)
    assert not is_pinned(changed, pinned)
    assert not is_pinned(stranger, pinned)
    assert not is_pinned(slack, {})


def test_the_digest_covers_every_name_and_every_byte(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    digests = {load(tmp_path).digest}
    (folder / "extra.txt").write_text("")
    digests.add(load(tmp_path).digest)
    (folder / "extra.txt").rename(folder / "other.txt")
    digests.add(load(tmp_path).digest)
    (folder / "other.txt").write_text("x")
    digests.add(load(tmp_path).digest)
    assert len(digests) == 4
    (folder / "other.txt").unlink()
    (folder / "scripts" / "run.py").touch()
    (folder / "scripts" / "run.py").chmod(0o755)
    assert load(tmp_path).digest in digests


def test_what_python_leaves_behind_does_not_count(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    before = load(tmp_path).digest
    (folder / "scripts" / "__pycache__").mkdir()
    (folder / "scripts" / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"x")
    (folder / "old.pyc").write_bytes(b"x")
    assert load(tmp_path).digest == before


def test_a_copy_is_byte_for_byte_private_and_of_what_was_digested(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    skill = load(tmp_path)
    (folder / "scripts" / "run.py").write_bytes(b"changed after it was read")
    target = tmp_path / "run" / "greet"
    skill.copy_to(target)
    copied = SkillFolder("greet", target, False, {
        path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()
    })  # fmt: skip
    assert copied.digest == skill.digest
    assert (target / "scripts" / "run.py").read_bytes() == b"print('hello')\r\n\xff"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*")}
    assert modes == {0o600, 0o700}


def test_a_copy_is_never_laid_over_another_one(tmp_path: Path) -> None:
    own_skill(tmp_path)
    load(tmp_path).copy_to(tmp_path / "copy")
    with pytest.raises(FileExistsError):
        load(tmp_path).copy_to(tmp_path / "copy")


def test_the_script_is_python_before_shell_and_may_be_missing(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    (folder / "scripts" / "run.sh").write_text("echo hello")
    scripts = [load(tmp_path).script]
    for name in ("run.py", "run.sh"):
        (folder / "scripts" / name).unlink()
        scripts.append(load(tmp_path).script)
    assert scripts == ["scripts/run.py", "scripts/run.sh", None]


def plant_link(folder: Path, outside: Path) -> None:
    """A link to a file outside."""
    (folder / "secrets").symlink_to(outside / "secrets.json")


def plant_folder_link(folder: Path, outside: Path) -> None:
    """A link to a folder outside."""
    (folder / "references").symlink_to(outside)


def plant_dangling_link(folder: Path, outside: Path) -> None:
    """A link to nothing."""
    (folder / "references").symlink_to(outside / "nothing")


def plant_pipe(folder: Path, outside: Path) -> None:
    """A pipe that nobody writes to: reading it would never end."""
    os.mkfifo(folder / "pipe")


def plant_linked_header(folder: Path, outside: Path) -> None:
    """A SKILL.md that lies elsewhere."""
    (folder / "SKILL.md").rename(outside / "SKILL.md")
    (folder / "SKILL.md").symlink_to(outside / "SKILL.md")


@pytest.mark.promise("ENV-1")
@pytest.mark.parametrize(
    "plant", [plant_link, plant_folder_link, plant_dangling_link, plant_pipe, plant_linked_header]
)
def test_a_skill_with_anything_but_plain_files_is_refused(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secrets.json").write_text('{"key": "value"}')
    plant(own_skill(tmp_path), outside)
    found = refusal(tmp_path)
    assert (found.code, "is a link or no regular file" in found.sentence) == ("skill_folder", True)


def test_a_skill_of_too_many_files_is_refused(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    for number in range(FILES - 2):
        (folder / f"{number}.txt").touch()
    assert len(load(tmp_path).files) == FILES
    (folder / "one-more.txt").touch()
    assert "over 500 files" in refusal(tmp_path).sentence


def test_a_skill_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = own_skill(tmp_path)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(BYTES * 1000)
    assert "20 MiB" in refusal(tmp_path).sentence


def test_the_released_digests_name_exactly_the_bundled_skills() -> None:
    there = sorted(header.parent.name for header in bundled_folder().glob("*/SKILL.md"))
    assert there == BUNDLED
    assert {"execution-report", "send-to-slack", "write-daily-report"} <= set(there)
