"""Traps that a repository can set for whoever works on it, each with the plain command that springs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.skills.repositories import Repository

# What a person's git says of who commits; the rest of the machine's configuration is kept out.
_PERSON: Final = "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
SIDE: Final = "claude/x"


class Trap:
    """A repository with a trap in it, and the place outside of it where a sprung trap leaves its mark."""

    def __init__(self, folder: Path, name: str) -> None:
        self.repository = Repository(folder, name)
        self.outside = folder / f"outside-{name}"
        self.outside.mkdir()
        (self.outside / "fired").mkdir()
        (self.outside / "gitconfig").write_text(_PERSON)
        self.repository.write("roof.txt", "leaks\n")
        self.repository.commit("Begin")

    def program(self, mark: str = "it") -> str:
        """A program that leaves the mark `mark` and ends well."""
        path = self.outside / f"leave-{mark}"
        path.write_text(f"#!/bin/sh\n: > '{self.outside}/fired/{mark}'\n")
        path.chmod(0o755)
        return str(path)

    def fired(self) -> set[str]:
        """The marks that were left."""
        return {path.name for path in (self.outside / "fired").iterdir()}

    def config(self, *pairs: str) -> None:
        """Set (name, value) pairs one after the other in the repository's own configuration."""
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.repository.git("config", "--local", name, value)

    def attributes(self, line: str) -> None:
        """Commit a line of `.gitattributes`."""
        self.repository.write(".gitattributes", line + "\n")
        self.repository.commit("Attributes")

    def plain(self, *arguments: str, given: str = "", folder: Path | None = None, **env: str) -> str:
        """What a person does by hand here: plain git, or a program whose name begins with a slash."""
        argv = list(arguments) if arguments[0].startswith("/") else ["git", *arguments]
        ended = subprocess.run(
            argv,
            cwd=folder or self.repository.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.outside),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": str(self.outside / "gitconfig"),
                "GIT_TERMINAL_PROMPT": "0",
                **env,
            },
            input=given.encode(),
            capture_output=True,
            timeout=30,
            check=False,
        )
        return ended.stdout.decode("utf-8", "replace").strip()

    def push_in(self, branch: str = SIDE) -> None:
        """Push a commit to a branch of this repository from a clone beside it."""
        clone = self.outside / "clone"
        self.plain("clone", "-q", str(self.repository.folder), str(clone))
        (clone / "roof.txt").write_text("tight\n")
        self.plain("commit", "-qam", "Mend", folder=clone)
        self.plain("push", "-q", "origin", f"HEAD:refs/heads/{branch}", folder=clone)


class Tripwire(NamedTuple):
    """A trap's name, how it is set, the marks it can leave, and what springs it.

    `pushable` is false where the repository's own settings turn every push away.
    """

    name: str
    arm: Callable[[Trap], None]
    spring: Callable[[Trap], object]
    marks: frozenset[str] = frozenset({"it"})
    pushable: bool = True


def configured(name: str, *pairs: str, by: Callable[[Trap], object]) -> Tripwire:
    """A trap that is nothing but configuration; `@` stands for the program."""

    def arm(trap: Trap) -> None:
        program = trap.program()
        trap.config(*(pair.replace("@", program) for pair in pairs))

    return Tripwire(name, arm, by)


def attributed(name: str, attribute: str, *pairs: str, by: Callable[[Trap], object]) -> Tripwire:
    """A trap that needs an attribute in the tree besides its configuration."""

    def arm(trap: Trap) -> None:
        trap.attributes(f"*.txt {attribute}=evil")
        program = trap.program()
        trap.config(*(pair.replace("@", program) for pair in pairs))

    return Tripwire(name, arm, by)


def does(*arguments: str, given: str = "") -> Callable[[Trap], object]:
    """One plain command."""
    return lambda trap: trap.plain(*arguments, given=given)


def change_and(*arguments: str) -> Callable[[Trap], object]:
    """A changed file, then one plain command."""

    def spring(trap: Trap) -> None:
        trap.repository.write("roof.txt", "tight\n")
        trap.plain(*arguments)

    return spring


LOCAL_HOOKS: Final = (
    "pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-checkout", "pre-merge-commit",
    "post-merge", "pre-rebase", "post-rewrite", "applypatch-msg", "pre-applypatch", "post-applypatch",
    "pre-push", "post-index-change", "reference-transaction", "pre-receive", "update",
    "post-receive", "post-update",
)  # fmt: skip


def _arm_hooks(trap: Trap) -> None:
    for hook in LOCAL_HOOKS:
        (trap.repository.folder / ".git/hooks" / hook).symlink_to(trap.program(hook))


def _spring_hooks(trap: Trap) -> None:
    trap.push_in()
    trap.plain("checkout", "-q", "-b", "feature")
    trap.repository.write("wall.txt", "stands\n")
    for command in (("add", "."), ("commit", "-qm", "Wall"), ("checkout", "-q", "main")):
        trap.plain(*command)
    trap.plain("commit", "-q", "--allow-empty", "-m", "Aside")
    trap.plain("merge", "-q", "--no-edit", "feature")
    trap.plain("commit", "-q", "--amend", "--no-edit")
    trap.plain("rebase", "-q", "feature")
    trap.plain("push", "-q", str(trap.repository.folder), "main:refs/heads/copy")
    patch = trap.plain("format-patch", "--stdout", "-1", "feature")
    trap.plain("checkout", "-q", "--detach", "feature~1")
    trap.plain("am", "-q", given=patch + "\n")


