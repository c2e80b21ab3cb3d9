"""What reading, writing and editing files come to inside a tool host; nothing there hangs or swells it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from pathlib import Path

import pytest

from minion.sandbox.tool_client import ToolResult
from tests.minion.tool_hosts import raw_host
from tests.minion.workbenches import HOSTS, Bench, ask_file, on_bench

MIB = 1024 * 1024
NO_FOLDER = "cannot be reached: a part of this path is a file, not a folder."
NO_CHARACTER = "a character that UTF-8 does not have (half of a surrogate pair)"
NOTHING = "there is nothing to change"
BOTH = pytest.mark.parametrize("sandboxed", HOSTS)


def put(folder: Path, name: str, content: str | bytes) -> Path:
    """A file of the work folder."""
    path = folder / "yard" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@BOTH
def test_a_file_is_read_with_its_lines_numbered(tmp_path: Path, sandboxed: bool) -> None:
    put(tmp_path, "src/a.txt", "one\n\ntwo\r\nthree")
    answer = ask_file(tmp_path, "read", path="src/a.txt", sandboxed=sandboxed)
    assert answer == (True, "     1\tone\n     2\t\n     3\ttwo\n     4\tthree")


@BOTH
def test_what_is_written_lies_there_and_can_be_edited(tmp_path: Path, sandboxed: bool) -> None:
    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("write", path="new/deep/a.txt", content="a = 1\nb = 1\n"),
            await bench.file("write", path="new/deep/a.txt", content="a = 1\nb = 2\nc = 2"),
            await bench.file("edit", path="new/deep/a.txt", old="a = 1", new="a = 3"),
        ]

    assert on_bench(tmp_path, story, sandboxed=sandboxed) == [
        (True, "Created new/deep/a.txt (2 lines)."),
        (True, "Overwrote new/deep/a.txt (3 lines)."),
        (True, "Replaced 1 occurrence in new/deep/a.txt (at line 1)."),
    ]
    folder = tmp_path / "yard/new/deep"
    assert (folder / "a.txt").read_text() == "a = 3\nb = 2\nc = 2"
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_a_part_of_a_file_is_read_and_where_it_goes_on_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a", "".join(f"{number}\n" for number in range(1, 100_001)))

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        asked = [{"offset": 99_999}, {"offset": 2, "limit": 2}, {"offset": 100_001}, {}]
        return [await bench.file("read", path="a", **each) for each in asked]

    end, middle, beyond, whole = on_bench(tmp_path, story)
    assert end == (True, " 99999\t99999\n100000\t100000")
    assert middle[1] == "     2\t2\n     3\t3\n(There is more: a has 588,895 bytes. Go on with offset 4.)"
    assert beyond == (False, "a has only 100,000 lines: there is no line 100001.")
    assert whole[1].endswith("  2000\t2000\n(There is more: a has 588,895 bytes. Go on with offset 2001.)")


def test_an_empty_file_and_one_of_a_single_line_without_end_are_read(tmp_path: Path) -> None:
    put(tmp_path, "empty", "")
    put(tmp_path, "single", "x")
    assert ask_file(tmp_path, "read", path="empty") == (True, "(empty is empty.)")
    assert ask_file(tmp_path, "read", path="single", offset=2) == (
        False, "single has only 1 line: there is no line 2.",
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"\x7fELF\x02\0\0", bytes(range(1, 256)) * 4])
def test_a_binary_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "a.bin", content)
    ok, text = ask_file(tmp_path, "read", path="a.bin")
    assert (ok, text) == (False, f"a.bin is a binary file of {len(content):,} bytes: only text can be read.")


def test_bytes_that_are_no_utf_8_are_shown_as_such_and_kept_by_an_edit(tmp_path: Path) -> None:
    path = put(tmp_path, "latin", b"caf\xe9\nplain\n")

    async def story(bench: Bench) -> str:
        shown = await bench.file("read", path="latin")
        await bench.file("edit", path="latin", old="plain", new="schön")
        return str(shown[1])

    assert on_bench(tmp_path, story) == "     1\tcaf\ufffd\n     2\tplain"
    assert path.read_bytes() == b"caf\xe9\n" + "schön\n".encode()


def test_an_endless_line_is_cut_and_the_next_one_is_still_the_next(tmp_path: Path) -> None:
    put(tmp_path, "long", "x" * 5_000_000 + "\nafter\n" + "y" * 16_383 + "\n")
    _, text = ask_file(tmp_path, "read", path="long")
    first, second, third = text.split("\n")
    assert (len(first), first[-2:]) == (7 + 16_384 + 2, " …")
    assert second == "     2\tafter"
    assert third == "     3\t" + "y" * 16_383


def test_a_sparse_file_of_three_gigabytes_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    path = put(tmp_path, "big", "text\n" * 20_000)
    os.truncate(path, 3 * 1024 * MIB)

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("read", path="big", limit=1),
            await bench.file("edit", path="big", old="text", new="x"),
            await bench.file("grep", path="big", pattern="text", limit=1),
        ]

    read, edit, grep = on_bench(tmp_path, story)
    assert read[1].startswith("     1\ttext\n(There is more: big has 3,221,225,472 bytes.")
    assert edit == (False, "big has 3,221,225,472 bytes, more than edit takes on: use bash (sed, python3).")
    assert grep[1].startswith("big:1:text\n(More after the first 1")


def test_an_answer_keeps_within_the_bytes_that_it_may_have_whatever_it_holds(tmp_path: Path) -> None:
    put(tmp_path, "odd", "\x1b\u2028\"\\" * 50_000)
    put(tmp_path, "rows", '"\\\n' * 50_000)

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [await bench.file("read", path=name, most=20_000) for name in ("odd", "rows")]

    odd, rows = on_bench(tmp_path, story)
    assert odd[0]
    assert "Go on with offset" in rows[1]


@pytest.mark.parametrize("tool", ["read", "edit", "write", "grep"])
def test_what_could_block_or_never_end_is_refused(tmp_path: Path, tool: str) -> None:
    (tmp_path / "yard").mkdir()
    os.mkfifo(tmp_path / "yard/pipe")
    given = {"edit": {"old": "a", "new": "b"}, "write": {"content": "x"}, "grep": {"pattern": "x"}}.get(tool, {})
    with socket.socket(socket.AF_UNIX) as door:
        here = Path.cwd()
        os.chdir(tmp_path / "yard")
        door.bind("door")
        os.chdir(here)

        async def story(bench: Bench) -> list[tuple[bool, str]]:
            return [await bench.file(tool, path=path, **given) for path in ("pipe", "/dev/zero", "door")]

        for ok, text in on_bench(tmp_path, story):
            assert not ok
            assert "is not a regular file" in text


@pytest.mark.parametrize(
    ("tool", "given", "sentence"),
    [
        ("read", {"path": "none"}, "There is no file or folder none."),
        ("read", {"path": "folder"}, "folder is a folder: glob lists what is in it."),
        ("read", {"path": "circle"}, "circle leads in a circle of symbolic links."),
        ("read", {"path": "a/b"}, f"a/b {NO_FOLDER}"),
        ("read", {"path": "a\0b"}, "A path cannot hold a NUL character."),
        ("read", {"path": "\ud800"}, f"The call holds {NO_CHARACTER}."),
        ("read", {"path": "x" * 5000}, f"The path {'x' * 80} … is too long for this system."),
        ("write", {"path": "folder", "content": ""}, "folder is a folder: name a file in it."),
        ("write", {"path": "circle", "content": ""}, "circle leads in a circle of symbolic links."),
        ("write", {"path": "a/b", "content": ""}, f"a/b {NO_FOLDER}"),
        ("write", {"path": "a/b/c", "content": ""}, f"a/b/c {NO_FOLDER}"),
        ("edit", {"path": "a", "old": "", "new": "x"}, "old is empty: to make a file use write."),
        ("edit", {"path": "a", "old": "one", "new": "one"}, f"old and new are the same: {NOTHING}."),
        ("edit", {"path": "none", "old": "one", "new": "two"}, "There is no file or folder none."),
        ("grep", {"pattern": "a", "path": "none"}, "There is no file or folder none."),
        ("glob", {"pattern": "*", "path": "none"}, "There is no file or folder none."),
        ("glob", {"pattern": "../*"}, "A pattern cannot hold `..`: name the folder to look in as path."),
        ("glob", {"pattern": "*", "path": "a"}, f"a {NO_FOLDER}"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_done_is_answered_in_one_sentence(
    tmp_path: Path, tool: str, given: dict[str, str], sentence: str
) -> None:
    put(tmp_path, "a", "one\n")
    (tmp_path / "yard/folder").mkdir()
    (tmp_path / "yard/circle").symlink_to("circle")
    assert ask_file(tmp_path, tool, **given) == (False, sentence)
    assert (tmp_path / "yard/a").read_text() == "one\n"


def test_an_edit_says_how_often_and_where_the_text_was_found(tmp_path: Path) -> None:
    path = put(tmp_path, "a", "one\ntwo one\none\n")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("edit", path="a", old="three", new="x"),
            await bench.file("edit", path="a", old="one", new="x"),
            await bench.file("edit", path="a", old="one", new="two", all=True),
        ]

    none, many, every = on_bench(tmp_path, story)
    assert none[0] is False
    assert none[1].startswith("old was not found in a: ")
    assert many[1].startswith("old was found 3 times in a (at lines 1, 2, 3): give more of the text around")
    assert every == (True, "Replaced 3 occurrences in a (at lines 1, 2, 3).")
    assert path.read_text() == "two\ntwo two\ntwo\n"


def test_an_edit_across_lines_finds_its_place_in_a_file_of_windows(tmp_path: Path) -> None:
    path = put(tmp_path, "a", "one\r\ntwo\r\n")
    assert ask_file(tmp_path, "edit", path="a", old="one\ntwo", new="1\n2")[0]
    assert path.read_bytes() == b"1\r\n2\r\n"


def test_a_changed_file_keeps_its_mode_and_a_link_to_it_stays_a_link(tmp_path: Path) -> None:
    path = put(tmp_path, "run.sh", "#!/bin/sh\n")
    path.chmod(0o751)
    (tmp_path / "yard/link").symlink_to("run.sh")

    async def story(bench: Bench) -> None:
        assert (await bench.file("edit", path="link", old="/bin/sh", new="/bin/bash"))[0]
        assert (await bench.file("write", path="run.sh", content="#!/bin/bash\ntrue\n"))[0]

    on_bench(tmp_path, story)
    assert (tmp_path / "yard/link").is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("#!/bin/bash\ntrue\n", 0o751)


@pytest.mark.heavy
def test_in_a_sandbox_a_path_outside_leads_nowhere_and_nothing_but_its_folders_is_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    put(tmp_path, "a", "x")
    (tmp_path / "yard/out").symlink_to(tmp_path / "secret")

    async def story(bench: Bench) -> list[tuple[bool, str]]:
        return [
            await bench.file("read", path=str(tmp_path / "secret")),
            await bench.file("read", path="../../../../../../etc/shadow"),
            await bench.file("read", path="out"),
            await bench.file("write", path="/usr/lib/x", content="x"),
            await bench.file("edit", path="/minion/sandbox/tool_host.py", old="VERSION = 1", new="VERSION = 2"),
            await bench.file("read", path="/proc/1/environ"),
        ]

    answers = on_bench(tmp_path, story, sandboxed=True)
    assert not any(ok for ok, _ in answers)
    assert [text for _, text in answers[:3]] == [
        f"There is no file or folder {tmp_path}/secret.",
        "There is no file or folder ../../../../../../etc/shadow.",
        "There is no file or folder out.",
    ]
    assert "/usr/lib/x is read-only here" in answers[3][1]
    assert "is read-only here" in answers[4][1]
    assert "permission denied" in answers[5][1]


@pytest.mark.heavy
def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    """The sandbox's /dev/shm holds 64 MiB."""

    async def story(bench: Bench) -> tuple[tuple[bool, str], ToolResult]:
        run = bench.host.run
        await run(["sh", "-c", "echo old > /dev/shm/a; head -c 67000000 /dev/zero > /dev/shm/fill"], cwd="/",
                  timeout_s=20, max_bytes=100)  # fmt: skip
        answer = await bench.file("write", path="/dev/shm/a", content="x" * 900_000)
        return answer, await run(["sh", "-c", "cat a; ls -A"], cwd="/dev/shm", timeout_s=20, max_bytes=100)

    answer, left = on_bench(tmp_path, story, sandboxed=True)
    assert answer == (False, "There is no space left for /dev/shm/a.")
    assert left.stdout == b"old\na\nfill\n"


