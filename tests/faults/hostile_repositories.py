"""A hundred repositories with traps for whoever clones, edits and pushes them, each with what springs it (F23)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.whole.tripwires import (
    CREDENTIAL,
    FSMONITOR,
    LOCAL_HOOKS,
    PROMISES,
    TRIPWIRES,
    Trap,
    Tripwire,
    attributed,
    change_and,
    configured,
    does,
)
from tests.whole.tripwires import _spring_hooks as spring_hooks

# The entry of a tree as git has it in its own files: mode, name, object.
Entry = tuple[str, bytes, str]
BLOB, LINK, TREE, MODULE = "100644", "120000", "40000", "160000"


def hooked(name: str) -> Tripwire:
    """One hook in the repository's own folder of hooks."""

    def arm(trap: Trap) -> None:
        (trap.repository.folder / ".git/hooks" / name).symlink_to(trap.program())

    return Tripwire(f"hook-{name}", arm, spring_hooks)


def hooked_elsewhere(name: str) -> Tripwire:
    """One hook in a folder that is part of the tree, which the configuration names."""

    def arm(trap: Trap) -> None:
        program = trap.program()
        trap.repository.write(f"tools/{name}", f"#!/bin/sh\nexec {program}\n")
        (trap.repository.folder / "tools" / name).chmod(0o755)
        trap.repository.commit("Tools")
        trap.config("core.hooksPath", "tools")

    return Tripwire(f"tools-{name}", arm, spring_hooks)


def written(trap: Trap, entries: Sequence[Entry]) -> str:
    """A tree object exactly as said, whatever git thinks of its names; its id."""
    raw = b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(identity) for mode, name, identity in entries
    )
    return trap.repository.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", given=raw)


def treed(name: str, make: Callable[[Trap], Sequence[Entry]]) -> Tripwire:
    """A commit whose tree no honest git writes: names that lead out of it when they are checked out."""

    def arm(trap: Trap) -> None:
        commit = trap.repository.git("commit-tree", "-m", "Tree", written(trap, make(trap)))
        trap.repository.git("update-ref", "refs/heads/main", commit)

    return Tripwire(f"tree-{name}", arm, check_out_naively, pushable=False)


def check_out_naively(trap: Trap) -> None:
    """What a program without git's care does with a tree, on a file system that knows no capitals."""
    place = trap.outside / "naive"
    place.mkdir()
    listed = trap.repository.git("ls-tree", "-r", "-z", "--full-tree", "main")
    for line in filter(None, listed.split("\0")):
        (mode, _, identity), path = line.split("\t")[0].split(), line.partition("\t")[2]
        folded = "/".join(_folded(part) for part in path.split("/"))
        target, body = Path(os.path.join(place, folded)), trap.plain("cat-file", "blob", identity)  # noqa: PTH118
        with contextlib.suppress(FileExistsError):
            target.parent.mkdir(parents=True, exist_ok=True)
        if mode == LINK:
            target.symlink_to(body)
        else:
            target.write_text(body + "\n")
    trap.plain("status", folder=place)


def _folded(name: str) -> str:
    short = {"git~1": ".git", ".git::$index_allocation": ".git"}
    plain = name.casefold().rstrip(" .").replace("\u200c", "")
    plain = short.get(plain, plain)
    return plain if plain in (".git", "link") else name


def _blob(trap: Trap, body: str) -> str:
    return trap.repository.git("hash-object", "-w", "--stdin", given=body.encode())


def _git_folder(name: str) -> Tripwire:
    """A git directory among the files, under a name that some file system takes for `.git`."""

    def make(trap: Trap) -> Sequence[Entry]:
        own = f"[core]\n\trepositoryformatversion = 0\n\tworktree = ..\n\tfsmonitor = {trap.program()}\n"
        below = written(trap, ((BLOB, b"x", _blob(trap, "x")),))
        entries = ((BLOB, b"HEAD", _blob(trap, "ref: refs/heads/main\n")), (BLOB, b"config", _blob(trap, own)))
        inner = written(trap, (*entries, (TREE, b"objects", below), (TREE, b"refs", below)))
        return ((TREE, name.encode(), inner),)

    return treed(f"git-{NAMES.index(name)}", make)