def _arm_hooks_path(trap: Trap) -> None:
    (trap.outside / "hooks").mkdir()
    for hook in LOCAL_HOOKS:
        (trap.outside / "hooks" / hook).symlink_to(trap.program())
    trap.config("core.hooksPath", str(trap.outside / "hooks"))


def _arm_proc_receive(trap: Trap) -> None:
    (trap.repository.folder / ".git/hooks/proc-receive").symlink_to(trap.program())
    trap.config("receive.procReceiveRefs", "refs/heads")


def _arm_update_instead(trap: Trap) -> None:
    """The branch that is pushed is the one checked out, and a push may write into the checkout."""
    trap.attributes("*.txt filter=evil")
    trap.config("filter.evil.smudge", trap.program(), "receive.denyCurrentBranch", "updateInstead")
    trap.repository.git("checkout", "-q", "-b", SIDE)


def _arm_alternates(trap: Trap) -> None:
    lender = trap.outside / "lender"
    trap.plain("clone", "-q", "--bare", str(trap.repository.folder), str(lender))
    (trap.repository.folder / ".git/objects/info/alternates").write_text(f"{lender}/objects\n")
    trap.config("core.alternateRefsCommand", trap.program())


def _arm_merge_driver(trap: Trap) -> None:
    trap.attributes("*.txt merge=evil")
    for branch, text in (("other", "one\n"), ("main", "two\n")):
        trap.repository.git("checkout", "-q", "-B", branch)
        trap.repository.write("roof.txt", text)
        trap.repository.commit(text)
        trap.repository.git("branch", "-f", "keep")
        if branch == "other":
            trap.repository.git("checkout", "-q", "-B", "main", "HEAD~1")
    trap.config("merge.evil.driver", trap.program())


def _arm_include(trap: Trap) -> None:
    trap.repository.write("evil.cfg", f"[core]\n\tfsmonitor = {trap.program()}\n")
    trap.repository.commit("Settings")
    trap.config("include.path", "../evil.cfg")


def _arm_include_if(trap: Trap) -> None:
    trap.repository.write("evil.cfg", f"[core]\n\tfsmonitor = {trap.program()}\n")
    trap.repository.commit("Settings")
    trap.config("includeIf.gitdir:/.path", "../evil.cfg")


def _arm_worktree_config(trap: Trap) -> None:
    trap.config("extensions.worktreeConfig", "true")
    trap.repository.git("config", "--worktree", "core.fsmonitor", trap.program())


def _arm_submodule(trap: Trap) -> None:
    inner = trap.outside / "inner"
    trap.plain("clone", "-q", str(trap.repository.folder), str(inner))
    trap.plain("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    trap.plain("submodule", "--quiet", "deinit", "--all", "--force")
    trap.repository.git("commit", "-qm", "Submodule")
    trap.config("submodule.inner.update", f"!{trap.program()}")


def _arm_submodule_address(trap: Trap) -> None:
    head = trap.repository.git("rev-parse", "HEAD")
    trap.repository.write(".gitmodules", f'[submodule "in"]\n\tpath = in\n\turl = ext::{trap.program()}\n')
    trap.repository.git("add", ".gitmodules")
    trap.repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},in")
    trap.repository.git("commit", "-qm", "Submodule")


def _clone_with_submodules(trap: Trap) -> None:
    target = str(trap.outside / "whole")
    trap.plain(
        "clone", "-q", "--recurse-submodules", str(trap.repository.folder), target,
        GIT_ALLOW_PROTOCOL="ext:file",
    )  # fmt: skip


def _arm_gitdir_file(trap: Trap) -> None:
    """The `.git` of the checkout is a file that names a git directory elsewhere."""
    elsewhere = trap.outside / "elsewhere.git"
    trap.config("core.fsmonitor", trap.program())
    (trap.repository.folder / ".git").rename(elsewhere)
    (trap.repository.folder / ".git").write_text(f"gitdir: {elsewhere}\n")


def _arm_embedded(trap: Trap) -> None:
    """Among the files lies a whole git directory that is not called `.git`."""
    own = ("repositoryformatversion = 0", "bare = false", "worktree = .", f"fsmonitor = {trap.program()}")
    config = "[core]\n" + "".join(f"\t{line}\n" for line in own)
    contents = {"HEAD": "ref: refs/heads/main\n", "config": config, "objects/x": "", "refs/x": ""}
    for name, body in contents.items():
        trap.repository.write(f"docs/{name}", body)
    trap.repository.commit("Documents")


MODULES: Final = (
    "minion/__init__.py", "minion/__main__.py", "minion/runner/__init__.py", "minion/runner/__main__.py",
    "server/__init__.py", "json.py", "asyncio.py", "click.py", "pathlib.py", "run.py",
)  # fmt: skip


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _arm_modules(trap: Trap) -> None:
    for file in MODULES:
        mark = trap.outside / "fired" / _module(file)
        trap.repository.write(file, f"open({str(mark)!r}, 'w').close()\n")
    trap.repository.commit("Modules")


