"""Tries the answers of a set-up for real: git asks each repository, a test message is posted, a command is run.

Nothing is written here. What fails is refused with one sentence, which never holds a webhook's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.admission import Candidate, admit_fresh
from minion.config import LONGEST_ARGUMENT, MOST_ARGUMENTS, passed_environment, search_path
from minion.repositories import repository_at
from minion.runner.git import Git, GitFailed, safe_spellings
from minion.runner.outbound import is_safe_url
from minion.runner.webhook import post_message
from server.contract.redaction import SHORTEST_SECRET, Redactor
from server.contract.refusals import BadUse, Refused, TrialFailed

# A remote that answers later than this is not one to depend on every morning.
GIT_SECONDS: Final = 20.0
COMMAND_SECONDS: Final = 10.0
LONGEST_WEBHOOK: Final = 4096
_WORDS: Final = 200
# What git says, and what to do about it; the first that fits.
_GIT_HINTS: Final = (
    ("host key verification failed", "connect once by hand (ssh -T HOST), so that ssh knows the host"),
    ("permission denied", "load the key with ssh-add, or name a repository that this account may read"),
    ("could not read username", "name it by ssh (git@HOST:OWNER/NAME): a run passes no passwords on"),
    ("authentication failed", "name it by ssh (git@HOST:OWNER/NAME): a run passes no passwords on"),
    ("no end after", "see whether the remote answers: git ls-remote"),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What `host` said to a test message, in `words`; `state` is accepted or delivered, as effects have it."""

    state: str
    words: str
    host: str


