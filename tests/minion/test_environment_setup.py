"""What a setup script leaves: made once, kept, used by runs that need the same; here without a sandbox."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from minion.config import Home
from minion.runner.blocks import BlockFailed
from minion.runner.doorway import Doorway
from minion.runner.environment import Site, prepare
from minion.runner.environment_store import MOST_KEPT, Shelf
from minion.runner.environment_variables import BadVariables, variables_of
from minion.setup.home_removal import look_into, remove_home
from minion.wire import Order
from server.contract.quota import Limits
from tests.minion.setups import LATER, NOW, Heard, bash, kept_in, order_of, said_by, stage_of
from tests.minion.tool_hosts import PYTHON

TOOL = 'printf "#!/bin/sh\\necho made $RANDOM\\n" > bin/tool; printf %s-%s made $RANDOM > made; chmod +x bin/tool'


def plain(home: Path, name: str, **environment: object) -> Order:
    """An order whose routine trusts all it runs."""
    return order_of(home, name, sandboxed=False, **environment)


def refused(order: Order, heard: Heard | None = None, hidden: str = "\0") -> BlockFailed:
    """How setting the stage of an order fails."""

    async def story() -> None:
        async with stage_of(order, heard=heard, hidden=hidden):
            pass

    with pytest.raises(BlockFailed) as caught:
        asyncio.run(story())
    return caught.value


def test_without_a_script_there_is_no_environment(tmp_path: Path) -> None:
    assert said_by(plain(tmp_path, "a"), "echo ${MINION_ENVIRONMENT-none}") == "none"
    assert kept_in(tmp_path) == []


@pytest.mark.promise("NET-2")
def test_a_script_runs_once_and_what_it_left_is_first_on_the_path_of_every_later_run(tmp_path: Path) -> None:
    heard = Heard()
    first = said_by(plain(tmp_path, "a", setup=TOOL), "cat $MINION_ENVIRONMENT/made; type -p tool", heard=heard)
    again = said_by(plain(tmp_path, "b", setup=TOOL), "cat $MINION_ENVIRONMENT/made; type -p tool", heard=heard)
    assert first == again
    assert first.endswith("/bin/tool")
    assert heard.lines == [
        "info: The setup script is run: its result is kept for later runs.",
        f"info: The environment made at {NOW} is used again.",
    ]
    assert kept_in(tmp_path) == ["", ".json", ".lock"]


@pytest.mark.parametrize(
    "other",
    [{"setup": TOOL + "\n"}, {"env": {"A": "2"}}, {"network": "full"}],
    ids=["script", "variables", "network"],
)
def test_another_script_variable_or_network_has_an_environment_of_its_own(
    tmp_path: Path, other: dict[str, object]
) -> None:
    base = {"setup": TOOL, "env": {"A": "1"}, "network": "none"}
    first, second = (
        said_by(plain(tmp_path, name, **said), "echo $MINION_ENVIRONMENT")
        for name, said in (("a", base), ("b", {**base, **other}))
    )
    assert first != second
    assert kept_in(tmp_path).count("") == 2


def test_it_is_used_for_seven_days_and_then_made_anew(tmp_path: Path) -> None:
    cat = "cat $MINION_ENVIRONMENT/count"
    counting = f'echo x >> "{tmp_path}/times"; grep -c x "{tmp_path}/times" > count'
    times = {"a": NOW, "b": LATER["a day"], "c": LATER["eight days"], "d": LATER["eight days"]}
    seen = [said_by(plain(tmp_path, name, setup=counting), cat, now=now) for name, now in times.items()]
    assert seen == ["1", "1", "2", "2"]
    # One from the future was made by a wrong clock.
    assert said_by(plain(tmp_path, "e", setup=counting), cat, now=NOW) == "3"


def test_an_old_one_that_another_run_uses_stays_as_it_is(tmp_path: Path) -> None:
    heard = Heard()

    async def story() -> None:
        async with stage_of(plain(tmp_path, "a", setup=TOOL)) as first:
            made = await bash(first, "cat $MINION_ENVIRONMENT/made")
            later = plain(tmp_path, "b", setup=TOOL)
            async with stage_of(later, now=LATER["eight days"], heard=heard) as second:
                assert await bash(second, "cat $MINION_ENVIRONMENT/made") == made

    asyncio.run(story())
    assert heard.lines == [
        f"info: The environment made at {NOW} is used again, though it is old: other runs use it at this moment."
    ]


def test_of_two_runs_at_once_one_makes_it_and_the_other_waits_and_uses_it(tmp_path: Path) -> None:
    slow = f'echo x >> "{tmp_path}/times"; until test -e "{tmp_path}/go"; do sleep 0.01; done; {TOOL}'
    heard = [Heard(), Heard()]

    async def one(name: str, ear: Heard) -> str:
        async with stage_of(plain(tmp_path, name, setup=slow), heard=ear) as stage:
            return await bash(stage, "cat $MINION_ENVIRONMENT/made")

    async def story() -> list[str]:
        both = asyncio.gather(one("a", heard[0]), one("b", heard[1]))
        while not any("waiting" in line for ear in heard for line in ear.lines):
            await asyncio.wait({both}, timeout=0.01)
        (tmp_path / "go").touch()
        return list(await both)

    first, second = asyncio.run(story())
    assert first == second
    assert (tmp_path / "times").read_text() == "x\n"
    waited = [ear.lines for ear in heard if "The setup script is run" not in ear.lines[0]]
    assert waited == [
        [
            "info: Another run makes this environment: waiting for it.",
            f"info: The environment made at {NOW} is used again.",
        ]
    ]


def test_a_script_that_fails_fails_the_block_with_its_last_words_and_is_run_again(tmp_path: Path) -> None:
    heard = Heard()
    script = "echo first; echo 'no such package: left-pad, by hush-hush' >&2; exit 7"
    failed = refused(plain(tmp_path, "a", setup=script), heard, hidden="hush-hush")
    assert failed.why == "The setup script ended with exit code 7: no such package: left-pad, by [redacted]."
    assert failed.hint == "see the run's log, mend environment.setup, and run the routine again"
    said = "error: The setup script said:\nfirst\nno such package: left-pad, by [redacted]\n"
    assert heard.lines[-1] == said
    assert "" not in kept_in(tmp_path)
    assert refused(plain(tmp_path, "b", setup=script)).why == failed.why.replace("[redacted]", "hush-hush")


@pytest.mark.parametrize("script", ["false; true", "false | true", "nothing-of-this-name", "if", "kill -9 $$"])
def test_a_line_that_fails_ends_the_script(tmp_path: Path, script: str) -> None:
    assert refused(plain(tmp_path, "a", setup=script)).why.startswith("The setup script ")


def test_what_a_script_exports_is_not_carried_and_what_it_writes_into_env_is(tmp_path: Path) -> None:
    script = "export GONE=1\nprintf '# a remark\\n\\nGOBIN=/x y/\"z\"\\nA=of the script\\nlower_case=1\\n' > env"
    order = plain(tmp_path, "a", setup=script, env={"A": "of the routine"})
    line = "echo ${GONE-gone} $GOBIN $A $lower_case"
    assert said_by(order, line) == 'gone /x y/"z" of the routine 1'
    assert said_by(plain(tmp_path, "b", setup=script, env={"A": "of the routine"}), line).startswith("gone /x")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("PATH=/x", "sets PATH in line 1, which is the runner's alone"),
        ("A=1\nLD_PRELOAD=/x", "sets LD_PRELOAD in line 2"),
        ("PYTHONPATH=/x", "sets PYTHONPATH"),
        ("PYTHONSTARTUP=/x", "sets PYTHONSTARTUP"),
        ("BASH_ENV=/x", "sets BASH_ENV"),
        ("https_proxy=http://x", "sets https_proxy"),
        ("NO_PROXY=*", "sets NO_PROXY"),
        ("All_Proxy=x", "sets All_Proxy"),
        ("GIT_SSH_COMMAND=x", "sets GIT_SSH_COMMAND"),
        ("MINION_HOME=/x", "sets MINION_HOME"),
        ("HOME=/x", "sets HOME"),
        ("NODE_OPTIONS=--require /x", "sets NODE_OPTIONS"),
        ("export A=1", "has no NAME=VALUE in line 1"),
        ("A", "has no NAME=VALUE in line 1"),
        ("1A=2", "has no NAME=VALUE in line 1"),
        ("A=\x1b[2J", "has a value in line 1 that is too long or has control characters"),
        ("A=" + "x" * 4097, "has a value in line 1 that is too long"),
        ("\n".join(f"A{n}=1" for n in range(101)), "has more than 100 variables"),
        ("#" * 65_537, "is no plain file of at most 65,536 bytes"),
        ("A=\udcff", "is no UTF-8"),
    ],
)
def test_variables_that_the_runner_decides_or_that_are_no_variables_are_refused(
    tmp_path: Path, body: str, says: str
) -> None:
    (tmp_path / "env").write_bytes(body.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadVariables) as caught:
        variables_of(tmp_path)
    assert str(caught.value).startswith(says)


def test_a_link_in_the_place_of_the_variables_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("A=1")
    (tmp_path / "env").symlink_to(tmp_path / "secret")
    with pytest.raises(BadVariables):
        variables_of(tmp_path)


def test_bad_variables_fail_the_block_and_nothing_is_kept(tmp_path: Path) -> None:
    failed = refused(plain(tmp_path, "a", setup="echo PATH=/x > env"))
    assert failed.why == (
        "The file env that the setup script left sets PATH in line 1, which is the runner's alone."
    )
    assert "" not in kept_in(tmp_path)


def test_more_than_the_disk_may_hold_is_refused_and_taken_away(tmp_path: Path) -> None:
    order = plain(tmp_path, "a", setup="head -c 700000 /dev/zero > x; head -c 700000 /dev/zero > y")
    failed = refused(replace(order, limits=Limits(disk_bytes=1024 * 1024)))
    assert failed.why.startswith("The setup script wrote 1,4")
    assert failed.why.endswith(" bytes, and 1,048,576 are the most.")
    assert "limits.disk_bytes" in failed.hint
    assert "" not in kept_in(tmp_path)


def test_a_cancelled_run_leaves_nothing_half_made_and_the_place_free(tmp_path: Path) -> None:
    async def story() -> None:
        begun = tmp_path / "begun"
        order = plain(tmp_path, "a", setup=f"touch {begun}; sleep 1000")
        work = asyncio.ensure_future(stage_of(order).__aenter__())
        while not begun.exists():
            await asyncio.wait({work}, timeout=0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(story())
    assert kept_in(tmp_path) == [".lock"]
    shelf_lock = next((tmp_path / "environments").iterdir()).name.removesuffix(".lock")
    lock = Shelf(tmp_path / "environments", shelf_lock).alone()
    assert lock is not None
    lock.close()


def test_a_script_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async def story() -> None:
        order = plain(tmp_path, "a", setup="sleep 1000")
        doorway = Doorway(None, tmp_path / "egress", tmp_path / "log", PYTHON, Limits(), lambda *_: None)
        site = Site(order, doorway, {"PATH": "/usr/bin:/bin"}, False, NOW, str, Heard().log, build_s=0.2)
        with pytest.raises(BlockFailed, match=r"^The setup script was not done within 0\.2 s\.$"):
            await prepare(site)

    asyncio.run(story())
    assert kept_in(tmp_path) == [".lock"]


def test_what_a_killed_run_left_half_made_is_made_anew(tmp_path: Path) -> None:
    said_by(plain(tmp_path, "a", setup=TOOL), "true")
    folder = tmp_path / "environments"
    (facts,) = folder.glob("*.json")
    facts.write_text("{")  # as after a power cut, or before it was whole
    made = facts.with_suffix("") / "made"
    made.write_text("half")
    assert said_by(plain(tmp_path, "b", setup=TOOL), "cat $MINION_ENVIRONMENT/made").startswith("made-")


def test_those_used_last_are_kept_and_one_in_use_is_never_taken_away(tmp_path: Path) -> None:
    async def story() -> None:
        async with stage_of(plain(tmp_path, "used", setup="echo used > who")) as stage:
            folder = tmp_path / "environments"
            (first,) = folder.glob("*.lock")
            os.utime(first, (1, 1))
            for number in range(MOST_KEPT + 2):
                place = Shelf(folder, f"{number:040x}")
                lock = place.alone()
                assert lock is not None
                place.keep(place.begin(in_place=False), NOW, {}, lock).close()
                os.utime(folder / f"{number:040x}.lock", (100 + number, 100 + number))
            (folder / ("f" * 40)).mkdir()  # of a run that was killed while it made it
            Shelf(folder, "0" * 40).prune()
            assert await bash(stage, "cat $MINION_ENVIRONMENT/who") == "used"
            left = sorted(path.name for path in folder.glob("*.json"))
            assert len(left) == MOST_KEPT + 1
            assert f"{0:040x}.json" not in left
            assert f"{MOST_KEPT + 1:040x}.json" in left
            assert not (folder / ("f" * 40)).exists()

    asyncio.run(story())


@pytest.mark.heavy
def test_folders_that_nobody_may_write_to_and_very_deep_ones_are_taken_away(tmp_path: Path) -> None:
    deep = "step=$(printf 'd/%.0s' {1..50}); for i in $(seq 24); do mkdir -p $step; cd -P $step; done"
    locked = "cd $MINION_ENVIRONMENT; mkdir -p go/mod; touch go/mod/x; chmod -R a-w go"
    assert refused(plain(tmp_path, "a", setup=f"{deep}; {locked}; exit 9")).why.endswith("exit code 9.")
    assert kept_in(tmp_path) == [".lock"]


def test_uninstalling_takes_the_environments_with_it(tmp_path: Path) -> None:
    said_by(plain(tmp_path, "a", setup="mkdir locked; touch locked/x; chmod a-w locked"), "true")
    (tmp_path / "minion.json").write_text("{}")
    contents = look_into(Home(tmp_path))
    assert contents is not None
    assert contents.others == ()
    remove_home(contents)
    assert not tmp_path.exists()


def test_the_script_and_the_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    asked = f'stat -c %a "$0" . .. > {tmp_path}/modes'
    said_by(plain(tmp_path, "a", setup=asked), "true")
    assert (tmp_path / "modes").read_text().split() == ["600", "700", "700"]
    assert stat.S_IMODE((tmp_path / "environments").stat().st_mode) == 0o700


def test_a_setup_script_does_not_run_without_the_sandbox_it_may_not_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where no bubblewrap is
    failed = refused(order_of(tmp_path, "a", sandboxed=True, setup="touch made"))
    assert failed.why.endswith("and the routine's setup script may not run without one.")
    assert "" not in kept_in(tmp_path)


def test_a_session_with_a_model_does_not_run_without_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    order = replace(order_of(tmp_path, "a", sandboxed=True), engine="messages")
    assert refused(order).why.endswith("and a session with a model may not run without one.")
