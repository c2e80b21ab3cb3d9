"""The child that tells people: posts to webhooks, runs notify commands, calls dead-man's switches, ends.

Run as `python -I -m minion.messenger`. It reads one JSON request, `{v, secrets_file, items}`, and prints a line
`{item, state, problem}` for each item as soon as that is done: `sent`, `failed`, or `missing` for want of its
secret. An item is `{way: {slack: SECRET} | {command: [argv]}, text, alert}`, or `{ping: SECRET, end}` with an end
of "", "/start" or "/fail". Secrets are opened here alone and never come out again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minion.runner.outbound import NoAnswer, NotSent, request
from minion.runner.webhook import post_message
from minion.secrets_file import read_secrets
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal

# As long as a command gets when it is tried at its set-up (`minion setup`), and a ping altogether.
COMMAND_SECONDS: Final = 10.0
PING_SECONDS: Final = 10.0
# A way that does not answer holds up no other.
_AT_ONCE: Final = 32
Outcome = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Messenger:
    """Does what one request asks for; `trouble` is why no secret can be had."""

    secrets: Mapping[str, str]
    trouble: str | None
    redactor: Redactor

    async def tell(self, item: Mapping[str, Any]) -> Outcome:
        """Tell one message its way."""
        text, way = self.redactor.text(item["text"]), item["way"]
        if "command" in way:
            return await _performed(way["command"], self.redactor.data(item["alert"]))
        name = way["slack"]
        url = self.secrets.get(name, self.secrets.get(f"{name}_webhook"))
        if url is None:
            return self._missing(name)
        posted = await post_message(url, _escaped(text), self.redactor.text)
        if posted.state in ("delivered", "accepted"):
            return "sent", None
        return "failed", posted.detail

    def ping(self, item: Mapping[str, Any]) -> Outcome:
        """Call a dead-man's switch; any 2xx will do."""
        url = self.secrets.get(item["ping"])
        if url is None:
            return self._missing(item["ping"])
        try:
            answer = request("GET", _extended(url, item["end"]), body=None, headers={}, whole_s=PING_SECONDS)
        except (NotSent, NoAnswer) as error:
            return "failed", self.redactor.text(str(error))
        return ("sent", None) if 200 <= answer.status < 300 else ("failed", f"HTTP {answer.status}")

    def _missing(self, name: str) -> Outcome:
        return "missing", self.trouble or f"there is no secret {name} in secrets.json"


async def _performed(argv: Sequence[str], alert: Mapping[str, Any]) -> Outcome:
    """Run a notify command as its set-up tried it: one JSON document on its stdin, no shell, output not kept."""
    nowhere = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return "failed", f"{argv[0]} cannot be run: {getattr(error, 'strerror', None) or 'it is no program'}"
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            await process.communicate(json.dumps(alert).encode() + b"\n")
    except TimeoutError:
        return "failed", f"{argv[0]} did not end within {COMMAND_SECONDS:g} seconds"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    status = process.returncode
    return ("sent", None) if status == 0 else ("failed", f"{argv[0]} ended with exit code {status}")


def _extended(url: str, end: str) -> str:
    """A switch's address with what its path is to end in, before any query."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url  # refused where it is called
    return urllib.parse.urlunsplit(parts._replace(path=parts.path.rstrip("/") + end)) if end else url


def _escaped(text: str) -> str:
    """A text in which Slack finds no link and nobody to call."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def deliver(asked: Mapping[str, Any]) -> None:
    """Do all items of a request side by side, but the pings of one switch in their order; SIGTERM stops it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    loop.set_default_executor(ThreadPoolExecutor(_AT_ONCE))
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        secrets, trouble = read_secrets(Path(asked["secrets_file"])), None
    except Refusal as refusal:
        secrets, trouble = {}, refusal.sentence
    messenger = Messenger(secrets, trouble, Redactor(secrets.values()))
    switches: dict[str, list[int]] = {}
    for number, item in enumerate(asked["items"]):
        if "ping" in item:
            switches.setdefault(item["ping"], []).append(number)

    async def message(number: int, item: Mapping[str, Any]) -> None:
        _say(number, await messenger.tell(item))

    async def switch(numbers: Sequence[int]) -> None:
        for number in numbers:
            _say(number, await asyncio.to_thread(messenger.ping, asked["items"][number]))

    messages = [message(number, item) for number, item in enumerate(asked["items"]) if "way" in item]
    await asyncio.gather(*messages, *map(switch, switches.values()))


def _say(number: int, outcome: Outcome) -> None:
    line = json.dumps({"item": number, "state": outcome[0], "problem": outcome[1]})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Answer one request; the exit status is 0 whenever it could be read, whatever became of its items."""
    try:
        asked = json.load(sys.stdin.buffer)
    except (ValueError, RecursionError):
        return 2
    try:
        asyncio.run(deliver(asked))
    except asyncio.CancelledError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
