"""Skills in folders and archives, read by our own rules: what is kept byte for byte, and what is refused."""

from __future__ import annotations

import os
import resource
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minion.skills.archive import BYTES, FILES, Reading, read_skill
from server.contract.refusals import BadDocument, NotFound
from tests.minion.skill_readings import HEADER, SKILL, laid_out, words_of, zipped
from tests.minion.zip_forge import Forged, forged_zip

FILES_OF_A_SKILL = {
    "SKILL.md": HEADER,
    "scripts/run.py": b"print('hello')\r\n",
    "references/deep/er/run.py": b"another of this base name",
    "assets/logo.png": bytes(range(256)) * 300,
    "assets/inner.zip": forged_zip([Forged(b"../../evil", b"x")]),
    "assets/empty": b"",
    "notes/Grüße an Ωmega.txt": "ß".encode("utf-16"),
}


@pytest.mark.parametrize("outer", ["", "greet-main/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_nested_and_binary_files_of_an_archive_are_kept_byte_for_byte(
    tmp_path: Path, outer: str, method: int
) -> None:
    file = tmp_path / "greet.skill"
    with zipfile.ZipFile(file, "w", method) as archive:
        if outer:
            archive.mkdir(outer)
        for name, body in FILES_OF_A_SKILL.items():
            archive.writestr(outer + name, body)
    reading = read_skill(file)
    assert (reading.accepted(), reading.ignored) == (FILES_OF_A_SKILL, ())
    assert reading.folder == (outer.rstrip("/") or None)


def test_nested_and_binary_files_of_a_folder_are_kept_byte_for_byte(tmp_path: Path) -> None:
    reading = read_skill(laid_out(tmp_path, FILES_OF_A_SKILL))
    assert (reading.accepted(), reading.folder) == (FILES_OF_A_SKILL, "greet")


def test_peer_defect_12_two_files_of_one_base_name_are_two_files(tmp_path: Path) -> None:
    names = ("a/report.md", "b/report.md", "report.md")
    files = zipped(tmp_path, [SKILL, *(Forged(name.encode(), name.encode()) for name in names)]).accepted()
    assert [files[name] for name in names] == [name.encode() for name in names]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"/etc/passwd", "is an absolute path"),
        (b"C:evil", "is an absolute path"),
        (b"c:/evil", "is an absolute path"),
        (b"..\\evil", "has a backslash"),
        (b"../evil", "has an empty part, . or .."),
        (b"a/../../evil", "has an empty part, . or .."),
        (b"a/./b", "has an empty part, . or .."),
        (b"a//b", "has an empty part, . or .."),
        (b"", "has an empty part, . or .."),
        (b"..", "has an empty part, . or .."),
        (b"../", "has an empty part, . or .."),
        (b"a\0b", "has control characters"),
        (b"a\nb", "has control characters"),
        (b"\x1b[31mred", "has control characters"),
        ("a\u0085b".encode(), "has control characters"),
        ("evil\u202etxt.py".encode(), "has control characters"),
        (b"x" * 256, "has a name of over 255 bytes"),
        ("ü".encode() * 128, "has a name of over 255 bytes"),
        (b"/".join([b"d"] * 17), "lies over 16 folders"),
        (b"d/" * 5_000 + b"f", "lies over 16 folders"),
        (b"/".join([b"d" * 200] * 6), "1,024 bytes deep"),
    ],
)
def test_a_name_that_could_mean_another_place_is_refused_and_printed_safely(
    tmp_path: Path, name: bytes, words: str
) -> None:
    said = words_of(zipped(tmp_path, [SKILL, Forged(name, b"" if name.endswith(b"/") else b"x")]))
    assert words in said
    assert len(said) < 160


def test_a_name_that_is_marked_as_utf_8_and_is_none_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in words_of(zipped(tmp_path, [SKILL, Forged(b"caf\x82", flags=0x800)]))


@pytest.mark.parametrize("raw", [b"caf\x82.txt", "café.txt".encode()])
def test_an_unmarked_name_is_utf_8_if_it_can_be_and_the_old_code_page_if_not(tmp_path: Path, raw: bytes) -> None:
    assert "café.txt" in zipped(tmp_path, [SKILL, Forged(raw)]).accepted()


@pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"caf\x82", b"C:x", "\u202ex".encode()])
def test_a_name_in_a_folder_keeps_the_same_rules(tmp_path: Path, name: bytes) -> None:
    root = os.fsencode(laid_out(tmp_path, {"SKILL.md": HEADER}))
    with open(root + b"/" + name, "wb"):  # noqa: PTH123 - the name is bytes
        pass
    assert words_of(read_skill(tmp_path / "greet"))


