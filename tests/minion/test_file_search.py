"""What glob and grep find, in what order, and that they end however much there is."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from minion.sandbox.tool_client import TOOL_HOST
from tests.minion.test_file_tools import BOTH, put
from tests.minion.workbenches import Bench, ask_file, on_bench

# As the tool host does: its modules lie beside each other, and are no part of a package there.
sys.path.append(str(TOOL_HOST.parent))
import file_search

TOO_MUCH = "This needs more memory than a file tool has; take a smaller part, or use bash."


@BOTH
def test_glob_finds_files_in_any_folder_newest_first(tmp_path: Path, sandboxed: bool) -> None:
    for age, name in enumerate(["a.py", "src/b.py", "src/deep/c.py", "src/d.md", ".e.py"]):
        os.utime(put(tmp_path, name, ""), (1_000_000 - age, 1_000_000 - age))
    answer = ask_file(tmp_path, "glob", pattern="**/*.py", sandboxed=sandboxed)
    assert answer == (True, "a.py\nsrc/b.py\nsrc/deep/c.py\n.e.py")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"pattern": "*"}, {"a.py", "src/", "link"}),
        ({"pattern": "src/*"}, {"src/b.py", "src/deep/", "src/d.md"}),
        ({"pattern": "*", "path": "src"}, {"src/b.py", "src/deep/", "src/d.md"}),
        ({"pattern": "./src//*.md", "path": "."}, {"src/d.md"}),
        ({"pattern": "src/**"}, {"src/b.py", "src/deep/c.py", "src/d.md"}),
        ({"pattern": "**/deep/*"}, {"src/deep/c.py"}),
        ({"pattern": "**/src/**/c.py"}, {"src/deep/c.py"}),
        ({"pattern": "src/[!b].{py,md}"}, {"src/d.md"}),
        ({"pattern": "{a,src/{b,x}}.py"}, {"a.py", "src/b.py"}),
        ({"pattern": "src/?.py"}, {"src/b.py"}),
        ({"pattern": "link/*"}, set()),
        ({"pattern": "**/x.js"}, set()),
        ({"pattern": "**/node_modules/*.js"}, {"node_modules/x.js"}),
        ({"pattern": "*.js", "path": "node_modules"}, {"node_modules/x.js"}),
    ],
)
def test_a_pattern_finds_what_it_says(tmp_path: Path, given: dict[str, str], found: set[str]) -> None:
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/d.md", "node_modules/x.js"):
        put(tmp_path, name, "")
    (tmp_path / "yard/link").symlink_to("src")
    ok, text = ask_file(tmp_path, "glob", **given)
    assert ok
    shown = set() if text.startswith("Nothing matches") else set(text.splitlines())
    assert shown - {"node_modules/"} == found - {"node_modules/"}


def test_an_absolute_pattern_begins_at_the_root(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "")
    assert ask_file(tmp_path, "glob", pattern=f"{tmp_path}/**/*.py") == (True, f"{tmp_path}/yard/a.py")


def test_links_in_a_circle_are_listed_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "a/b/c.txt", "needle\n")
    (tmp_path / "yard/a/b/up").symlink_to("..")
    (tmp_path / "yard/self").symlink_to("self")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [await bench.file("glob", pattern="**/*"), await bench.file("grep", pattern="needle")]

    globbed, grepped = on_bench(tmp_path, story)
    assert set(globbed[1].splitlines()) == {"a/b/c.txt", "a/b/up", "self"}
    assert grepped == (True, "a/b/c.txt:1:needle")


def test_a_folder_that_may_not_be_entered_is_told_of(tmp_path: Path) -> None:
    put(tmp_path, "a/b.txt", "needle\n")
    deep = tmp_path / "yard"
    here = Path.cwd()
    try:  # a path longer than the system takes
        for _ in range(40):
            (deep / ("x" * 200)).mkdir(exist_ok=True)
            os.chdir(deep / ("x" * 200))
            deep = Path()
    finally:
        os.chdir(here)
    ok, text = ask_file(tmp_path, "grep", pattern="needle")
    assert ok
    assert text == "a/b.txt:1:needle\n(1 could not be opened.)"


@pytest.mark.heavy
def test_two_hundred_thousand_files_are_searched_and_the_newest_named(tmp_path: Path) -> None:
    for folder in range(200):
        place = tmp_path / "yard" / f"folder{folder}"
        place.mkdir(parents=True)
        for number in range(1_000):
            os.close(os.open(place / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
    put(tmp_path, "folder7/last.txt", "needle\n")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("glob", pattern="**/*.txt"),
            await bench.file("glob", pattern="*"),
            await bench.file("grep", pattern="needle", mode="files"),
        ]

    every, folders, found = on_bench(tmp_path, story)
    lines = every[1].splitlines()
    assert (lines[0], len(lines)) == ("folder7/last.txt", 201)
    assert lines[-1] == "(The newest 200 of 200,001: a narrower pattern shows others.)"
    assert len(folders[1].splitlines()) == 200
    assert found == (True, "folder7/last.txt")


def test_braces_that_stand_for_too_many_patterns_are_refused(tmp_path: Path) -> None:
    ok, text = ask_file(tmp_path, "glob", pattern="{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}")
    assert (ok, text) == (False, "The braces in the pattern stand for more than 64 patterns: write fewer.")


@BOTH
def test_grep_shows_path_line_and_text_with_the_lines_around(tmp_path: Path, sandboxed: bool) -> None:
    put(tmp_path, "b.txt", "1\n2\nneedle\n4\n5\n6\n7\nneedle\nneedle\n10\n")
    put(tmp_path, "a/c.txt", "Needle\n")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("grep", pattern="n..dle"),
            await bench.file("grep", pattern="needle", context=1, path="b.txt"),
            await bench.file("grep", pattern="needle", mode="count", ignore_case=True),
            await bench.file("grep", pattern="needle", mode="files", glob="*.txt"),
            await bench.file("grep", pattern="needle", mode="files", glob="a/*", ignore_case=True),
            await bench.file("grep", pattern="needle", limit=2),
        ]

    plain, around, count, files, below, limited = on_bench(tmp_path, story, sandboxed=sandboxed)
    assert plain == (True, "b.txt:3:needle\nb.txt:8:needle\nb.txt:9:needle")
    rows = ["b.txt-2-2", "b.txt:3:needle", "b.txt-4-4", "--", "b.txt-7-7", "b.txt:8:needle", "b.txt:9:needle"]
    assert around == (True, "\n".join([*rows, "b.txt-10-10"]))
    assert count == (True, "b.txt:3\na/c.txt:1")
    assert files == (True, "b.txt")
    assert below == (True, "a/c.txt")
    more = "(More after the first 2: narrow the search, or raise limit.)"
    assert limited == (True, f"b.txt:3:needle\nb.txt:8:needle\n{more}")


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(a", "The pattern is no regular expression as Python has them: missing ), unterminated subpattern, at"
         " character 1."),
        ("a\nb", "grep looks at one line at a time: a pattern with a line break is never found."),
        ("(" * 5_000 + ")" * 5_000, TOO_MUCH),
        ("a{99999999999}", TOO_MUCH),
    ],
)  # fmt: skip
def test_a_bad_pattern_is_one_clear_sentence(tmp_path: Path, pattern: str, sentence: str) -> None:
    put(tmp_path, "a", "a\n")
    assert ask_file(tmp_path, "grep", pattern=pattern) == (False, sentence)


def test_binary_files_are_left_out_and_nothing_found_is_said_with_what_was_searched(tmp_path: Path) -> None:
    put(tmp_path, "a.bin", b"needle\0")
    put(tmp_path, "b.txt", b"caf\xe9 n\xc3\xa4dle\n")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [await bench.file("grep", pattern=pattern) for pattern in ("needle", "nädle")]

    none, odd = on_bench(tmp_path, story)
    assert none == (True, "needle was not found (1 text file searched).\n(1 binary file left out.)")
    assert odd == (True, "b.txt:1:caf\ufffd nädle")


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("function_4\\(", b"function_4("), ("^import os$", b"import os"), ("ab*c", b"a"), ("abc?", b"ab"),
        ("ab{2}cd", b"cd"), ("a+bc", b"bc"), ("[abc]de", b"de"), ("[]x]de", b"de"), ("(abc)?def", b"def"),
        ("abc|d", b""), ("(?i)abc", b""), ("\\x41bc", b""), ("\\1bc", b""), ("\\d+ab", b"ab"), ("é", b""),
    ],
)  # fmt: skip
def test_a_text_that_is_looked_for_first_is_one_that_every_match_holds(pattern: str, literal: bytes) -> None:
    assert file_search.literal_of(pattern) == literal


@pytest.mark.parametrize("pattern", ["ne+dle", "need(le)?", "\\bneedle\\b", "n.edle$", "^..needle", "x|needle"])
def test_a_pattern_finds_the_same_lines_in_a_small_file_and_in_a_large_one(tmp_path: Path, pattern: str) -> None:
    lines = ["a needle", "neeedle", "two needle needle", "nothing", "", "x", "--needle--", "n-edle", "needles\r"]
    put(tmp_path, "small", "\n".join(lines))
    put(tmp_path, "large", "\n".join(lines) + "\n" + "-\n" * 60_000)

    async def story(bench: Bench) -> list[str]:
        answers = [await bench.file("grep", pattern=pattern, path=path) for path in ("small", "large")]
        return [text.replace("small", "large") for _, text in answers]

    small, large = on_bench(tmp_path, story)
    wanted = [number for number, line in enumerate(lines, 1) if re.search(pattern, line.rstrip("\r"))]
    assert [int(row.split(":")[1]) for row in small.splitlines()] == wanted
    assert small == large


def test_a_match_far_out_in_a_line_is_told_by_its_place(tmp_path: Path) -> None:
    put(tmp_path, "min.js", "x" * 3_000_000 + "needle" + "y" * 10 + "\nneedle\n")
    ok, text = ask_file(tmp_path, "grep", pattern="needle")
    assert ok
    first, second = text.split("\n")
    assert first.startswith("min.js:1:(a line of ")
    assert second == "min.js:2:needle"


def test_an_answer_of_many_matches_ends_with_how_to_go_on(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "needle in a line\n" * 100_000)
    ok, text = ask_file(tmp_path, "grep", pattern="needle", limit=2_000, most=60_000)
    assert ok
    assert len(text) < 12_000
    assert text.splitlines()[-1].startswith("(More after the first ")


def test_the_filter_of_grep_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "src/a.txt", "needle\n")
    put(tmp_path, "b.txt", "needle\n")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        filters = ("/b.txt", f"{bench.inside}/b.txt", "{/,x/}b.txt", "../b.txt")
        return [await bench.file("grep", pattern="needle", path="src", glob=each) for each in filters]

    answers = on_bench(tmp_path, story)
    assert not any("b.txt:1" in text for _, text in answers)
    assert answers[-1] == (False, "A pattern cannot hold `..`: name the folder to look in as path.")
