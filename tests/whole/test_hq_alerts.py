"""What a real HQ tells people: with which settings it begins, and that a kill neither loses nor repeats it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.clock import utc_now
from server.contract.digest import instant
from server.storage import notice_store
from tests.server.desks import desk_at
from tests.server.servers import HQ, UP_S, environment, served, told
from tests.waiting import wait_until

pytestmark = [pytest.mark.heavy, pytest.mark.promise("HQM-4")]
TELLS = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def waiting(folder: Path, key: str) -> None:
    """A store in which something waits to be told."""

    async def put() -> None:
        async with desk_at(folder) as desk:
            text = f"The minion {key} is silent."
            await desk.database.transact(notice_store.put_notice, key, ["command"], text, now=instant(utc_now()))

    asyncio.run(put())


def states(home: Path) -> dict[str, int]:
    """How many notices there are, by state, as `hq status` says."""
    found: dict[str, int] = told(home, "status")["holds"]["notices"]["states"]
    return found


def test_what_waited_is_told_when_hq_is_up_and_not_again_after_a_kill(tmp_path: Path) -> None:
    home, heard = tmp_path / "hq", tmp_path / "heard"
    command = json.dumps([sys.executable, "-c", TELLS, str(heard)])
    waiting(tmp_path, "alice")
    with served(home) as server:  # set up in no way: it waits
        assert "Nobody will be told if a minion falls silent" in server.log()
        server.kill()
    assert states(home) == {"waiting": 1}
    with served(home, HQ_ALERT_COMMAND=command) as server:
        assert server.log().count("Nobody will be told") == 1  # that of before
        assert wait_until(lambda: states(home) == {"sent": 1}, UP_S)
        server.kill()
    waiting(tmp_path, "bob")
    with served(home, HQ_ALERT_COMMAND=command):
        assert wait_until(lambda: states(home) == {"sent": 2}, UP_S)
    assert heard.read_text() == "The minion alice is silent.\nThe minion bob is silent.\n"


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        ("HQ_ALERT_COMMAND", "mail me", 2, "HQ_ALERT_COMMAND is no JSON list of words."),
        ("HQ_ALERT_SLACK_FILE", "/nonexistent/address", 3, "HQ_ALERT_SLACK_FILE cannot be read"),
    ],
    ids=["command", "file"],
)
def test_hq_does_not_begin_with_a_setting_by_which_nobody_could_be_told(
    tmp_path: Path, name: str, value: str, code: int, says: str
) -> None:
    done = subprocess.run(
        [str(HQ), "--home", str(tmp_path / "hq"), "serve", "--port", "0"], env={**environment(), name: value},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=UP_S, check=False,
    )  # fmt: skip
    assert (done.returncode, says in done.stderr, (tmp_path / "hq").exists()) == (code, True, False)