def test_a_folder_too_deep_is_refused_and_not_entered(tmp_path: Path) -> None:
    laid_out(tmp_path, {"SKILL.md": HEADER, "/".join(["d"] * 20) + "/file": b"x"})
    assert "lies over 16 folders" in words_of(read_skill(tmp_path / "greet"))


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("run.py", "Run.py"),
        (COMPOSED, DECOMPOSED),
        (COMPOSED.upper(), DECOMPOSED),
        ("straße", "STRASSE"),
        ("ﬁle", "file"),
        ("docs/a", "Docs/b"),
        ("docs", "docs/a"),
        ("docs/a", "docs"),
        ("DOCS/a", "docs"),
        ("SKILL.md", "skill.md"),
        ("same", "same"),
        ("a/same", "a/same"),
    ],
)
def test_names_that_some_machine_takes_for_one_are_refused(tmp_path: Path, first: str, second: str) -> None:
    entries = [Forged(name.encode(), b"x", flags=0x800) for name in (first, second) if name != "SKILL.md"]
    reading = zipped(tmp_path, [SKILL, *entries])
    assert reading.problems[0].code == "entry_twice"
    assert words_of(reading)


def test_names_that_clash_in_a_folder_are_refused_too(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"SKILL.md": HEADER, "Run.py": b"", "run.py": b"", COMPOSED: b"", DECOMPOSED: b""})
    if len(list(root.iterdir())) < 5:
        pytest.skip("this disk takes them for one name itself")
    assert [problem.code for problem in read_skill(root).problems] == ["entry_twice", "entry_twice"]


def test_a_folder_that_is_listed_after_its_files_is_no_clash_and_listed_twice_it_is(tmp_path: Path) -> None:
    folder = Forged(b"docs/", attributes=0o40755 << 16)
    files = [SKILL, Forged(b"docs/a", b"x"), folder]
    assert sorted(zipped(tmp_path, files).accepted()) == ["SKILL.md", "docs/a"]
    assert "is there twice" in words_of(zipped(tmp_path, [*files, folder]))


@pytest.mark.parametrize("name", ["secret", "docs", "loop", "nothing"])
def test_a_link_in_a_folder_is_refused_and_never_followed(tmp_path: Path, name: str) -> None:
    root = laid_out(tmp_path, {"SKILL.md": HEADER})
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "docs").mkdir()
    (root / name).symlink_to(root if name == "loop" else tmp_path / name)
    assert f"`{name}` is a link or no regular file" in words_of(read_skill(root))


def test_a_pipe_in_a_folder_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(laid_out(tmp_path, {"SKILL.md": HEADER}) / "pipe")
    assert "`pipe` is a link or no regular file" in words_of(read_skill(tmp_path / "greet"))
    os.mkfifo(tmp_path / "greet.zip")
    assert "neither a folder nor a zip" in words_of(read_skill(tmp_path / "greet.zip"))


def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"SKILL.md": HEADER, "locked": b"x"})
    (root / "locked").chmod(0)
    if os.access(root / "locked", os.R_OK):
        pytest.skip("this user may read everything")
    assert "`locked` cannot be read (Permission denied)" in words_of(read_skill(root))


def test_a_folder_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"SKILL.md": HEADER, "deep/file": b"x"})
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Room for the skill's folder and one more: the list of the folder inside it takes a third.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))
    try:
        reading = read_skill(root)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert words_of(reading) == "`deep` cannot be read (Too many open files)"
    assert reading.problems[0].code == "entry_unreadable"


def test_what_is_not_there_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere cannot be read"):
        read_skill(tmp_path / "nowhere")


@pytest.mark.parametrize("packed", [False, True])
def test_what_machines_leave_behind_is_left_out_and_said(tmp_path: Path, packed: bool) -> None:
    files = {
        "SKILL.md": HEADER,
        "__MACOSX/._SKILL.md": b"x",
        "__MACOSX/a/._b": b"x",
        "docs/.DS_Store": b"x",
        ".git/config": b"x",
        "scripts/__pycache__/run.cpython-311.pyc": b"x",
        "scripts/old.pyc": b"x",
    }
    root = laid_out(tmp_path, files)
    reading = zipped(tmp_path, [Forged(n.encode(), b) for n, b in files.items()]) if packed else read_skill(root)
    assert reading.accepted() == {"SKILL.md": HEADER}
    left = [".git", "__MACOSX", "docs/.DS_Store", "scripts/__pycache__", "scripts/old.pyc"]
    assert sorted(reading.ignored) == left


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["README.md"], "it has no SKILL.md"),
        (["a/b/SKILL.md"], "it has no SKILL.md"),
        (["skill.md"], "it has no SKILL.md"),
        (["a/SKILL.md", "b/SKILL.md"], "it holds 2 skills: a, b"),
        (["a/SKILL.md", "README.md"], "`README.md` lies outside the folder `a`"),
        (["a/SKILL.md", "b/c"], "`b/c` lies outside the folder `a`"),
        ([], "it has no SKILL.md"),
    ],
)
def test_the_skill_file_lies_at_the_top_or_in_the_one_folder(tmp_path: Path, names: list[str], words: str) -> None:
    assert words in words_of(zipped(tmp_path, [Forged(name.encode()) for name in names]))


