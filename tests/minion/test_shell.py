"""A shell keeps its folder and variables from command to command, whatever a command does to itself."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from minion.sandbox.bubblewrap import Envelope
from minion.sandbox.shell import Shell
from minion.sandbox.tool_client import ToolHost, ToolResult
from tests.minion.tool_hosts import alive, open_host
from tests.minion.workbenches import HOSTS, Bench, commands, on_bench
from tests.waiting import wait_until

BOTH = pytest.mark.parametrize("sandboxed", HOSTS)
pytestmark = [pytest.mark.heavy, pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")]
UNREAD = "bash: this did not run: what the command before it left cannot be read, and is lost\n"


def said(result: ToolResult) -> str:
    """All that a command printed."""
    return (result.stdout + result.stderr).decode()


def lost(folder: object) -> str:
    """What bash says before a command that follows one that kept nothing."""
    why = "(a shell that is killed or replaced by exec keeps nothing)"
    return f"bash: what the command before this one set is lost {why}; this runs in {folder}\n"


def newest_file(tmp_path: Path) -> Path:
    """The file of the session that the next command reads."""
    files = (tmp_path / "scratch/.shell").iterdir()
    return max(files, key=lambda path: int(path.read_text().split()[0].strip("#")))


@BOTH
def test_folder_variables_functions_and_aliases_carry_over(tmp_path: Path, sandboxed: bool) -> None:
    first, second = commands(
        tmp_path,
        "mkdir -p 'a b'; cd 'a b'; export SHOWN=1; hidden=$'two\\nlines'; list=(1 '2 3')\n"
        "declare -A map=([k]='v w'); greet() {\n  echo \"hello $1\"\n}\nalias ll='echo listed'; umask 027",
        "pwd | sed 's#.*/##'; echo \"$hidden\"; echo \"${list[1]} ${map[k]}\"; greet you; ll; umask\n"
        "sh -c 'echo $SHOWN$hidden'; cd - | sed 's#.*/##'",
        sandboxed=sandboxed,
    )
    assert (first.exit, said(first)) == (0, "")
    lines = ["a b", "two", "lines", "2 3 v w", "hello you", "listed", "0027", "1"]
    assert said(second).splitlines() == [*lines, "workspace" if sandboxed else "yard"]


def test_errors_come_where_they_were_printed_among_the_output(tmp_path: Path) -> None:
    (result,) = commands(tmp_path, "echo one; echo two >&2; echo three; nonsense")
    assert said(result) == "one\ntwo\nthree\n/dev/stdin: line 1: nonsense: command not found\n"
    assert result.exit == 127


@pytest.mark.parametrize(
    ("ending", "code", "why"),
    [
        ("exit 3", 3, None),
        ("set -e; false; echo not reached", 1, None),
        ("set -u; echo $none; echo not reached", 127, None),
        ("f() { exit 4; }; f", 4, None),
        ("trap 'echo bye' EXIT; exit 5", 5, None),
        ("trap 'exit 6' EXIT; true", 6, None),
        ("if true; then", 2, None),
        ("echo 'unclosed", 2, None),
        ("kill -9 $$", None, "signal 9"),
        ("kill $$", None, "signal 15"),
        ("exec true", 0, None),
        ("exec 1>&- 2>&-; exit 7", 7, None),
        ("return 8", 8, None),
    ],
)
def test_no_end_of_a_command_ends_the_session(
    tmp_path: Path, ending: str, code: int | None, why: str | None
) -> None:
    first, second, third = commands(tmp_path, "mkdir a; cd a; x=1", f"cd ..; {ending}", "set +eu; echo $x; pwd")
    assert first.exit == 0
    assert (second.exit, second.why) == (code, why)
    assert third.exit == 0
    kept_nothing = ending in {"kill -9 $$", "exec true"}
    assert said(third).startswith(f"{lost(f'{tmp_path}/yard/a')}1\n" if kept_nothing else "1\n")


def test_a_command_that_kept_nothing_is_named_once_and_what_was_before_it_stays(tmp_path: Path) -> None:
    lines = ("cd /; exec true", "x=1; cd /", "x=2; cd /tmp; exec true", "x=3; kill -9 $$", "echo $x", "echo $x")
    _, *outputs = [said(result) for result in commands(tmp_path, *lines)]
    assert outputs == [lost(f"{tmp_path}/yard"), "", lost("/"), f"{lost('/')}1\n", "1\n"]


def test_a_timeout_that_had_to_kill_the_shell_is_named_like_any_kill(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[ToolResult, ToolResult]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "max_bytes": 1000}
        slow = await shell.run("trap '' TERM; x=2; until false; do sleep 1; done", timeout_s=0.5, **given)
        return slow, await shell.run("echo x$x", timeout_s=20, **given)

    slow, after = on_bench(tmp_path, story)
    assert (slow.why, said(after)) == ("timeout", f"{lost(f'{tmp_path}/yard')}x\n")


def test_a_state_that_cannot_be_written_is_said_before_the_command_runs(tmp_path: Path) -> None:
    first, second = commands(tmp_path, "x=1; rm -r ../scratch/.shell; touch ../scratch/.shell", "echo x$x")
    notice = f"bash: {tmp_path}/scratch/.shell/a cannot be written; what this sets will be lost\n"
    assert (first.exit, said(second)) == (0, f"{notice}x\n")


def test_functions_come_back_whatever_options_they_were_written_under(tmp_path: Path) -> None:
    lines = ("cd /tmp; n=0", "shopt -s extglob", "g() { case $1 in +(a|b)) echo yes ;; esac; }; n=1; cd /",
             "echo $n $PWD; g aab; shopt -q extglob && echo on; shopt -u extglob",
             "declare -F g; shopt -q extglob || echo off; shopt -s extglob", "g aab")  # fmt: skip
    *_, fourth, fifth, last = commands(tmp_path, *lines)
    assert [said(result) for result in (fourth, fifth, last)] == ["1 /\nyes\non\n", "g\noff\n", "yes\n"]


def test_functions_come_back_as_they_were_written_and_not_through_the_aliases(tmp_path: Path) -> None:
    lines = ("greet() { echo hello; }", "alias echo='echo aliased'", "greet; echo you")
    assert said(commands(tmp_path, *lines)[2]) == "hello\naliased you\n"


def test_a_function_that_bash_cannot_read_again_is_said_and_costs_no_variable(tmp_path: Path) -> None:
    # bash leaves the parenthesis before a pattern out when it prints it, and `esac` alone is no pattern.
    lines = ("a() { echo a; }; f() { case $1 in (esac) ;; esac; }; x=1; cd /", "echo $x $PWD; a", "echo $x")
    notice = "bash: not all functions could be read again; `declare -F` prints those that are left\n"
    assert [said(result) for result in commands(tmp_path, *lines)[1:]] == [f"{notice}1 /\na\n", "1\n"]


def test_aliases_of_the_session_reach_its_commands_and_not_the_shell_s_own_lines(tmp_path: Path) -> None:
    names = ["set", "exec", "trap", "builtin", ".", "[[", "if", "for", "shopt", "eval", "unset", "rm", "declare"]
    lines = ("shopt -s nullglob; " + "; ".join(f"alias {name}='echo own {name}'" for name in names),
             "set; exec x\ntrap; x=1", "\\unalias -a; echo $x; exit 3", "echo $x; shopt -q nullglob && echo on")
    results = commands(tmp_path, *lines)
    assert [said(result) for result in results] == ["", "own set\nown exec x\nown trap\n", "1\n", "1\non\n"]
    assert results[2].exit == 3


def test_functions_named_like_builtins_are_the_commands_own_alone(tmp_path: Path) -> None:
    names = "exec unset set shopt declare local return shift eval cd . exit alias umask printf command echo rm"
    functions = "; ".join(f"{name}() {{ builtin echo own {name}; }}" for name in names.split())
    lines = (f"shopt -s nullglob; {functions}; export -f declare", "x=1; builtin cd /; exec; unset x; cd",
             "trap 'builtin echo \"bye $?\"' EXIT; echo; builtin echo $x $PWD; builtin exit 3",
             "builtin shopt -q nullglob && builtin echo on; declare x; local")  # fmt: skip
    results = commands(tmp_path, *lines)
    own = ["own exec\nown unset\nown cd\n", "own echo\n1 /\nbye 3\n", "on\nown declare\nown local\n"]
    assert (results[2].exit, [said(result) for result in results]) == (3, ["", *own])


def test_a_state_that_would_stop_bash_stops_one_command_and_not_the_session(tmp_path: Path) -> None:
    # A whole number that is none ends bash as soon as it is declared.
    lines = ("x=1", "export y=2; n='a b'; declare -i n", "echo not run", "echo \"$x<${y-}>\"; x=3", "echo $x")
    *_, third, fourth, fifth = commands(tmp_path, *lines)
    assert (third.exit, [said(result) for result in (third, fourth, fifth)]) == (1, [UNREAD, "1<>\n", "3\n"])


def test_a_shell_ended_from_outside_while_it_reads_its_state_leaves_it_for_the_next(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[ToolResult, ToolResult]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "max_bytes": 1000}
        await shell.run("x=1", timeout_s=20, **given)
        file = newest_file(tmp_path)
        endless = "while true; do sleep 1; done\n"
        file.write_text(file.read_text().replace("\n", f"\n{endless}", 1))
        slow = await shell.run("echo $x", timeout_s=0.5, **given)
        file.write_text(file.read_text().replace(endless, ""))
        return slow, await shell.run("echo $x", timeout_s=20, **given)

    slow, after = on_bench(tmp_path, story)
    assert (slow.why, said(slow), said(after)) == ("timeout", "", "1\n")


def test_what_a_command_left_on_stays_on_until_it_is_taken_off(tmp_path: Path) -> None:
    results = commands(tmp_path, "set -eo pipefail; shopt -s nullglob; IFS=:",
                       "echo *.none end; false | true; echo no",
                       "set +e; shopt -u nullglob; printf %s \"$IFS\"; unset IFS", "false; echo *.none; set -C",
                       "echo 1 > a; echo 2 > a; set +C", "echo ok")  # fmt: skip
    assert [said(result) for result in results[1:4]] == ["end\n", ":", "*.none\n"]
    assert results[1].exit == 1
    assert "cannot overwrite" in said(results[4])
    assert said(results[5]) == "ok\n"


@pytest.mark.parametrize("option", ["set -x", "set -f", "set -a", "set -o posix", "set -v", "set -m", "set -n"])
def test_an_option_that_changes_the_shell_itself_does_not_lose_the_session(tmp_path: Path, option: str) -> None:
    lines = ("x=kept; mkdir a", f"cd a; {option}", "echo $x; pwd", "set +x +f +a +v +o posix; echo ${x}2")
    results = commands(tmp_path, *lines)
    assert [result.exit for result in results] == [0, 0, 0, 0]
    assert "kept\n" in said(results[2])
    assert "kept2\n" in said(results[3])


def test_a_command_s_own_trap_at_its_end_runs_once_and_in_a_subshell_as_ever(tmp_path: Path) -> None:
    first, second, third, fourth = commands(
        tmp_path,
        "x=1; trap 'echo \"bye $?\"' EXIT; (exit 3)",
        "trap 'echo outer' 0; (trap 'echo inner' EXIT; echo in); trap - EXIT; echo $x",
        "trap 'echo caught' USR1 EXIT; kill -USR1 $$; trap '' EXIT",
        "echo $x",
    )
    assert (said(first), first.exit) == ("bye 3\n", 3)
    assert said(second) == "in\ninner\n1\n"
    assert said(third) == "caught\n"
    assert said(fourth) == "1\n"


@BOTH
def test_a_timeout_ends_the_command_with_its_group_and_not_the_session(tmp_path: Path, sandboxed: bool) -> None:
    async def story(bench: Bench) -> tuple[ToolResult, ToolResult]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "max_bytes": 1000}
        await shell.run("x=1", timeout_s=20, **given)
        slow = await shell.run("x=2; echo begun; sleep 600; echo no", timeout_s=0.5, **given)
        return slow, await shell.run("echo $x", timeout_s=20, **given)

    slow, after = on_bench(tmp_path, story, sandboxed=sandboxed)
    assert (slow.exit, slow.why, said(slow)) == (None, "timeout", "begun\n")
    assert said(after) == "2\n"


def test_a_background_process_outlives_its_command_and_may_print_on(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[int, bool]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "timeout_s": 20.0, "max_bytes": 1000}
        # Were its pipe closed, the first word after its command's end would kill it.
        loop = "(until [ -e stop ]; do echo again; echo again >&2; sleep 0.01; done; touch ended) & echo $!"
        started = await shell.run(loop, **given)
        pid = int(said(started).splitlines()[0])
        await shell.run("sleep 0.2; touch stop", **given)
        return pid, await asyncio.to_thread(wait_until, (bench.work / "ended").exists, 10)

    pid, ended_well = on_bench(tmp_path, story)
    assert ended_well
    assert wait_until(lambda: not alive(pid), 5)


def test_output_beyond_the_cap_comes_back_by_its_beginning_and_its_end(tmp_path: Path) -> None:
    (result,) = commands(tmp_path, "echo begun; yes | head -c 500000; echo ended >&2", max_bytes=1_000)
    assert result.stdout.startswith(b"begun\ny\n")
    assert result.stderr.endswith(b"y\nended\n")
    assert (len(result.stdout), len(result.stderr), result.truncated) == (1_000, 48 * 1024, 0)
    assert result.dropped == 500_000 + 12 - 1_000 - 48 * 1024


@pytest.mark.parametrize(
    "hostile",
    [
        "echo '\"; touch broken; \"'", "echo \"$(echo '$(touch broken)')\"", "cat <<'END'\n'; touch broken\nEND",
        "# '\"",
    ],
)
def test_the_text_of_a_command_is_bash_s_own_source_and_nothing_more(tmp_path: Path, hostile: str) -> None:
    (result,) = commands(tmp_path, hostile)
    assert result.exit == 0
    assert not (tmp_path / "yard/broken").exists()


def test_a_command_has_no_input_and_no_arguments(tmp_path: Path) -> None:
    (result,) = commands(tmp_path, "cat; read -r line; echo \"$?/$#/$*\"")
    assert said(result) == "1/0/\n"


def test_the_first_folder_is_the_given_one_and_again_where_its_own_is_gone(tmp_path: Path) -> None:
    first, second, third = commands(tmp_path, "pwd; mkdir a; cd a; rmdir ../a", "pwd", "pwd")
    work = f"{tmp_path}/yard"
    assert said(first) == f"{work}\n"
    assert said(second) == f"bash: the folder {work}/a is gone; this runs in {work}\n{work}\n"
    assert said(third) == f"{work}\n"


def test_what_carries_over_starts_no_program_of_the_path(tmp_path: Path) -> None:
    # The state's own number once stood in its file as a line by itself, which bash took for a program's name.
    here = tmp_path / "programs"
    here.mkdir()
    for number in range(1, 6):
        program = here / str(number)
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        program.chmod(0o700)
    env = {"PATH": f"{here}:/usr/bin:/bin"}
    *_, last = commands(tmp_path, "x=1", "x=$((x + 1))", "x=$((x + 1))", "echo $x; command -v 3", env=env)
    assert said(last) == f"3\n{here}/3\n"
    assert not (tmp_path / "started").exists()


def test_variables_from_outside_are_there_and_what_the_session_made_of_them_is_kept(tmp_path: Path) -> None:
    lines = ("echo $A $B; A=changed; unset B", "echo $A ${B-unset}; sh -c 'echo $A'")
    first, second = commands(tmp_path, *lines, env={"A": "a b", "B": "x\ny"})
    assert said(first) == "a b x y\n"
    assert said(second) == "changed unset\nchanged\n"


def test_a_session_goes_on_from_its_file_in_another_host(tmp_path: Path) -> None:
    commands(tmp_path, "x=1; mkdir a; cd a", "x=2")
    (result,) = commands(tmp_path, "echo $x; pwd")
    assert said(result) == f"2\n{tmp_path}/yard/a\n"


@pytest.mark.parametrize("harm", ["empty", "begun", "folder", "fifo"])
def test_a_file_of_the_session_that_is_not_whole_leaves_the_one_before_alone(tmp_path: Path, harm: str) -> None:
    commands(tmp_path, "x=1", "y=1; x=2")
    newest = newest_file(tmp_path)
    text = {"begun": f"-{newest.read_text()[1:]}", "empty": ""}
    newest.unlink()
    if harm == "folder":
        newest.mkdir()
    elif harm == "fifo":
        os.mkfifo(newest)
    else:
        newest.write_text(text[harm])
    results = commands(tmp_path, "echo \"$x<${y-}>\"; z=3", "echo $x$z", "echo $x$z")
    assert [said(result) for result in results] == [f"{lost(f'{tmp_path}/yard')}1<>\n", "13\n", "13\n"]


@pytest.mark.parametrize("harm", ["truncate", "nonsense"])
def test_a_file_of_the_session_that_was_torn_later_mixes_with_none_other(tmp_path: Path, harm: str) -> None:
    commands(tmp_path, "x=1", "declare -x A_FIRST=1; x=2")
    newest = newest_file(tmp_path)
    text = newest.read_text()
    newest.write_text({"truncate": text[: len(text) // 2], "nonsense": "#9999\n'(\0"}[harm])
    results = commands(tmp_path, "echo not run", "echo \"$x<${A_FIRST-}>\"; z=3", "echo $x$z")
    assert (results[0].exit, [said(result) for result in results]) == (1, [UNREAD, "1<>\n", "13\n"])


def test_two_commands_at_once_follow_each_other(tmp_path: Path) -> None:
    async def story(bench: Bench) -> list[ToolResult]:
        shell = bench.shell()
        lines = [f"echo $n; sleep 0.1; n=$((n + 1)); x{number}=set" for number in range(3)]
        given = {"cwd": bench.inside, "env": {}, "timeout_s": 20.0, "max_bytes": 1000}
        await shell.run("n=0", **given)
        done = await asyncio.gather(*(shell.run(line, **given) for line in lines))
        return [*done, await shell.run("echo $n$x0$x1$x2", **given)]

    results = on_bench(tmp_path, story)
    assert [said(result) for result in results] == ["0\n", "1\n", "2\n", "3setsetset\n"]


def test_a_command_that_waits_for_another_has_its_own_time_only(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[ToolResult, ToolResult]:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "max_bytes": 1000}
        line = "until [ -e go ]; do sleep 0.01; done; echo went"
        slow = asyncio.create_task(shell.run(line, timeout_s=20, **given))
        assert await asyncio.to_thread(wait_until, (bench.scratch / ".shell").exists, 10)
        late = await shell.run("echo late", timeout_s=0.2, **given)
        (bench.work / "go").touch()
        return await slow, late

    slow, late = on_bench(tmp_path, story)
    assert said(slow) == "went\n"
    assert (late.exit, late.why) == (None, "timeout")


def test_a_cancelled_command_frees_the_shell(tmp_path: Path) -> None:
    async def story(bench: Bench) -> ToolResult:
        shell = bench.shell()
        given = {"cwd": bench.inside, "env": {}, "timeout_s": 20.0, "max_bytes": 1000}
        task = asyncio.create_task(shell.run("touch begun; sleep 600", **given))
        assert await asyncio.to_thread(wait_until, (bench.work / "begun").exists, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await shell.run("echo free", **given)

    assert said(on_bench(tmp_path, story)) == "free\n"


def test_large_variables_carry_over_too(tmp_path: Path) -> None:
    _, second = commands(tmp_path, "x=$(head -c 300000 /dev/zero | tr '\\0' '\\n'; echo end)", "echo ${#x}")
    assert said(second) == "300003\n"


def test_without_bash_each_command_runs_alone_and_the_shell_says_so(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "pwd").symlink_to("/bin/pwd")

    async def story() -> tuple[list[ToolResult], bool]:
        async with open_host(tmp_path, Envelope(env={"PATH": str(bin_folder)})) as host:
            shell = Shell(host, str(tmp_path / "state"))
            given = {"cwd": str(tmp_path), "env": {}, "timeout_s": 20.0, "max_bytes": 1000}
            lines = ("x=1; cd /; echo out; echo err >&2", "echo \"x$x\"; pwd; exit 3")
            return [await shell.run(line, **given) for line in lines], shell.carries

    (first, second), carries = asyncio.run(story())
    assert not carries
    assert said(first) == "out\nerr\n"
    assert (said(second), second.exit) == (f"x\n{tmp_path}\n", 3)


def test_a_host_that_died_is_said_and_raises_nothing(tmp_path: Path) -> None:
    async def story() -> ToolResult:
        host = await ToolHost.start(Envelope(), sandboxed=False, log_path=tmp_path / "log")
        await host.close()
        return await Shell(host, str(tmp_path)).run("true", cwd="/", env={}, timeout_s=5, max_bytes=10)

    assert asyncio.run(story()).why == "tool host closed"
