"""Runs git so that nothing a repository holds can run: no hooks, filters, fsmonitor, helpers or other config.

The private git directory lies outside the workspace and is never shown to a skill (DESIGN §3). A repository
on this machine is only ever read through `upload-pack`; its own configuration cannot name a program here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minion.runner.lifetime import die_with_parent

BRANCH: Final = re.compile(r"claude/[a-z0-9][a-z0-9._/-]{0,100}")
OUTPUT_BYTES: Final = 4 * 1024 * 1024
# The pack of a repository in use; a clone that takes longer is ended by the run's own clock.
DEFAULT_TIMEOUT_S: Final = 600.0

# What a hostile repository could name as a program, answered on the command line, which beats its own config.
_DEFENCES: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=true",
    "core.attributesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "credential.helper=",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "push.followTags=false",
)
# With `updateInstead` of its own the receiving side would change the user's checkout, and run filters for it.
_RECEIVE_PACK: Final = (
    "git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=true"
    " -c receive.autogc=false -c receive.denyCurrentBranch=refuse receive-pack"
)


class GitFailed(Exception):
    """A git command that ended badly; `words` are its own last words, capped."""

    def __init__(self, verb: str, status: int | None, words: str) -> None:
        ended = "was stopped" if status is None else f"ended with status {status}"
        super().__init__(f"git {verb} {ended}: {words}" if words else f"git {verb} {ended}")
        self.verb = verb
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True)
class Git:
    """A way to call git for one run: `config_file` is the run's own global config, `env` what ssh needs."""

    config_file: Path
    search_path: str
    passed_env: Mapping[str, str]

    @classmethod
    def prepare(
        cls, run_dir: Path, *, agent: str, safe: Sequence[str], search_path: str, passed_env: Mapping[str, str]
    ) -> Git:
        """Write the run's global git config: who commits, and which folders of other owners may be read.

        `-c safe.directory` is ignored by git on purpose, so this file is the only way to read them.
        """
        lines = ["[user]", f"\tname = {_quoted(agent + ' (minion)')}", "\temail = minion@localhost", "[safe]"]
        lines += [f"\tdirectory = {_quoted(folder)}" for folder in safe]
        path = run_dir / "gitconfig"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return cls(path, search_path, passed_env)

    async def run(
        self,
        *arguments: str,
        git_dir: Path | None = None,
        work_tree: Path | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        stdin: bytes | None = None,
    ) -> bytes:
        """The standard output of one git command, capped at 4 MiB.

        Raises `GitFailed` when it ends with another status than 0, runs out of time or cannot be started.
        """
        argv = ["git"]
        for setting in _DEFENCES:
            argv += ["-c", setting]
        if git_dir is not None:
            argv.append(f"--git-dir={git_dir}")
        if work_tree is not None:
            argv.append(f"--work-tree={work_tree}")
        cwd = work_tree or git_dir or self.config_file.parent
        return await self._spawn([*argv, *arguments], arguments[0], cwd, timeout_s, stdin)

    async def _spawn(
        self, argv: list[str], verb: str, cwd: Path, timeout_s: float, stdin: bytes | None
    ) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                # A runner that is killed must not leave a push behind it.
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise GitFailed(verb, None, f"git cannot be started ({error.strerror})") from error
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin or b"")
        except (TimeoutError, asyncio.CancelledError) as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if isinstance(error, TimeoutError):
                raise GitFailed(verb, None, f"no end after {timeout_s:g} s") from error
            raise
        if process.returncode != 0:
            words = err[-2000:].decode("utf-8", "replace").strip()
            raise GitFailed(verb, process.returncode, " ".join(words.split())[-400:])
        return out[:OUTPUT_BYTES]

    def _environment(self) -> dict[str, str]:
        return {
            **self.passed_env,
            "PATH": self.search_path,
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.config_file),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            # The variable, because it also beats the config of a repository that git reads on our behalf.
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "file:https:ssh:http",
            "GIT_CEILING_DIRECTORIES": str(self.config_file.parent.parent),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
        }


def is_pushable(branch: str) -> bool:
    """Whether `branch` may be pushed: `claude/…` by the envelope's pattern, and a ref name git accepts."""
    if BRANCH.fullmatch(branch) is None:
        return False
    parts = branch.split("/")
    return ".." not in branch and all(
        part and not part.startswith(".") and not part.endswith((".lock", ".")) for part in parts
    )


async def push(git: Git, git_dir: Path, url: str, commit: str, branch: str, *, timeout_s: float) -> None:
    """Push one commit to one `claude/` branch, never by force. Raises `GitFailed`, `ValueError` on another ref."""
    if not is_pushable(branch) or re.fullmatch(r"[0-9a-f]{40,64}", commit) is None:
        raise ValueError(f"{branch!r} is no branch of the envelope")
    refspec = f"{commit}:refs/heads/{branch}"
    options = ["--no-verify", "--no-follow-tags", "--porcelain", "--quiet"]
    if url.startswith("/"):
        # Over the file transport the receiving side is ours to start: its hooks must not run either.
        options.append(f"--receive-pack={_RECEIVE_PACK}")
    await git.run("push", *options, "--", url, refspec, git_dir=git_dir, timeout_s=timeout_s)


async def remote_commit(git: Git, git_dir: Path, url: str, branch: str, *, timeout_s: float) -> str | None:
    """The commit a remote branch stands at, None when there is no such branch. Raises `GitFailed`."""
    out = await git.run("ls-remote", "--", url, f"refs/heads/{branch}", git_dir=git_dir, timeout_s=timeout_s)
    return out.decode().split("\t")[0] if out.strip() else None


def _quoted(value: str) -> str:
    """A value of a git config file; control characters cannot be written in one and are dropped."""
    clean = "".join(character for character in value if character >= " ")
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def safe_spellings(path: str) -> list[str]:
    """The spellings of a repository of this machine under which git asks whether it is safe to read."""
    real = os.path.realpath(path)
    return list(dict.fromkeys((path, real, f"{path}/.git", f"{real}/.git")))
