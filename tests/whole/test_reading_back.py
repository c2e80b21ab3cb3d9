"""Effects that were cut off are looked for where they should have arrived, and settled by what is there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minion.cli import minion
from minion.config import Home, load_config
from minion.daemon.hub import Asker
from minion.daemon.kept_order import OrderLost, keep_order, kept_order
from minion.daemon.reconciler import SETTLING_S
from minion.owner import Owner
from minion.runner.forge import Caller, ForgeRepository, add_comment
from minion.runner.reading_back import answer
from minion.verbs import do
from minion.wire import Event, OrderedRepository
from server.contract.digest import digest_bytes
from server.contract.refusals import BadUse, StoreFailed
from tests.faults.kills import kill, runner_of
from tests.minion.forge_server import Forge, forge
from tests.minion.stored_runs import make_order
from tests.skills.repositories import Repository
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import (
    at_work,
    make_home,
    perform,
    performed,
    run_cli,
    write_routine,
    write_secrets,
    write_skill,
)
from tests.whole.webhooks import Webhook, webhook

pytestmark = pytest.mark.heavy

# A git that kills who called it for a push, before it pushed or after the remote had it; or one that cannot look.
SHIM = """#!/bin/sh
case " $* " in
  *" push "*) [ -e {folder}/before ] && kill -9 $PPID && exit 1
              {git} "$@"; status=$?; [ -e {folder}/after ] && kill -9 $PPID; exit $status;;
  *" ls-remote "*) [ -e {folder}/deaf ] && exit 128;;
esac
exec {git} "$@"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    shop = Repository(tmp_path)
    shop.write("roof.txt", "leaks\n")
    shop.commit("Begin")
    return shop


@pytest.fixture
def home(tmp_path: Path, shop: Repository) -> Home:
    """A home whose routine `mend` pushes `roof.txt` to the branch that its input names."""
    made = make_home(tmp_path)
    write_skill(made, "act", "open('roof.txt', 'a').write('x')\n" + staging("push", "shop:claude/fix"))
    write_routine(made, "mend", "act", repositories=[str(shop.folder)], effects=["push:shop:claude/*"])
    return made


def staging(kind: str, target: str) -> str:
    """The script's end that stages one effect."""
    return f"answer(effects=[{{'kind': {kind!r}, 'target': {target!r}, 'body': 'Hello.'}}])"


def cut_off(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, when: str) -> dict[str, Any]:
    """A run whose push is cut off `before` or `after` it arrived, its runner killed there; or is not read back."""
    folder = tmp_path / "shim"
    folder.mkdir()
    (folder / "git").write_text(SHIM.format(folder=folder, git=shutil.which("git")))
    (folder / "git").chmod(0o755)
    (folder / when).touch()
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        run = performed(home, "mend")
    (effect,) = run["effects"]
    state = "completed" if when == "deaf" else "interrupted"
    assert (run["state"], run["verdict"], effect["state"]) == (state, "unknown", "unknown")
    return run


def unsettled(home: Home) -> list[dict[str, Any]]:
    """What `minion effects --unsettled --json` lists."""
    return list(run_cli(home, "effects", "--unsettled", "--json").json())


def check(home: Home) -> tuple[int, list[tuple[str, str]]]:
    """The exit code of `minion effects check`, and what it saw of each effect."""
    ended = run_cli(home, "effects", "check", "--json")
    return ended.code, [(item["state"], item["detail"]) for item in ended.json()]