def checked_repositories(texts: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The addresses of these repositories, each asked by git unless it is among those `known` before.

    Raises `BadUse` or `BadDocument` when a text is no repository, `Refused` when git cannot reach one.
    """
    if not all(text.strip() for text in texts):
        raise BadUse("no_repository", "A repository's address is empty.", hint="leave it out, or write none")
    for text in texts:
        if text not in known:
            _check_no_list(text)
    urls = tuple(dict.fromkeys(text if text in known else repository_at(_utf_8(text))["url"] for text in texts))
    fresh = [url for url in urls if url not in known]
    if fresh:
        body = json.dumps({"name": "trial", "content": "none", "repositories": urls}).encode()
        admit_fresh([Candidate("routine", "trial.yaml", "The repositories", body)])
        asyncio.run(_reach(fresh))
    return urls


def _check_no_list(text: str) -> None:
    """Refuse several repositories with commas between them. Raises `BadUse`."""
    lone_remote = text.count("://") + text.count("@") == 1 and not text.endswith(",")
    if "," in text and not lone_remote and not os.path.isdir(Path(text).expanduser()):  # noqa: PTH112 - never raises
        says = f"{_utf_8(text)[:80]!r} has a comma in it, and there is no such folder."
        raise BadUse("comma_list", says, hint="put blanks between several repositories, no commas")


async def _reach(urls: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        safe = [place for url in urls if url.startswith("/") for place in safe_spellings(url)]
        git = Git.prepare(
            Path(folder), agent="setup", safe=safe, search_path=search_path(), passed_env=passed_environment()
        )
        for url in urls:
            try:
                await git.run("ls-remote", "--quiet", "--", url, "HEAD", timeout_s=GIT_SECONDS)
            except GitFailed as error:
                raise _unreachable(url, error) from error


def _unreachable(url: str, error: GitFailed) -> Refused:
    words = "".join(character for character in error.words if character.isprintable())
    hints = (hint for part, hint in _GIT_HINTS if part in words.lower())
    hint = next(hints, "name another, or mend it first: git ls-remote shows when it works")
    return Refused("repository_unreachable", f"git cannot read {url}: {words[-_WORDS:].rstrip('.')}.", hint=hint)


def webhook_in(body: bytes) -> str:
    """The webhook's address in what a file, a pipe or a person gave. Raises `BadUse`, which never repeats it."""
    try:
        text = body.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > LONGEST_WEBHOOK or not is_safe_url(text):
        raise BadUse(
            "bad_webhook",
            "That is no address of a webhook: one line, https (http only on this machine).",
            hint="copy it whole from Slack's page of incoming webhooks",
        )
    return text


def webhook_file(path: str) -> bytes:
    """What the named file holds, at most a little more than a webhook may have. Raises `BadUse`."""
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(LONGEST_WEBHOOK + 2)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        hint = "name a file that holds the webhook, or - for stdin"
        raise BadUse("no_webhook_file", f"The file of the webhook cannot be read: {why}.", hint=hint) from error


def posted(webhook: str, text: str) -> Answered:
    """Post a test message as a run would. Raises `TrialFailed` when it did not leave or was not taken."""
    host = urllib.parse.urlsplit(webhook).hostname or ""
    said = asyncio.run(post_message(webhook, text, Redactor(_parts(webhook)).text))
    words = "".join(character for character in said.detail if character.isprintable())[:_WORDS]
    told = words.rstrip(".")
    if said.state == "unknown":
        raise _not_posted(f"It is not known whether the test message reached {host}: {told}.")
    if said.state == "failed":
        raise _not_posted(f"{host} did not take the test message: {told}.")
    return Answered(said.state, words, host)


def _not_posted(says: str) -> TrialFailed:
    hint = "see that the webhook is whole and its app is still installed in Slack, then try again"
    return TrialFailed("message_not_posted", says, hint=hint)


def _parts(webhook: str) -> list[str]:
    """The webhook and every part of it that is worth keeping secret: all but its host."""
    split = urllib.parse.urlsplit(webhook)
    path = webhook.partition("://")[2].partition("/")[2]
    pieces = [*split.path.split("/"), *(value for _, value in urllib.parse.parse_qsl(split.query))]
    return [piece for piece in (webhook, path, *pieces) if len(piece) >= SHORTEST_SECRET]


def checked_command(words: Sequence[str]) -> list[str]:
    """The argv of an alert command with its program's whole path. Raises `BadUse`."""
    hint = "give the program, then each of its arguments by itself"
    if not words or len(words) > MOST_ARGUMENTS:
        raise BadUse("bad_command", f"An alert command has 1 to {MOST_ARGUMENTS} words.", hint=hint)
    if any(not _utf_8(word).strip() or len(word) > LONGEST_ARGUMENT for word in words):
        says = f"A word of the alert command is blank or over {LONGEST_ARGUMENT} characters."
        raise BadUse("bad_command", says, hint=hint)
    program = shutil.which(Path(words[0]).expanduser(), path=search_path())
    if program is None:
        says = f"There is no program {words[0][:100]!r} that can be run."
        raise BadUse("no_such_program", says, hint="give its whole path; a shell line needs a script of its own")
    return [str(Path(program).absolute()), *words[1:]]


def performed(argv: Sequence[str], alert: dict[str, Any], *, seconds: float = COMMAND_SECONDS) -> None:
    """Run an alert command with one JSON document on its stdin; no shell, and its output is not shown.

    Raises `TrialFailed` when it cannot be started, ends with another status than 0, or does not end.
    """
    hint = "run it by hand with one JSON document on its stdin, and mend it"
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise TrialFailed("alert_failed", f"{argv[0]} cannot be run: {error.strerror}.", hint=hint) from error
    with process:
        try:
            process.communicate(json.dumps(alert).encode() + b"\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process.pid)
            says = f"{argv[0]} did not end within {seconds:g} seconds."
            raise TrialFailed("alert_failed", says, hint=hint) from None
        except BaseException:  # a Ctrl-C does not reach a process group of its own
            _end(process.pid)
            raise
    if process.returncode != 0:
        raise TrialFailed("alert_failed", f"{argv[0]} ended with exit code {process.returncode}.", hint=hint)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _utf_8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a byte of the command line that is no UTF-8
        raise BadUse("not_utf_8", "An answer is not UTF-8.", hint="write it in UTF-8") from error
    return text
