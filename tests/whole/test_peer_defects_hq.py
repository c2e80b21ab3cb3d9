"""What peers did wrong between a minion and its HQ, as named tests (facts about peers, numbers 3 and 15)."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from minion.hq.membership import file_of
from tests.faults.kills import processes_of
from tests.server import servers
from tests.serving import serving
from tests.whole.daemons import daemon_up
from tests.whole.homes import make_home, run_process, write_routine, write_skill
from tests.whole.teams import soon, team
from tests.whole.test_peer_defects_daemon import internet_sockets_of

pytestmark = pytest.mark.heavy
TOKEN = "hq_minion_" + "T" * 43
AT = "2026-01-05T09:00:00.000Z"


class BadHq(ThreadingHTTPServer):
    """An HQ that takes reports as a test says: with so many failures first, or never answering at all."""

    daemon_threads = True

    def __init__(self) -> None:
        self.failures, self.silent = 0, threading.Event()
        self.unreadable: str | None = None
        self.reported: list[dict[str, Any]] = []
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: BadHq
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a minion."""
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        verb = self.path.rpartition("/")[2]
        self.server.asked.append(verb)
        if self.server.silent.is_set():
            threading.Event().wait(60)
            return
        status, answer = 200, {
            "join": {"hq_version": "0", "epoch": "e", "joined_at": AT},
            "sync": {"cursor": "e:1", "routines": [], "gone": [], "skills": [], "missing": []},
            "poll": {"cursor": "e:1", "orders": []},
        }.get(verb, {})
        if verb == "reports" and self.server.failures:
            self.server.failures -= 1
            status, answer = 500, {"error": {"code": "defect", "sentence": "A defect.", "hint": "report it"}}
        elif verb == "reports":
            good = [each for each in said["reports"] if each["id"] != self.server.unreadable]
            self.server.reported += good
            bad = [each["id"] for each in said["reports"] if each not in good]
            answer = {
                "taken": [[each["id"], each["revision"]] for each in good],
                "refused": [{"id": run, "code": "odd", "sentence": "It is odd."} for run in bad],
            }
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def bad_hq() -> Iterator[BadHq]:
    """Such an HQ."""
    with serving(BadHq()) as server:
        yield server


@pytest.mark.promise("JOI-5")
def test_peer_defect_3_a_report_answered_with_500_is_told_again_until_it_is_taken(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="done")')
    write_routine(home, "own", "quick")
    (tmp_path / "token").write_text(TOKEN)
    with bad_hq() as hq, daemon_up(home) as daemon:
        assert run_process(home, "join", hq.url, "--token-file", tmp_path / "token").code == 0
        hq.failures = 3
        run = daemon.run("own")

        def told() -> bool:
            daemon.ask("reload")
            return any((each["id"], each["state"]) == (run, "completed") for each in hq.reported)

        assert soon(told), daemon.log()
        assert hq.failures == 0
        assert soon(lambda: daemon.ask("status")["hq"]["reports"] == 0)


@pytest.mark.promise("JOI-5")
def test_peer_defect_3_an_hq_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="done")')
    write_routine(home, "own", "quick")
    (tmp_path / "token").write_text(TOKEN)
    with bad_hq() as hq:
        with daemon_up(home) as daemon:
            assert run_process(home, "join", hq.url, "--token-file", tmp_path / "token").code == 0
            hq.silent.set()
            asked = len(hq.asked)
            assert daemon.state_of(daemon.run("own")) == "completed"
            assert soon(lambda: len(hq.asked) > asked)
            assert daemon.ask("status")["hq"]["reports"] == 1
            # It ends in good order though an answer is outstanding.
            assert daemon.stop() == 0
        hq.silent.clear()


@pytest.mark.promise("JOI-5")
def test_a_report_that_hq_cannot_read_holds_up_no_other(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "quick", 'answer(text="done")')
    write_routine(home, "own", "quick")
    (tmp_path / "token").write_text(TOKEN)
    with bad_hq() as hq, daemon_up(home) as daemon:
        assert run_process(home, "join", hq.url, "--token-file", tmp_path / "token").code == 0
        hq.failures = 1000
        runs = [daemon.run("own") for _ in range(3)]
        hq.unreadable, hq.failures = runs[1], 0
        daemon.ask("reload")
        assert soon(lambda: daemon.ask("status")["hq"]["reports"] == 0), daemon.log()
        ended = {each["id"] for each in hq.reported if each["state"] == "completed"}
        assert ended == {runs[0], runs[2]}
        assert f"HQ refused the report of {runs[1]}: It is odd." in daemon.log()
        # And once more without HQ: all of it goes, the minion's own stays.
        assert run_process(home, "leave").code == 0
        assert daemon.ask("status")["hq"] is None
        assert not (home.root / "hq").exists()
        assert [each["name"] for each in daemon.ask("status")["routines"]] == ["own"]


@pytest.mark.promise("JOI-2")
def test_peer_defect_15_a_token_is_in_no_argv_log_or_store_and_whoever_lacks_it_reports_nothing(
    tmp_path: Path,
) -> None:
    settings = tmp_path / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"model": "theirs"}')
    before = hashlib.sha256(settings.read_bytes()).hexdigest()
    with team(tmp_path, "alice") as made:
        home, daemon = made.homes["alice"], made.daemons["alice"]
        token = json.loads(file_of(home).read_bytes())["token"]
        assert soon(lambda: made.linked("alice"))
        assert all(" 0100007F:" in line for line in internet_sockets_of(daemon.process.pid))
        assert file_of(home).stat().st_mode & 0o777 == 0o600
        kept = [path for root in (home.root, made.hq.home) for path in root.rglob("*") if path.is_file()]
        held = [path for path in kept if token.encode() in path.read_bytes()]
        assert held == [file_of(home)]
        assert token not in made.hq.log()
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (daemon.process.pid, made.hq.process.pid)]
        assert token not in " ".join(os.fsdecode(line) for line in lines)
        assert token not in " ".join(line for _, line in processes_of(home))
        for sent in ("", "guessed", made.token):
            caller = servers.Caller(made.hq.url, sent)
            status, _ = caller.get("/v1/minion/reports")
            assert status in (401, 403, 405), sent
            caller.close()
    assert hashlib.sha256(settings.read_bytes()).hexdigest() == before
