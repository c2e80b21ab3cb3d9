"""What the `allowed-tools` of a skill lets through: its patterns, and nothing that only looks like them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minion.engines.permissions import is_allowed, is_allowed_at, is_held_to_paths, simple_words
from tests.minion.workbenches import HOSTS, ask_file


def test_an_empty_list_allows_everything() -> None:
    assert is_allowed("bash", {"command": "rm -rf /"}, ()) is None


@pytest.mark.parametrize(
    ("tool", "allowed"),
    [
        ("read", "Read"), ("read", "read"), ("read", "READ"), ("write", "Write"), ("edit", "Edit"),
        ("edit", "MultiEdit"), ("glob", "Glob"), ("glob", "LS"), ("grep", "Grep"), ("bash", "Bash"),
        ("bash", "Bash(*)"), ("bash", "Bash()"), ("bash", "Bash(:*)"), ("read", "Read(**)"),
        ("mcp__tracker__list", "mcp__tracker__list"), ("mcp__tracker__list", "mcp__tracker"),
        ("mcp__tracker__list", "mcp__tracker__*"),
    ],
)  # fmt: skip
def test_a_tool_that_is_named_is_allowed_whole(tool: str, allowed: str) -> None:
    assert is_allowed(tool, {"command": "a; b", "path": "/x"}, ("Nothing", allowed)) is None


@pytest.mark.parametrize(
    ("tool", "allowed"),
    [
        ("write", "Read"), ("read", "Readme"), ("glob", "Read"), ("edit", "Write"), ("bash", "BashOutput"),
        ("mcp__tracker__list", "mcp__track"), ("mcp__tracker2__list", "mcp__tracker"), ("mcp__a__b", "mcp__"),
        ("mcp__a__b", "mcp__*"), ("mcp__a__bc", "mcp__a__b"), ("bash", "Bash(git"), ("bash", "(git:*)"),
    ],
)  # fmt: skip
def test_a_tool_that_is_not_named_is_refused_with_what_is(tool: str, allowed: str) -> None:
    why = is_allowed(tool, {"command": "git status"}, (allowed, "Other"))
    assert why == f"{tool} is not among the tools that it allows ({allowed}, Other): do it with one of those."


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("git add *", "git add x"), ("git add *", "git add"), ("git add *", "git\tadd -A  ."), ("git:*", "git"),
        ("git:*", "git commit -m 'fix; really (now) | $x'"), ("git:*", 'git commit -m "a & b (c)"'),
        ("git add *", '"git" add x'), ("git add *", "  git add x  "), ("npm run test:*", "npm run test"),
        ("npm run test:*", "npm run test -- -v"), ("make lint", "make  lint"), ("git diff*", "git diff HEAD~1"),
        ("npm run test*", "npm run test:unit"), ("git * main", "git push origin main"),
        ("* --version", "x --version"), ("python3:*", "python3 scripts/run.py < /scratch/task.json"),
        ("python3 scripts/*.py", "python3 scripts/run.py"), ("git add *", "git add {a,b} *.py ~/x"),
        ("git commit -m 'x y'", "git commit -m 'x y'"), ("git add *", "git add a#b"),
        ("git:*", "git log --format=%h!"),
    ],
)  # fmt: skip
def test_a_simple_command_that_fits_the_pattern_may_run(pattern: str, command: str) -> None:
    assert is_allowed("bash", {"command": command}, ("Read", f"Bash({pattern})")) is None


HOSTILE = [
    "git add x; rm y", "git add x;rm", "git add x && rm y", "git add x || rm", "git add x | sh",
    "git add x & rm y",
    "git add x\nrm y", "git add x\rrm y", "git add $(rm y)", "git add `rm y`", "git add ${x}", "git add $x",
    "git add > y", "git add < $y", "git add < y; rm", "git add < y z", "git add <<< y", "git add << y",
    "git add < 'a' < -", "git add 'a < b", 'git add "a < b', "git add 3<y", "git add <(rm y)", "(git add x)",
    "git add x \\\n; rm", "git add \\; rm",
    'git add "$(rm y)"', 'git add "`rm y`"', 'git add "\\"; rm y; \\""', "git add 'a'; rm 'b'", "git add 'a",
    'git add "a', "git add 'a\nb'", "git add \x0b rm", "git add x\x00", "git add x # y", "# x",
    "git add $'a\\'; rm y; \\''", 'git add $"a"', "git add 'a'\\''; rm y; '", "{ git add x; }",
    "git add x\u0085;rm",
]  # fmt: skip


@pytest.mark.parametrize("command", HOSTILE)
def test_what_is_more_than_one_simple_command_is_refused_with_a_way_on(command: str) -> None:
    why = is_allowed("bash", {"command": command}, ("Bash(git add *)",))
    assert why is not None
    assert why.startswith("bash may run `git add *` only, as one simple command: without ; & | < > ( ) $ ` \\")
    assert "one call for each command" in why


@pytest.mark.parametrize(
    "command",
    [
        "git", "git addx", "git rm x", "gitadd x", "'git add' x", "git 'add x'", "git\u00a0add x",
        "git\u2003add x",
        "command git add x", "exec git add x", "! git add x", "time git add x", "sudo git add x", "./git add x",
        "/usr/bin/git add x", "{git,add} x", "g?t add x", "git ad* x", "", "   ", "''",
        "git '' add", "git 'add < y' z",
    ],
)  # fmt: skip
def test_a_command_that_only_looks_like_the_pattern_is_refused(command: str) -> None:
    why = is_allowed("bash", {"command": command}, ("Bash(git add *)", "Read"))
    assert why == "bash may run `git add *` only: use such a command, or another tool."


@pytest.mark.parametrize("command", ["A=1 git add x", "PATH=. git add", "A+=1 git add x", "a[0]=1 git add x"])
def test_variables_before_the_command_are_refused_whatever_the_pattern(command: str) -> None:
    why = is_allowed("bash", {"command": command}, ("Bash(git add *)", "Bash(* add *)"))
    assert why == "bash may run `git add *` or `* add *` only, without variables set before the command."


def test_input_that_is_no_command_is_refused() -> None:
    for given in ({}, {"command": None}, {"command": ["git", "add"]}):
        assert is_allowed("bash", given, ("Bash(git add *)",)) is not None


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    "command",
    [
        "a b", "a  'b c' \"d e\"", "a\t'b'\"c\"d", "a '' \"\"", "a 'x;y|z' \"(q)\"", "a b#c", "'a'b 'c\\d'",
        'a "it\'s"',
    ],
)
def test_the_words_are_those_that_bash_makes(command: str) -> None:
    line = f"set -f; printf '%s\\0' {command}"
    printed = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, check=True).stdout.decode()
    assert simple_words(command) == printed.split("\0")[:-1]


@pytest.mark.parametrize(
    ("tool", "given", "allowed"),
    [
        ("read", {"path": "src/a.py"}, "Read(src/**)"), ("read", {"path": "./src/x/a.py"}, "Read(src/**)"),
        ("edit", {"path": "docs/a.md"}, "Edit(docs/*.md)"), ("read", {"path": "/data/x/y"}, "Read(//data/**)"),
        ("grep", {"pattern": "x", "path": "src"}, "Grep(src/**)"),
        ("glob", {"pattern": "src/*.py"}, "Glob(src/**)"),
        ("glob", {"pattern": "**/*.py", "path": "src/"}, "Glob(src/**)"),
        ("write", {"path": "a.md"}, "Write(?.md)"),
    ],
)  # fmt: skip
def test_a_path_that_fits_the_pattern_may_be_used(tool: str, given: dict[str, Any], allowed: str) -> None:
    assert is_allowed(tool, given, (allowed,)) is None


@pytest.mark.parametrize(
    ("tool", "given", "allowed"),
    [
        ("read", {"path": "src/../a"}, "Read(src/**)"), ("read", {"path": "/src/a"}, "Read(src/**)"),
        ("read", {"path": "../src/a"}, "Read(**/a)"), ("read", {"path": "/etc/a"}, "Read(**/a)"),
        ("read", {"path": "srcs/a"}, "Read(src/**)"), ("edit", {"path": "docs/x/a.md"}, "Edit(docs/*.md)"),
        ("grep", {"pattern": "x"}, "Grep(src/**)"), ("glob", {"pattern": "*"}, "Glob(src/**)"),
        ("glob", {"pattern": "../*", "path": "src"}, "Glob(src/**)"), ("read", {}, "Read(src/**)"),
        ("glob", {"pattern": "/etc/*", "path": "src"}, "Glob(src/**)"),
        ("glob", {"pattern": "{src,etc}/*"}, "Glob(src/**)"), ("read", {"path": "a\n.md"}, "Read(a.md)"),
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(tool: str, given: dict[str, Any], allowed: str) -> None:
    assert is_allowed(tool, given, (allowed,)) is not None


@pytest.mark.parametrize(
    ("tool", "allowed", "held"),
    [
        ("edit", ("Edit(src/**)",), True), ("edit", ("Edit(src/**)", "Edit"), False), ("edit", (), False),
        ("edit", ("Edit",), False), ("edit", ("Edit(**)",), False), ("edit", ("Read(src/**)",), False),
        ("bash", ("Bash(git *)",), False), ("glob", ("LS(src/*)", "Read"), True),
    ],
)  # fmt: skip
def test_where_a_path_leads_matters_where_a_file_tool_is_allowed_for_some_paths(
    tool: str, allowed: tuple[str, ...], held: bool
) -> None:
    assert is_held_to_paths(tool, allowed) is held


# (the tool, its input, where a path leads in the repository below, what is allowed, what is said of it)
LINKS: list[tuple[str, dict[str, Any], str, str, str | None]] = [
    ("edit", {"path": "src/up/deploy/prod.yml"}, "deploy/prod.yml", "Edit(src/**)", "src/up/deploy/prod.yml"),
    ("write", {"path": "src/up/new/a"}, "new/a", "Write(src/**)", "src/up/new/a"),
    ("write", {"path": "src/gone"}, "deploy/gone", "Write(src/**)", "src/gone"),
    ("read", {"path": "src/out"}, "/etc/hostname", "Read(src/**)", "src/out"),
    ("read", {"path": "src/up/../a.txt"}, "/a.txt", "Read(src/**)", "src/up/../a.txt"),
    ("grep", {"pattern": "x", "path": "src/up"}, ".", "Grep(src/**)", "src/up"),
    ("glob", {"pattern": "*", "path": "src/up"}, ".", "Glob(src/**)", "src/up"),
    ("glob", {"pattern": "*.md", "path": "src/up"}, ".", "Glob(src/**/*.md)", "src/up"),
    ("edit", {"path": "src/a.txt"}, "src/a.txt", "Edit(src/**)", None),
    ("edit", {"path": "src/same"}, "src/a.txt", "Edit(src/**)", None),
    ("write", {"path": "src/new/b"}, "src/new/b", "Write(src/**)", None),
    ("glob", {"pattern": "*.txt", "path": "src"}, "src", "Glob(src/*.txt)", None),
    ("grep", {"pattern": "x", "path": "src"}, "src", "Grep(src/**)", None),
    ("read", {"path": "src/in"}, "src", "Read(src/**)", None),
]


@pytest.mark.parametrize(("tool", "given", "place", "allowed", "refused"), LINKS)
@pytest.mark.parametrize("sandboxed", HOSTS)
def test_a_link_leads_nowhere_that_a_skill_may_not_go_by_the_name_itself(
    tmp_path: Path, *, tool: str, given: dict[str, Any], place: str, allowed: str, refused: str | None,
    sandboxed: bool,
) -> None:  # fmt: skip
    yard = tmp_path / "yard"
    for name in ("src/a.txt", "deploy/prod.yml"):
        (yard / name).parent.mkdir(parents=True, exist_ok=True)
        (yard / name).write_text("a\n")
    links = {"up": "..", "gone": "../deploy/gone", "out": "/etc/hostname", "same": "a.txt", "in": "."}
    for name, target in links.items():
        (yard / "src" / name).symlink_to(target)
    inside = "/workspace" if sandboxed else str(yard.resolve())
    place = str(Path(inside).parent / "a.txt") if place == "/a.txt" else place
    assert ask_file(tmp_path, "place", path=given["path"], sandboxed=sandboxed) == (True, place)
    assert is_allowed(tool, given, (allowed,)) is None
    said = is_allowed_at(tool, given, place, (allowed,))
    pattern = allowed.partition("(")[2][:-1]
    way_on = f"and {tool} may be used for `{pattern}` only: name a path that stays there."
    assert said == (refused and f"{refused} leads to {place}, {way_on}")


def test_a_pattern_of_many_stars_is_decided_without_trying_every_way() -> None:
    words = "a " * 20_000
    assert is_allowed("bash", {"command": words + "c"}, ("Bash(" + "* a " * 12 + "b)",)) is not None
    assert is_allowed("read", {"path": "a/" * 2_000 + "c"}, ("Read(" + "**/a/" * 12 + "b)",)) is not None
    assert is_allowed("read", {"path": "a" * 4_000}, ("Read(" + "*a" * 20 + "b)",)) is not None


def test_a_limit_on_another_tool_is_not_understood_and_so_refused() -> None:
    why = is_allowed("mcp__a__b", {}, ("mcp__a__b(x)",))
    assert why == "mcp__a__b is allowed only with limits that are not known here (x)."
