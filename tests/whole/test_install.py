"""`make install`: a program of its own, links to it, a receipt; whatever is cut off leaves a working one."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minion.setup.installation import (
    Place,
    Receipt,
    check_links,
    check_unused,
    check_user,
    first_command,
    install,
    main,
    place_links,
    place_of,
    prove,
    read_receipt,
    remove_program,
    startup_line,
    users_of,
    write_receipt,
)
from server.contract.refusals import BadUse, Refused
from tests.house.source_tree import ROOT
from tests.skills.repositories import Repository


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place that nothing is installed in."""
    return Place(tmp_path / "prefix")


def put_program(place: Place, name: str) -> Path:
    """A program folder as an installation leaves it: a Python and two programs that say its name."""
    program = place.share / name
    (program / "bin").mkdir(parents=True)
    (program / "bin" / "python").symlink_to(sys.executable)
    for each in ("minion", "hq"):
        (program / "bin" / each).write_text(f"#!/bin/sh\necho {name}\n")
        (program / "bin" / each).chmod(0o755)
    return program


def put_installed(place: Place) -> Path:
    """A whole installation; its program folder."""
    program = put_program(place, "program-old")
    place_links(place, program)
    write_receipt(place, Receipt("0.0.1", program, place.links, ROOT))
    return program


def answer_of(link: Path) -> str:
    """What the program says that a link leads to."""
    return subprocess.run([link], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.promise("CLI-8")
def test_links_are_switched_from_one_program_to_the_next_and_the_receipt_tells(place: Place) -> None:
    put_installed(place)
    assert [answer_of(link) for link in place.links] == ["program-old", "program-old"]
    fresh = put_program(place, "program-new")
    place_links(place, fresh)
    write_receipt(place, Receipt("0.0.2", fresh, place.links, ROOT))
    assert [answer_of(link) for link in place.links] == ["program-new", "program-new"]
    assert sorted(path.name for path in (place.prefix / "bin").iterdir()) == ["hq", "minion"]
    assert read_receipt(place) == Receipt("0.0.2", fresh, place.links, ROOT)
    assert json.loads(place.receipt.read_text())["links"] == [str(link) for link in place.links]
    assert place_of(fresh) == place


@pytest.mark.promise("CLI-8")
def test_an_installation_that_fails_leaves_the_earlier_one_working_and_nothing_behind(place: Place) -> None:
    old = put_installed(place)
    before = place.receipt.read_bytes()
    with pytest.raises(Refused) as refused:
        install(place, ROOT, "/bin/false")
    assert refused.value.code == "install_failed"
    assert [answer_of(link) for link in place.links] == ["program-old", "program-old"]
    assert (place.programs(), place.receipt.read_bytes()) == ([old], before)


@pytest.mark.promise("CLI-8")
def test_what_a_killed_installation_left_is_cleared_by_the_next(place: Place) -> None:
    old = put_installed(place)
    put_program(place, "program-half")
    with pytest.raises(Refused):
        install(place, ROOT, "/bin/false")
    assert place.programs() == [old]


def untouched(there: Path) -> tuple[int, ...]:
    """What changes once somebody writes or puts something there (looking at it moves only the time of access)."""
    seen = os.lstat(there)
    return seen.st_ino, seen.st_mode, seen.st_nlink, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


@pytest.mark.promise("CLI-8")
@pytest.mark.parametrize("foreign", ["file", "folder", "link", "broken link"])
def test_a_program_that_somebody_else_put_there_is_never_overwritten(place: Place, foreign: str) -> None:
    there = place.links[0]
    there.parent.mkdir(parents=True)
    if foreign == "file":
        there.write_text("#!/bin/sh\n")
    elif foreign == "folder":
        there.mkdir()
    else:
        there.symlink_to("/bin/sh" if foreign == "link" else "/nowhere/program-1/bin/minion")
    before = untouched(there)
    with pytest.raises(Refused) as refused:
        install(place, ROOT, sys.executable)
    assert refused.value.code == "foreign_program"
    assert refused.value.sentence == f"{there} is there already, and `make install` did not put it there."
    assert untouched(there) == before
    assert not place.share.exists()


def test_a_second_installation_at_the_same_time_is_refused(place: Place) -> None:
    put_installed(place)
    with (place.share / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused) as refused:
            install(place, ROOT, "/bin/false")
    assert refused.value.code == "installing"


def test_a_prefix_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused) as refused:
        install(Place(tmp_path / "file"), ROOT, sys.executable)
    assert refused.value.code == "cannot_install"
    with pytest.raises(Refused) as refused:
        place_links(Place(tmp_path / "file"), tmp_path)
    assert refused.value.code == "links_not_placed"
    assert main(["install", "--prefix", str(tmp_path / "file")]) == 3
    sentence, hint = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"make install: {tmp_path}/file/share/minion-hq cannot be written")
    assert hint == "hint: make install PREFIX=FOLDER, with one of your own"


def test_root_must_say_where() -> None:
    with pytest.raises(BadUse) as refused:
        check_user(0, chosen=False)
    assert refused.value.code == "root"
    check_user(0, chosen=True)
    check_user(1000, chosen=False)


