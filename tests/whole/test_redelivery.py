"""`minion redeliver`: what a run could not deliver is sent again, as it was staged, by real processes."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.wire import Event
from server.contract.refusals import Refusal, Refused, StoreFailed
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import (
    clean_environment,
    command_line,
    events_of,
    make_home,
    performed,
    run_cli,
    run_of,
    run_process,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.test_reading_back import asked, seen
from tests.whole.test_store_trouble import Lock
from tests.whole.test_store_trouble import at_work as unwaiting
from tests.whole.webhooks import Webhook, webhook

pytestmark = [pytest.mark.heavy, pytest.mark.promise("EFF-2")]

ALLOWED = ["message:slack", "message:team", "message:lost", "file:*.md"]
BODY = "Good *morning* ✓\n"


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook."""
    with webhook() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, hook: Webhook) -> Home:
    """A home whose routine `tell` sends what its input says, and whose webhooks are well."""
    made = make_home(tmp_path)
    write_skill(made, "act", "exec(task['input'])")
    write_routine(made, "tell", "act", effects=ALLOWED)
    names = {"slack": "/ok", "team": "/created", "lost": "/gone"}
    write_secrets(made, {f"{name}_webhook": hook.url(path) for name, path in names.items()})
    return made


def staged(*effects: dict[str, Any], script: str = "") -> str:
    """The input that has the skill `act` do something and stage effects."""
    return f"{script}\nanswer(text='written', effects={list(effects)!r})"


def message(target: str = "slack", body: str = BODY) -> dict[str, Any]:
    """A message."""
    return {"kind": "message", "target": target, "body": body}


def undelivered(home: Home, hook: Webhook, *effects: dict[str, Any]) -> dict[str, Any]:
    """A run whose messages do not arrive, because the webhook is down; it is well again then."""
    hook.down = True
    run = performed(home, "tell", given=staged(*(effects or (message(),))))
    hook.down = False
    assert run["verdict"] == "not-delivered"
    hook.requests.clear()
    return run


def again(home: Home, run: str = "last") -> tuple[int, dict[str, Any]]:
    """The exit code of `minion redeliver --json`, and what it said."""
    ended = run_process(home, "redeliver", run, "--json")
    assert ended.out, ended.err
    return ended.code, ended.json()


def refused(home: Home, run: str = "last") -> tuple[int, str]:
    """The exit code of a redelivery that is refused, and what was said."""
    ended = run_process(home, "redeliver", run)
    assert ended.out == ""
    return ended.code, ended.err


def held(home: Home) -> None:
    """The log is intact."""
    assert run_cli(home, "verify").code == 0


def test_what_did_not_arrive_is_sent_again_as_it_was_staged_and_the_run_is_ok(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)
    kept = Path(run["folder"]) / "effects" / "01.json"
    assert (stat.S_IMODE(kept.stat().st_mode), json.loads(kept.read_text())["body"]) == (0o600, BODY)
    code, told = again(home)
    (effect,) = told.pop("effects")
    assert (code, told) == (0, {"run": run["id"], "routine": "tell", "verdict": "ok"})
    assert effect == {
        "id": run["effects"][0]["id"], "kind": "message", "target": "slack", "state": "delivered",
        "detail": "HTTP 200 ok",
    }  # fmt: skip
    assert hook.requests == [("/ok", {"text": BODY})]
    after = run_of(home, run["id"])
    assert (after["delivery"], after["delivery_target"]) == ("delivered", "slack webhook")
    stays = ("state", "outcome", "topology", "fingerprint", "blocks", "ended_at", "summary", "usage", "sessions")
    assert {name: after[name] for name in stays} == {name: run[name] for name in stays}
    assert len(events_of(home, run, "effect.again")) == 1
    held(home)
    code, said = refused(home)
    assert (code, "Nothing of the run" in said, len(hook.requests)) == (3, True, 1)


def test_what_people_read_says_what_came_of_it(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)
    why = run_process(home, "why", "tell")
    assert f"redeliver {run['id']}" in why.out
    ended = run_process(home, "redeliver", "tell")
    assert (ended.code, ended.out.splitlines()) == (0, [
        f"✓ delivered  message:slack  {run['effects'][0]['id']}",
        "    saw    HTTP 200 ok",
        f"    of     tell, {run['id']}: ✓ ok now",
    ])  # fmt: skip
    logs = run_process(home, "logs", run["id"]).out
    assert "effect message:slack is performed again, asked for by " in logs
    assert "effect message:slack ✓ delivered (HTTP 200 ok)" in logs


