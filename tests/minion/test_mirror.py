"""What HQ gave a minion: taken in whole or not at all, whatever HQ says and wherever the process ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.hq.mirror import begins_of, held, let_go, take_in
from minion.routines.files import all_routine_files, look_at_files, routine_files
from minion.skills.loader import clashing_skills, load_skill
from server.contract.digest import digest_of, digest_tree
from server.contract.refusals import BadDocument, Refused

NOON = "2026-01-05T12:00:00.000Z"
MORNING = "2026-01-05T08:00:00.000Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home's folders, without a minion."""
    made = Home(tmp_path / "home")
    for folder in (made.root, made.routines, made.skills):
        folder.mkdir()
    return made


def id_of(number: int) -> str:
    return f"trig_01{number:020}"


def routine(number: int, name: str, *, handled_until: str | None = None, **fields: Any) -> dict[str, Any]:
    """A routine as HQ hands it on."""
    document = {"id": id_of(number), "name": name, "pipeline": [], "scheduled_by": "minion", **fields}
    said = {"id": id_of(number), "document": document, "digest": digest_of(document), "revision": 1}
    return {**said, "handled_until": handled_until}


def skill(name: str, **more: str) -> dict[str, Any]:
    """A skill as HQ hands it on."""
    files = {"SKILL.md": f"---\nname: {name}\n---\n", **more}
    digest = digest_tree({path: text.encode() for path, text in files.items()})
    return {"name": name, "version": 1, "digest": digest, "files": files}


