"""Pushes: one commit on a `claude/` branch of the user's repository, and nothing else of it changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, steps_of, write_routine, write_secrets, write_skill

pytestmark = pytest.mark.heavy

# Hooks that git could run in the repository that receives a push, or in the one that is cloned.
HOOKS = (
    "pre-receive", "update", "post-receive", "post-update", "reference-transaction", "push-to-checkout",
    "proc-receive", "pre-push", "pre-commit", "post-checkout", "post-index-change", "pre-auto-gc",
)  # fmt: skip


def push(target: str, title: str = "Mend the roof", body: str = "It leaked.") -> dict[str, Any]:
    """A push to REPO:BRANCH."""
    return {"kind": "push", "target": target, "title": title, "body": body}


def staged(script: str, *effects: dict[str, Any]) -> str:
    """The input that has the skill `act` change the workspace and stage effects."""
    return f"{script}\nanswer(effects={list(effects)!r})"


def write(path: str, body: str = "new\n") -> str:
    """A line of a script that writes a file below the first repository, folders included."""
    return f"os.makedirs(os.path.dirname({path!r}) or '.', exist_ok=True); open({path!r}, 'w').write({body!r})"


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder with its mode and content."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes()) for path in files}


def effects_of(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(target, state, detail) of a run's effects."""
    return [(effect["target"], effect["state"], effect["detail"]) for effect in run["effects"]]


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with a commit, a second branch, something staged and something not."""
    shop = Repository(tmp_path)
    shop.write("roof.txt", "leaks\n")
    shop.write("src/wall.txt", "stands\n")
    shop.write(".claude/settings.json", "{}\n")
    shop.write(".mcp.json", "{}\n")
    shop.commit("Begin")
    shop.git("branch", "feature")
    shop.write("staged.txt", "staged\n")
    shop.git("add", "staged.txt")
    shop.write("roof.txt", "under repair\n")
    return shop


@pytest.fixture(scope="module")
def mender(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home for the tests that name their one repository with the run."""
    return home_for(tmp_path_factory.mktemp("mender"))


def home_for(folder: Path, *repositories: Repository, **fields: Any) -> Home:
    """A home whose routine `mend` may push to every `claude/` branch of these repositories."""
    home = make_home(folder)
    write_skill(home, "act", "exec(task['input'])")
    urls = [str(repository.folder) for repository in repositories]
    write_routine(home, "mend", "act", **{"repositories": urls, "effects": ["push:*:claude/*"]} | fields)
    return home


def mended(home: Home, repository: Repository, script: str, *effects: dict[str, Any]) -> dict[str, Any]:
    """One run of `mend` on this repository instead of the routine's own."""
    return performed(home, "mend", repository=str(repository.folder), given=staged(script, *effects))


@pytest.mark.promise("ENV-3")
@pytest.mark.promise("ENV-4")
def test_a_push_is_one_commit_on_its_branch_and_the_checkout_stays_as_it_was(
    shop: Repository, mender: Home
) -> None:
    before, head = everything_in(shop.folder), shop.git("rev-parse", "HEAD")
    script = write("roof.txt", "tight\n") + "; os.remove('src/wall.txt'); " + write("new/deep.txt")
    run = mended(mender, shop, script, push("shop:claude/mend-roof"))
    (effect,) = run["effects"]
    tip = shop.git("rev-parse", "claude/mend-roof")
    assert (effect["state"], effect["destination"]) == ("delivered", "shop:claude/mend-roof")
    assert effect["detail"] == f"claude/mend-roof at {tip[:12]}"
    assert effect["reverse"] == f"git push {shop.folder} --delete claude/mend-roof"
    assert (run["delivery"], run["verdict"]) == ("delivered", "ok")
    assert shop.git("rev-parse", "claude/mend-roof^") == head
    changed = shop.git("diff", "--name-status", head, tip).splitlines()
    assert changed == ["A\tnew/deep.txt", "M\troof.txt", "D\tsrc/wall.txt"]
    who = "tester (minion) <minion@localhost>"
    assert shop.git("log", "-1", "--format=%an <%ae>|%cn <%ce>", tip) == f"{who}|{who}"
    message = shop.git("log", "-1", "--format=%B", tip)
    trailers = f"Minion-Run: {run['id']}\nMinion-Effect: {effect['id']}"
    assert message == f"Mend the roof\n\nIt leaked.\n\n{trailers}"
    assert shop.git("log", "-1", "--format=%(trailers:only)", tip) == trailers
    after = everything_in(shop.folder)
    new = {name for name in after if name not in before}
    assert {name.split("/")[1] for name in new} <= {"objects", "refs", "logs"}
    assert {name for name in new if "refs" in name} <= {
        ".git/refs/heads/claude/mend-roof",
        ".git/logs/refs/heads/claude/mend-roof",
    }
    assert {name: after.get(name) for name in before} == before
    assert steps_of(run)[-1] == ("SCR-PUSH-BRANCH", "completed", None)


