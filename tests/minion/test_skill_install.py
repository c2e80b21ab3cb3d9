"""Skills go into a home whole or not at all, whatever stops the process or the disk on the way."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from minion.config import Home
from minion.skills.install import add_skill, remove_skill
from minion.skills.loader import ASIDE, load_skill, skill_places
from server.contract.refusals import NotFound, Refused
from tests.house.source_tree import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

ADD = """\
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from minion.config import Home, held
from minion.skills.install import add_skill
from server.contract.refusals import Refusal
home, many, word, size = Home(Path(sys.argv[2])), int(sys.argv[3]), sys.argv[4].encode(), int(sys.argv[5])
files = {'SKILL.md': b'---\\nname: greet\\ndescription: Greets.\\n---\\n'}
files |= {f'assets/{number}': word * size for number in range(many)}
print('begun', flush=True)
try:
    with held(home, 'add'):
        add_skill(home, files, replace=True)
except Refusal as refusal:
    sys.exit(refusal.sentence)
"""


def version(word: bytes, many: int = 3) -> Mapping[str, bytes]:
    """A skill `greet` whose assets all say the same word."""
    files = {"SKILL.md": b"---\nname: greet\ndescription: Greets.\n---\n"}
    return files | {f"assets/{number}": word * 1000 for number in range(many)}


def begin(
    home: Home, many: int, word: str, *, size: int = 1000, largest_file: int | None = None
) -> subprocess.Popen[bytes]:
    """A process that adds a version of the skill; with `largest_file`, on a disk that refuses larger ones."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    argv = [sys.executable, "-I", "-c", ADD, str(ROOT), str(home.root), str(many), word, str(size)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)


def entries(home: Home) -> list[str]:
    """What lies in the home's skills folder."""
    return sorted(entry.name for entry in home.skills.iterdir())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the first version of the skill."""
    made = Home(tmp_path / "home")
    add_skill(made, version(b"one"), replace=False)
    return made


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_that_refuses_leaves_what_was_there(home: Home, there: bool) -> None:
    if not there:
        remove_skill(home, "greet")
    # Large enough for all that Python itself writes beside its modules.
    with begin(home, 3, "two", size=2**20, largest_file=2**20) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"greet cannot be written" in said
    assert entries(home) == (["greet"] if there else [])
    if there:
        assert load_skill(home, "greet").files == version(b"one")


def test_a_death_between_the_two_renames_leaves_the_old_version_in_force(home: Home) -> None:
    (home.skills / "greet").rename(home.skills / f"{ASIDE}greet")
    (home.skills / ".adding-x").mkdir()
    (home.skills / ".adding-x" / "SKILL.md").write_bytes(version(b"two")["SKILL.md"])
    assert load_skill(home, "greet").files == version(b"one")
    with pytest.raises(Refused, match="other content"):
        add_skill(home, version(b"two"), replace=False)
    assert entries(home) == ["greet"]
    add_skill(home, version(b"two"), replace=True)
    assert (entries(home), load_skill(home, "greet").files) == (["greet"], version(b"two"))


def test_a_death_after_both_renames_leaves_the_new_version_in_force(home: Home) -> None:
    add_skill(home, version(b"two"), replace=True)
    (home.skills / f"{ASIDE}greet").mkdir()
    (home.skills / f"{ASIDE}greet" / "SKILL.md").write_text("old")
    assert load_skill(home, "greet").files == version(b"two")
    remove_skill(home, "greet")
    assert entries(home) == []
    with pytest.raises(NotFound):
        load_skill(home, "greet")


def test_a_skill_half_written_or_half_removed_is_not_listed(home: Home) -> None:
    for name in (".adding-x", ".removing-greet", ".hidden"):
        (home.skills / name).mkdir()
        (home.skills / name / "SKILL.md").write_text("---\nname: x\ndescription: x\n---\n")
    own = [name for name, (_, bundled) in skill_places(home).items() if not bundled]
    assert own == ["greet"]
    add_skill(home, version(b"two"), replace=True)
    assert entries(home) == [".hidden", "greet"]


@pytest.mark.parametrize("kind", ["file", "link", "empty folder", "other case"])
def test_whatever_has_the_name_is_only_replaced_when_asked(home: Home, kind: str, tmp_path: Path) -> None:
    remove_skill(home, "greet")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "SKILL.md").write_text("mine")
    taken = home.skills / ("Greet" if kind == "other case" else "greet")
    if kind == "file":
        taken.write_text("mine")
    elif kind == "link":
        taken.symlink_to(outside)
    else:
        taken.mkdir()
    with pytest.raises(Refused, match=f"There is a skill greet with other content in .*{taken.name}"):
        add_skill(home, version(b"two"), replace=False)
    assert entries(home) == [taken.name]
    add_skill(home, version(b"two"), replace=True)
    assert (entries(home), load_skill(home, "greet").files) == (["greet"], version(b"two"))
    assert (outside / "SKILL.md").read_text() == "mine"


@pytest.mark.heavy
def test_a_kill_at_any_moment_of_the_writing_leaves_one_whole_version(home: Home) -> None:
    chance = random.Random(12)  # noqa: S311 - moments, not secrets
    codes = []
    last = version(b"one")
    for trial in range(30):
        fresh = version(b"trial %d" % trial, 150)
        with begin(home, 150, f"trial {trial}") as process:
            begun = wait_until(lambda: entries(home)[0].startswith(".adding-") or process.poll() is not None, 60)
            try:
                process.wait(chance.uniform(0, 0.25))
            except subprocess.TimeoutExpired:
                process.kill()
        codes.append(process.returncode)
        found = load_skill(home, "greet").files
        assert begun
        assert found in (last, fresh)
        assert process.returncode == -9 or found == fresh
        last = found
    add_skill(home, version(b"end"), replace=True)
    assert entries(home) == ["greet"]
    assert -9 in codes