def _through_link(name: str, first: str, second: str) -> Tripwire:
    """A link, and a folder of the same name for who knows no capitals, whose file lands behind the link."""

    def make(trap: Trap) -> Sequence[Entry]:
        inner = written(trap, ((BLOB, b"it", _blob(trap, "x")),))
        return ((LINK, first.encode(), _blob(trap, f"{trap.outside}/fired")), (TREE, second.encode(), inner))

    return treed(name, make)


def _placed(name: str, path: str) -> Tripwire:
    """One entry whose name is a path that leads out; `@` is the place outside, `^` its name."""

    def make(trap: Trap) -> Sequence[Entry]:
        place = path.replace("@", str(trap.outside)).replace("^", trap.outside.name)
        return ((BLOB, place.encode(), _blob(trap, "x")),)

    return treed(name, make)


NAMES: Final = (
    ".git", ".GIT", ".Git", ".git ", ".git.", "git~1", "GIT~1", ".g\u200cit", ".git::$INDEX_ALLOCATION",
    ".gi\u200ct",
)  # fmt: skip
TREES: Final = (
    *map(_git_folder, NAMES),
    _through_link("link", "link", "link"),
    _through_link("link-capital", "LINK", "link"),
    _placed("up", "../fired/it"),
    _placed("up-up", "../../^/fired/it"),
    _placed("absolute", "@/fired/it"),
)


def moved(name: str, place: str, arm: Callable[[Trap, Path], None], by: Callable[[Trap], object]) -> Tripwire:
    """A part of the git directory that is a link to an evil one outside."""

    def set_up(trap: Trap) -> None:
        part, outside = trap.repository.folder / ".git" / place, trap.outside / "moved"
        if part.is_dir():
            shutil.copytree(part, outside)
            shutil.rmtree(part)
        elif part.exists():
            part.rename(outside)
        arm(trap, outside)
        part.parent.mkdir(exist_ok=True)
        part.symlink_to(outside)

    return Tripwire(name, set_up, by)