def test_a_call_in_a_folder_that_is_gone_says_so_and_the_host_goes_on(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[ToolResult, tuple[bool, str]]:
        gone = f"{bench.inside}/gone"
        call = {"tool": "glob", "pattern": "*"}
        lost = await bench.host.file(call, cwd=gone, timeout_s=10, max_bytes=1000)
        return lost, await bench.file("glob", pattern="*")

    lost, after = on_bench(tmp_path, story)
    assert lost.exit is None
    assert lost.why == f"could not enter {tmp_path}/yard/gone: No such file or directory"
    assert after == (True, "Nothing matches *.")


@BOTH
def test_a_pattern_that_hangs_ends_at_the_timeout_and_the_host_goes_on(tmp_path: Path, sandboxed: bool) -> None:
    put(tmp_path, "a", "a" * 40 + "!\n")

    async def story(bench: Bench) -> tuple[ToolResult, ToolResult]:
        call = {"tool": "grep", "pattern": "(a+)+$"}
        hung = bench.host.file(call, cwd=bench.inside, timeout_s=0.5, max_bytes=1000)
        # Others are served meanwhile.
        beside = bench.host.file({"tool": "read", "path": "a"}, cwd=bench.inside, timeout_s=20, max_bytes=1000)
        return tuple(await asyncio.gather(hung, beside))  # type: ignore[return-value]

    hung, beside = on_bench(tmp_path, story, sandboxed=sandboxed)
    assert (hung.exit, hung.why, hung.stdout) == (None, "timeout", b"")
    assert beside.exit == 0


def test_a_process_that_answers_a_call_has_nothing_of_the_host_s_open() -> None:
    """`/proc/self/fd`, which glob may list, is that of the process that lists it."""
    with raw_host() as host:
        call = {"tool": "glob", "pattern": "*", "path": "/proc/self/fd"}
        host.say({"id": 1, "op": "run", "argv": ["/bin/sleep", "600"], "cwd": "/", "env": {}, "timeout_s": 60,
                  "max_bytes": 10})  # fmt: skip
        host.say({"id": 2, "op": "file", "call": call, "cwd": "/", "timeout_s": 10, "max_bytes": 10_000})
        said = host.hear()
        assert said["id"] == 2
        listed = base64.b64decode(said["b64"]).decode()
        open_files = {Path(line).name for line in json.loads(listed)["text"].splitlines()}
        # Its three pipes, why it could not, and the folder that it lists.
        assert {"0", "1", "2"} <= open_files
        assert len(open_files) == 5
        assert host.hear()["exit"] == 0


@pytest.mark.parametrize(
    ("request_of", "complaint"),
    [
        ({"call": None}, "call must be an object"),
        ({"call": []}, "call must be an object"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"max_bytes": "x"}, "max_bytes"),
        ({"cwd": "a\0b"}, "cwd"),
        ({"call": {}}, "the file tool failed"),
        ({"call": {"tool": "dance", "path": "a"}}, "the file tool failed"),
        ({"call": {"tool": "read", "path": 7}}, "the file tool failed"),
    ],
)
def test_a_bad_call_is_answered_and_the_host_goes_on(request_of: dict[str, object], complaint: str) -> None:
    good = {"op": "file", "call": {"tool": "glob", "pattern": "*"}, "cwd": "/", "timeout_s": 10, "max_bytes": 9000}
    with raw_host() as host:
        host.say({"id": 1, **good, **request_of})
        answer = host.hear()
        assert (answer["id"], answer["exit"]) == (1, None)
        assert complaint in answer["why"]
        host.say({"id": 2, **good})
        assert "b64" in host.hear()
        assert host.hear()["exit"] == 0