@pytest.mark.promise("EFF-1")
def test_a_push_that_was_cut_off_after_it_arrived_is_found_on_its_remote(
    home: Home, shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_off(home, tmp_path, monkeypatch, when="after")
    tip = shop.git("rev-parse", "claude/fix")
    (listed,) = unsettled(home)
    assert (listed["run"], listed["kind"], listed["target"]) == (run["id"], "push", "shop:claude/fix")
    assert "settle" in run_cli(home, "effects", "--unsettled").out
    refs = shop.git("for-each-ref")
    assert check(home) == (0, [("delivered", f"claude/fix at {tip[:12]}")])
    assert shop.git("for-each-ref") == refs
    (effect,) = run_cli(home, "effects", run["id"], "--json").json()
    assert (effect["state"], effect["destination"]) == ("delivered", "shop:claude/fix")
    assert effect["reverse"] == f"git push {shop.folder} --delete claude/fix"
    assert unsettled(home) == []
    assert check(home) == (0, [])
    assert run_cli(home, "verify").code == 0


@pytest.mark.heavy
@pytest.mark.promise("EFF-1")
def test_a_push_whose_remote_could_not_be_asked_makes_its_run_ok_once_it_is_found(
    home: Home, shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_off(home, tmp_path, monkeypatch, when="deaf")
    assert not (Path(run["folder"]) / "workspace").exists()
    assert [state for state, _ in check(home)[1]] == ["delivered"]
    found = run_cli(home, "show", run["id"], "--json").json()
    assert (found["state"], found["delivery"], found["verdict"]) == ("completed", "delivered", "ok")
    assert run_cli(home, "verify").code == 0


@pytest.mark.heavy
@pytest.mark.promise("EFF-1")
def test_a_push_that_never_arrived_is_failed_once_it_had_its_time_to_arrive(
    home: Home, shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_off(home, tmp_path, monkeypatch, when="before")
    assert wait_until(lambda: check(home)[0] == 0, SETTLING_S + 20)
    (effect,) = run_cli(home, "effects", run["id"], "--json").json()
    says = "it did not arrive: the remote has no branch claude/fix"
    assert (effect["state"], effect["detail"]) == ("failed", says)
    assert run_cli(home, "show", run["id"], "--json").json()["delivery"] == "failed"
    assert run_cli(home, "verify").code == 0


@pytest.mark.heavy
@pytest.mark.promise("EFF-1")
def test_a_branch_that_stands_at_somebody_elses_commit_is_not_ours(
    home: Home, shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(home, tmp_path, monkeypatch, when="before")
    shop.git("branch", "claude/fix")
    assert wait_until(lambda: check(home)[0] == 0, SETTLING_S + 20)
    (effect,) = run_cli(home, "effects", "mend@last", "--json").json()
    assert effect["detail"].startswith("it did not arrive: claude/fix stands at another commit")


@pytest.mark.heavy
@pytest.mark.promise("EFF-1")
def test_a_daemon_looks_at_its_start_and_status_shows_what_it_cannot_reach(
    home: Home, shop: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(home, tmp_path, monkeypatch, when="after")
    away = shop.folder.rename(tmp_path / "away")
    with daemon_up(home) as daemon:
        def noted() -> bool:
            return "could not be asked" in (unsettled(home)[0]["detail"] or "")

        assert wait_until(noted, SETTLING_S + 20), daemon.log()
        (shown,) = daemon.ask("status")["unknown_effects"]
        assert shown["target"] == "shop:claude/fix"
        away.rename(shop.folder)
        # The next look by itself is a minute away: a person does not wait for it.
        assert [item["state"] for item in daemon.ask("effects.check")] == ["delivered"]
        assert daemon.ask("status")["unknown_effects"] == []
        daemon.stop()
    with daemon_up(home) as daemon:
        assert daemon.ask("effects.check") == []
        daemon.stop()


@pytest.mark.heavy
@pytest.mark.promise("EFF-1")
def test_a_daemon_settles_by_itself_what_it_can_see(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(home, tmp_path, monkeypatch, when="after")
    with daemon_up(home) as daemon:
        assert wait_until(lambda: unsettled(home) == [], SETTLING_S + 20), daemon.log()
        assert "mend: push shop:claude/fix was cut off and is delivered" in daemon.log()
        daemon.stop()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook."""
    with webhook() as server:
        yield server


@pytest.mark.promise("EFF-1")
def test_a_message_to_a_webhook_stays_unknown_until_a_person_says(tmp_path: Path, hook: Webhook) -> None:
    home = make_home(tmp_path)
    write_skill(home, "tell", staging("message", "team"))
    write_routine(home, "tell", "tell", effects=["message:team"])
    write_secrets(home, {"team_webhook": hook.url("/drop")})
    run = performed(home, "tell")
    assert (run["state"], run["verdict"]) == ("completed", "unknown")
    says = "a webhook cannot be read back: look there, and say what came of it"
    assert check(home) == (4, [("unknown", says)])
    (listed,) = unsettled(home)
    assert listed["detail"] == says
    assert len(hook.requests) == 1
    bad = run_cli(home, "effects", "settle", listed["id"], "perhaps")
    assert bad.code == 2
    settled = run_cli(home, "effects", "settle", listed["id"][:-1], "delivered", "--why", "saw it there")
    assert (settled.code, "✓ ok now" in settled.out) == (0, True)
    (effect,) = run_cli(home, "effects", "last", "--json").json()
    assert (effect["state"], effect["detail"].endswith(" says so: saw it there")) == ("delivered", True)
    assert unsettled(home) == []
    again = run_cli(home, "effects", "settle", listed["id"], "failed")
    assert (again.code, "it is delivered" in again.err) == (3, True)
    assert run_cli(home, "verify").code == 0


def test_what_no_end_of_an_effect_is_and_two_listings_at_once_are_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    async def settling() -> None:
        async with at_work(home) as owned:
            said = {"effect": "eff_1", "state": "perhaps"}
            await do(Owner(owned), "settle", said, Asker(lambda _: None))

    with pytest.raises(BadUse) as refused:
        asyncio.run(settling())
    assert refused.value.code == "bad_settlement"
    line = ["--home", str(home.root), "effects", "last", "--unsettled"]
    with pytest.raises(BadUse) as refused:
        minion.main(line, standalone_mode=False)
    assert refused.value.code == "two_listings"


@pytest.mark.parametrize(
    ("target", "kind", "state"),
    [("a.md", "file", "delivered"), pytest.param("desk", "message", "accepted", marks=pytest.mark.heavy)],
)
def test_a_file_of_the_outbox_is_what_it_holds(tmp_path: Path, target: str, kind: str, state: str) -> None:
    home = make_home(tmp_path)
    write_skill(home, "keep", staging(kind, target))
    write_routine(home, "keep", "keep", effects=["file:*.md", "message:desk"])
    struck: list[str] = []

    def on_event(run_id: str, event: Event) -> None:
        if event.type == "effect.intent" and not struck:
            struck.append(run_id)
            kill(runner_of(home.runs / run_id))

    run = asyncio.run(perform(home, "keep", on_event=on_event))
    relative = target if kind == "file" else f"{run['id']}-01-{target}.md"
    file = home.outbox / "keep" / relative
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text("Hello.")  # as if it had come so far
    assert check(home) == (0, [(state, "6 bytes, read back")])
    (effect,) = run_cli(home, "effects", "last", "--json").json()
    assert (effect["destination"], effect["reverse"]) == (str(file), f"rm {file}")


def asked(kind: str, target: str, *, young: bool = False, body: str = "Hello.") -> dict[str, Any]:
    """An effect as the daemon asks for it."""
    digest = digest_bytes(body.encode())
    return {"id": "eff_1", "kind": kind, "target": target, "ordinal": 1, "digest": digest, "young": young}


def seen(tmp_path: Path, effect: dict[str, Any], *, token: str | None = None, api: str = "") -> dict[str, Any]:
    """What is seen of an effect of a run whose repository `shop` is on a forge."""
    run_dir = tmp_path / "run"
    run_dir.mkdir(exist_ok=True)
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"git.acme.test_token": token} if token else {}))
    secrets.chmod(0o600)
    url = "https://git.acme.test/acme/shop.git"
    order = replace(
        make_order(), run_dir=str(run_dir), outbox_dir=str(tmp_path / "outbox"), secrets_file=str(secrets),
        repositories=(OrderedRepository("shop", url, "main", local=False),), forges={"git.acme.test": api},
        search_path=os.environ["PATH"],
    )  # fmt: skip
    (found,) = asyncio.run(answer(order, {"effects": [effect], "resuming": False}))["effects"]
    return dict(found)


@pytest.fixture
def server() -> Iterator[Forge]:
    """A forge."""
    with forge() as running:
        yield running


TOKEN = "t0ken-of-the-forge"


def test_a_pull_request_is_looked_for_by_its_branch_and_a_comment_by_its_mark(
    tmp_path: Path, server: Forge
) -> None:
    request, comment = asked("pull_request", "shop:claude/fix"), asked("comment", "shop#7")

    def states(token: str | None = TOKEN) -> list[tuple[str, bool]]:
        found = [seen(tmp_path, effect, token=token, api=server.api) for effect in (request, comment)]
        return [(item["state"], item["again"]) for item in found]

    assert states() == [("failed", False)] * 2
    young = seen(tmp_path, {**request, "young": True}, token=TOKEN, api=server.api)
    assert (young["state"], young["again"]) == ("unknown", True)
    pulls, comments = "/repos/acme/shop/pulls", "/repos/acme/shop/issues/7/comments"
    page = {"html_url": "https://git.acme.test/page/1", "url": f"{server.api}/repos/acme/shop/made/1"}
    server.made.append({"path": pulls, "head": "claude/fix", "base": "main", **page})
    # A hundred and one comments of others come first.
    server.made += [{"path": comments, "body": "no", **page} for _ in range(101)]
    server.made.append({"path": comments, "body": "Hi\n\n<!-- minion effect eff_1 -->", **page})
    assert states() == [("delivered", False)] * 2
    assert states(token=None) == [("unknown", True)] * 2
    server.mood = "blind"
    assert states() == [("unknown", True)] * 2
    assert {method for method, _, _ in server.seen} == {"GET"}


def test_a_comment_beyond_the_first_hundred_is_not_made_twice(server: Forge) -> None:
    comments = "/repos/acme/shop/issues/7/comments"
    server.made += [{"path": comments, "body": "no", "url": "x", "html_url": "x"} for _ in range(150)]
    server.made.append({"path": comments, "body": "<!-- minion effect eff_1 -->", "url": "x", "html_url": "x"})
    shop = ForgeRepository(server.api, "acme", "shop", "github.com_token")
    caller = Caller(TOKEN, str)
    done = asyncio.run(add_comment(shop, caller, number=7, body="Seen.", mark="minion effect eff_1"))
    assert (done.state, done.detail, len(server.made)) == ("delivered", "it was there already", 151)


def test_an_order_is_kept_without_secrets_and_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "keep", "answer(text='x')")
    write_routine(home, "keep", "keep")
    run = performed(home, "keep", given="a secret of nobody")
    folder = Path(run["folder"])
    config = load_config(home)
    order = kept_order(run["id"], folder, config)
    # What was given on the way is kept only for a run that may go on; how remotes are reached never is.
    kept = (folder / "order.json").read_text()
    assert (order.input, "passed_env" in kept, "a secret" in kept) == (None, False, False)
    assert (folder / "order.json").stat().st_mode & 0o777 == 0o600
    for spoilt in (None, "{", kept.replace('"keep"', '"other"')):
        (folder / "order.json").unlink(missing_ok=True)
        if spoilt is not None:
            (folder / "order.json").write_text(spoilt)
        with pytest.raises(OrderLost, match="order"):
            kept_order(run["id"], folder, config)
    (tmp_path / "run" / "order.json" / "in the way").mkdir(parents=True)
    with pytest.raises(StoreFailed) as refused:
        keep_order(replace(order, run_dir=str(tmp_path / "run")))
    assert refused.value.code == "order_not_kept"