def test_only_what_failed_is_sent_and_in_its_order(home: Home, hook: Webhook) -> None:
    files = [{"kind": "file", "target": target, "body": "A."} for target in ("a.md", "no.txt")]
    run = undelivered(home, hook, message(), files[0], message("lost"), message("team", "Two."), files[1])
    assert [effect["state"] for effect in run["effects"]] == ["failed", "delivered", "failed", "failed", "refused"]
    code, told = again(home)
    assert [(effect["target"], effect["state"]) for effect in told["effects"]] == [
        ("slack", "delivered"), ("lost", "failed"), ("team", "accepted"),
    ]  # fmt: skip
    # What was refused stays so, and so the run is not delivered whole.
    assert (code, told["verdict"]) == (1, "not-delivered")
    assert [path for path, _ in hook.requests] == ["/ok", "/gone", "/created"]
    code, told = again(home)
    (effect,) = told["effects"]
    assert (effect["target"], effect["detail"]) == ("lost", "HTTP 404 no_service")
    held(home)


def test_an_expected_delivery_that_comes_afterwards_makes_the_run_ok(home: Home, hook: Webhook) -> None:
    write_routine(home, "tell", "act", effects=ALLOWED, expect=[{"delivered": "slack"}])
    run = undelivered(home, hook)
    assert [check["state"] for check in run["checks"]] == ["failed"]
    assert again(home)[1]["verdict"] == "ok"
    assert [check["state"] for check in run_of(home, run["id"])["checks"]] == ["passed"]
    held(home)


def test_a_file_that_could_not_be_written_is_written_as_it_was_staged(home: Home) -> None:
    place = home.outbox / "tell"
    place.write_text("in the way")
    run = performed(home, "tell", given=staged({"kind": "file", "target": "a.md", "body": BODY}))
    assert (run["verdict"], run["effects"][0]["state"]) == ("not-delivered", "failed")
    assert again(home)[0] == 1
    place.unlink()
    code, told = again(home)
    assert (code, told["verdict"], (place / "a.md").read_text()) == (0, "ok", BODY)
    assert run_of(home, run["id"])["effects"][0]["reverse"] == f"rm {place / 'a.md'}"
    held(home)


def test_what_was_not_kept_or_is_not_as_it_was_staged_is_not_sent(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)
    file = Path(run["folder"]) / "effects" / "01.json"
    before = file.read_text()
    for name, value in (("body", "Something else."), ("target", "team"), ("key", "0" * 64), ("ordinal", 2)):
        file.write_text(json.dumps(json.loads(before) | {name: value}))
        code, said = refused(home)
        assert (code, "is not as it was staged" in said) == (3, True), said
    file.unlink()
    code, said = refused(home)
    assert (code, f"The run {run['id']} kept no bodies" in said) == (3, True)
    assert "minion run tell" in said or "run tell" in said
    assert (hook.requests, events_of(home, run, "effect.again")) == ([], [])
    file.write_text(before)
    (Path(run["folder"]) / "order.json").unlink()
    assert "order was not kept" in refused(home)[1]
    assert run_of(home, run["id"]) == run


def codes(home: Home, hook: Webhook) -> Iterator[str]:
    """The codes of what a daemon refuses, one after the other."""
    run = undelivered(home, hook)
    folder = Path(run["folder"])
    kept, order = (folder / "effects" / "01.json").read_text(), (folder / "order.json").read_text()
    with daemon_up(home) as daemon:

        def code() -> str:
            with pytest.raises(Refusal) as refusal:
                daemon.ask("redeliver", run=run["id"])
            return refusal.value.code

        (folder / "effects" / "01.json").write_text(kept.replace("morning", "evening"))
        yield code()
        (folder / "effects" / "01.json").unlink()
        yield code()
        (folder / "effects" / "01.json").write_text(kept)
        (folder / "order.json").write_text(json.dumps(json.loads(order) | {"effects": ["message:team"]}))
        yield code()
        (folder / "order.json").write_text("{}")
        yield code()
        (folder / "order.json").write_text(order)
        log, moved = folder / "runner.log", json.loads(order) | {"secrets_file": str(home.root)}
        (folder / "order.json").write_text(json.dumps(moved))
        yield code()
        assert "effects cannot be performed again" in log.read_text()
        (folder / "order.json").write_text(order)
        daemon.ask("halt", why="enough")
        yield code()
        daemon.ask("unhalt")
        assert daemon.ask("redeliver", run=run["id"], by="ada")["verdict"] == "ok"
        yield code()


def test_each_refusal_has_its_code_and_sends_nothing(home: Home, hook: Webhook) -> None:
    said = list(codes(home, hook))
    assert said[:3] == ["bodies_changed", "bodies_not_kept", "effect_forbidden"]
    assert said[3:] == ["order_lost", "not_looked_at", "halted", "nothing_to_redeliver"]
    assert [path for path, _ in hook.requests] == ["/ok"]


