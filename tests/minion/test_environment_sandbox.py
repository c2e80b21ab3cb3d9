"""A setup script in its sandbox: what it sees, what it may reach, and how later runs see what it left."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from minion.runner.blocks import BlockFailed
from minion.runner.stage import set_stage
from minion.runner.workspace import lay_out
from minion.wire import Order
from server.contract.quota import Limits
from tests.minion.setups import LATER, NOW, Heard, kept_in, order_of, said_by, stage_of
from tests.minion.test_egress_sandbox import FETCH, hello
from tests.minion.test_sandbox_envelope import WHY_NOT

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


def boxed(home: Path, name: str, **environment: object) -> Order:
    """An order whose run is sandboxed."""
    return order_of(home, name, sandboxed=True, **environment)


def test_the_script_writes_into_the_environment_alone_and_sees_no_workspace(tmp_path: Path) -> None:
    script = """
    pwd; echo $HOME $TMPDIR $MINION_ENVIRONMENT $A; ls -d /workspace /scratch /history /skills 2>/dev/null || true
    for place in / /usr/bin /setup /minion /environment /environment/home; do
        touch $place/mark 2>/dev/null && echo wrote $place
    done
    echo 'A=1' > env; printf '#!/bin/sh\\necho tool\\n' > bin/tool; chmod +x bin/tool
    """
    heard = Heard()
    order = boxed(tmp_path, "a", setup=script, env={"A": "own"})
    looks = (
        "tool; type -p tool; touch /environment/x; ls /environment; ls -d /setup; echo $HOME $MINION_ENVIRONMENT"
    )
    seen = said_by(order, looks, heard=heard).splitlines()
    assert heard.lines[1] == (
        "info: The setup script said:\n/environment\n/environment/home /environment/tmp /environment own\n"
        "wrote /environment\nwrote /environment/home\n"
    )
    assert seen[:2] == ["tool", "/environment/bin/tool"]
    assert "Read-only file system" in seen[2]
    assert seen[3:7] == ["bin", "env", "home", "mark"]
    assert "No such file" in seen[7]
    assert seen[8] == "/scratch /environment"
    assert said_by(boxed(tmp_path, "b", setup=script, env={"A": "own"}), "tool", heard=heard) == "tool"
    assert heard.lines[-1] == f"info: The environment made at {NOW} is used again."
    assert kept_in(tmp_path) == ["", ".json", ".lock"]


def test_the_script_has_the_routine_s_network_and_no_more(tmp_path: Path) -> None:
    told: list[str] = []

    async def story(order: Order) -> None:
        workspace = await lay_out(order)
        stage = await set_stage(
            order, workspace, now=NOW, redact=str, ledger=Heard(), blocked=lambda host, *_: told.append(host)
        )
        await stage.tools.close()

    with hello() as port:
        fetch = f"{FETCH} http://127.0.0.1:{port}/ | grep hello; {FETCH} http://other.test/ | grep 403"
        fetch = f"unset no_proxy NO_PROXY; {fetch}"
        asyncio.run(story(boxed(tmp_path, "a", setup=fetch, network=[f"127.0.0.1:{port}"])))
        assert told == ["other.test"]
        with pytest.raises(BlockFailed, match="ended with exit code 1"):
            asyncio.run(story(boxed(tmp_path, "b", setup=fetch, network="none")))


def test_links_that_it_left_lead_nowhere_out_of_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    script = f"ln -s {tmp_path} out; ln -s /proc/1/root root; ln -s {tmp_path}/secret env2; mv env2 kept"
    looks = "cat /environment/out/secret /environment/kept; ls /environment"
    seen = said_by(boxed(tmp_path, "a", setup=script), looks)
    assert "canary" not in seen
    assert seen.splitlines()[-3:] == ["kept", "out", "root"]
    env = boxed(tmp_path, "b", setup=f"ln -s {tmp_path}/secret env")
    with pytest.raises(BlockFailed, match="is no plain file"):
        said_by(env, "true")


def test_an_environment_that_grows_over_the_disk_s_cap_is_stopped_while_it_grows(tmp_path: Path) -> None:
    growing = "n=0; while true; do n=$((n+1)); head -c 500000 /dev/zero > f$n; sleep 0.05; done"
    order = replace(boxed(tmp_path, "a", setup=growing), limits=Limits(disk_bytes=1024 * 1024))

    async def story() -> None:
        async with stage_of(order):
            pass

    with pytest.raises(BlockFailed, match=r"^The setup script wrote [0-9,]+ bytes, and 1,048,576 are the most\.$"):
        asyncio.run(story())
    assert kept_in(tmp_path) == [".lock"]


def test_an_old_environment_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    fetch = f"unset no_proxy NO_PROXY; {FETCH} http://127.0.0.1:PORT/ | grep hello; date +%N > made"
    with hello() as port:
        said = {"setup": fetch.replace("PORT", str(port)), "network": [f"127.0.0.1:{port}"]}
        first = said_by(boxed(tmp_path, "a", **said), "cat /environment/made")
    with pytest.raises(BlockFailed, match="exit code"):  # the server is gone
        said_by(boxed(tmp_path, "b", **said), "true", now=LATER["eight days"])
    assert said_by(boxed(tmp_path, "c", **said), "cat /environment/made", now=LATER["a day"]) == first
    with hello(port):
        assert said_by(boxed(tmp_path, "d", **said), "cat /environment/made", now=LATER["eight days"]) != first
    assert kept_in(tmp_path) == ["", ".json", ".lock"]
