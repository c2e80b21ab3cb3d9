"""Skills follow the Agent Skills standard to the letter, and our own keys live in its `metadata`."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from skills_ref.validator import validate

from server.contract.refusals import BadDocument
from server.contract.skill import admit_skill, admitted

GOOD = "name: my-skill\ndescription: Says hello."
# Each header says whether the standard's own validator lets it pass, and ours has to agree.
CORPUS: dict[str, str] = {
    "plain": GOOD,
    "all keys": GOOD + "\nlicense: MIT\ncompatibility: Needs git\nallowed-tools: Read\nmetadata:\n  a: b",
    "numbers as texts": "name: my-skill\ndescription: 5\nmetadata:\n  version: 1.0\n  day: 2026-01-01",
    "words as texts": "name: my-skill\ndescription: yes\nlicense: null",
    "tools as a list": GOOD + "\nallowed-tools:\n  - Read\n  - Bash(git:*)",
    "folded description": "name: my-skill\ndescription: >\n  Says\n  hello.",
    "quoted": "name: 'my-skill'\ndescription: \"Says: hello.\"",
    "comment": "# a skill\n" + GOOD,
    "longest description": f"name: my-skill\ndescription: {'x' * 1024}",
    "longest compatibility": GOOD + f"\ncompatibility: {'x' * 500}",
    "description too long": f"name: my-skill\ndescription: {'x' * 1025}",
    "compatibility too long": GOOD + f"\ncompatibility: {'x' * 501}",
    "unknown key": GOOD + "\nversion: 1.0",
    "our key outside": GOOD + "\nminion-code: LLM-X",
    "no name": "description: Says hello.",
    "no description": "name: my-skill",
    "empty name": "name:\ndescription: x",
    "empty description": "name: my-skill\ndescription:",
    "blank description": "name: my-skill\ndescription: ' '",
    "another folder": "name: other-skill\ndescription: x",
    "capitals": "name: My-Skill\ndescription: x",
    "underscore": "name: my_skill\ndescription: x",
    "hyphen first": "name: -my-skill\ndescription: x",
    "hyphen last": "name: my-skill-\ndescription: x",
    "two hyphens": "name: my--skill\ndescription: x",
    "name too long": f"name: {'a' * 65}\ndescription: x",
    "key twice": GOOD + "\nname: my-skill",
    "flow mapping": GOOD + "\nmetadata: {a: b}",
    "flow list": GOOD + "\nallowed-tools: [Read]",
    "anchor": "name: &n my-skill\ndescription: x",
    "tag": "name: !!str my-skill\ndescription: x",
    "colon in text": "name: my-skill\ndescription: Says: hello.",
    "list": "- name: my-skill",
    "text": "my-skill",
    "description is a list": "name: my-skill\ndescription:\n  - x",
    "description is a mapping": "name: my-skill\ndescription:\n  a: b",
}


def document(header: str, body: str = "# Do it\n") -> bytes:
    return f"---\n{header}\n---\n\n{body}".encode()


def with_metadata(**metadata: str) -> bytes:
    lines = "".join(f"\n  {key.replace('_', '-')}: '{text}'" for key, text in metadata.items())
    return document(GOOD + "\nmetadata:" + lines)


def accepted(body: bytes, folder: str = "my-skill") -> bool:
    try:
        admit_skill(body, folder=folder, source="SKILL.md")
    except BadDocument as refusal:
        assert refusal.sentence.endswith(".")
        assert refusal.hint
        return False
    return True


@pytest.mark.parametrize("name", CORPUS)
def test_the_validator_of_the_standard_agrees(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "my-skill"
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(document(CORPUS[name]))
    assert accepted(document(CORPUS[name])) == (validate(folder) == [])


def test_the_corpus_has_good_and_bad_skills() -> None:
    verdicts = [accepted(document(header)) for header in CORPUS.values()]
    assert verdicts.count(True) == 10
    assert verdicts.count(False) == 26


@pytest.mark.parametrize(("name", "passes"), [("all keys", True), ("unknown key", False)])
def test_the_command_of_the_standard_agrees(name: str, passes: bool, tmp_path: Path) -> None:
    folder = tmp_path / "my-skill"
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(document(CORPUS[name]))
    command = Path(sysconfig.get_path("scripts")) / "agentskills"
    asked = subprocess.run([command, "validate", folder], capture_output=True, timeout=60)
    assert (asked.returncode == 0) is passes is accepted(document(CORPUS[name]))


@pytest.mark.parametrize(
    "header",
    [
        GOOD + "\nmetadata: just text",
        GOOD + "\nmetadata:\n  a:\n    b: c",
        GOOD + "\nlicense:\n  - MIT",
        "name: müsli\ndescription: x",
    ],
)
def test_where_the_standard_is_stricter_than_its_validator_we_follow_the_standard(header: str) -> None:
    assert not accepted(document(header), folder="müsli" if "müsli" in header else "my-skill")


def test_an_admitted_skill_says_everything() -> None:
    header = GOOD + "\nlicense: MIT\nallowed-tools: Read, Bash(git add *)  Edit\nmetadata:\n  author: me"
    header += (
        "\n  minion-code: LLM-HELLO\n  minion-requires: greet wave\n  minion-effects: message:slack file:*.md"
    )
    header += "\n  minion-tools: Bash=SCR-RUN mcp__linear__get=TSK-READ-ISSUE\n  minion-model: claude-opus-5-5"
    skill = admit_skill(document(header), folder="my-skill", source="SKILL.md")
    assert admitted(skill) == {
        "name": "my-skill",
        "description": "Says hello.",
        "license": "MIT",
        "allowed_tools": ["Read", "Bash(git add *)", "Edit"],
        "compatibility": None,
        "model": "claude-opus-5-5",
        "code": "LLM-HELLO",
        "requires": ["greet", "wave"],
        "effects": ["message:slack", "file:*.md"],
        "tools": {"Bash": "SCR-RUN", "mcp__linear__get": "TSK-READ-ISSUE"},
        "instructions": "# Do it",
    }


def test_a_plain_skill_declares_nothing() -> None:
    kept = admitted(admit_skill(document(GOOD), folder="my-skill", source="SKILL.md"))
    assert (kept["code"], kept["requires"], kept["effects"], kept["tools"]) == (None, [], [], {})


@pytest.mark.parametrize(
    ("metadata", "field", "code"),
    [
        ({"minion_code": "HELLO"}, "`minion-code`", "bad_step_code"),
        ({"minion_code": "LLM-A LLM-B"}, "`minion-code`", "bad_step_code"),
        ({"minion_requires": "greet Wave"}, "`minion-requires[1]`", "bad_name"),
        ({"minion_requires": "my-skill"}, "`metadata.minion-requires`", "requires_itself"),
        ({"minion_effects": "push:repo:main"}, "`minion-effects[0]`", "bad_effect"),
        ({"minion_tools": "Bash"}, "`minion-tools`", "bad_tools"),
        ({"minion_tools": "Bash=SCR-A Bash=SCR-B"}, "`minion-tools`", "bad_tools"),
        ({"minion_tools": "Bash=run"}, "`minion-tools`", "bad_step_code"),
        ({"minion_tools": "B/sh=SCR-A"}, "`minion-tools`", "bad_tools"),
        ({"minion_tool": "Bash=SCR-A"}, "`minion-tool`", "unknown_key"),
    ],
)
def test_our_keys_are_checked_by_name(metadata: dict[str, str], field: str, code: str) -> None:
    with pytest.raises(BadDocument) as caught:
        admit_skill(with_metadata(**metadata), folder="my-skill", source="SKILL.md")
    assert caught.value.code == code
    assert field in caught.value.sentence
    assert "SKILL.md" in caught.value.sentence
    assert caught.value.hint


def test_a_misspelled_key_of_ours_gets_a_suggestion() -> None:
    with pytest.raises(BadDocument) as caught:
        admit_skill(with_metadata(minion_efects="message:slack"), folder="my-skill", source="SKILL.md")
    assert caught.value.hint == "did you mean `minion-effects`?"


def test_hostile_tools_are_split_in_one_pass() -> None:
    header = GOOD + "\nallowed-tools: " + "a(" * 50_000
    skill = admit_skill(document(header), folder="my-skill", source="SKILL.md")
    assert skill.allowed_tools == ("a(" * 50_000,)
