"""Skills at HQ: published as text, kept by version, new permissions said; what does not fit is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.contract.refusals import Refusal
from server.domain.skill_files import MOST_BYTES, MOST_FILES, checked_skill
from server.storage.tables import EVENTS, SKILLS
from tests.house.source_tree import ROOT
from tests.server.desks import LEDGER, REVIEWER, SESSION, Asker, desk_at, play_as

# Spelled in two, so that nobody who looks for secrets finds one here.
SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0"
SKILLS_FOLDER = ROOT / "skills"


def skill(name: str = "look-at-logs", *metadata: str, more: str = "", tools: str = "") -> str:
    """A SKILL.md with these lines below `metadata`."""
    lines = [f"name: {name}", "description: Counts errors. Each morning."]
    lines += [f"allowed-tools: {tools}"] if tools else []
    lines += ["metadata:", *(f"  {line}" for line in metadata)] if metadata else []
    return "\n".join(["---", *lines, "---", f"# Look{more}", ""])


def rows_of(folder: Path, table: Any) -> list[Any]:
    """All rows of a table of an HQ's store."""

    async def read() -> list[Any]:
        async with desk_at(folder) as desk:
            return await desk.read(lambda connection: list(connection.execute(table.select())))

    return asyncio.run(read())


def texts_of(folder: Path) -> dict[str, str]:
    """A skill's folder as files of text."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


@pytest.mark.promise("PCF-2")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_skill_published_twice_to_the_byte_is_one_version(tmp_path: Path, mode: str) -> None:
    files = {"SKILL.md": skill(), "scripts/run.py": "print('none')\n"}

    async def scene(asker: Asker) -> tuple[dict[str, Any], dict[str, Any]]:
        return await asker.ask("publish_skill", files=files), await asker.ask("publish_skill", files=files)

    one, two = play_as(tmp_path, scene, mode=mode)
    assert (one["skill"], one["version"], one["new"], one["code"]) == ("look-at-logs", 1, True, "LLM-LOOK-AT-LOGS")
    assert two == one | {"new": False}
    assert [(row.name, row.version) for row in rows_of(tmp_path, SKILLS)] == [("look-at-logs", 1)]
    events = [row for row in rows_of(tmp_path, EVENTS) if row.type == "skill.published"]
    assert [json.loads(row.data)["digest"] for row in events] == [one["digest"]]


@pytest.mark.promise("PCF-2")
def test_what_a_version_newly_may_do_is_said_and_what_it_no_longer_may(tmp_path: Path) -> None:
    first = skill("x", "minion-effects: message:slack", 'minion-tools: "Bash=SCR-RUN"', tools="Read Bash(git:*)")
    effects = 'minion-effects: "message:slack push:*:claude/*"'
    second = skill("x", effects, "minion-requires: y", tools="Read WebFetch")
    texts = (first, second, second + "\nMore.\n", first)

    async def scene(asker: Asker) -> list[dict[str, Any]]:
        return [await asker.ask("publish_skill", files={"SKILL.md": text}) for text in texts]

    one, two, three, again = play_as(tmp_path, scene)
    assert one["permissions"] == {
        "effects": {"added": ["message:slack"], "removed": []},
        "tools": {"added": ["Bash(git:*)", "Read"], "removed": []},
        "tool_codes": {"added": ["Bash=SCR-RUN"], "removed": []},
        "code": {"added": ["LLM-X"], "removed": []},
    }
    assert two["permissions"] == {
        "effects": {"added": ["push:*:claude/*"], "removed": []},
        "tools": {"added": ["WebFetch"], "removed": ["Bash(git:*)"]},
        "tool_codes": {"added": [], "removed": ["Bash=SCR-RUN"]},
        "requires": {"added": ["y"], "removed": []},
    }
    assert [one["compared_with"], two["compared_with"], three["compared_with"]] == [None, 1, 2]
    assert (three["version"], three["permissions"]) == (3, {})
    # What was published before stays the version it is, and does not become the newest again.
    assert (again["version"], again["new"], again["newest"]) == (1, False, 3)
    assert again["permissions"] == one["permissions"]


def test_a_call_that_comes_again_with_its_key_is_answered_alike(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> dict[str, Any]:
        said = {"files": {"SKILL.md": skill()}, "client_key": "k"}
        assert await asker.ask("publish_skill", **said) == await asker.ask("publish_skill", **said)
        return await asker.refused("publish_skill", files={"SKILL.md": skill(more="!")}, client_key="k")

    assert play_as(tmp_path, scene)["code"] == "client_key_reused"


def test_a_skill_is_looked_at_by_version_and_file_by_file(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> None:
        old = {"SKILL.md": skill(), "references/a.md": "é\n"}
        await asker.ask("publish_skill", files=old)
        await asker.ask("publish_skill", files={"SKILL.md": skill(tools="Read")}, name="look-at-logs")
        newest = await asker.ask("get_skill", name="look-at-logs")
        assert (newest["version"], newest["allowed_tools"], list(newest["files"])) == (2, ["Read"], ["SKILL.md"])
        assert newest["text"] == skill(tools="Read")
        one = await asker.ask("get_skill", name="look-at-logs", version=1, file="references/a.md")
        assert (one["version"], one["newest"], one["text"], one["files"]["references/a.md"]) == (1, 2, "é\n", 3)
        assert one["published_by"] == SESSION.id
        listed = await asker.ask("list_skills")
        assert [(each["name"], each["version"]) for each in listed["skills"]] == [("look-at-logs", 2)]
        for missing in ({"name": "look-at-logs", "version": 3}, {"name": "other"}):
            assert (await asker.refused("get_skill", **missing))["code"] == "no_such_skill"
        gone = await asker.refused("get_skill", name="look-at-logs", file="references/a.md")
        assert (gone["code"], gone["hint"]) == ("no_such_file", "get_skill lists its files: SKILL.md")

    play_as(tmp_path, scene)


@pytest.mark.parametrize("name", sorted(path.name for path in SKILLS_FOLDER.iterdir() if path.is_dir()))
def test_a_bundled_skill_has_the_digest_that_a_minion_gives_it(name: str) -> None:
    files = texts_of(SKILLS_FOLDER / name)
    pinned: Mapping[str, str] = json.loads((SKILLS_FOLDER / "digests.json").read_bytes())
    if name == "execution-report":
        with pytest.raises(Refusal) as caught:
            checked_skill(files, name=None, rigid={})
        assert caught.value.code == "reserved_skill"
        return
    assert checked_skill(files, name=name, rigid={}).digest == pinned[name]


RIGID = {"SCR-CLONE-REPO": "040.001.02"}
GOOD = skill()


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"skill.md": GOOD}, "no_skill_file", "The skill has no SKILL.md at its top."),
        ({"look-at-logs/SKILL.md": GOOD}, "no_skill_file", "The skill has no SKILL.md at its top."),
        ({"SKILL.md": GOOD, "/etc/passwd": ""}, "entry_name", "'/etc/passwd' is an absolute path"),
        ({"SKILL.md": GOOD, "C:/x": ""}, "entry_name", "is an absolute path"),
        ({"SKILL.md": GOOD, "a\\b": ""}, "entry_name", "has a backslash in its name"),
        ({"SKILL.md": GOOD, "../x": ""}, "entry_name", "has an empty part, . or .. in its path"),
        ({"SKILL.md": GOOD, "a//b": ""}, "entry_name", "has an empty part, . or .. in its path"),
        ({"SKILL.md": GOOD, "": ""}, "entry_name", "has an empty part, . or .. in its path"),
        ({"SKILL.md": GOOD, "a\x1b[2Jb": ""}, "entry_name", "has control characters in its name"),
        ({"SKILL.md": GOOD, "a\u202eb": ""}, "entry_name", "has control characters in its name"),
        ({"SKILL.md": GOOD, "a\ud800": ""}, "entry_name", "has control characters in its name"),
        ({"SKILL.md": GOOD, "a" * 256: ""}, "entry_name", "has a name that is too long"),
        ({"SKILL.md": GOOD, "a/" * 16 + "b": ""}, "entry_name", "lies over 16 folders deep"),
        ({"SKILL.md": GOOD, "a.md": "", "A.md": ""}, "entry_twice", "are one name where case"),
        ({"SKILL.md": GOOD, "\u00e9": "", "e\u0301": ""}, "entry_twice", "are one name where case"),
        ({"SKILL.md": GOOD, "a": "", "A/b": ""}, "entry_twice", "are one name where case"),
        ({"SKILL.md": GOOD, "a/b": "", "a": ""}, "entry_twice", "lies in 'a', which is a file too"),
        ({"SKILL.md": GOOD, "a": "\ud800"}, "not_utf8", "A file is not UTF-8."),
        ({"SKILL.md": GOOD, "a": "x" * MOST_BYTES}, "skill_too_large", "over 256 files or 2 MiB"),
        ({"SKILL.md": GOOD, **{str(n): "" for n in range(MOST_FILES)}}, "skill_too_large", "over 256 files"),
        ({"SKILL.md": skill("Look")}, "bad_name", "SKILL.md: `name` must be"),
        ({"SKILL.md": skill("other")}, "skill_name_differs", "the skill other, not 'look-at-logs'"),
        ({"SKILL.md": "# no header"}, "no_frontmatter", "SKILL.md has no header"),
        ({"SKILL.md": skill("look-at-logs", "minion-effects: push:*:main")}, "bad_effect", "is not a push"),
        ({"SKILL.md": skill("look-at-logs", "minion-code: SCR-CLONE-REPO")}, "rigid_code", "block 040.001.02."),
        ({"SKILL.md": skill("look-at-logs", "minion-tools: Bash=SCR-CLONE-REPO")}, "rigid_code", "declares SCR"),
        ({"SKILL.md": skill(more=SECRET)}, "skill_holds_secret", "The file 'SKILL.md' holds what looks like"),
        ({"SKILL.md": GOOD, SECRET: ""}, "skill_holds_secret", "The file '[redacted]' holds what looks like"),
    ],
)  # fmt: skip
def test_what_is_no_skill_is_refused_by_the_rules_of_minion_skill_validate(
    files: dict[str, str], code: str, says: str
) -> None:
    with pytest.raises(Refusal) as caught:
        checked_skill(files, name="look-at-logs", rigid=RIGID)
    assert (caught.value.code, says in caught.value.sentence) == (code, True), caught.value.sentence
    assert caught.value.sentence[0].isupper() and caught.value.sentence.endswith(".")
    assert SECRET not in str(caught.value)


def test_several_bad_names_are_told_together() -> None:
    with pytest.raises(Refusal) as caught:
        checked_skill({"SKILL.md": GOOD, **{f"/{n}": "" for n in range(5)}}, name=None, rigid={})
    assert caught.value.sentence.endswith("'/2' is an absolute path; and 2 more.")


def test_what_version_control_and_python_leave_behind_is_left_out_and_said(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> tuple[dict[str, Any], dict[str, Any]]:
        plain = {"SKILL.md": GOOD}
        beside = {".git/config": "", "scripts/__pycache__/a.pyc": "", ".DS_Store": "", "b.pyc": ""}
        first = await asker.ask("publish_skill", files=plain | beside)
        return first, await asker.ask("publish_skill", files=plain)

    one, two = play_as(tmp_path, scene)
    assert one["ignored"] == [".DS_Store", ".git/config", "b.pyc", "scripts/__pycache__/a.pyc"]
    assert (two["digest"], two["new"]) == (one["digest"], False)


def test_a_skill_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scene(asker: Asker) -> list[str]:
        bad = {"SKILL.md": GOOD, "notes.md": f"token {SECRET}"}
        rigid = {"SKILL.md": skill("look-at-logs", "minion-code: TSK-APPROVE-CAPABILITY")}
        said = [await asker.refused("publish_skill", files=files, client_key="a") for files in (bad, rigid)]
        said.append(await asker.refused("publish_skill", files={"SKILL.md": GOOD}, name="other"))
        return [each["code"] for each in said]

    assert play_as(tmp_path, scene) == ["skill_holds_secret", "rigid_code", "skill_name_differs"]
    assert (rows_of(tmp_path, SKILLS), rows_of(tmp_path, EVENTS)) == ([], [])
    kept = b"".join(path.read_bytes() for path in (tmp_path / "hq").iterdir() if path.is_file())
    assert SECRET.encode() not in kept


def test_only_sessions_publish_and_ledgers_may_read(tmp_path: Path) -> None:
    async def tools(asker: Asker) -> set[str]:
        return set(await asker.tools()) & {"publish_skill", "get_skill", "list_skills"}

    assert play_as(tmp_path, tools, SESSION) == {"publish_skill", "get_skill", "list_skills"}
    assert play_as(tmp_path, tools, LEDGER) == {"get_skill", "list_skills"}
    assert play_as(tmp_path, tools, REVIEWER) == set()