def test_a_program_that_a_process_runs_from_is_kept_until_the_next_time(place: Place) -> None:
    used = put_program(place, "program-used")
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system does not tell what processes run")
    asked = [used / "bin" / "python", "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert users_of(used) == [process.pid]
        with pytest.raises(Refused) as refused:
            check_unused(place)
        assert refused.value.code == "program_in_use"
        with pytest.raises(Refused):
            install(place, ROOT, "/bin/false")
        assert place.programs() == [used]
        process.communicate()
    check_unused(place)


@pytest.mark.promise("CLI-9")
def test_a_removal_takes_links_programs_and_receipt_and_nobody_elses_files(place: Place) -> None:
    program = put_installed(place)
    half = put_program(place, "program-half")
    other = place.prefix / "bin" / "other"
    other.write_text("mine\n")
    assert remove_program(place) == [*place.links, half, program]
    assert [path for path in place.prefix.rglob("*") if not path.is_dir()] == [other]
    assert not place.share.exists()
    # A link of that name which is somebody else's stays.
    place.links[0].symlink_to("/bin/sh")
    assert remove_program(place) == []
    assert place.links[0].is_symlink()


def test_make_uninstall_clears_what_is_left_of_a_broken_program(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    program = put_installed(place)
    (program / "bin" / "minion").unlink()
    assert main(["uninstall", "--prefix", str(place.prefix)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"removed {program}"
    assert main(["uninstall", "--prefix", str(place.prefix)]) == 0
    assert capsys.readouterr().out == f"There is no minion installed in {place.prefix}.\n"


@pytest.mark.parametrize("path", [".venv", "share/minion-hq/other", "lib/program-1"])
def test_any_other_environment_is_no_installation(tmp_path: Path, path: str) -> None:
    assert place_of(tmp_path / path) is None


def test_a_receipt_that_cannot_be_read_is_none(place: Place) -> None:
    put_installed(place)
    for body in ("", "[]", "{}", '{"version": 1, "program": null, "links": 3, "source": "x"}'):
        place.receipt.write_text(body)
        assert read_receipt(place) is None
    check_links(place)


def test_the_line_for_the_startup_file_is_exact_and_only_told_when_it_is_needed(tmp_path: Path) -> None:
    folder = tmp_path / "my bin"
    line = startup_line(folder)
    assert line == f"export PATH='{folder}':\"$PATH\""
    first = subprocess.run(["sh", "-c", f"{line}; echo ${{PATH%%:*}}"], capture_output=True, text=True, check=True)
    assert first.stdout.strip() == str(folder)
    on_path = next(Path(part) for part in os.environ["PATH"].split(":") if Path(part).is_dir())
    assert startup_line(on_path) is None


def test_the_first_command_is_fit_for_a_shell_where_the_home_has_a_blank_and_the_path_another_minion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "my home" / ".local")
    assert first_command(place) == f"'{place.links[0]}' setup"
    bin_folder, other = place.links[0].parent, tmp_path / "other"
    for folder in (bin_folder, other):
        folder.mkdir(parents=True)
        (folder / "minion").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{other}")
    assert first_command(place) == "minion setup"
    monkeypatch.setenv("PATH", f"{other}:{bin_folder}")
    assert first_command(place) == f"'{place.links[0]}' setup"


def test_this_program_proves_itself_whole_and_another_does_not(tmp_path: Path) -> None:
    assert prove()
    for folder in ("minion", "server"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "skills", tmp_path / "skills")
    script = tmp_path / "skills" / "send-to-slack" / "scripts" / "run.py"
    script.write_text(script.read_text() + "# changed\n")
    proof = "try:\n    prove()\nexcept Refused as refused:\n    print(refused.code, refused.sentence)"
    asked = [sys.executable, "-c", f"from minion.setup.installation import Refused, prove\n{proof}"]
    ended = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
    code, _, sentence = ended.stdout.strip().partition(" ")
    assert code == "not_whole"
    assert sentence == "The program is not whole: the skill send-to-slack is not as released."


def checkout_in(folder: Path) -> Path:
    """A copy of what is checked out, as somebody has it who cloned it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.heavy
@pytest.mark.promise("CLI-8")
@pytest.mark.promise("CLI-9")
def test_an_installed_minion_outlives_its_checkout_runs_upgrades_and_goes(tmp_path: Path) -> None:
    user, prefix, checkout = tmp_path / "user", tmp_path / "prefix", checkout_in(tmp_path / "checkout")
    user.mkdir()
    shop = Repository(tmp_path, "shop")
    shop.write("a.txt", "a\n")
    shop.commit("Begin")
    clean = {"HOME": str(user), "PATH": f"{prefix}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    place = Place(prefix)

    def done(*argv: str, cwd: Path = shop.folder, code: int = 0, **more: str) -> str:
        ended = subprocess.run(
            argv, cwd=cwd, env=clean | more, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    making = ("make", "install", f"PREFIX={prefix}", f"PYTHON={sys.executable}")
    told = done(*making, cwd=checkout)
    (first,) = place.programs()
    for words in (str(first), str(prefix / "bin/minion"), "next     minion setup"):
        assert words in told
    # One that fails: the registry is not there. The one before goes on working.
    unreached = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    done(*making, cwd=checkout, code=2, **unreached)
    assert place.programs() == [first]
    done(*making, cwd=checkout)
    (second,) = place.programs()
    assert first != second
    shutil.rmtree(checkout)
    done("minion", "init", "--name", "desk")
    run = json.loads(done("minion", "run", "morning-report", "--json"))
    assert (run["verdict"], run["outcome"]) == ("unchecked", "success")
    assert all(skill["pinned"] for skill in json.loads(done("minion", "skill", "list", "--json")))
    assert "standup-prep" in done("minion", "routine", "new", "--list")
    assert "T:36a61784" in done("hq", "process")
    home = user / ".local" / "share" / "minion"
    gone = json.loads(done("minion", "uninstall", "--yes", "--json"))
    assert [(item["what"], item["path"]) for item in gone["removed"]] == [
        ("home", str(home)),
        ("program", str(second)),
        *(("link", str(link)) for link in place.links),
    ]
    assert (home.exists(), place.share.exists(), list((prefix / "bin").iterdir())) == (False, False, [])
