"""What a tool host and its client make of the other side's nonsense, silence and death."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import SandboxUnusable, ToolHost, ToolResult
from tests.minion.tool_hosts import alive, raw_host, running_with
from tests.waiting import wait_until


def fake_bwrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `bwrap` of our own first on the path."""
    place = folder / "bin" / "bwrap"
    place.parent.mkdir()
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    monkeypatch.setenv("PATH", str(place.parent))


def start_sandboxed(folder: Path, *, within_s: float = 10.0) -> ToolResult:
    """Run `true` in a sandboxed host."""

    async def story() -> ToolResult:
        host = await ToolHost.start(
            Envelope(), sandboxed=True, log_path=folder / "log", start_timeout_s=within_s
        )
        try:
            return await host.run(["true"], cwd="/", timeout_s=10, max_bytes=10)
        finally:
            await host.close()

    return asyncio.run(story())


def test_without_bwrap_the_sandbox_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnusable, match="bwrap is not installed"):
        start_sandboxed(tmp_path)


def test_the_reason_carries_bwrap_s_own_words_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_text("old words\n")
    fake_bwrap(tmp_path, "echo 'bwrap: No permissions' >&2; printf '%01000d' 7 >&2; exit 1", monkeypatch)
    with pytest.raises(SandboxUnusable, match=r"^bwrap: No permissions 0{10}") as unusable:
        start_sandboxed(tmp_path)
    assert len(str(unusable.value)) == 400


def test_a_silent_bwrap_is_given_up_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bwrap(tmp_path, f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600", monkeypatch)
    with pytest.raises(SandboxUnusable, match="silent"):
        start_sandboxed(tmp_path, within_s=0.5)
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("nonsense", "broke the protocol"),
        ("[1]", "no object"),
        ('{"id":1,"exit":"0","truncated":0,"dropped":0}', "exit code"),
        ('{"id":1,"exit":0,"truncated":-1,"dropped":0}', "an end that is none"),
        ('{"id":1,"exit":0,"truncated":0}', "an end that is none"),
        ('{"id":1,"stream":"stdlog","b64":""}', "without a stream"),
        ('{"id":1,"stream":"stdout","b64":"MDEyMzQ1Njc4OTAx"}', "more output than was asked for"),
        ('{"id":1,"stream":"stdout","b64":"#"}', "broke the protocol"),
    ],
)
def test_a_host_that_breaks_the_protocol_is_no_longer_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, complaint: str
) -> None:
    ready = '{"ready":true,"pid":1,"v":1}'
    fake_bwrap(tmp_path, f"echo '{ready}'; read line; echo '{says}'; exec /bin/sleep 600", monkeypatch)
    result = start_sandboxed(tmp_path)
    assert result.exit is None
    assert result.why is not None
    assert complaint in result.why


def test_a_host_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bwrap(tmp_path, """echo '{"ready":true,"pid":1,"v":2}'; exec /bin/sleep 600""", monkeypatch)
    with pytest.raises(SandboxUnusable, match="version 2"):
        start_sandboxed(tmp_path)


RUN = {"id": 1, "op": "run", "argv": ["/bin/true"], "cwd": "/", "env": {}, "stdin": None}
RUN |= {"timeout_s": 10, "max_bytes": 10}
UNCUT = {"truncated": 0, "dropped": 0}


@pytest.mark.parametrize(
    ("line", "key", "complaint"),
    [
        (b"nonsense", None, "not JSON"),
        (b"\xff\xfe", None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (b"[]", None, "id must be|whose id"),
        ({**RUN, "id": [1]}, None, "whose id"),
        ({**RUN, "op": "dance"}, 1, "op must be"),
        ({**RUN, "argv": []}, 1, "argv"),
        ({**RUN, "argv": ["/bin/true", 7]}, 1, "argv"),
        ({**RUN, "argv": ["/bin/true", "a\0b"]}, 1, "argv"),
        ({**RUN, "argv": ["\ud800"]}, 1, "no UTF-8"),
        ({**RUN, "cwd": None}, 1, "cwd"),
        ({**RUN, "env": {"A=B": "c"}}, 1, "env"),
        ({**RUN, "env": {"A": 1}}, 1, "env"),
        ({**RUN, "stdin": 5}, 1, "stdin"),
        ({**RUN, "timeout_s": 0}, 1, "timeout_s"),
        ({**RUN, "timeout_s": float("nan")}, 1, "timeout_s"),
        ({**RUN, "max_bytes": -1}, 1, "max_bytes"),
    ],
)
def test_a_bad_request_is_answered_and_the_host_goes_on(
    line: bytes | dict[str, object], key: int | None, complaint: str
) -> None:
    with raw_host() as host:
        host.say(line)
        answer = host.hear()
        assert (answer["id"], answer["exit"]) == (key, None)
        assert any(part in answer["why"] for part in complaint.split("|"))
        host.say(RUN)
        assert host.hear() == {"id": 1, "exit": 0, **UNCUT}


def test_an_id_in_use_is_refused_without_ending_the_running_one() -> None:
    with raw_host() as host:
        host.say({**RUN, "argv": ["/bin/sleep", "600"]})
        host.say(RUN)
        assert host.hear() == {"id": None, "exit": None, **UNCUT, "why": "this id is already running"}
        host.say({"id": 1, "op": "kill"})
        assert host.hear() == {"id": 1, "exit": None, **UNCUT, "why": "killed"}
        host.say({"id": 1, "op": "kill"})  # it has ended already: no answer
        host.say({**RUN, "id": "two"})
        assert host.hear() == {"id": "two", "exit": 0, **UNCUT}


def test_a_client_that_does_not_read_stops_neither_timeouts_nor_the_end() -> None:
    first, second = str(uuid4()), str(uuid4())
    with raw_host() as host:
        host.say({**RUN, "argv": ["/usr/bin/yes", first], "timeout_s": 0.5, "max_bytes": 10**9})
        host.say({**RUN, "id": 2, "argv": ["/usr/bin/yes", second], "max_bytes": 10**9, "timeout_s": 600})
        assert wait_until(lambda: running_with(first) and running_with(second), 5)
        assert wait_until(lambda: not running_with(first), 5)
        assert running_with(second)
        status = Path(f"/proc/{host.process.pid}/status").read_text()
        assert int(status.partition("VmRSS:")[2].split()[0]) < 32 * 1024  # KiB: it does not hoard either
        assert host.process.stdin is not None
        host.process.stdin.close()
        assert host.process.wait(10) == 0
    assert not running_with(second)


def test_a_host_whose_parent_is_already_gone_does_not_serve() -> None:
    with raw_host() as other:
        argv = [*other.process.args, "--parent", "1"]  # type: ignore[misc]
        done = subprocess.run(argv, stdin=subprocess.PIPE, capture_output=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"")