def _import_modules(trap: Trap) -> None:
    for file in MODULES:
        trap.plain(sys.executable, "-c", f"import {_module(file)}")


FSMONITOR: Final = does("status")
CREDENTIAL: Final = does("credential", "fill", given="protocol=https\nhost=example.invalid\n\n")
TRIPWIRES: Final = (
    Tripwire("hooks", _arm_hooks, _spring_hooks, frozenset(LOCAL_HOOKS)),
    Tripwire("hooks-path", _arm_hooks_path, does("commit", "--allow-empty", "-m", "x")),
    Tripwire("proc-receive", _arm_proc_receive, Trap.push_in, pushable=False),
    Tripwire("update-instead", _arm_update_instead, Trap.push_in, pushable=False),
    Tripwire("alternate-refs", _arm_alternates, Trap.push_in),
    configured("fsmonitor", "core.fsmonitor", "@", by=FSMONITOR),
    Tripwire("include", _arm_include, FSMONITOR),
    Tripwire("include-if", _arm_include_if, FSMONITOR),
    Tripwire("worktree-config", _arm_worktree_config, FSMONITOR),
    Tripwire("gitdir-file", _arm_gitdir_file, FSMONITOR),
    Tripwire("embedded", _arm_embedded, lambda trap: trap.plain("-C", "docs", "status")),
    attributed("clean", "filter", "filter.evil.clean", "@", by=change_and("add", ".")),
    attributed("smudge", "filter", "filter.evil.smudge", "@", by=change_and("checkout", "-f", "HEAD")),
    attributed("filter-process", "filter", "filter.evil.process", "@", by=change_and("add", ".")),
    attributed("textconv", "diff", "diff.evil.textconv", "@", by=does("log", "-p")),
    attributed("diff-driver", "diff", "diff.evil.command", "@", by=change_and("diff")),
    configured("external-diff", "diff.external", "@", by=change_and("diff")),
    Tripwire("merge-driver", _arm_merge_driver, does("merge", "--no-edit", "other")),
    configured("pager", "core.pager", "@", by=does("grep", "--open-files-in-pager", "leaks")),
    configured("editor", "core.editor", "@", by=does("commit", "--allow-empty")),
    configured(
        "signature", "commit.gpgSign", "true", "gpg.program", "@",
        by=does("commit", "--allow-empty", "-m", "x"),
    ),
    configured("credential-helper", "credential.helper", "@", by=CREDENTIAL),
    configured("ask-pass", "core.askPass", "@", by=CREDENTIAL),
    configured("alias", "alias.st", "!@", by=does("st")),
    configured("trailer", "trailer.sign.command", "@", by=does("interpret-trailers", "--trailer", "sign")),
    configured("archive", "tar.evil.command", "@", by=does("archive", "--format=evil", "HEAD")),
    configured(
        "ssh-command", "core.sshCommand", "@", "remote.origin.url", "ssh://host.invalid/x", by=does("fetch")
    ),
    configured(
        "git-proxy", "core.gitProxy", "@", "remote.origin.url", "git://host.invalid/x", by=does("fetch")
    ),
    configured(
        "ext-remote", "protocol.ext.allow", "always", "remote.origin.url", "ext::@", by=does("fetch")
    ),
    configured(
        "instead-of", "protocol.ext.allow", "always", "url.ext::@ .insteadOf", "/", by=does("fetch", "/shop")
    ),
    configured(
        "upload-pack", "remote.origin.url", "/shop", "remote.origin.uploadpack", "@", by=does("fetch")
    ),
    Tripwire("submodule", _arm_submodule, lambda trap: trap.plain(
        "-c", "protocol.file.allow=always", "submodule", "update", "--init"
    )),
    Tripwire("submodule-address", _arm_submodule_address, _clone_with_submodules),
    Tripwire("modules", _arm_modules, _import_modules, frozenset(map(_module, MODULES))),
)  # fmt: skip


def promising(name: str, *pairs: str) -> Tripwire:
    """A partial clone that lacks an object and promises to fetch it in a way of its own."""

    def arm(trap: Trap) -> None:
        program = trap.program()
        blob = trap.repository.git("rev-parse", "HEAD:roof.txt")
        (trap.repository.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
        trap.config("core.repositoryFormatVersion", "1", "extensions.partialClone", "evil")
        trap.config("remote.evil.promisor", "true", *(pair.replace("@", program) for pair in pairs))

    return Tripwire(name, arm, does("cat-file", "-p", "HEAD:roof.txt"), pushable=False)


PROMISES: Final = (
    promising("promise-by-ext", "protocol.ext.allow", "always", "remote.evil.url", "ext::@"),
    promising("promise-by-ssh", "core.sshCommand", "@", "remote.evil.url", "ssh://host.invalid/x"),
    promising("promise-by-upload-pack", "remote.evil.url", "/shop", "remote.evil.uploadpack", "@"),
)