def _evil_hooks(trap: Trap, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for hook in LOCAL_HOOKS:
        (place / hook).symlink_to(trap.program())


def _evil_config(trap: Trap, place: Path) -> None:
    place.write_text(place.read_text() + f"\tfsmonitor = {trap.program()}\n")


def _evil_attributes(trap: Trap, place: Path) -> None:
    place.write_text("* filter=evil\n")
    trap.config("filter.evil.clean", trap.program(), "filter.evil.smudge", trap.program())


def _common_folder(trap: Trap) -> None:
    """The git directory says that all but its HEAD lies elsewhere, as a linked work tree's does."""
    shutil.copytree(trap.repository.folder / ".git", trap.outside / "common")
    (trap.repository.folder / ".git/commondir").write_text(f"{trap.outside}/common\n")
    text = (trap.outside / "common/config").read_text()
    (trap.outside / "common/config").write_text(f"{text}\tfsmonitor = {trap.program()}\n")


MOVED: Final = (
    moved("hooks-linked", "hooks", _evil_hooks, does("commit", "--allow-empty", "-m", "x")),
    moved("config-linked", "config", _evil_config, FSMONITOR),
    moved("attributes-linked", "info/attributes", _evil_attributes, change_and("add", ".")),
    Tripwire("common-folder", _common_folder, FSMONITOR),
)


def _moduled(name: str, said: str, path: str, url: str) -> Tripwire:
    """A `.gitmodules` whose names, paths and addresses lead elsewhere."""

    def arm(trap: Trap) -> None:
        head, program = trap.repository.git("rev-parse", "HEAD"), trap.program()
        text = f'[submodule "{said}"]\n\tpath = {path}\n\turl = {url.replace("@", program)}\n'
        trap.repository.write(".gitmodules", text)
        trap.repository.git("add", ".gitmodules")
        trap.repository.git("update-index", "--add", "--cacheinfo", f"{MODULE},{head},in")
        trap.repository.git("commit", "-qm", "Module")
        trap.config("submodule.recurse", "true", f"submodule.{said}.url", url.replace("@", program))
        trap.config("protocol.ext.allow", "always", "submodule.recurse", "true", "fetch.recurseSubmodules", "true")
        trap.config("remote.origin.url", url.replace("@", program))

    return Tripwire(f"module-{name}", arm, does("fetch", "origin"))


MODULES: Final = (
    _moduled("command", "in", "in", "ext::@"),
    _moduled("up", "../../../hooks", "in", "ext::@"),
    _moduled("option", "in", "-in", "ext::@ -u"),
)


def _attributes_by_thousands(trap: Trap) -> None:
    trap.repository.write(".gitattributes", "*.txt filter=evil\n" * 50_000 + "x" * 200_000 + " filter=evil\n")
    trap.repository.commit("Attributes")
    trap.config("filter.evil.clean", trap.program(), "filter.evil.smudge", trap.program())


def _deep(trap: Trap) -> None:
    trap.repository.write("/".join("d" * 2 for _ in range(300)) + "/x.txt", "deep\n")
    trap.repository.write(".gitattributes", "*.txt filter=evil\n")
    trap.repository.commit("Deep")
    trap.config("filter.evil.clean", trap.program(), "filter.evil.smudge", trap.program())


def _info_attributes(trap: Trap) -> None:
    (trap.repository.folder / ".git/info").mkdir(exist_ok=True)
    (trap.repository.folder / ".git/info/attributes").write_text("* filter=evil diff=evil merge=evil\n")
    trap.config("filter.evil.clean", trap.program(), "filter.evil.smudge", trap.program())


SETTINGS: Final = (
    configured("push-instead-of", "protocol.ext.allow", "always", "url.ext::@ .pushInsteadOf", "/",
               by=does("push", "/shop", "main")),
    configured("push-address", "protocol.ext.allow", "always", "remote.origin.url", "/shop",
               "remote.origin.pushurl", "ext::@", by=does("push", "origin", "main")),
    configured("receive-pack", "remote.origin.url", "/shop", "remote.origin.receivepack", "@",
               by=does("push", "origin", "main")),
    configured("helper-for-host", "credential.https://example.invalid.helper", "!@", by=CREDENTIAL),
    configured("fsmonitor-2", "core.fsmonitor", "@", "core.fsmonitorHookVersion", "2", by=FSMONITOR),
    configured("fsmonitor-split", "core.fsmonitor", "@", "core.untrackedCache", "true", by=FSMONITOR),
    configured("sequence-editor", "sequence.editor", "@", by=does("rebase", "-i", "--root")),
    configured("ssh-signature", "commit.gpgSign", "true", "gpg.format", "ssh", "gpg.ssh.program", "@",
               "user.signingKey", "key::x", by=does("commit", "--allow-empty", "-m", "x")),
    configured("tag-signature", "tag.gpgSign", "true", "gpg.program", "@", by=does("tag", "-m", "x", "v1")),
    configured("difftool", "diff.tool", "evil", "difftool.evil.cmd", "@", "difftool.prompt", "false",
               by=change_and("difftool", "-y")),
    configured("browser", "web.browser", "evil", "browser.evil.cmd", "@", by=does("web--browse", "x")),
    configured("guitool", "alias.status2", "!@", by=does("status2")),
    configured("alias-of-push", "alias.psh", "!@", by=does("psh")),
    configured("merge-tool", "merge.tool", "evil", "mergetool.evil.cmd", "@", "alias.m", "!@", by=does("m")),
    attributed("filter-required", "filter", "filter.evil.clean", "@", "filter.evil.required", "true",
               by=change_and("add", ".")),
    attributed("filter-lfs", "filter", "filter.evil.process", "@", "filter.lfs.process", "@",
               by=change_and("add", ".")),
    attributed("cached-textconv", "diff", "diff.evil.textconv", "@", "diff.evil.cachetextconv", "true",
               by=does("log", "-p")),
    attributed("word-diff", "diff", "diff.evil.command", "@", "diff.evil.wordRegex", ".", by=change_and("diff")),
    Tripwire("attributes-by-thousands", _attributes_by_thousands, change_and("add", ".")),
    Tripwire("deep", _deep, change_and("add", ".")),
    Tripwire("info-attributes", _info_attributes, change_and("add", ".")),
)  # fmt: skip

HOSTILE: Final = (
    *TRIPWIRES, *PROMISES, *SETTINGS, *map(hooked, LOCAL_HOOKS), *map(hooked_elsewhere, LOCAL_HOOKS[:15]),
    *TREES, *MOVED, *MODULES,
)  # fmt: skip
