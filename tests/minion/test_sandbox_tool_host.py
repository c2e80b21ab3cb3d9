"""What a tool host promises about the commands it runs, with or without a sandbox around it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import STDERR_MOST, ToolHost, ToolResult
from tests.minion.tool_hosts import DAEMON, PATHS, PYTHON, ROOT, alive, open_host
from tests.waiting import wait_until

MIB = 1024 * 1024


def ask(
    folder: Path, *argv: str, stdin: str | None = None, timeout_s: float = 30.0, most: int = MIB
) -> ToolResult:
    """Run one command in a host of its own."""

    async def story() -> ToolResult:
        async with open_host(folder) as host:
            return await host.run(argv, cwd=str(folder), stdin=stdin, timeout_s=timeout_s, max_bytes=most)

    return asyncio.run(story())


def test_a_command_s_output_and_exit_code_come_back(tmp_path: Path) -> None:
    result = ask(tmp_path, "sh", "-c", "pwd; echo oops >&2; exit 3")
    assert (result.exit, result.why, result.truncated) == (3, None, 0)
    assert result.stdout == f"{tmp_path}\n".encode()
    assert result.stderr == b"oops\n"


def test_a_command_that_cannot_start_has_no_exit_code_and_says_why(tmp_path: Path) -> None:
    assert ask(tmp_path, "no-such-program").why == "not found: no-such-program"
    assert ask(tmp_path, str(tmp_path)).why == f"could not start {tmp_path}: Permission denied"
    assert ask(tmp_path, "no-such-program").exit is None


def test_a_command_in_a_missing_folder_is_not_run_elsewhere(tmp_path: Path) -> None:
    missing = ask(tmp_path / "..", "true")
    assert missing.exit == 0

    async def story() -> ToolResult:
        async with open_host(tmp_path) as host:
            return await host.run(["true"], cwd=str(tmp_path / "gone"), timeout_s=10, max_bytes=1)

    assert asyncio.run(story()).why == f"not found: {tmp_path / 'gone'}"


def test_a_command_killed_by_a_signal_has_no_exit_code(tmp_path: Path) -> None:
    result = ask(tmp_path, "sh", "-c", "kill -9 $$")
    assert (result.exit, result.why) == (None, "signal 9")


def test_the_environment_is_exactly_what_was_given(tmp_path: Path) -> None:
    async def story() -> bytes:
        async with open_host(tmp_path, Envelope(env={**PATHS, "A": "1"})) as host:
            result = await host.run(
                ["/usr/bin/env"], cwd="/", env={"B": "zwei = é"}, timeout_s=10, max_bytes=MIB
            )
            return result.stdout

    lines = sorted(asyncio.run(story()).decode().splitlines())
    assert lines == ["A=1", "B=zwei = é", "PATH=/usr/bin:/bin"]


def test_a_command_inherits_no_descriptor_and_leads_its_own_session(tmp_path: Path) -> None:
    code = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getsid(0) == os.getpid())"
    assert ask(tmp_path, PYTHON, "-I", "-c", code).stdout == b"['0', '1', '2'] True\n"


def test_five_megabytes_pass_both_ways_without_a_deadlock(tmp_path: Path) -> None:
    text = "0123456789abcdef" * (5 * MIB // 16)
    result = ask(tmp_path, "cat", stdin=text, most=5 * MIB)
    assert (result.exit, result.truncated) == (0, 0)
    assert result.stdout == text.encode()


def test_stdin_that_the_command_never_reads_is_no_failure(tmp_path: Path) -> None:
    assert ask(tmp_path, "true", stdin="x" * MIB).exit == 0


def test_no_stdin_is_an_empty_one(tmp_path: Path) -> None:
    assert ask(tmp_path, "cat").exit == 0


def test_output_beyond_the_cap_is_dropped_and_counted_to_the_byte(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('o' * 300_000); sys.stdout.flush(); sys.stderr.write('e' * 200_001)"
    result = ask(tmp_path, PYTHON, "-I", "-c", code, most=100_000)
    assert result.exit == 0
    assert (len(result.stdout), result.truncated) == (100_000, 200_000)
    assert (len(result.stderr), result.dropped) == (STDERR_MOST, 200_001 - STDERR_MOST)


def test_the_end_of_stderr_comes_back_however_much_was_printed_before(tmp_path: Path) -> None:
    code = "import sys; print('o' * 300_000, flush=True); sys.exit('e' * 300_000 + 'the reason')"
    result = ask(tmp_path, PYTHON, "-I", "-c", code, most=100)
    assert (result.exit, result.stderr[-11:]) == (1, b"the reason\n")


def test_output_of_exactly_the_cap_is_whole(tmp_path: Path) -> None:
    result = ask(tmp_path, "printf", "%0100d", "7", most=100)
    assert (len(result.stdout), result.truncated) == (100, 0)


def test_endless_printing_ends_at_the_timeout(tmp_path: Path) -> None:
    result = ask(tmp_path, "yes", timeout_s=0.3, most=10_000)
    assert (result.exit, result.why, len(result.stdout)) == (None, "timeout", 10_000)
    assert result.truncated > 0


def test_a_command_that_ignores_the_polite_signal_is_killed_with_its_group(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 600) & echo $!; while :; do wait; done"

    async def story() -> tuple[ToolResult, bool]:
        async with open_host(tmp_path) as host:
            result = await host.run(["sh", "-c", script], cwd="/", timeout_s=0.3, max_bytes=100)
            # Here, because the end of the host would kill it in any case.
            return result, await asyncio.to_thread(wait_until, lambda: not alive(int(result.stdout)), 5)

    result, gone = asyncio.run(story())
    assert (result.exit, result.why, gone) == (None, "timeout", True)


def test_a_command_that_ends_well_after_its_timeout_is_still_a_failure(tmp_path: Path) -> None:
    result = ask(tmp_path, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done", timeout_s=0.3)
    assert (result.exit, result.why) == (None, "timeout")


def test_a_pipe_held_open_by_a_grandchild_does_not_hold_the_answer(tmp_path: Path) -> None:
    result = ask(tmp_path, "sh", "-c", "setsid sleep 600 & echo done", timeout_s=20)
    assert (result.exit, result.stdout) == (0, b"done\n")


def test_a_daemonised_descendant_is_gone_after_close(tmp_path: Path) -> None:
    async def story() -> int:
        async with open_host(tmp_path) as host:
            argv = [PYTHON, "-I", "-c", DAEMON, "600"]
            result = await host.run(argv, cwd="/", timeout_s=20, max_bytes=100)
            pid = int(result.stdout)
            assert alive(pid)
            return pid

    pid = asyncio.run(story())
    assert wait_until(lambda: not alive(pid), 5)


def test_requests_at_once_keep_their_output_apart(tmp_path: Path) -> None:
    async def story() -> list[ToolResult]:
        async with open_host(tmp_path) as host:
            script = "i=0; while [ $i -lt 300 ]; do echo $0; i=$((i+1)); done; exit $0"
            runs = [
                host.run(["sh", "-c", script, str(n)], cwd="/", timeout_s=30, max_bytes=MIB) for n in range(6)
            ]
            return await asyncio.gather(*runs)

    for number, result in enumerate(asyncio.run(story())):
        assert result.exit == number
        assert result.stdout == f"{number}\n".encode() * 300


def test_output_is_told_as_it_comes(tmp_path: Path) -> None:
    async def story() -> ToolResult:
        fifo = tmp_path / "go"
        os.mkfifo(fifo)

        def hear(stream: str, body: bytes) -> None:
            if body == b"first\n":  # only now may the command go on
                fifo.write_text(stream)

        async with open_host(tmp_path) as host:
            argv = ["sh", "-c", "echo first; cat go; exit 4"]
            return await host.run(argv, cwd=str(tmp_path), timeout_s=20, max_bytes=MIB, on_output=hear)

    result = asyncio.run(story())
    assert (result.exit, result.stdout) == (4, b"first\nstdout")


def test_a_cancelled_run_ends_its_command_and_the_host_goes_on(tmp_path: Path) -> None:
    async def story() -> ToolResult:
        async with open_host(tmp_path) as host:
            said = asyncio.Event()
            pids: list[int] = []

            def hear(_stream: str, body: bytes) -> None:
                pids.append(int(body))
                said.set()

            argv = ["sh", "-c", "echo $$; exec sleep 600"]
            task = asyncio.create_task(
                host.run(argv, cwd="/", timeout_s=60, max_bytes=100, on_output=hear)
            )
            await said.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(wait_until, lambda: not alive(pids[0]), 5)
            return await host.run(["true"], cwd="/", timeout_s=20, max_bytes=100)

    assert asyncio.run(story()).exit == 0


def test_calls_under_way_are_told_when_the_host_dies(tmp_path: Path) -> None:
    async def story() -> tuple[ToolResult, ToolResult]:
        async with open_host(tmp_path) as host:
            argv = ["sh", "-c", "kill -9 $PPID; sleep 600"]
            first = await host.run(argv, cwd="/", timeout_s=30, max_bytes=100)
            return first, await host.run(["true"], cwd="/", timeout_s=30, max_bytes=100)

    for result in asyncio.run(story()):
        assert (result.exit, result.why) == (None, "tool host died")


def test_close_may_be_called_often_and_is_finished_though_cancelled(tmp_path: Path) -> None:
    async def story() -> int:
        host = await ToolHost.start(Envelope(env=PATHS), sandboxed=False, log_path=tmp_path / "log")
        closing = asyncio.create_task(host.close())
        await asyncio.wait({closing}, timeout=0)  # let it begin
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await asyncio.gather(host.close(), host.close())
        assert (await host.run(["true"], cwd="/", timeout_s=5, max_bytes=1)).why == "tool host closed"
        return host.pid

    assert not alive(asyncio.run(story()))


def test_the_log_is_private_and_no_symlink_is_followed(tmp_path: Path) -> None:
    ask(tmp_path, "true")
    assert (tmp_path / "tool_host.log").stat().st_mode & 0o777 == 0o600
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/tool_host.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        ask(tmp_path / "elsewhere", "true")


CLIENT = """
import asyncio, pathlib, sys
from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.tool_client import ToolHost
async def story():
    host = await ToolHost.start(Envelope(), sandboxed=False, log_path=pathlib.Path(sys.argv[1]))
    result = await host.run(sys.argv[2:], cwd="/", timeout_s=30, max_bytes=100)
    print(host.pid, int(result.stdout), flush=True)
    await asyncio.Event().wait()
asyncio.run(story())
"""


def test_the_death_of_the_client_ends_the_host_and_its_daemons(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CLIENT, str(tmp_path / "log"), PYTHON, "-I", "-c", DAEMON, "600"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as client:
        assert client.stdout is not None
        pids = [int(word) for word in client.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        client.kill()
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 5)
