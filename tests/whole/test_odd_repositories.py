"""Repositories that are merely odd: a run works on them, or fails with words; nothing of them changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, run_cli, write_routine
from tests.whole.odd_repositories import ODD, begun
from tests.whole.test_hostile_repositories import changed_since, everything_below, home_at_work
from tests.whole.tripwires import SIDE


def made(folder: Path) -> dict[str, Path]:
    """All odd repositories, each below a folder of its own."""
    found = {}
    for odd in ODD:
        if odd.root and os.geteuid() != 0:
            continue
        (folder / odd.name).mkdir()
        found[odd.name] = odd.make(folder / odd.name)
    return found


def at(path: Path) -> Repository:
    """An existing repository, to be asked things by git."""
    repository = Repository.__new__(Repository)
    repository.name, repository.folder = path.name, path
    return repository


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
@pytest.mark.promise("ENV-3")
def test_a_run_on_odd_repositories_succeeds_and_pushes_what_it_changed_alone(tmp_path: Path) -> None:
    paths = made(tmp_path)
    before = {name: everything_below(path) for name, path in paths.items()}
    home = home_at_work(tmp_path, paths, expect=[{"delivered": f"push:{name}:*"} for name in paths])
    run = performed(home, "tend")
    assert (run["state"], run["verdict"], run["why"]) == ("completed", "ok", None)
    assert [(name, changed_since(before[name], path)) for name, path in paths.items()] == [
        (name, []) for name in paths
    ]
    paths.pop("of-another-user", None)  # plain git does not read it
    pushed = ("log", "-1", "--format=", "--name-status", f"refs/heads/{SIDE}")
    assert {at(path).git(*pushed) for path in paths.values()} == {"A\tmended.txt"}


@pytest.mark.heavy
@pytest.mark.promise("ENV-1")
def test_a_sandboxed_run_on_odd_repositories_succeeds_too(tmp_path: Path) -> None:
    paths = made(tmp_path)
    expected = [{"delivered": f"push:{name}:*"} for name in paths]
    run = performed(home_at_work(tmp_path, paths, sandbox="required", expect=expected), "tend")
    assert (run["state"], run["verdict"], run["sandbox"]) == ("completed", "ok", "bubblewrap")


@pytest.mark.heavy
@pytest.mark.promise("ENV-3")
def test_a_repository_of_another_user_is_read_without_changing_what_git_trusts(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository to another user")
    (tmp_path / "theirs").mkdir()
    path = next(odd for odd in ODD if odd.root).make(tmp_path / "theirs")
    ended = run_cli(home_at_work(tmp_path, {"theirs": path}), "run", "tend", "--json")
    assert (ended.code, ended.json()["verdict"]) == (0, "ok"), ended.err
    assert not (tmp_path / ".gitconfig").exists()  # the command's own home folder


# Names that git keeps out of a work tree: they are, or on some disk become, its own folder or a way out.
@pytest.mark.promise("ENV-1")
@pytest.mark.parametrize(
    "names",
    [(".git", "config"), (".GIT", "config"), ("git~1", "config"), (".g\u200cit", "x"), ("..", "x"),
     (".", "x"), ("a", "..", "..", "x"), ("a", ".git", "hooks", "post-checkout")],
    ids="/".join,
)  # fmt: skip
def test_a_tree_that_reaches_into_git_or_out_of_the_workspace_fails_the_run(
    names: Sequence[str], tmp_path: Path
) -> None:
    repository = begun(tmp_path)
    entry = f"100755 blob {repository.git('rev-parse', 'HEAD:roof.txt')}"
    for name in reversed(names):
        entry = "040000 tree " + repository.git("mktree", given=f"{entry}\t{name}\n".encode())
    commit = repository.git("commit-tree", "-m", "Odd", entry.split()[2])
    repository.git("update-ref", "refs/heads/main", commit)
    before = everything_below(repository.folder)
    run = performed(home_at_work(tmp_path, {"odd": repository.folder}), "tend")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert "The repository odd could not be cloned" in run["why"]
    assert run["hint"]
    assert everything_below(repository.folder) == before
    written = [path for path in (tmp_path / "home/runs").rglob("*") if path.name in ("x", "post-checkout")]
    assert written == []


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["-x", "--upload-pack=touch"])
def test_a_default_branch_that_looks_like_an_option_fails_the_run_with_its_repository_named(
    name: str, tmp_path: Path
) -> None:
    repository = begun(tmp_path)
    repository.git("update-ref", f"refs/heads/{name}", "HEAD")
    (repository.folder / ".git/HEAD").write_text(f"ref: refs/heads/{name}\n")
    run = performed(home_at_work(tmp_path, {"odd": repository.folder}), "tend")
    assert (run["state"], run["verdict"]) == ("failed", "failed")
    assert "odd" in run["why"]


@pytest.mark.heavy
def test_what_is_no_repository_fails_the_run_with_its_repository_named(tmp_path: Path) -> None:
    plain, gone, broken = tmp_path / "plain", tmp_path / "gone", begun(tmp_path, "broken").folder
    plain.mkdir()
    (broken / ".git/refs/heads/main").write_text("0" * 39 + "1\n")
    home = make_home(tmp_path)
    for path in (plain, gone, broken):
        write_routine(home, path.name, "write-daily-report", repositories=[str(path)])
        run = performed(home, path.name)
        assert (run["state"], run["verdict"]) == ("failed", "failed"), path.name
        assert f"The repository {path.name} could not be cloned" in run["why"]


@pytest.mark.heavy
def test_a_path_with_a_newline_is_refused_in_a_routine_and_works_from_the_command_line(
    tmp_path: Path,
) -> None:
    path = begun(tmp_path).folder.rename(tmp_path / "two\nlines")
    home = make_home(tmp_path)
    write_routine(home, "lines", "write-daily-report", repositories=[str(path)])
    refused = run_cli(home, "run", "lines")
    assert refused.code == 2
    assert "repositories" in refused.err
    write_routine(home, "lines", "write-daily-report")
    ended = run_cli(home, "run", "lines", "--repo", path, "--json")
    assert (ended.code, ended.json()["verdict"]) == (0, "unchecked"), ended.err