def test_a_push_needs_the_routines_repository_and_a_branch_below_claude(shop: Repository, mender: Home) -> None:
    before = shop.git("for-each-ref")
    branches = ["main", "feature", "claude", "claude/", "claude/../main", "claude/.hidden", "claude/a.lock"]
    branches += ["claude/Big", "refs/heads/main", "+claude/force", "claude/a b", "claude/--force", "claude/a:main"]
    targets = [*(f"shop:{branch}" for branch in branches), "barn:claude/fix", "claude/fix", "shop"]
    run = mended(mender, shop, write("a.txt"), *(push(target) for target in targets))
    states = {target: state for target, state, _ in effects_of(run)}
    assert states == dict.fromkeys(targets, "refused")
    assert shop.git("for-each-ref") == before
    assert run["verdict"] == "not-delivered"


def test_what_may_not_be_pushed_fails_by_repository_and_the_rest_is_delivered(tmp_path: Path) -> None:
    names = ("unchanged", "settings", "servers", "nested", "module", "moved", "leaks", "named", "good")
    repositories = {}
    for name in names:
        repository = repositories[name] = Repository(tmp_path, name)
        repository.write("a.txt", "a\n")
        repository.write(".claude/settings.json", "{}\n")
        repository.commit("Begin")
    moved = repositories["moved"]
    moved.git("checkout", "-q", "-b", "claude/fix")
    moved.write("a.txt", "theirs\n")
    theirs = moved.commit("Somebody was faster")
    moved.git("checkout", "-q", "main")
    home = home_for(tmp_path, *repositories.values())
    write_secrets(home, {"shop_token": "hunter2-hunter2"})
    script = [
        "base = os.path.dirname(os.getcwd())",
        "os.chdir(base)",
        write("settings/.claude/settings.json", '{"hooks": {}}'),
        write("servers/sub/.MCP.json", "{}"),
        write("nested/lib/.git/config", "[core]\n"),
        write("module/lib/.Git", "gitdir: /elsewhere\n"),
        write("moved/a.txt", "mine\n"),
        "import base64; told = base64.b64encode(b'it is hunter2' + b'-hunter2 all along')",
        "open('leaks/notes.bin', 'wb').write(b'\\xff' * 5_000_000 + told)",
        "open('named/hunter2' + '-hunter2.txt', 'w').close()",
        write("good/a.txt", "better\n"),
    ]
    before = {name: repository.git("for-each-ref") for name, repository in repositories.items()}
    run = performed(home, "mend", given=staged("\n".join(script), *(push(f"{n}:claude/fix") for n in names)))
    effects = {target.split(":")[0]: (state, detail) for target, state, detail in effects_of(run)}
    assert {name: state for name, (state, _) in effects.items()} == dict.fromkeys(names, "failed") | {
        "good": "delivered"
    }
    assert "nothing to push" in effects["unchanged"][1]
    assert ".claude/settings.json, a coding client's configuration" in effects["settings"][1]
    assert "sub/.MCP.json, a coding client's configuration" in effects["servers"][1]
    assert "holds a git directory (lib/.git)" in effects["nested"][1]
    assert "holds a git directory (lib/.Git)" in effects["module"][1]
    assert effects["leaks"][1] == "notes.bin holds a secret of this minion, which is never pushed"
    assert "the name of a file holds a secret" in effects["named"][1]
    # Never by force: the branch of the same name stays where it was.
    assert moved.git("rev-parse", "claude/fix") == theirs
    after = {name: repository.git("for-each-ref") for name, repository in repositories.items()}
    assert {name for name in names if after[name] != before[name]} == {"good"}
    assert (run["delivery"], run["verdict"]) == ("failed", "not-delivered")


@pytest.mark.promise("ENV-2")
def test_what_git_makes_of_a_file_is_what_is_looked_through_for_secrets(tmp_path: Path) -> None:
    names = ("wide", "far", "linked", "first", "many")
    repositories = {name: Repository(tmp_path, name) for name in names}
    for name in names[:3]:
        repositories[name].write("a.txt", "a\n")
        repositories[name].commit("Begin")
    home = home_for(tmp_path, *repositories.values())
    write_secrets(home, {"shop_token": "hunter2-hunter2-ä"})
    script = [
        "os.chdir(os.path.dirname(os.getcwd()))",
        "secret = 'hunter2' + '-hunter2-ä'",
        write("wide/.gitattributes", "*.txt working-tree-encoding=UTF-16\n"),
        "[open(f'wide/{name}.txt', 'w', encoding='utf-16').write(secret) for name in 'ab']",
        # On the edge between two parts of a large file, in the middle of a letter.
        "open('far/far.bin', 'wb').write((b'x' * (4 * 1024 * 1024 - 17)) + secret.encode() + b'x' * 9)",
        "os.symlink('/tmp/' + secret, 'linked/link')",
        write("first/a.txt", "x"),
        "open('first/b.txt', 'w').write(secret)",
        # Together more than git is asked for at once.
        "[open(f'many/{number}.txt', 'w').write(str(number) * 700_000) for number in range(1, 9)]",
        "open('many/9.txt', 'w').write(secret)",
    ]
    run = performed(home, "mend", given=staged("\n".join(script), *(push(f"{n}:claude/fix") for n in names)))
    said = {target.split(":")[0]: (state, detail) for target, state, detail in effects_of(run)}
    holds = "holds a secret of this minion, which is never pushed"
    wheres = {
        "wide": "a.txt", "far": "far.bin", "linked": "the name of a file", "first": "b.txt", "many": "9.txt",
    }  # fmt: skip
    assert said == {name: ("failed", f"{where} {holds}") for name, where in wheres.items()}


