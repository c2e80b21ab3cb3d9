"""The tools as a model calls them: what it hears of wrong input, failures, limits and of what was left out."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minion.engines.workbench import WORKBENCH_TOOLS, Answer, shortened
from minion.engines.workbench_schemas import LONGEST_TEXT
from minion.sandbox.shell import LONGEST_COMMAND
from server.contract.quota import Limits
from tests.minion.workbenches import HOSTS, LONG_SECRET, SECRET, Bench, calls, on_bench

BOTH = pytest.mark.parametrize("sandboxed", HOSTS)
NEEDS_BASH = pytest.mark.skipif(shutil.which("bash", path="/usr/bin:/bin") is None, reason="bash is not installed")


def bash(command: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """A call of bash."""
    return "bash", {"command": command, **more}


@NEEDS_BASH
@BOTH
def test_the_six_tools_work_on_the_same_files(tmp_path: Path, sandboxed: bool) -> None:
    answers = calls(
        tmp_path,
        ("write", {"path": "src/a.py", "content": "one\ntwo\n"}),
        ("edit", {"path": "src/a.py", "old": "two", "new": "three"}),
        ("read", {"path": "src/a.py"}),
        ("glob", {"pattern": "**/*.py"}),
        ("grep", {"pattern": "thr"}),
        bash("cd src; cat a.py"),
        bash("ls; exit 3"),
        sandboxed=sandboxed,
    )
    assert [answer.text for answer in answers] == [
        "Created src/a.py (2 lines).",
        "Replaced 1 occurrence in src/a.py (at line 2).",
        "     1\tone\n     2\tthree",
        "src/a.py",
        "src/a.py:2:three",
        "one\nthree",
        "a.py\nexit 3",
    ]
    assert [answer.failed for answer in answers] == [False] * 6 + [True]
    assert [answer.state for answer in answers] == ["completed"] * 6 + ["failed"]


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("dance", {}, "There is no tool 'dance': there are bash, edit, glob, grep, read, write."),
        ("read", {}, "read needs `path`: it takes path, offset, limit."),
        ("read", {"file_path": "a"}, "read does not know `file_path`: it takes path, offset, limit."),
        ("read", {"path": 7}, "`path` of read must be text."),
        ("read", {"path": None}, "`path` of read must be text."),
        ("read", {"path": ""}, "`path` of read is empty."),
        ("read", {"path": "a", "offset": 0}, "`offset` of read must be a whole number from 1 on."),
        ("read", {"path": "a", "offset": True}, "`offset` of read must be a whole number."),
        ("read", {"path": "a", "limit": 1.5}, "`limit` of read must be a whole number."),
        ("read", {"path": "a", "limit": 10**6}, "`limit` of read must be a whole number from 1 to 10,000."),
        ("read", {"path": "a\0b"}, "A path cannot hold a NUL character."),
        ("edit", {"path": "a", "old": "", "new": ""}, "`old` of edit is empty."),
        ("edit", {"path": "a", "old": "b", "new": "", "all": "yes"}, "`all` of edit must be true or false."),
        ("grep", {"pattern": "a", "mode": "lines"}, "`mode` of grep must be one of content, files, count."),
        ("bash", {"command": "true", "timeout_s": 0}, "`timeout_s` of bash must be a number above 0 to 86,400."),
        ("bash", {"command": "true", "timeout_s": float("nan")},
         "`timeout_s` of bash must be a number above 0 to 86,400."),
        ("bash", {"command": "a\0b"}, "`command` of bash holds a NUL character."),
        ("bash", {"command": "x" * (LONGEST_COMMAND + 1)},
         "`command` of bash is 200,001 characters long, at most 200,000 fit: do it in parts."),
        ("write", {"path": "a", "content": "x" * (LONGEST_TEXT + 1)},
         "`content` of write is 1,000,001 characters long, at most 1,000,000 fit: do it in parts."),
        ("write", {"path": "a", "content": "\ud800"},
         "`content` of write holds a character that UTF-8 does not have (half of a surrogate pair)."),
    ],
)  # fmt: skip
def test_wrong_input_is_answered_in_a_sentence(
    tmp_path: Path, name: str, given: dict[str, Any], sentence: str
) -> None:
    (answer,) = calls(tmp_path, (name, given))
    assert answer == Answer(sentence, failed=True, state="failed")
    assert list((tmp_path / "yard").iterdir()) == []


def test_every_definition_says_what_it_takes_and_nothing_else(tmp_path: Path) -> None:
    assert [tool["name"] for tool in WORKBENCH_TOOLS] == ["bash", "read", "write", "edit", "glob", "grep"]
    for tool in WORKBENCH_TOOLS:
        schema = tool["input_schema"]
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
    # They are read with every session: a thousand tokens, about.
    assert len(json.dumps(WORKBENCH_TOOLS)) < 5_000


@NEEDS_BASH
def test_a_command_is_stopped_at_its_own_limit_or_at_what_is_left(tmp_path: Path) -> None:
    async def story(bench: Bench) -> list[Answer]:
        workbench = bench.workbench()
        own = await workbench.call("bash", {"command": "echo a; sleep 600", "timeout_s": 0.3}, timeout_s=60)
        left = await workbench.call("bash", {"command": "sleep 600"}, timeout_s=0.25)
        none = await workbench.call("bash", {"command": "true"}, timeout_s=0)
        return [own, left, none, await workbench.call("bash", {"command": "true"}, timeout_s=60)]

    own, left, none, after = on_bench(tmp_path, story)
    assert own == Answer("a\nStopped at the limit of 0.3 s.", failed=True, state="failed")
    assert left.text == "Stopped at the limit of 0.25 s, all the time that was left."
    assert none == Answer("No time is left for this.", failed=True, state="cancelled")
    assert (after.failed, after.state) == (False, "completed")


def test_a_search_that_hangs_is_stopped_with_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    (tmp_path / "yard/a").write_text("a" * 50 + "!")
    (answer,) = calls(tmp_path, ("grep", {"pattern": "(a+)+$"}), timeout_s=0.4)
    assert answer.text == "grep was stopped at the limit of 0.4 s: try a simpler pattern or a narrower path."
    assert answer.failed


@NEEDS_BASH
def test_a_signal_is_said(tmp_path: Path) -> None:
    (answer,) = calls(tmp_path, bash("echo a; kill -9 $$"))
    assert answer == Answer("a\nEnded without an exit code: signal 9.", failed=True, state="failed")


@NEEDS_BASH
def test_long_output_keeps_its_beginning_and_its_end_within_the_limit(tmp_path: Path) -> None:
    loop = "echo first; i=0; while ((i < {n})); do echo 'line é of many'; ((++i)); done; echo last"
    some, many = calls(tmp_path, bash(loop.format(n=3_000)), bash(loop.format(n=30_000)))
    for answer in (some, many):
        assert len(answer.text.encode()) <= 30_000
        assert answer.text.startswith("first\nline é")
        assert answer.text.endswith("many\nlast")
        assert answer.text.count("left out here …") >= 1
        assert "\ufffd" not in answer.text


@NEEDS_BASH
def test_the_limit_on_output_of_the_routine_is_kept(tmp_path: Path) -> None:
    (small,) = calls(tmp_path, bash("seq 5000; echo last"), limits=Limits(output_bytes=1_000))
    assert len(small.text.encode()) <= 1_000
    assert small.text.startswith("1\n2\n")
    assert small.text.endswith("5000\nlast")


@NEEDS_BASH
def test_a_secret_is_taken_out_before_anything_is_cut(tmp_path: Path) -> None:
    """Wherever a cut falls, no half of a secret is left beside it."""
    pieces = [SECRET[:length] for length in range(6, len(SECRET))]

    async def story(bench: Bench) -> list[Answer]:
        workbench = bench.workbench(env={"TOKEN": SECRET})
        given = []
        for shift in range(len(SECRET)):
            line = f"printf '%{shift}s' ''; x=$TOKEN; while ((${{#x}} < 200000)); do x+=$x; done; printf %s \"$x\""
            given.append(await workbench.call("bash", {"command": line}, timeout_s=30))
        (bench.work / "a").write_text(f"{'x' * 1_990}{SECRET}{'y' * 20_000}\n{SECRET}\n")
        given.append(await workbench.call("read", {"path": "a"}, timeout_s=30))
        given.append(await workbench.call("grep", {"pattern": "whisper"}, timeout_s=30))
        return given

    for answer in on_bench(tmp_path, story):
        assert "[redacted]" in answer.text
        assert not any(piece in answer.text for piece in pieces)
        assert len(answer.text) <= 30_000


@NEEDS_BASH
def test_no_half_of_a_long_secret_is_left_where_output_was_cut_before_it_came_here(tmp_path: Path) -> None:
    """What is left of such output is short, so that its cut edges would be shown."""
    line = "for i in {1..50}; do echo $TOKEN; printf '%01500d\\n' 7; done"
    (answer,) = calls(tmp_path, bash(line), env={"TOKEN": LONG_SECRET})
    assert answer.text.startswith("[redacted]\n0000")
    assert answer.text.endswith("0007")
    assert "left out here …" in answer.text
    assert not any(LONG_SECRET[at : at + 8] in answer.text for at in range(40, len(LONG_SECRET) - 8, 4))


def test_a_long_line_is_cut_after_two_thousand_characters(tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    (tmp_path / "yard/a").write_text("x" * 9_000 + "\nshort\n")
    (answer,) = calls(tmp_path, ("read", {"path": "a"}))
    first, second = answer.text.split("\n")
    assert (len(first), first[-14:]) == (2_000 + 13, "x … (line cut)")
    assert second == "     2\tshort"


@NEEDS_BASH
def test_output_that_is_no_text_is_told_as_far_as_it_can_be(tmp_path: Path) -> None:
    (answer,) = calls(tmp_path, bash("printf 'a\\377\\000b'"))
    assert answer.text == "a\ufffd\ufffdb"


@NEEDS_BASH
def test_variables_of_the_routine_reach_the_shell_that_begins_in_the_repository(tmp_path: Path) -> None:
    (answer,) = calls(tmp_path, bash("echo $MODE; pwd"), env={"MODE": "quiet"})
    assert answer.text == f"quiet\n{tmp_path}/yard"


def test_a_repository_that_was_deleted_is_said(tmp_path: Path) -> None:
    async def story(bench: Bench) -> Answer:
        workbench = bench.workbench()
        bench.work.rmdir()
        return await workbench.call("read", {"path": "a"}, timeout_s=30)

    answer = on_bench(tmp_path, story)
    assert answer.failed
    assert answer.text == f"read could not be done: could not enter {tmp_path}/yard: No such file or directory."


def test_a_host_that_is_gone_is_said_and_raises_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> list[Answer]:
        workbench = bench.workbench()
        await bench.host.close()
        asked = [bash("true"), ("read", {"path": "a"})]
        return [await workbench.call(name, given, timeout_s=30) for name, given in asked]

    first, second = on_bench(tmp_path, story)
    assert first == Answer("Ended without an exit code: tool host closed.", failed=True, state="cancelled")
    assert second == Answer("read could not be done: tool host closed.", failed=True, state="cancelled")


def test_calls_at_once_are_answered_each_for_itself(tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    for number in range(20):
        (tmp_path / f"yard/{number}").write_text(f"file {number}\n")

    async def story(bench: Bench) -> list[Answer]:
        workbench = bench.workbench()
        asked = [workbench.call("read", {"path": str(number)}, timeout_s=30) for number in range(20)]
        return list(await asyncio.gather(*asked))

    assert [answer.text for answer in on_bench(tmp_path, story)] == [f"     1\tfile {n}" for n in range(20)]


@pytest.mark.parametrize("most", [1, 10, 60, 100, 1_000])
def test_a_shortened_text_fits_and_is_whole_characters(most: int) -> None:
    text = "".join(f"{number} é€😀 " for number in range(500))
    short = shortened(text, most)
    assert len(short.encode()) <= most
    assert text.startswith(short.split("\n… ")[0])
    assert shortened("fits", 4) == "fits"