def test_of_two_at_once_the_second_is_refused_and_one_message_is_sent(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)
    with daemon_up(home) as daemon:
        line = command_line(home, "redeliver", run["id"], "--json")
        asking = [
            subprocess.Popen(
                line, env=clean_environment(home), cwd=home.root.parent,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        ended = [process.communicate(timeout=60) for process in asking]
        states = sorted(process.returncode for process in asking)
        daemon.stop()
    assert states == [0, 3], ended
    assert hook.requests == [("/ok", {"text": BODY})]
    held(home)


def test_a_daemon_killed_between_intent_and_result_leaves_it_unknown_and_never_sends_it_twice(
    home: Home, hook: Webhook
) -> None:
    run = undelivered(home, hook)
    with slow_webhook(home) as slow, daemon_up(home) as daemon:
        asking = subprocess.Popen(
            command_line(home, "redeliver", run["id"]), env=clean_environment(home), cwd=home.root.parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert wait_until(slow.waiting, 30), daemon.log()
        daemon.kill()
        asking.wait(30)
        (listed,) = run_cli(home, "effects", "--unsettled", "--json").json()
        assert (listed["id"], listed["run"]) == (run["effects"][0]["id"], run["id"])
        held(home)
    with daemon_up(home) as daemon:
        after = run_of(home, run["id"])
        (effect,) = after["effects"]
        assert (after["state"], after["verdict"], effect["state"]) == ("completed", "unknown", "unknown")
        with pytest.raises(Refused) as refusal:
            daemon.ask("redeliver", run=run["id"])
        assert refusal.value.code == "effect_unknown"
        daemon.ask("settle", effect=listed["id"], state="failed", by="ada")
        write_secrets(home, {"slack_webhook": hook.url("/ok")})
        assert daemon.ask("redeliver", run=run["id"], by="ada")["verdict"] == "ok"
        daemon.stop()
    assert hook.requests == [("/ok", {"text": BODY})]
    held(home)


def test_a_daemon_that_is_stopped_meanwhile_says_that_nobody_knows(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)
    with slow_webhook(home) as slow, daemon_up(home) as daemon:
        asking = subprocess.Popen(
            command_line(home, "redeliver", run["id"], "--json"), env=clean_environment(home),
            cwd=home.root.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert wait_until(slow.waiting, 30), daemon.log()
        assert daemon.stop() == 0
        out, _ = asking.communicate(timeout=30)
    assert (asking.returncode, json.loads(out)["effects"][0]["state"]) == (4, "unknown")
    assert run_of(home, run["id"])["verdict"] == "unknown"
    held(home)


def test_what_came_of_it_and_could_not_be_kept_is_kept_as_soon_as_it_can(home: Home, hook: Webhook) -> None:
    run = undelivered(home, hook)

    async def scene() -> None:
        async with unwaiting(home) as minion:
            other = Lock(home)
            asking = asyncio.ensure_future(minion.supervisor.redeliveries.redeliver(run["id"], "ada"))
            assert await asyncio.to_thread(wait_until, slow.waiting, 30)
            other.take()
            await asyncio.to_thread(slow.answer)
            with pytest.raises(StoreFailed):
                await asking
            with pytest.raises(StoreFailed):
                await minion.supervisor.close_left()
            other.leave()
            other.close()
            assert run_of(home, run["id"])["effects"][0]["state"] == "intended"
            await minion.supervisor.close_left()

    with slow_webhook(home) as slow:
        asyncio.run(scene())
    assert run_of(home, run["id"])["verdict"] == "ok"
    held(home)


@pytest.mark.parametrize(("means", "state"), [(None, "failed"), ("outbox", "failed"), ("webhook", "unknown")])
def test_a_message_that_was_cut_off_is_looked_for_where_it_was_sent_last(
    tmp_path: Path, means: str | None, state: str
) -> None:
    """Its runner had kept it as a file, for want of a webhook, and that had failed."""
    (tmp_path / "run").mkdir()
    event = Event(1, "2026-01-05T09:00:00.000Z", "effect.intent", None, {"id": "eff_1", "means": "outbox"})
    (tmp_path / "run" / "events.ndjson").write_bytes(event.line())
    assert seen(tmp_path, asked("message", "slack") | {"means": means})["state"] == state


class Slow:
    """A webhook that takes connections and says nothing."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.taken: list[socket.socket] = []

    def waiting(self) -> bool:
        """Whether somebody waits for its answer."""
        try:
            self.taken.append(self.listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    def answer(self) -> None:
        """Say that the message which came is taken."""
        self.taken[0].recv(65_536)
        self.taken[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (*self.taken, self.listener):
            connection.close()


def slow_webhook(home: Home) -> Slow:
    """Where messages to `slack` go from now on."""
    slow = Slow()
    write_secrets(home, {"slack_webhook": f"http://127.0.0.1:{slow.listener.getsockname()[1]}/"})
    return slow