def said(cursor: str, *routines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What HQ says that has changed."""
    return {"cursor": cursor, "routines": list(routines), "gone": [], "skills": [], "missing": [], **more}


def test_what_hq_gives_lies_where_routines_and_skills_are_found(home: Home) -> None:
    tell = skill("tell", **{"scripts/run.py": "print(1)\n"})
    take_in(home, said("e:1", routine(1, "nightly"), skills=[tell]), {})
    (file,) = routine_files(home, "nightly")
    assert file == home.routines / "hq" / "nightly.json"
    assert json.loads(file.read_bytes())["id"] == id_of(1)
    assert [seen.name for seen in look_at_files(home)] == ["nightly"]
    folder = load_skill(home, "tell")
    assert (folder.script, folder.bundled) == ("scripts/run.py", False)
    assert held(home).cursor == "e:1"


@pytest.mark.promise("JOI-3")
def test_a_minions_own_routine_stands_before_hqs_of_that_name(home: Home) -> None:
    own = home.routines / "nightly.yaml"
    own.write_text("name: nightly\n")
    take_in(home, said("e:1", routine(1, "nightly"), routine(2, "other")), {})
    assert routine_files(home, "nightly") == [own]
    assert [path.name for path in all_routine_files(home)] == ["nightly.yaml", "other.json"]
    assert look_at_files(home)[0].path == str(own)


def test_a_skill_of_hqs_gives_way_to_one_that_is_there(home: Home) -> None:
    (home.skills / "tell").mkdir()
    (home.skills / "tell" / "SKILL.md").write_text("---\nname: tell\n---\nmine\n")
    take_in(home, said("e:1", skills=[skill("tell"), skill("other")]), {})
    assert load_skill(home, "tell").path == home.skills / "tell"
    assert clashing_skills(home) == ["tell"]


def test_what_did_not_change_stays_and_what_is_gone_goes(home: Home) -> None:
    take_in(home, said("e:1", routine(1, "one"), routine(2, "two"), skills=[skill("tell")]), {})
    before = routine_files(home, "one")[0].stat().st_ino
    take_in(home, said("e:2", routine(3, "three"), gone=[id_of(2)]), {})
    assert [path.stem for path in all_routine_files(home)] == ["one", "three"]
    assert routine_files(home, "one")[0].stat().st_ino == before
    assert load_skill(home, "tell").name == "tell"
    now = held(home)
    assert (now.cursor, sorted(now.routines)) == ("e:2", [id_of(1), id_of(3)])
    # The one before is kept for whoever was reading it; older ones are not.
    take_in(home, said("e:3"), {})
    take_in(home, said("e:4"), {})
    assert sorted(entry.name for entry in (home.root / "hq").iterdir()) == ["current", "state-3", "state-4"]


def test_a_routine_that_was_renamed_has_one_file(home: Home) -> None:
    take_in(home, said("e:1", routine(1, "one")), {})
    take_in(home, said("e:2", routine(1, "uno")), {})
    assert [path.stem for path in all_routine_files(home)] == ["uno"]


@pytest.mark.promise("JOI-4")
def test_what_a_minion_lets_go_of_it_says_until_when_it_saw_to_it(home: Home) -> None:
    two = routine(2, "two", handled_until=MORNING)
    take_in(home, said("e:1", routine(1, "one"), two, routine(3, "three")), {})
    assert begins_of(home) == {id_of(2): MORNING}
    by_hq = routine(3, "three", scheduled_by="hq")
    after = take_in(home, said("e:2", by_hq, gone=[id_of(1), id_of(2)]), {id_of(1): NOON, id_of(3): NOON})
    assert after.released == {id_of(1): NOON, id_of(2): MORNING, id_of(3): NOON}
    back = take_in(home, said("e:3", routine(1, "one", handled_until=NOON)), {})
    assert sorted(back.released) == [id_of(2), id_of(3)]
    assert begins_of(home) == {id_of(1): NOON}


@pytest.mark.parametrize(
    "bad",
    [
        said("e:2", routine(1, "../../evil")), said("e:2", routine(1, "a/b")), said("e:2", routine(1, "")),
        said("e:2", {**routine(1, "x"), "id": "../x"}), said("e:2", {**routine(1, "x"), "id": id_of(2)}),
        said("e:2", {"id": id_of(1)}), {"cursor": "e:2"}, said("e:2", routine(1, "x"), routine(2, "x")),
        said("e:2", skills=[skill("tell", **{"../../evil": "x"})]), said("e:2", skills=[skill("a/../b")]),
        said("e:2", skills=[{**skill("tell"), "digest": "sha256:" + "0" * 64}]),
        said("e:2", skills=[skill("tell", **{"/etc/evil": "x"})]), said("e:2", skills=[{"name": "tell"}]),
        said("e:2", skills=[skill("tell", **{"skill.md": "two of one name"})]), said("e:2", routines="x"), {},
    ],
    ids=range(16),
)  # fmt: skip
@pytest.mark.promise("JOI-3")
def test_what_hq_cannot_have_meant_changes_nothing(home: Home, bad: dict[str, Any]) -> None:
    take_in(home, said("e:1", routine(9, "kept")), {})
    before = sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*"))
    with pytest.raises(BadDocument):
        take_in(home, bad, {})
    assert held(home).cursor == "e:1"
    assert sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*")) == before


def test_a_disk_that_refuses_leaves_what_was_held(home: Home) -> None:
    take_in(home, said("e:1", routine(1, "one")), {})
    # What a process left that died on the way: the next state's folder, and in its way a file.
    (home.root / "hq" / "state-2").write_text("in the way")
    with pytest.raises(Refused) as caught:
        take_in(home, said("e:2", routine(2, "two")), {})
    assert caught.value.code == "cannot_write"
    assert (held(home).cursor, [path.stem for path in all_routine_files(home)]) == ("e:1", ["one"])


@pytest.mark.promise("JOI-3")
def test_a_process_that_dies_at_any_step_leaves_one_whole_state(home: Home) -> None:
    first = said("e:1", routine(1, "one"), routine(2, "two"), skills=[skill("tell")])
    second = said("e:2", routine(1, "uno"), routine(3, "three"), gone=[id_of(2)], skills=[skill("other")])
    take_in(home, first, {})
    seen = set()
    for step in range(1, 200):
        child = os.fork()
        if child == 0:
            _die_at(step)
            take_in(home, second, {})
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        state = (held(home).cursor, tuple(path.stem for path in all_routine_files(home)))
        assert state in {("e:1", ("one", "two")), ("e:2", ("three", "uno"))}, step
        assert load_skill(home, "tell").name == "tell"
        seen.add(state[0])
        if ended == 0:
            break
        if state[0] == "e:2":
            take_in(home, said("e:1", routine(1, "one"), routine(2, "two"), gone=[id_of(3)]), {})
    assert ended == 0
    assert seen == {"e:1", "e:2"}
    assert step > 20


def _die_at(step: int) -> None:
    """Have this process end at its `step`-th change of the disk."""
    import sys

    left = [step]

    def watch(event: str, _: Any) -> None:
        if event in ("open", "os.mkdir", "os.link", "os.rename", "os.symlink", "os.remove", "shutil.rmtree"):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)

    sys.addaudithook(watch)


def test_a_manifest_that_somebody_broke_has_all_asked_for_anew(home: Home) -> None:
    take_in(home, said("e:1", routine(1, "one")), {})
    manifest = home.root / "hq" / "current" / "held.json"
    manifest.unlink()
    manifest.write_text("{")
    assert held(home).cursor is None
    take_in(home, said("e:1", routine(1, "one")), {})
    assert held(home).cursor == "e:1"


def test_leaving_takes_all_of_it_away_and_nothing_else(home: Home) -> None:
    (home.routines / "own.yaml").write_text("name: own\n")
    take_in(home, said("e:1", routine(1, "one")), {})
    let_go(home)
    assert [path.name for path in all_routine_files(home)] == ["own.yaml"]
    assert not (home.root / "hq").exists()
    let_go(home)
