"""Pushes, pull requests and comments that did not arrive are performed again: that commit, and nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from minion.daemon.reconciler import SETTLING_S
from server.contract.refusals import Refused
from tests.minion.forge_server import Forge, forge
from tests.skills.repositories import Repository
from tests.waiting import wait_until
from tests.whole.daemons import daemon_up
from tests.whole.homes import make_home, performed, run_cli, run_of, write_routine, write_secrets, write_skill
from tests.whole.test_redelivery import again, held, refused, staged

pytestmark = [pytest.mark.heavy, pytest.mark.promise("EFF-2")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose skill does what its input says."""
    made = make_home(tmp_path)
    write_skill(made, "act", "exec(task['input'])")
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    shop = Repository(tmp_path)
    shop.write("roof.txt", "leaks\n")
    shop.commit("Begin")
    return shop


PUSH = {"kind": "push", "target": "shop:claude/fix", "title": "Mend the roof", "body": "It leaked."}
MEND = "open('roof.txt', 'a').write('tight')"


def mended(home: Home, shop: Repository, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A run whose remote was away when it pushed, and where the remote lies now; nobody knows what came of it."""
    write_routine(home, "tell", "act", repositories=[str(shop.folder)], effects=["push:shop:claude/*"])
    away = tmp_path / "away"
    # The clone comes before the skill, the push after it: in between the remote goes away.
    write_skill(home, "act", f"{MEND}; os.rename({str(shop.folder)!r}, {str(away)!r}); {staged(PUSH)}")
    run = performed(home, "tell")
    assert (run["state"], run["effects"][0]["state"]) == ("completed", "unknown"), run["effects"]
    return run, away


def test_a_push_whose_remote_was_away_pushes_that_very_commit(
    home: Home, shop: Repository, tmp_path: Path
) -> None:
    run, away = mended(home, shop, tmp_path)
    assert "Nobody knows whether push:shop:claude/fix" in refused(home)[1]
    away.rename(shop.folder)
    assert wait_until(lambda: run_cli(home, "effects", "check").code == 0, SETTLING_S + 20)
    (effect,) = run_of(home, run["id"])["effects"]
    assert effect["state"] == "failed"
    git_dir = Path(run["folder"]) / "git" / "shop.git"
    made = subprocess.run(
        ["git", f"--git-dir={git_dir}", "rev-parse", f"refs/minion/{effect['id']}"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    shop.folder.rename(away)
    code, told = again(home)
    assert (code, told["effects"][0]["state"]) == (1, "failed")
    assert told["effects"][0]["detail"].startswith("the remote could not be asked")
    away.rename(shop.folder)
    code, told = again(home)
    assert (code, told["verdict"], told["effects"][0]["detail"]) == (0, "ok", f"claude/fix at {made[:12]}")
    assert shop.git("rev-parse", "claude/fix") == made
    assert shop.git("show", "claude/fix:roof.txt") == "leaks\ntight"
    held(home)


def test_a_commit_that_is_not_kept_or_is_another_one_is_not_pushed(
    home: Home, shop: Repository, tmp_path: Path
) -> None:
    run, away = mended(home, shop, tmp_path)
    away.rename(shop.folder)
    effect = run["effects"][0]["id"]
    assert run_cli(home, "effects", "settle", effect, "failed").code == 0
    git_dir = Path(run["folder"]) / "git" / "shop.git"
    update = ["git", f"--git-dir={git_dir}", "update-ref", f"refs/minion/{effect}", "refs/heads/main"]
    subprocess.run(update, check=True)
    code, said = refused(home)
    assert (code, "keeps no commit that push:shop:claude/fix could push" in said) == (3, True)
    shutil.rmtree(git_dir)
    with daemon_up(home) as daemon:
        with pytest.raises(Refused) as refusal:
            daemon.ask("redeliver", run=run["id"])
        daemon.stop()
    assert refusal.value.code == "commit_not_kept"
    assert "claude/fix" not in shop.git("for-each-ref")


@pytest.fixture
def server() -> Iterator[Forge]:
    """A forge."""
    with forge() as running:
        yield running


def test_a_pull_request_and_a_comment_are_made_once_and_found_where_they_are_made_already(
    home: Home, shop: Repository, server: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{hosted(home, shop, server)}:{os.environ['PATH']}")
    pull = {"kind": "pull_request", "target": "shop:claude/fix", "title": "Mend", "body": "It leaked."}
    comment = {"kind": "comment", "target": "shop#7", "body": "Mended."}
    server.mood = "refusing"
    run = performed(home, "tell", given=staged(pull, comment))
    assert [effect["state"] for effect in run["effects"]] == ["failed", "failed"], run["effects"]
    server.mood, server.seen[:] = "well", []
    # The pull request is there after all: somebody made it, or it was under way.
    page = {"html_url": f"{server.api}/page/9", "url": f"{server.api}/repos/acme/shop/made/9"}
    server.made.append({"path": "/repos/acme/shop/pulls", "head": "claude/fix", "base": "main", **page})
    code, told = again(home)
    assert (code, told["verdict"]) == (0, "ok"), told
    assert [effect["detail"] for effect in told["effects"]] == ["it was open already", "read back"]
    made = [(path, method) for method, path, _ in server.seen if method == "POST"]
    assert made == [("/repos/acme/shop/issues/7/comments", "POST")]
    assert f"minion effect {run['effects'][1]['id']}" in server.made[-1]["body"]
    assert run_of(home, run["id"])["delivery_target"].startswith(page["html_url"])
    held(home)


# An ssh for which every host is this machine, and its repositories lie below one folder.
SSH = """#!/bin/sh
for last; do :; done
eval "exec $(printf %s "$last" | sed -e "s#'/#'{folder}/#" -e "s#^git-#git #")"
"""


def hosted(home: Home, shop: Repository, server: Forge) -> Path:
    """Have the routine's repository be one of a forge; the folder of the `ssh` that reaches it."""
    folder = home.root.parent / "host"
    shop.git("clone", "--quiet", "--bare", str(shop.folder), str(folder / "acme" / "shop.git"))
    (folder / "ssh").write_text(SSH.format(folder=folder))
    (folder / "ssh").chmod(0o755)
    config = json.loads(home.config_file.read_text()) | {"forges": {"git.acme.test": server.api}}
    home.config_file.write_text(json.dumps(config))
    write_secrets(home, {"git.acme.test_token": "t0ken-of-the-forge"})
    url = "ssh://git@git.acme.test/acme/shop.git"
    effects = ["pull_request:shop", "comment:shop"]
    write_routine(home, "tell", "act", repositories=[url], effects=effects)
    return folder
