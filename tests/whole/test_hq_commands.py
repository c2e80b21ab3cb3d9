"""HQ as an operator runs it: each command as a process, with a running HQ and without one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.server.servers import HQ, Caller, environment, hq, served, told

GAP = {"gap_type": "skill", "requested_code": "LLM-SUM", "description": "It cannot sum up."}
pytestmark = pytest.mark.heavy


def token(home: Path, scope: str = "session", name: str = "laptop") -> str:
    return str(told(home, "token", "create", "--scope", scope, "--name", name)["token"])


@pytest.mark.promise("HQ-3")
def test_a_running_hq_owns_its_home_and_commands_go_through_it_or_are_refused_by_name(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    with served(home) as server:
        assert (home / "door").stat().st_mode & 0o777 == 0o600
        text = token(home)
        caller = Caller(server.url, text)
        assert caller.call("record_gap", **GAP)["frequency"] == 1
        caller.close()
        status = told(home, "status")
        assert (status["owner"]["command"], status["answers"]) == ("hq serve", True)
        assert (status["holds"]["gaps"], status["holds"]["tokens"]) == ({"open": 1}, 1)
        for arguments in (("serve", "--port", "0"), ("restore", str(tmp_path / "b.db"), "--yes")):
            done = hq(home, *arguments)
            named = f"held by `hq serve` (process {server.process.pid})"
            assert (done.returncode, done.stdout, named in done.stderr) == (3, "", True), done.stderr
        # Being refused leaves the owner known by name, and reachable.
        assert told(home, "status")["answers"] is True
        assert token(home, name="another")
        door = (home / "door").read_text().strip()
        assert server.stop() == 0
    assert not (home / "door").exists()
    held = b"".join(path.read_bytes() for path in home.iterdir()) + server.log().encode()
    assert [each for each in (door, text) if each.encode() in held] == []
    assert told(home, "status")["owner"] is None


@pytest.mark.promise("HQ-3")
def test_where_nobody_runs_a_command_does_the_same_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    text = token(home)
    made = told(home, "token", "list")["tokens"]
    assert [(each["name"], each["scope"], each["revoked_at"]) for each in made] == [("laptop", "session", None)]
    with served(home) as server:
        caller = Caller(server.url, text)
        assert caller.call("list_gaps")["gaps"] == []
        caller.close()


@pytest.mark.promise("TOK-1")
def test_a_token_is_shown_once_on_stdout_and_revoking_it_works_at_once(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    with served(home) as server:
        done = hq(home, "token", "create", "--scope", "session", "--name", "laptop")
        text = done.stdout.strip()
        assert (done.returncode, text.startswith("hq_session_"), text in done.stderr) == (0, True, False)
        (made,) = told(home, "token", "list")["tokens"]
        assert text not in json.dumps(made)
        caller = Caller(server.url, text)
        caller.call("list_gaps")
        rotated = told(home, "token", "rotate", made["id"])
        assert hq(home, "token", "revoke", made["id"]).returncode == 0
        assert caller.get("/metrics")[0] == 401
        caller.close()
        other = Caller(server.url, rotated["token"])
        assert other.call("list_gaps") == {"gaps": [], "total": 0}
        other.close()
        refused = hq(home, "token", "revoke", made["id"])
        assert (refused.returncode, "was revoked before" in refused.stderr) == (3, True)
        missing = hq(home, "token", "revoke", "tok_NONE")
        assert missing.returncode == 2
        # A hint can be typed as it stands: it names this home.
        assert missing.stderr.splitlines()[1] == f"hint: hq --home {home} token list"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.promise("AUD-3")
def test_a_signal_ends_it_in_good_order_with_all_it_acknowledged(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "hq"
    text = token(home)
    with served(home) as server:
        caller = Caller(server.url, text)
        for _ in range(5):
            last = caller.call("record_gap", **GAP)
        assert server.stop(number) == 0
        caller.close()
    assert last["frequency"] == 5
    assert not (home / "hq.db-wal").exists()
    assert told(home, "verify")["intact"] is True
    assert told(home, "status")["holds"]["gaps"] == {"open": 1}


def test_verify_keeps_checkpoints_and_names_what_was_done_since(tmp_path: Path) -> None:
    home, kept = tmp_path / "hq", tmp_path / "last.json"
    none = hq(home, "verify")
    assert (none.returncode, "There is no store" in none.stderr) == (2, True)
    token(home)
    assert hq(home, "verify", "--checkpoint", str(kept)).returncode == 0
    token(home, name="another")
    both = hq(home, "verify", "--against", str(kept), "--checkpoint", str(kept))
    assert (both.returncode, "holds all it had at event 1" in both.stdout) == (0, True)
    assert json.loads(kept.read_text())["position"] == 2
    (tmp_path / "mine.txt").write_text("my own file")
    refused = hq(home, "verify", "--checkpoint", str(tmp_path / "mine.txt"))
    assert (refused.returncode, (tmp_path / "mine.txt").read_text()) == (2, "my own file")
    gone = hq(home, "verify", "--against", str(tmp_path / "gone.json"))
    assert (gone.returncode, "cannot be read" in gone.stderr) == (2, True)
    _cut(home / "hq.db")
    before = kept.read_bytes()
    cut = hq(home, "verify", "--against", str(kept), "--checkpoint", str(kept), "--json")
    said = json.loads(cut.stdout)
    assert (cut.returncode, said["intact"], kept.read_bytes()) == (1, False, before)
    assert said["breaches"] == [
        {"chain": "checkpoint", "position": 2, "what": "the log was cut off: it ends at 1"}
    ]
    assert hq(home, "verify").returncode == 0  # nobody could tell without a checkpoint
    shown = hq(home, "verify", "--against", str(kept))
    assert (shown.returncode, "checkpoint at 2: the log was cut off" in shown.stdout) == (1, True)


@pytest.mark.promise("AUD-2")
def test_a_backup_of_a_running_hq_is_looked_through_and_put_back(tmp_path: Path) -> None:
    home, backup = tmp_path / "hq", tmp_path / "b.db"
    assert hq(home, "backup", str(backup)).returncode == 2
    text = token(home)
    with served(home) as server:
        caller = Caller(server.url, text)
        caller.call("record_gap", **GAP)
        assert hq(home, "backup", str(backup)).returncode == 0
        caller.call("record_gap", **GAP)
        caller.close()
        assert hq(home, "backup", str(backup)).returncode == 3
        assert server.stop() == 0
    assert told(home, "verify", "--backup", str(backup))["intact"] is True
    asked = hq(home, "restore", str(backup))
    assert (asked.returncode, "add --yes" in asked.stderr) == (3, True)
    assert hq(home, "restore", str(backup), "--yes").returncode == 0
    assert len(list(home.glob("hq.db.before-*"))) == 1
    with served(home) as server:
        caller = Caller(server.url, text)
        assert [gap["frequency"] for gap in caller.call("list_gaps")["gaps"]] == [1]
        caller.close()


@pytest.mark.promise("AUD-2")
def test_what_is_no_backup_and_the_store_itself_are_refused_as_such(tmp_path: Path) -> None:
    home, last = tmp_path / "hq", tmp_path / "last.json"
    token(home)
    assert hq(home, "verify", "--checkpoint", str(last)).returncode == 0
    for command in (("verify", "--backup"), ("restore",)):
        refused = hq(home, *command, str(last))
        assert (refused.returncode, "is no backup of HQ's" in refused.stderr) == (2, True)
        assert "give a file that hq" in refused.stderr
        gone = hq(home, *command, str(tmp_path / "gone.db"))
        assert (gone.returncode, "There is no backup" in gone.stderr) == (2, True)
    refused = hq(home, "restore", "--yes", str(home / "hq.db"))
    assert (refused.returncode, "is the store itself" in refused.stderr) == (3, True)
    # From where somebody stands: a name without a folder.
    near = os.path.relpath(tmp_path / "b.db")
    assert hq(home, "backup", near).returncode == 0
    assert told(home, "verify", "--backup", near)["intact"] is True


@pytest.mark.promise("AUD-1")
def test_rows_that_were_forged_are_named_and_shown_as_far_as_they_go(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    token(home)
    row = {"id": "dec_forged", "kind": "gap", "subject": "g", "question": "Do?", "evidence": "{}", "digest": "d",
           "state": "approved", "asked_by": "me", "asked_at": "2026-04-01T09:00:00.000Z"}  # fmt: skip
    db = sqlite3.connect(home / "hq.db")
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO decisions ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
    db.commit()
    db.close()
    seen = hq(home, "verify")
    assert (seen.returncode, "what HQ shows does not follow from it" in seen.stdout) == (1, True)
    assert "decisions: dec_forged: no event says that it was made" in seen.stdout
    shown = hq(home, "decisions", "--state", "any")
    assert (shown.returncode, "approved by nobody that is known" in shown.stdout) == (0, True)


def test_a_port_that_is_taken_is_refused_and_the_home_is_free_again(tmp_path: Path) -> None:
    with served(tmp_path / "one") as server:
        port = server.url.rpartition(":")[2]
        done = hq(tmp_path / "two", "serve", "--port", port)
        assert (done.returncode, f"The port {port} of 127.0.0.1 cannot be had" in done.stderr) == (3, True)
    assert told(tmp_path / "two", "status")["owner"] is None


def test_a_home_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = hq(tmp_path / "file" / "hq", "token", "create", "--scope", "session", "--name", "x")
    assert (done.returncode, "cannot be used" in done.stderr) == (3, True)


def test_a_door_token_that_a_killed_hq_left_opens_nothing(tmp_path: Path) -> None:
    home = tmp_path / "hq"
    with served(home) as server:
        left = (home / "door").read_bytes()
        server.kill()
    assert (home / "door").read_bytes() == left
    assert told(home, "status")["owner"] is None
    assert token(home)  # by itself: nobody runs
    with served(home) as server:
        assert (home / "door").read_bytes() != left
        caller = Caller(server.url, left.decode().strip())
        assert caller.get("/metrics")[0] == 401
        caller.close()


def test_a_reader_that_goes_away_is_told_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [str(HQ), "process", "--json"], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def _cut(store: Path) -> None:
    """Take the newest event away, and the token that it is of, as who may write the file can."""
    db = sqlite3.connect(store)
    (text,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'events_keep'").fetchone()
    db.execute("DROP TRIGGER events_keep")
    db.execute("DELETE FROM events WHERE position = (SELECT max(position) FROM events)")
    db.execute("DELETE FROM tokens WHERE position = (SELECT max(position) FROM tokens)")
    db.execute(text)
    db.commit()
    db.close()
