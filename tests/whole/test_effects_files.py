"""Files as effects: written only below HOME/outbox/ROUTINE, with bodies that come only from the workspace."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from minion.config import Home
from tests.skills.repositories import Repository
from tests.whole.homes import make_home, performed, write_routine, write_skill


def file(target: str, **more: str) -> dict[str, Any]:
    """A file effect with a body of its own, unless a `path` is given."""
    return {"kind": "file", "target": target} | ({} if "path" in more else {"body": f"body of {target}"}) | more


def told(run: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """(state, detail) of a run's effects by target."""
    return {effect["target"]: (effect["state"], effect["detail"]) for effect in run["effects"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose routine `keep` may write any file and works on the repository `shop`."""
    folder = tmp_path_factory.mktemp("files")
    shop = Repository(folder)
    shop.write("docs/report.md", "# From the workspace ü\n")
    (shop.folder / "tracked-link").symlink_to("/etc/passwd")
    shop.commit("Begin")
    home = make_home(folder)
    write_skill(home, "act", "exec(task['input'])")
    repositories = [str(shop.folder)]
    write_routine(home, "keep", "act", repositories=repositories, effects=["file:*"])
    return home


@pytest.mark.promise("RUN-11")
def test_a_file_is_written_private_read_back_and_so_delivered(home: Home) -> None:
    run = performed(home, "keep", given=f"answer(effects={[file('weekly/report.md')]!r})")
    written = home.outbox / "keep" / "weekly" / "report.md"
    assert written.read_text() == "body of weekly/report.md"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    (effect,) = run["effects"]
    assert (effect["state"], effect["destination"]) == ("delivered", str(written))
    assert effect["reverse"] == f"rm {written}"
    assert (run["delivery"], run["verdict"]) == ("delivered", "ok")


@pytest.mark.promise("ENV-4")
def test_no_file_is_written_outside_the_routines_own_outbox(home: Home, tmp_path: Path) -> None:
    outbox = home.outbox / "keep"
    outbox.mkdir(exist_ok=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = tmp_path / "victim.md"
    victim.write_text("mine")
    (outbox / "trap").symlink_to(outside)
    (outbox / "link.md").symlink_to(victim)
    (outbox / "folder.md").mkdir()
    targets = [
        *("../up.md", "a/../../up.md", "/tmp/absolute.md", "./dot.md", "a//b.md", "a\\b.md", "line\nend.md", ""),
        *("trap/inside.md", "folder.md", "link.md", "x" * 256),
    ]
    run = performed(home, "keep", given=f"answer(effects={[file(target) for target in targets]!r})")
    states = {target: state for target, (state, _) in told(run).items()}
    assert [states[target] for target in targets[:8]] == ["refused"] * 8
    assert (states["trap/inside.md"], states["folder.md"], states["x" * 256]) == ("failed", "failed", "refused")
    # A link in the file's place is replaced by the file; what it led to stays as it was.
    assert states["link.md"] == "delivered"
    assert ((outbox / "link.md").is_symlink(), victim.read_text()) == (False, "mine")
    assert list(outside.iterdir()) == []
    assert not Path("/tmp/absolute.md").exists()
    assert sorted(path.name for path in home.outbox.iterdir()) == ["keep"]
    assert (run["delivery"], run["verdict"]) == ("failed", "not-delivered")


@pytest.mark.promise("ENV-4")
def test_a_body_comes_from_a_plain_file_of_the_workspace_and_from_nowhere_else(home: Home) -> None:
    secret = home.root / "minion.json"
    prepare = [
        f"os.symlink({str(secret)!r}, 'absolute-link')",
        "os.symlink('..', 'folder-link')",
        "os.symlink('docs', 'inner-link')",
        "os.mkfifo('pipe')",
        "open('large', 'w').write('x' * 1_048_577)",
        "open('fresh.md', 'w').write('made by the skill')",
    ]
    paths = {
        "good.md": "shop/docs/report.md",
        "fresh.md": "shop/fresh.md",
        "absolute-link.md": "shop/absolute-link",
        "tracked-link.md": "shop/tracked-link",
        "folder-link.md": "shop/folder-link/shop/docs/report.md",
        "inner-link.md": "shop/inner-link/report.md",
        "pipe.md": "shop/pipe",
        "up.md": "shop/../../minion.json",
        "absolute.md": str(secret),
        "docs.md": "shop/docs",
        "missing.md": "shop/missing.md",
        "large.md": "shop/large",
        "elsewhere.md": "docs/report.md",
    }
    effects = [file(target, path=path) for target, path in paths.items()]
    effects.append(file("both.md", path="shop/fresh.md") | {"body": "and a body"})
    run = performed(home, "keep", given="\n".join([*prepare, f"answer(effects={effects!r})"]))
    refused = {target for target, (state, _) in told(run).items() if state == "refused"}
    assert refused == {*paths, "both.md"} - {"good.md", "fresh.md"}
    outbox = home.outbox / "keep"
    assert (outbox / "good.md").read_text() == "# From the workspace ü\n"
    assert (outbox / "fresh.md").read_text() == "made by the skill"
    assert [name for name in refused if (outbox / name).exists()] == []
    assert told(run)["pipe.md"][1] == "its file cannot be read: no regular file"
    assert run["verdict"] == "not-delivered"


def test_an_outbox_that_cannot_be_written_is_a_failed_delivery(tmp_path: Path) -> None:
    other = make_home(tmp_path)
    write_skill(other, "act", "exec(task['input'])")
    write_routine(other, "keep", "act", effects=["file:*"])
    (other.outbox / "keep").write_text("a file where the folder should be")
    run = performed(other, "keep", given=f"answer(effects={[file('a.md')]!r})")
    assert (told(run)["a.md"][0], run["verdict"]) == ("failed", "not-delivered")
    assert os.listdir(other.outbox) == ["keep"]  # noqa: PTH208 - names are enough