def test_large_files_and_many_without_secrets_are_pushed_as_they_are(shop: Repository, mender: Home) -> None:
    script = [
        "open('large.bin', 'wb').write(bytes(range(256)) * 40_000)",
        "[open(f'{number}.bin', 'wb').write(bytes([number]) * 700_000) for number in range(9)]",
        "os.remove('roof.txt'); os.symlink('src', 'link'); open('empty', 'w').close()",
    ]
    run = mended(mender, shop, "\n".join(script), push("shop:claude/large"))
    assert effects_of(run)[0][1] == "delivered"
    assert shop.git("cat-file", "-s", "claude/large:large.bin") == str(256 * 40_000)


@pytest.mark.promise("ENV-1")
def test_no_hook_or_program_of_the_receiving_repository_runs(shop: Repository, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    barn = Repository(tmp_path, "barn")
    barn.commit("Begin")
    for folder in (shop.folder / ".git" / "hooks", barn.folder / ".git" / "hooks", tmp_path / "more-hooks"):
        folder.mkdir(exist_ok=True)
        for name in HOOKS:
            hook = folder / name
            hook.write_text(f"#!/bin/sh\ntouch {ran}/{name}-$$\n")
            hook.chmod(0o755)
    program = f"touch {ran}/program-$$; true"
    for key in ("core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand", "core.pager", "gpg.program"):
        shop.git("config", key, program)
    shop.git("config", "uploadpack.packObjectsHook", program)
    shop.git("config", "core.hooksPath", str(tmp_path / "more-hooks"))
    # Here git itself would leave the branch to the hook: nothing is pushed then, and nothing runs.
    barn.git("config", "receive.procReceiveRefs", "refs/heads/claude")
    home = home_for(tmp_path, shop, barn)
    script = write("a.txt") + "; os.chdir('../barn'); " + write("b.txt")
    run = performed(home, "mend", given=staged(script, push("shop:claude/quiet"), push("barn:claude/quiet")))
    assert [state for _, state, _ in effects_of(run)] == ["delivered", "failed"]
    assert os.listdir(ran) == []  # noqa: PTH208 - names are enough


@pytest.mark.promise("ENV-1")
@pytest.mark.promise("ENV-3")
def test_a_branch_that_is_checked_out_is_never_moved_under_its_user(
    shop: Repository, mender: Home, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    shop.git("reset", "-q", "--hard")
    shop.git("checkout", "-q", "-b", "claude/mine")
    # With these, git would update the checkout in place, and run the filter for it.
    shop.git("config", "receive.denyCurrentBranch", "updateInstead")
    shop.git("config", "filter.evil.smudge", f"touch {ran}; cat")
    (shop.folder / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    before = everything_in(shop.folder)
    run = mended(mender, shop, write("roof.txt", "tight\n"), push("shop:claude/mine"))
    after = everything_in(shop.folder)
    assert (effects_of(run)[0][1], run["verdict"]) == ("failed", "not-delivered")
    assert {name: after.get(name) for name in before} == before
    assert not ran.exists()


def test_a_push_into_a_repository_without_any_commit_begins_its_history(mender: Home, tmp_path: Path) -> None:
    empty = Repository(tmp_path, "empty")
    run = mended(mender, empty, write("a.txt"), push("empty:claude/begin"))
    assert effects_of(run)[0][1] == "delivered"
    assert empty.git("log", "--format=%s", "claude/begin") == "Mend the roof"


def test_a_repository_that_is_gone_fails_the_run_in_its_second_block(shop: Repository, tmp_path: Path) -> None:
    home = home_for(tmp_path, shop)
    shop.folder.rename(tmp_path / "elsewhere")
    run = performed(home, "mend", given=staged(write("a.txt"), push("shop:claude/fix")))
    assert (run["state"], run["outcome"], run["verdict"]) == ("failed", "failure", "failed")
    assert [block["state"] for block in run["blocks"]] == ["completed", "failed", "skipped", "skipped"]
    assert run["why"].startswith("The repository shop could not be cloned:")