def test_a_skill_file_deeper_down_is_a_file_like_any_other(tmp_path: Path) -> None:
    files = {"SKILL.md": HEADER, "templates/SKILL.md": b"x", "a/b/SKILL.md": b"y"}
    assert zipped(tmp_path, [Forged(name.encode(), body) for name, body in files.items()]).accepted() == files


def test_every_breach_is_named_and_the_first_one_refuses(tmp_path: Path) -> None:
    reading = zipped(tmp_path, [SKILL, Forged(b"../a"), Forged(b"b", flags=1), Forged(b"skill.md")])
    assert [problem.code for problem in reading.problems] == ["entry_name", "entry_kind", "entry_twice"]
    with pytest.raises(BadDocument, match=r"2 more: minion skill validate") as caught:
        reading.accepted()
    assert caught.value.code == "entry_name"


@pytest.mark.parametrize("packed", [False, True])
def test_a_skill_may_have_exactly_500_files(tmp_path: Path, packed: bool) -> None:
    def read(many: int) -> Reading:
        files = {"SKILL.md": HEADER} | {f"f/{number}": b"" for number in range(many - 1)}
        entries = [Forged(name.encode(), body) for name, body in files.items()]
        return zipped(tmp_path, entries) if packed else read_skill(laid_out(tmp_path, files))

    assert len(read(FILES).accepted()) == FILES
    assert "over 500 files" in words_of(read(FILES + 1))


@pytest.mark.parametrize("deflate", [False, True])
def test_a_skill_may_have_exactly_20_mebibytes(tmp_path: Path, deflate: bool) -> None:
    half = BYTES // 2
    rest = half - len(HEADER)
    entries = [SKILL, Forged(b"a", bytes(half), deflate), Forged(b"b", bytes(rest), deflate)]
    assert sum(map(len, zipped(tmp_path, entries).accepted().values())) == BYTES
    assert "20 MiB" in words_of(zipped(tmp_path, [*entries, Forged(b"c", b"x")]))


def test_a_folder_of_too_many_entries_is_not_listed_to_its_end(tmp_path: Path) -> None:
    root = laid_out(tmp_path, {"SKILL.md": HEADER})
    for number in range(2_100):
        (root / f"d{number}").mkdir()
    assert "over 500 files" in words_of(read_skill(root))


def folded(name: str) -> str:
    """A name with what some machines do not tell apart taken out of it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold().casefold())


LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"], exclude_characters="/\\:")
OTHERS = (".", "..", "__MACOSX", ".DS_Store", ".git", "__pycache__")
PART = st.text(LETTERS, min_size=1, max_size=20).filter(lambda part: part not in OTHERS and part[-4:] != ".pyc")
PATHS = st.lists(PART, min_size=1, max_size=15).map("/".join)


@st.composite
def skills(draw: st.DrawFn) -> dict[str, bytes]:
    """Legal names, unique however they are folded, and any bytes."""
    drawn = draw(st.dictionaries(PATHS, st.binary(max_size=3000), max_size=12))
    chosen, taken = {"SKILL.md": HEADER}, {"skill.md": "SKILL.md"}
    for path, body in drawn.items():
        parts = path.split("/")
        ways = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
        fresh = folded(path) not in taken
        if fresh and all(taken.get(folded(way), way) == way and way not in chosen for way in ways):
            taken |= {folded(way): way for way in ways}
            chosen[path] = body
    return chosen


@settings(deadline=None, database=None, max_examples=40)
@given(skills(), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), st.sampled_from(["", "outer/"]))
def test_any_legal_files_survive_an_archive_and_a_folder_unchanged(
    files: dict[str, bytes], method: int, outer: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "greet.zip"
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, body in files.items():
                archive.writestr(outer + name, body)
        assert read_skill(file).accepted() == files
        assert read_skill(laid_out(Path(folder), files)).accepted() == files
