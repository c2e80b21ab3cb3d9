"""What the doctor sees of a home: each fault is made real, and its fixing command is really given."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path

import pytest

from minion.config import Home, held
from minion.doctor import house
from minion.doctor.remedies import edit
from minion.store.local_db import read_only
from minion.store.run_history import breaches, log_size
from minion.store.soundness import damage
from tests.minion.patients import give, only
from tests.minion.stored_runs import Teller, make_order, numbered_id, open_store, perform, start
from tests.whole.homes import make_home, performed, write_routine, write_secrets, write_skill

VALUE = "a-value-that-nobody-may-see"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A fresh home without a store."""
    return make_home(tmp_path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one run; tests work on a copy of it."""
    home = make_home(tmp_path_factory.mktemp("ran"))
    write_skill(home, "act", "print('# done')")
    write_routine(home, "task", "act")
    performed(home, "task")
    return home


def copy_of(home: Home, folder: Path) -> Home:
    """The same home in a test's own folder."""
    give(f"cp -a {home.root} {folder}/home")
    return Home(folder / "home")


@pytest.mark.promise("CLI-5")
def test_secrets_that_others_can_read_are_a_problem_until_the_fix_is_given(home: Home) -> None:
    write_secrets(home, {"slack_webhook": VALUE}, mode=0o644)
    finding = only(house.secrets(home))
    assert (finding.state, finding.fix) == ("problem", f"chmod 600 {home.secrets_file}")
    give(finding.fix)
    assert only(house.secrets(home)).says == "secrets.json is private and holds 1 secret."


def test_secrets_behind_a_link_or_a_blank_are_mended_by_the_fix_as_well(tmp_path: Path) -> None:
    home = make_home(tmp_path / "with blank")
    write_secrets(home, {"slack_webhook": VALUE}, mode=0o640)
    give(only(house.secrets(home)).fix)
    assert only(house.secrets(home)).state == "ok"
    elsewhere = home.secrets_file.rename(tmp_path / "elsewhere.json")
    home.secrets_file.symlink_to(elsewhere)
    finding = only(house.secrets(home))
    assert finding.state == "problem"
    give(finding.fix)
    assert only(house.secrets(home)).says == "secrets.json is private and holds 1 secret."


@pytest.mark.parametrize("body", [f'{{"slack_webhook": "{VALUE}"', f'["{VALUE}"]', f'{{"{VALUE}": 3}}'])
def test_secrets_that_cannot_be_understood_are_a_problem_that_quotes_none(home: Home, body: str) -> None:
    home.secrets_file.write_text(body)
    home.secrets_file.chmod(0o600)
    finding = only(house.secrets(home))
    assert finding.state == "problem"
    assert finding.fix == f"(umask 077; ${{EDITOR:-vi}} {home.secrets_file})"
    assert VALUE not in finding.says
    give(finding.fix, env={"EDITOR": "rm"})
    assert only(house.secrets(home)).state == "ok"


@pytest.mark.promise("CLI-5")
def test_a_home_that_others_can_enter_is_a_warning_until_the_fix_is_given(home: Home) -> None:
    home.root.chmod(0o755)
    finding = only(house.folders(home))
    assert (finding.state, finding.fix) == ("warning", f"chmod 700 {home.root}")
    give(finding.fix)
    assert only(house.folders(home)).state == "ok"


def test_missing_folders_are_named_together_and_made_by_the_fix(home: Home) -> None:
    home.runs.rmdir()
    home.outbox.rmdir()
    finding = only(house.folders(home))
    assert (finding.state, finding.says) == ("warning", f"In {home.root} there is no runs and no outbox.")
    give(finding.fix)
    assert only(house.folders(home)).state == "ok"
    assert home.runs.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_home_of_another_user_is_a_problem_to_be_seen_by_that_user(home: Home) -> None:
    os.chown(home.root, 65534, 65534)
    finding = only(house.shut(home))
    assert (finding.state, finding.fix) == ("problem", f"sudo -u '#65534' minion --home {home.root} doctor")


def test_a_home_that_is_no_folder_is_a_problem_until_it_is_moved_away(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.write_text("a file")
    give(only(house.shut(home)).fix)
    assert (tmp_path / "home.old").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_its_owner_may_not_read_is_opened_and_never_moved_away(home: Home) -> None:
    assert house.shut(home) == []
    home.store.write_text("")
    for file, check in ((home.config_file, house.config), (home.store, house.store)):
        file.chmod(0)
        assert only(check(home)).fix == f"chmod 600 {file}"
        file.chmod(0o600)
    home.root.chmod(0)
    finding = only(house.shut(home))
    give(finding.fix)
    assert house.shut(home) == []


def test_a_held_home_is_normal_and_its_holder_is_named(home: Home) -> None:
    assert only(house.lock(home)).says == "Nobody has owned the home yet."
    with held(home, "minion run task"):
        finding = only(house.lock(home))
    assert finding.state == "ok"
    assert finding.says == f"The home is in use by `minion run task` (process {os.getpid()})."
    assert only(house.lock(home)).says == "The home is free."


def test_the_doctor_lets_go_of_the_lock_at_once(home: Home) -> None:
    with held(home, "once"):
        pass
    house.lock(home)
    with held(home, "again"):
        pass


def test_a_minion_whose_engine_has_no_key_is_told_how_to_give_it(home: Home) -> None:
    said = json.loads(home.config_file.read_bytes())
    home.config_file.write_text(json.dumps(said | {"engine": "messages"}))
    finding = only(house.config(home))
    assert (finding.state, finding.fix) == ("problem", "minion secret set anthropic_api_key")
    write_secrets(home, {"anthropic_api_key": "sk-ant-of-a-test"})
    assert only(house.config(home)).says.endswith("with the messages engine.")
    home.secrets_file.unlink()
    home.config_file.write_text(json.dumps(said | {"engine": "auto"}))
    assert only(house.config(home)).state == "ok"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is no IANA time zone"),
        ({"minion_id": "seven"}, "is no UUID"),
        ({"engine": "steam"}, "`engine` is none of the engines: script, messages, claude-code, auto"),
        ({"engine": "claude-code"}, "names the engine claude-code, which is not in this version"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_configuration_that_is_wrong_is_a_problem_with_the_file_to_open(
    home: Home, change: dict[str, str], says: str
) -> None:
    home.config_file.write_text(json.dumps(json.loads(home.config_file.read_bytes()) | change))
    finding = only(house.config(home))
    assert (finding.state, finding.fix) == ("problem", f"${{EDITOR:-vi}} {home.config_file}")
    assert says in finding.says


def test_a_home_that_lost_its_configuration_is_no_fresh_one(home: Home) -> None:
    home.config_file.unlink()
    assert house.is_begun(home)
    finding = only(house.config(home))
    assert (finding.state, finding.fix) == ("problem", f"mv {home.root} {home.root}.old && minion setup")


def test_a_home_without_a_run_needs_no_store(home: Home) -> None:
    assert only(house.store(home)).state == "ok"


def test_a_sound_store_is_said_to_be_sound(ran: Home) -> None:
    finding = only(house.store(ran))
    assert finding.state == "ok"
    assert finding.says.startswith("1 run and ")


@pytest.mark.promise("CLI-5")
@pytest.mark.parametrize("fault", ["no database", "cut short", "empty", "gone", "another minion's", "torn page"])
def test_a_store_that_cannot_be_used_is_put_aside_whole_by_the_fix(ran: Home, tmp_path: Path, fault: str) -> None:
    home = copy_of(ran, tmp_path)
    for extra in home.root.glob("minion.db-*"):
        extra.unlink()
    body = bytearray(home.store.read_bytes())
    if fault == "no database":
        home.store.write_text("No database at all. " * 500)
    elif fault == "cut short":
        home.store.write_bytes(body[: len(body) // 2 + 100])
    elif fault == "empty":
        home.store.write_bytes(b"")
    elif fault == "gone":
        home.store.unlink()
    elif fault == "another minion's":
        with sqlite3.connect(home.store) as db:
            db.execute("UPDATE meta SET value = 'somebody' WHERE key = 'minion_id'")
        db.close()
    else:
        body[4096 * 6 : 4096 * 7] = b"\xff" * 4096
        home.store.write_bytes(body)
    before = home.store.read_bytes() if home.store.exists() else b""
    finding = only(house.store(home))
    assert finding.state == "problem"
    assert (home.store.read_bytes() if home.store.exists() else b"") == before
    give(finding.fix)
    assert only(house.store(home)).state == "ok"
    aside = Path(f"{home.root}.aside")
    assert (aside / "runs").is_dir()
    assert only(house.folders(home)).state == "ok"
    assert not before or (aside / "minion.db").read_bytes() == before
    assert (home.routines / "task.json").is_file()


def test_a_store_of_a_newer_version_asks_for_the_newer_program(ran: Home, tmp_path: Path) -> None:
    home = copy_of(ran, tmp_path)
    with sqlite3.connect(home.store) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    finding = only(house.store(home))
    assert finding.state == "problem"
    assert "newer version" in finding.says
    assert "mv " not in str(finding.fix)


@pytest.mark.promise("CLI-5")
def test_a_step_that_was_altered_in_the_log_is_a_problem_that_verify_tells_more_of(
    ran: Home, tmp_path: Path
) -> None:
    home = copy_of(ran, tmp_path)
    with sqlite3.connect(home.store) as db:
        db.execute("DROP TRIGGER step_logs_stand")
        db.execute("UPDATE step_logs SET state = 'failed' WHERE kind = 'report'")
    db.close()
    finding = only(house.store(home))
    assert (finding.state, finding.fix) == ("problem", "minion verify")
    assert " steps, entry " in finding.says


def test_a_store_that_is_written_to_meanwhile_is_read_as_of_one_moment(ran: Home, tmp_path: Path) -> None:
    home = copy_of(ran, tmp_path)
    with read_only(home.store) as db:
        assert damage(db) is None
        before = log_size(db)
        performed(home, "task")
        assert (log_size(db), breaches(db)) == (before, [])
    assert only(house.store(home)).says.startswith("2 runs and ")


def test_the_editor_of_a_fix_may_have_options_and_the_file_a_blank(tmp_path: Path) -> None:
    file = tmp_path / "with blank.json"
    file.write_text("x")
    give(edit(file), env={"EDITOR": "rm -f"})
    assert not file.exists()


def test_a_run_that_its_owner_left_is_a_warning_unless_somebody_owns_the_home(home: Home) -> None:
    async def begin() -> None:
        async with open_store(home.root) as writer:
            await perform(writer, make_order(1, routine="a"), Teller(1).plain())
            for number in (2, 3):
                await start(writer, make_order(number, routine="task"))

    asyncio.run(begin())
    with held(home, "minion run task"):
        assert house.left_behind(home) == []
    finding = only(house.left_behind(home))
    assert (finding.state, finding.fix) == ("warning", "minion run task")
    assert finding.says == (
        f"The run {numbered_id('run_', 3)} and 1 more run were left unfinished by an owner that died;"
        " the next start closes them."
    )
