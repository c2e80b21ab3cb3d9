"""A real daemon tells a real webhook: once of a failure, once of its end, of many at once in one message."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home, holder_of
from tests.waiting import wait_until
from tests.whole.homes import Ended, make_home, run_process, write_routine, write_secrets, write_skill
from tests.whole.webhooks import Webhook, webhook

pytestmark = pytest.mark.heavy
# Over the half minute between two messages, and before the first new try.
SOON = 60.0


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook that takes everything."""
    with webhook() as serving:
        yield serving


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home that tells the webhook, with a skill that works while the file `open` is there."""
    made = make_home(tmp_path)
    write_secrets(made, {"slack_webhook": hook.url("/ok"), "heart": hook.url("/heart")})
    config = json.loads(made.config_file.read_text()) | {"notify": [{"slack": "slack_webhook"}]}
    made.config_file.write_text(json.dumps(config))
    door = tmp_path / "open"
    script = f"import pathlib\nanswer(text='done') if pathlib.Path({str(door)!r}).exists() else sys.exit('shut')\n"
    write_skill(made, "door", script)
    return made


@contextmanager
def up(home: Home) -> Iterator[None]:
    """A daemon of the home until the block ends."""
    began = run_process(home, "up")
    assert began.code == 0, began.err
    try:
        yield
    finally:
        run_process(home, "down", "--now")


def run(home: Home, name: str) -> str:
    """Have the daemon run a routine; returns when the run has ended."""
    ended = run_process(home, "run", name, "--json")
    return str(json.loads(ended.out)["id"])


def alerts(home: Home, *options: str) -> Any:
    """What `minion alerts` lists."""
    ended: Ended = run_process(home, "alerts", "--json", *options)
    assert ended.code == 0, ended.err
    return ended.json()


@pytest.mark.promise("WAT-1")
@pytest.mark.promise("WAT-3")
def test_a_failure_is_told_once_and_its_end_once_and_the_switch_hears_of_every_run(
    home: Home, hook: Webhook, tmp_path: Path
) -> None:
    write_routine(home, "porter", "door", watch={"ping": "heart"})
    with up(home):
        started = run_process(home, "run", "porter", "--detach").out.strip()
        assert wait_until(lambda: len(hook.texts("/ok")) == 1, SOON)
        assert "porter failed" in hook.texts("/ok")[0]
        assert f"minion --home {home.root} show {started}" in hook.texts("/ok")[0]
        run(home, "porter")
        run(home, "porter")
        status = run_process(home, "status", "--json").json()
        assert [(alert["routine"], alert["kind"]) for alert in status["alerts"]] == [("porter", "failing")]
        (tmp_path / "open").touch()
        run(home, "porter")
        assert wait_until(lambda: len(hook.texts("/ok")) == 2, SOON)
        assert "porter is well again after 3 bad runs" in hook.texts("/ok")[1]
        assert wait_until(lambda: "/heart" in hook.got, SOON)
        assert [path for path in hook.got if path == "/heart/fail"] == ["/heart/fail"] * 3
        assert (alerts(home), len(alerts(home, "--all"))) == ([], 1)


@pytest.mark.promise("WAT-2")
def test_what_cannot_be_sent_is_kept_shown_and_sent_when_the_webhook_is_back(home: Home, hook: Webhook) -> None:
    write_routine(home, "porter", "door")
    hook.down = True
    with up(home):
        run(home, "porter")
        assert wait_until(lambda: alerts(home) and alerts(home)[0]["told"][0]["tries"] == 1, SOON)
        (told,) = alerts(home)[0]["told"]
        assert (told["state"], told["problem"]) == ("waiting", "HTTP 503 down")
        assert run_process(home, "status", "--json").json()["unsent"] == 1
    hook.down = False
    with up(home):  # by the next daemon
        assert wait_until(lambda: alerts(home)[0]["told"][0]["state"] == "sent", SOON)
    assert (len(hook.texts("/ok")), run_process(home, "alerts").code) == (2, 0)


@pytest.mark.promise("WAT-1")
def test_fifty_routines_that_go_wrong_at_once_are_one_message(home: Home, hook: Webhook) -> None:
    with up(home):
        for number in range(50):
            (home.routines / f"bad-{number:02}.json").write_text("{")
        run_process(home, "reload")
        assert wait_until(lambda: hook.texts("/ok"), SOON)
        assert wait_until(lambda: run_process(home, "status", "--json").json()["unsent"] == 0, SOON)
        (text,) = hook.texts("/ok")
        assert text.startswith("minion tester: 50 notices\n")
        assert text.endswith(f"and 30 more: minion --home {home.root} alerts --all")
        assert len(alerts(home)) == 50


@pytest.mark.promise("WAT-2")
def test_a_run_that_died_with_its_daemon_is_told_by_the_next(home: Home, hook: Webhook) -> None:
    write_skill(home, "sleeper", sh="sleep 60\n")
    write_routine(home, "sleepy", "sleeper")
    with up(home):
        run_id = run_process(home, "run", "sleepy", "--detach").out.strip()
        assert wait_until(lambda: run_process(home, "show", run_id, "--json").json()["state"] == "running", SOON)
        holder = holder_of(home)
        assert holder is not None
        os.kill(holder[0], signal.SIGKILL)
        with up(home):
            assert wait_until(lambda: hook.texts("/ok"), SOON)
        assert ["sleepy ended unknown" in text for text in hook.texts("/ok")] == [True]


@pytest.mark.promise("WAT-4")
def test_a_routine_pauses_itself_even_where_it_could_not_be_kept_as_it_is(home: Home, hook: Webhook) -> None:
    file = home.routines / "porter.yaml"
    file.write_text(
        "# The night porter.\nname: porter\npipeline: [door]\nrepositories: []\nsandbox: none\n"
        "cron_expression: 0 5 * * *  # early\nwatch: {pause_after: 2, failures: 9}\n"
    )
    with up(home):
        run(home, "porter")
        (home.skills / "door" / "SKILL.md").rename(home.skills / "door" / "GONE.md")
        run(home, "porter")
        assert wait_until(lambda: "paused: true" in file.read_text(), SOON)
        assert "# The night porter." in file.read_text()
        assert "# early" in file.read_text()
        assert wait_until(lambda: hook.texts("/ok"), SOON)
        assert "porter paused itself: it went wrong 2 times in a row" in hook.texts("/ok")[0]
        assert "paused itself" in run_process(home, "status").out
