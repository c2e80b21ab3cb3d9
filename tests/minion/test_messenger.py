"""The child that tells people, against a real webhook and real commands; what is secret goes where it belongs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from minion.daemon.courier import Courier, Outcome
from tests.waiting import wait_until
from tests.whole.webhooks import closed_port, webhook

ALERT = {"v": 1, "kind": "alert", "minion": "desk", "text": "t", "alerts": [], "more": 0}


def secrets_in(folder: Path, secrets: Mapping[str, str], *, mode: int = 0o600) -> Path:
    """A secrets file."""
    file = folder / "secrets.json"
    file.write_text(json.dumps(secrets))
    file.chmod(mode)
    return file


def slack(secret: str, text: str = "t") -> dict[str, Any]:
    """A message to a webhook."""
    return {"way": {"slack": secret}, "text": text, "alert": ALERT}


def command(*argv: str, **said: Any) -> dict[str, Any]:
    """A message by a command."""
    return {"way": {"command": list(argv)}, "text": "t", "alert": ALERT | said}


def is_free(lock: Path) -> bool:
    """Whether no process holds a lock."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def delivered(file: Path, items: Sequence[Mapping[str, Any]], *, whole_s: float = 60) -> list[Outcome]:
    """What became of the items."""
    return asyncio.run(Courier(file, whole_s).deliver(items))


@pytest.mark.promise("WAT-2")
def test_each_message_has_its_own_outcome(tmp_path: Path) -> None:
    with webhook() as hook:
        dead = f"http://127.0.0.1:{closed_port()}/x"
        secrets = {"good": hook.url("/ok"), "other": hook.url("/created"), "gone": hook.url("/gone"), "dead": dead,
                   "moved": hook.url("/moved"), "slack_webhook": hook.url("/ok?by-target"),
                   "far": "http://example.org/"}  # fmt: skip
        names = ("good", "other", "gone", "dead", "moved", "slack", "nobody", "far")
        heard = tmp_path / "heard"
        found = delivered(secrets_in(tmp_path, secrets), [
            *(slack(name) for name in names), command("cp", "/dev/stdin", str(heard)), command("false"),
            command(str(tmp_path / "none")),
        ])  # fmt: skip
    assert found[:2] == [Outcome("sent"), Outcome("sent")]
    assert found[2] == Outcome("failed", "HTTP 404 no_service")
    assert (found[3].state, found[4].state, found[5].state) == ("failed", "failed", "sent")
    assert found[6] == Outcome("missing", "there is no secret nobody in secrets.json")
    assert found[7] == Outcome("failed", "its URL is not https (http only on loopback)")
    assert found[8] == Outcome("sent")
    assert json.loads(heard.read_bytes()) == ALERT
    assert found[9] == Outcome("failed", "false ended with exit code 1")
    assert found[10].problem == f"{tmp_path}/none cannot be run: No such file or directory"


def test_a_text_calls_nobody_in_slack_and_carries_no_secret(tmp_path: Path) -> None:
    with webhook() as hook:
        file = secrets_in(tmp_path, {"hook": hook.url("/ok"), "token": "hunter2-hunter2"})
        heard = tmp_path / "heard"
        message = slack("hook", "<!channel> R&D > hunter2-hunter2")
        delivered(file, [message, command("cp", "/dev/stdin", str(heard), text="hunter2-hunter2")])
        assert hook.texts("/ok") == ["&lt;!channel&gt; R&amp;D &gt; [redacted]"]
    assert json.loads(heard.read_bytes())["text"] == "[redacted]"


@pytest.mark.promise("ENV-2")
def test_no_answer_and_no_argument_holds_a_webhooks_address(tmp_path: Path) -> None:
    with webhook() as hook:
        file = secrets_in(tmp_path, {"echo": hook.url("/echo?key=hunter2-hunter2"), "key": "hunter2-hunter2"})
        (outcome,) = delivered(file, [slack("echo")])
    assert outcome.state == "failed"
    assert "hunter2" not in (outcome.problem or "")
    assert "[redacted]" in (outcome.problem or "")


@pytest.mark.promise("WAT-3")
def test_a_switch_is_called_by_its_address_and_the_end_of_it_in_order(tmp_path: Path) -> None:
    with webhook() as hook:
        file = secrets_in(tmp_path, {"heart": hook.url("/ok?key=1"), "dead": f"http://127.0.0.1:{closed_port()}/x"})
        pings = [("heart", "/start"), ("heart", "/fail"), ("heart", ""), ("dead", ""), ("none", "")]
        found = delivered(file, [{"ping": name, "end": end} for name, end in pings])
        assert hook.got == ["/ok/start?key=1", "/ok/fail?key=1", "/ok?key=1"]
    assert [outcome.state for outcome in found] == ["sent", "sent", "sent", "failed", "missing"]


def test_without_readable_secrets_commands_run_and_all_else_says_why(tmp_path: Path) -> None:
    file = secrets_in(tmp_path, {"hook": "https://example.org/x"}, mode=0o644)
    found = delivered(file, [slack("hook"), command("true"), {"ping": "hook", "end": ""}])
    assert [outcome.state for outcome in found] == ["missing", "sent", "missing"]
    assert found[0].problem == f"{file} can be read by other users."


@pytest.mark.heavy
@pytest.mark.parametrize("seconds", [3, 60], ids=["the messenger is ended", "the command is ended"])
def test_what_does_not_end_is_ended_and_takes_nothing_else_with_it(tmp_path: Path, seconds: float) -> None:
    file, held = secrets_in(tmp_path, {}), tmp_path / "held"
    held.touch()
    endless = command("flock", str(held), "sleep", "600")
    found = delivered(file, [endless, command("true")], whole_s=seconds)
    assert found[1] == Outcome("sent")
    assert found[0].problem in ("no end after 3 s", "flock did not end within 10 seconds")
    assert wait_until(lambda: is_free(held), 5)


def test_a_request_that_is_none_ends_the_child_with_a_status() -> None:
    argv = [sys.executable, "-I", "-m", "minion.messenger"]
    ended = subprocess.run(argv, input=b"{", capture_output=True, check=False, cwd="/", timeout=60)
    assert (ended.returncode, ended.stdout) == (2, b"")
