"""triage-folder suggests what to do with each file of an inbox, touches none, and tells nothing they say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.skills.repositories import Repository
from tests.skills.tasks import Ended, run_skill

pytestmark = pytest.mark.heavy

# Friday morning in Berlin.
NOW = "2026-11-20T07:00:00.000Z"
MONDAY = "2026-11-16T10:00:00+00:00"
SPRING = "2026-04-01T10:00:00+00:00"
MARK = "TO" + "DO"
READ = "read first"
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"
HOSTILE = "**x** [y](https://evil.example) <!channel> `z`|.txt"


def triage(notes: Repository, **fields: Any) -> Ended:
    return run_skill("triage-folder", **{"now": NOW, "repositories": [notes.history()]} | fields)


def rows_of(notes: Repository, **fields: Any) -> dict[str, dict[str, Any]]:
    ended = triage(notes, **fields)
    assert ended.exit == 0, ended.log
    return {row["path"]: row for row in ended.result["data"]["rows"]}


def inbox(folder: Path, files: dict[str, str | bytes], *, at: str = MONDAY) -> Repository:
    """A repository of notes with these files in its inbox."""
    notes = Repository(folder, "notes")
    for name, content in files.items():
        notes.write(f"inbox/{name}", content)
    notes.commit("Arrived", at=at)
    return notes


def verdict(folder: Path, name: str, content: str | bytes, *, at: str = MONDAY) -> tuple[str, str]:
    row = rows_of(inbox(folder, {name: content}, at=at))[name]
    return row["action"], row["why"]


@pytest.mark.promise("SKL-8")
def test_an_inbox_reads_as_a_table_with_the_most_pressing_first(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"old.txt": "Long ago\n", "empty.md": ""}, at=SPRING)
    notes.write("inbox/invoice-7.pdf", b"%PDF-1.7\x00\x01")
    notes.write("inbox/letter.txt", "Please sign.\nDeadline: 2026-11-24\n")
    notes.write("inbox/paper/copy.md", "The same\n")
    notes.write("inbox/settings.ini", f"key = {KEY}\n")
    notes.write("inbox/idea.md", "The same\n")
    notes.commit("Arrived", at=MONDAY)
    result = triage(notes).result
    title, when, total, *drawn = [line for line in result["text"].splitlines() if line]
    assert title == "# inbox of notes: 7 files, 3 to read first, 1 duplicate, 2 to archive"
    assert when == "_Fri 20 Nov 08:00, Europe/Berlin_"
    assert total == "98 B in all: note 5, data 1, document 1."
    assert len({len(line) for line in drawn}) == 1
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (drawn[0], *drawn[2:])] == [
        ["Action", "File", "Why", "Kind", "Size", "Days"],
        [READ, "`settings.ini`", "it seems to hold an AWS key: move it to a safe place", "data", "27 B", "3"],
        [READ, "`letter.txt`", "it is due Tue 24 Nov (in 4 days)", "note", "34 B", "3"],
        [READ, "`invoice-7.pdf`", "it seems to be an invoice or a receipt", "document", "10 B", "3"],
        ["delete duplicate", "`paper/copy.md`", "copy of `idea.md`", "note", "9 B", "3"],
        ["archive", "`empty.md`", "it is empty", "note", "0 B", "232"],
        ["archive", "`old.txt`", "untouched for 232 days", "note", "9 B", "232"],
        ["keep", "`idea.md`", "", "note", "9 B", "3"],
    ]
    assert result["data"]["summary"].startswith("sorted inbox of notes: 7 files, 3 to read first")
    assert result["data"]["actions"] == {"read first": 3, "delete duplicate": 1, "archive": 2, "keep": 1}


def test_the_full_table_is_staged_as_one_file(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {f"note{count:03}.md": f"{count}\n" for count in range(250)})
    result = triage(notes).result
    (effect,) = result["effects"]
    assert {key: effect[key] for key in ("kind", "target")} == {"kind": "file", "target": "triage.md"}
    assert "And 220 more files in `triage.md`." in result["text"]
    assert len(result["text"].splitlines()) <= 60
    assert sum(line.startswith("| keep") for line in effect["body"].splitlines()) == 250
    assert (result["data"]["files"], len(result["data"]["rows"])) == (250, 200)


def test_nothing_in_the_folder_is_changed(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "same\n", "b.md": "same\n", "c.txt": f"{MARK}\n", "d": ""})

    def contents() -> dict[str, tuple[int, int, int]]:
        folder = notes.folder / "inbox"
        status = {path.name: path.stat() for path in folder.iterdir()}
        return {name: (one.st_mtime_ns, one.st_size, one.st_mode) for name, one in status.items()}

    before = contents()
    assert triage(notes).exit == 0
    assert contents() == before


SECRETS = {
    "key.txt": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    "aws.txt": f"id {KEY} here\n",
    "hub.md": "token ghp_" + "a1B2c3D4" * 5 + "\n",
    "chat.md": "xoxb-" + "1234567890-abcdefghij\n",
    "login.txt": "Password: hunter2hunter2\n",
    "config.yaml": 'api_key: "Zx81q0pLw2"\n',
    ".env": "A=1\n",
}


@pytest.mark.promise("SKL-8")
@pytest.mark.parametrize("name", SECRETS)
def test_a_probable_secret_is_named_by_kind_and_shown_nowhere(tmp_path: Path, name: str) -> None:
    ended = triage(inbox(tmp_path, {name: SECRETS[name], f"copy-of-{name}": SECRETS[name]}))
    (first,) = [row for row in ended.result["data"]["rows"] if row["action"] == "read first"]
    assert first["secret"] and "move it to a safe place" in first["why"]
    for word in SECRETS[name].replace("Password:", "").replace("api_key:", "").split():
        if len(word.strip('"')) > 9:
            assert word.strip('"').encode() not in ended.out


@pytest.mark.parametrize(
    "text",
    [
        "password = ${DB_PASSWORD}\n",
        "password: changeme\n",
        "password: example-password\n",
        "The password is in the safe.\n",
        'token = os.environ["TOKEN"]\n',
        "monkey: business\n",
    ],
)
def test_a_placeholder_is_no_secret(tmp_path: Path, text: str) -> None:
    assert rows_of(inbox(tmp_path, {"a.txt": text}))["a.txt"]["secret"] is None


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("Deadline 2026-11-27", "2026-11-27"),
        ("Deadline 2026-11-28", None),
        ("It was due on 13.11.2026.", "2026-11-13"),
        ("It was due on 12.11.2026.", None),
        ("Please answer by 25 Nov", "2026-11-25"),
        ("Please answer by Wed, November 25th, 2026", "2026-11-25"),
        ("written by Ann, 2026-11-20", None),
        ("We met on 2026-11-20.", None),
        ("Frist: 24. November", "2026-11-24"),
        ("due 11/25/2026", None),
        ("due 2026-13-45", None),
        ("due 30 Nov 2025", None),
        ("due 2026-11-18, or else by 2026-11-26", "2026-11-26"),
    ],
)
def test_a_deadline_within_a_week_is_found_only_where_the_line_speaks_of_one(
    tmp_path: Path, text: str, due: str | None
) -> None:
    assert rows_of(inbox(tmp_path, {"a.md": f"Dear all,\n{text}\n"}))["a.md"]["due"] == due


def test_a_date_without_a_year_is_the_nearest_one_across_new_year(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "due 2 January\n"})
    assert rows_of(notes, now="2026-12-30T07:00:00.000Z")["a.md"]["due"] == "2027-01-02"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.md", f"{MARK}: call back", "it has a mark to do"),
        ("a.md", "ASAP!", "it says “asap”"),
        ("a.eml", "Subject: Action required", "it says “action required”"),
        ("a.org", "- [ ] milk", "it has an open box"),
        ("noending", "please reply", "it says “please reply”"),
    ],
)
def test_a_note_with_an_action_word_is_read_first(tmp_path: Path, name: str, text: str, why: str) -> None:
    assert verdict(tmp_path, name, text) == ("read first", why)


@pytest.mark.parametrize("name", ["a.py", "a.csv", "a.log"])
def test_an_action_word_in_code_or_data_is_no_message(tmp_path: Path, name: str) -> None:
    assert verdict(tmp_path, name, f"# {MARK} urgent, due 2026-11-20\n") == ("keep", "")


@pytest.mark.parametrize(
    ("name", "content", "at", "expected"),
    [
        ("Rechnung_12.pdf", b"\x00", MONDAY, ("read first", "it seems to be an invoice or a receipt")),
        ("a.txt", "Invoice 5\nAmount due: 7\n", MONDAY, ("read first", "it seems to be an invoice or a receipt")),
        ("a.txt", "An invoice is a thing.\n", MONDAY, ("keep", "")),
        ("billboard.png", b"\x00", MONDAY, ("keep", "")),
        ("invoice.pdf", b"\x00", "2026-10-01T10:00:00+00:00", ("archive", "an older invoice or receipt")),
        ("a.txt", b"caf\xe9\n", MONDAY, ("keep", "check its encoding: it is not UTF-8")),
        ("a.txt", b"a\x00b", MONDAY, ("keep", "check its encoding: it holds zero bytes")),
        ("a.txt", "a\ufffdb", MONDAY, ("keep", "check its encoding: it has characters that were lost")),
        ("a.txt", "fällig".encode("utf-16"), MONDAY, ("keep", "")),
        ("a.txt", b"\xef\xbb\xbffine\n", MONDAY, ("keep", "")),
        ("a.jpg", b"\xff\xd8\xff", MONDAY, ("keep", "")),
        ("a.txt", "fine\n", "2026-08-22T06:00:00+00:00", ("keep", "")),
        ("a.txt", "fine\n", "2026-08-21T06:00:00+00:00", ("archive", "untouched for 91 days")),
    ],
)
def test_each_rule_gives_its_action(
    tmp_path: Path, name: str, content: str | bytes, at: str, expected: tuple[str, str]
) -> None:
    assert verdict(tmp_path, name, content, at=at) == expected


def test_a_very_large_file_is_judged_without_reading_it_all(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "x\n"})
    for name in ("one.mp4", "two.mp4"):
        with (notes.folder / "inbox" / name).open("wb") as file:
            file.truncate(300 * 1024 * 1024)
        os.utime(notes.folder / "inbox" / name, (1_795_000_000, 1_795_000_000))
    rows = rows_of(notes)
    assert (rows["one.mp4"]["action"], rows["one.mp4"]["why"]) == ("archive", "very large (315 MB)")
    # Too large to be compared, they are not called copies of each other.
    assert rows["two.mp4"]["copy_of"] is None


def test_the_oldest_of_equal_files_is_kept_and_empty_ones_are_no_copies(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"z/original-of-spring.md": "same\n"}, at="2026-11-02T10:00:00+00:00")
    for name in ("a.md", "b.md"):
        notes.write(f"inbox/{name}", "same\n")
        notes.write(f"inbox/empty-{name}", "")
    notes.write("inbox/other.md", "sama\n")
    notes.commit("Arrived", at=MONDAY)
    rows = rows_of(notes)
    assert {path: row["copy_of"] for path, row in rows.items() if row["copy_of"]} == {
        "a.md": "z/original-of-spring.md",
        "b.md": "z/original-of-spring.md",
    }


def test_ages_are_those_of_the_last_commit_and_of_the_file_where_git_knows_none(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "1\n", "b.md": "1, too\n"}, at="2026-11-01T07:00:00+00:00")
    notes.write("inbox/a.md", "2\n")
    notes.write("elsewhere/b.md", "2\n")
    notes.commit("Later", at="2026-11-10T07:00:00+00:00")
    notes.write("inbox/new.md", "3\n")
    os.utime(notes.folder / "inbox" / "new.md", (1_795_000_000, 1_795_000_000))
    rows = rows_of(notes)
    # 1,795,000,000 is 2026-11-18T11:06:40Z.
    assert {path: row["age_days"] for path, row in rows.items()} == {"a.md": 10, "b.md": 19, "new.md": 1}


def test_the_folder_is_the_one_that_the_input_or_the_content_names(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "1\n", "paper/b.md": "2\n"})
    notes.write("todo list/c.md", "3\n")
    notes.commit("More")
    content = {"name": "tidy", "content": "Tidy up.\n\nfolder: `inbox/paper/`\n"}
    assert list(rows_of(notes, routine=content)) == ["b.md"]
    assert list(rows_of(notes, routine=content, input="folder: todo list")) == ["c.md"]


def test_a_folder_whose_name_git_could_take_for_a_pattern_is_a_folder(tmp_path: Path) -> None:
    notes = Repository(tmp_path, "notes")
    notes.write(":(top)in*/a.md", "1\n")
    notes.commit("Arrived", at="2026-11-10T07:00:00+00:00")
    ended = triage(notes, input="folder: :(top)in*")
    assert [(row["path"], row["age_days"]) for row in ended.result["data"]["rows"]] == [("a.md", 10)]
    assert ended.log == ""


@pytest.mark.parametrize("folder", ["..", "inbox/../..", ".git", "a//b", "inbox/.GIT/hooks", "a\\b"])
def test_a_folder_outside_the_repositorys_files_is_refused(tmp_path: Path, folder: str) -> None:
    ended = triage(inbox(tmp_path, {"a.md": "1\n"}), input=f"folder: {folder}")
    assert (ended.exit, ended.out) == (2, b"")
    assert ended.log.startswith("The setting folder is ") and len(ended.log.splitlines()) == 1


def test_no_link_is_followed_and_those_met_are_counted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "diary.md").write_text(f"{MARK} keep this to myself\n")
    notes = inbox(tmp_path, {"a.md": "1\n"})
    (notes.folder / "inbox" / "linked").symlink_to(secret)
    (notes.folder / "inbox" / "diary.md").symlink_to(secret / "diary.md")
    os.mkfifo(notes.folder / "inbox" / "pipe")
    ended = triage(notes)
    assert [row["path"] for row in ended.result["data"]["rows"]] == ["a.md"]
    assert ended.result["data"]["links"] == 3
    assert "_3 links or special files not followed._" in ended.result["text"]
    shutil.rmtree(notes.folder / "inbox")
    (notes.folder / "inbox").symlink_to(secret)
    refused = triage(notes)
    assert (refused.exit, refused.log) == (1, "inbox is a link or no folder, and it is not followed.\n")


def test_an_inbox_that_is_not_there_is_empty_and_says_why(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {})
    result = triage(notes).result
    assert "There is no folder `inbox`: git keeps no empty ones, so it is empty.\n" in result["text"]
    assert (result["data"]["files"], result["effects"][0]["target"]) == (0, "triage.md")
    notes.write("inbox/.gitkeep", "")
    assert "There is no file in `inbox`." in triage(notes).result["text"]


def test_names_that_are_hostile_or_no_utf_8_are_shown_as_names(tmp_path: Path) -> None:
    notes = Repository(tmp_path, "notes")
    notes.write(b"inbox/caf\xe9.txt", "x\n")
    notes.write(("inbox/" + HOSTILE.replace("/", ":")).encode(), "y\n")
    notes.write("inbox/new\nline.md", "z\n")
    notes.commit("Arrived", at=MONDAY)
    ended = triage(notes)
    assert {row["age_days"] for row in ended.result["data"]["rows"]} == {3}
    body = ended.result["effects"][0]["body"]
    assert "| `café.txt`" in body and "| `new line.md`" in body
    assert "<!channel>" not in body and "‹!channel> 'z'¦.txt`" in body  # noqa: RUF001


def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    text = triage(inbox(tmp_path, {"a.png": pointer})).result["text"]
    assert "a Git LFS pointer, the content is elsewhere" in text


def test_files_beyond_the_cap_are_counted_and_not_looked_at(tmp_path: Path) -> None:
    notes = Repository(tmp_path, "notes")
    for count in range(2_003):
        notes.write(f"inbox/{count:05}.md", f"{count}\n")
    result = triage(notes).result
    assert (result["data"]["files"], result["data"]["not_listed"]) == (2_000, 3)
    assert "_3 more files not looked at: too many._" in result["text"]
    assert len(result["effects"][0]["body"].encode()) < 1_048_576


def test_a_history_that_cannot_be_read_costs_the_ages_only(tmp_path: Path) -> None:
    notes = inbox(tmp_path, {"a.md": "please reply\n"})
    place = notes.history() | {"history": str(tmp_path)}
    ended = run_skill("triage-folder", now=NOW, repositories=[place])
    assert (ended.exit, ended.result["data"]["actions"]["read first"]) == (0, 1)
    assert "Ages are those of the files, as the history could not be read." in ended.result["text"]


def test_text_made_to_be_slow_is_judged_in_time(tmp_path: Path) -> None:
    size = 256 * 1024
    hostile: dict[str, str | bytes] = {
        "newlines.md": "\n" * size,
        "tokens.md": "eyJ-" * (size // 4),
        "begin.md": "-----BEGIN A " * (size // 13),
        "password.md": "password" * (size // 8),
        "dates.md": "due " + "1 jan " * 300 + "\n",
        "boxes.md": "- [ " * (size // 4),
    }
    assert set(rows_of(inbox(tmp_path, hostile))) == set(hostile)
