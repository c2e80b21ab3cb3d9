"""Repositories that are merely odd: each is made in a folder of its own, and a run can work on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.skills.repositories import Repository

LONGEST: Final = 250  # bytes of a name; file systems end at 255


class Odd(NamedTuple):
    """What is odd, and how it is made (the path for the routine). `root`: only root can make it."""

    name: str
    make: Callable[[Path], Path]
    root: bool = False


def begun(folder: Path, name: str = "odd") -> Repository:
    """A repository with one commit."""
    repository = Repository(folder, name)
    repository.write("roof.txt", "leaks\n")
    repository.commit("Begin")
    return repository


def _empty(folder: Path) -> Path:
    return Repository(folder, "odd").folder


def _detached(folder: Path) -> Path:
    repository = begun(folder)
    repository.git("checkout", "-q", "--detach")
    return repository.folder


def _shallow(folder: Path) -> Path:
    source = begun(folder, "source")
    source.commit("Second")
    source.git("clone", "-q", "--depth=1", f"file://{source.folder}", str(folder / "odd"))
    return folder / "odd"


def _bare(folder: Path) -> Path:
    begun(folder, "source").git("clone", "-q", "--bare", ".", str(folder / "odd"))
    return folder / "odd"


def _linked_worktree(folder: Path) -> Path:
    begun(folder, "source").git("worktree", "add", "-q", "-b", "aside", str(folder / "odd"))
    return folder / "odd"


def _below_the_top(folder: Path) -> Path:
    """The work tree lies elsewhere than beside the git directory."""
    repository = begun(folder)
    (folder / "elsewhere").mkdir()
    repository.git("config", "core.worktree", str(folder / "elsewhere"))
    return repository.folder


def _named(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return begun(folder).folder.rename(folder / text)

    return make


def _long_names(folder: Path) -> Path:
    repository = begun(folder)
    repository.write("/".join(["d" * LONGEST] * 4) + "/" + "f" * LONGEST, "deep\n")
    repository.git("branch", "b" * 200)
    repository.commit("x" * 20_000)
    return repository.folder


def _bytes_in_names(folder: Path) -> Path:
    repository = begun(folder)
    names = (b"caf\xe9.txt", b"\xff/\xfe", b"new\nline", b"tab\tquote\"'\\", b" x ", b"-rf", b"$(touch x)")
    for name in names:
        repository.write(name, "odd\n")
    repository.commit(b"caf\xe9")
    repository.git("update-ref", os.fsdecode(b"refs/heads/caf\xe9"), "HEAD")
    return repository.folder


def _links_out(folder: Path) -> Path:
    repository = begun(folder)
    outside = (
        "/etc", "/etc/passwd", "/proc/self/environ", "..", "../../..", str(folder.parent / "home"),
        str(folder.parent / "home/secrets.json"), "loop", ".git", ".git/config",
    )  # fmt: skip
    for number, target in enumerate(outside):
        (repository.folder / f"link{number}").symlink_to(target)
    (repository.folder / "loop").symlink_to("loop")
    (repository.folder / ".mcp.json").symlink_to("/etc/passwd")
    (repository.folder / ".claude").symlink_to("/etc")
    (repository.folder / ".gitattributes").symlink_to("/etc/passwd")
    repository.commit("Links")
    return repository.folder


def _option_like_branches(folder: Path) -> Path:
    repository = begun(folder)
    for name in ("--upload-pack=touch", "-x", "--help", "HEAD", "@", "claudex"):
        repository.git("update-ref", f"refs/heads/{name}", "HEAD")
    repository.git("update-ref", "refs/tags/-x", "HEAD")
    repository.git("update-ref", "refs/tags/main", "HEAD")
    return repository.folder


def _nested(folder: Path) -> Path:
    """Repositories within: one only lying there, one recorded as a submodule that no file describes."""
    repository = begun(folder)
    inner = begun(repository.folder, "inner")
    repository.git("add", "inner")
    begun(repository.folder, "untracked")
    repository.git("commit", "-qm", "Inner")
    assert inner.folder.is_dir()
    return repository.folder


def _template_attributes(folder: Path) -> Path:
    repository = begun(folder)
    repository.write("version.txt", "$Format:%H %an$\n$Id$\n")
    repository.write("windows.txt", "one\r\ntwo\r\n")
    repository.write("wide.txt", "wide\n".encode("utf-16-le"))
    lines = (
        "version.txt export-subst ident", "*.txt text=auto eol=crlf",
        "wide.txt working-tree-encoding=UTF-16LE", "* filter=lfs diff=lfs merge=lfs",
    )  # fmt: skip
    repository.write(".gitattributes", "\n".join(lines) + "\n")
    repository.commit("Attributes")
    return repository.folder


def _sha256(folder: Path) -> Path:
    made = folder / "odd"
    begun(folder, "source").git("init", "-q", "-b", "main", "--object-format=sha256", str(made))
    (made / "roof.txt").write_text("leaks\n")
    source = Repository.__new__(Repository)
    source.name, source.folder = "odd", made
    source.commit("Begin")
    return made


def _of_another_user(folder: Path) -> Path:
    repository = begun(folder)
    for place, folders, names in os.walk(repository.folder):
        for name in (".", *folders, *names):
            os.chown(Path(place, name), 65534, 65534, follow_symlinks=False)
    return repository.folder


ODD: Final = (
    Odd("empty", _empty),
    Odd("detached-head", _detached),
    Odd("shallow", _shallow),
    Odd("bare", _bare),
    Odd("linked-worktree", _linked_worktree),
    Odd("worktree-elsewhere", _below_the_top),
    Odd("spaces-and-quotes", _named("it's a \"shop\" $(touch x) `x` ; ü")),
    Odd("leading-hyphen", _named("--upload-pack=touch x")),
    Odd("colon-and-backslash", _named("c:\\shop::x")),
    Odd("long-names", _long_names),
    Odd("bytes-in-names", _bytes_in_names),
    Odd("links-out", _links_out),
    Odd("option-like-branches", _option_like_branches),
    Odd("nested", _nested),
    Odd("attributes", _template_attributes),
    Odd("sha256", _sha256),
    Odd("of-another-user", _of_another_user, root=True),
)
