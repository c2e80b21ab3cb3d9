"""Tells people what waits to be told, by a command or a webhook, and again later where that fails.

What waits lies in the store (`actions/watch.py`). A notice is sent anew where nobody knows whether it arrived: HQ
was killed while it was under way. Secrets are opened here alone: a webhook's address is in no log and no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from server.actions.desk import Desk
from server.actions.watch import Sent, due_notices, settle_notices
from server.config import Alerts
from server.contract.refusals import BadDocument, Refusal, Refused
from server.storage.committed import Happened

# All that a way gets for one message.
WHOLE_S: Final = 30.0
_STEP_S: Final = 10.0
EVERY_S: Final = 15.0
# What is under way as HQ stops gets so long to end.
_LAST_S: Final = 2.0
_LARGEST_FILE: Final = 4096
_OF_INTEREST: Final = ("minion.silent", "minion.heard")
log = logging.getLogger(__name__)


@asynccontextmanager
async def telling(desk: Desk, alerts: Alerts, *, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Have people told until the block ends. Raises what `check` raises."""
    check(alerts)
    rung, stop = asyncio.Event(), asyncio.Event()

    def hear(happened: Sequence[Happened]) -> None:
        if any(each.type in _OF_INTEREST for each in happened):
            rung.set()

    unheard = desk.listen(hear)
    teller = asyncio.create_task(_tell_on(desk, alerts, rung, stop, every_s))
    try:
        yield
    finally:
        unheard()
        stop.set()
        rung.set()
        await asyncio.wait({teller}, timeout=_LAST_S)
        teller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await teller


def check(alerts: Alerts) -> None:
    """Raise `Refused` or `BadDocument` where the webhook's file is not there, or does not hold what it should."""
    if alerts.slack_file is not None:
        webhook_in(alerts.slack_file)


def webhook_in(path: Path) -> str:
    """The address in a file. Raises `Refused` for a file that others may read, `BadDocument` for no address.

    https, or http on this machine alone (DECISIONS "Routine and skills"). No message quotes what the file holds.
    """
    try:
        with path.open("rb") as file:
            mode, body = os.fstat(file.fileno()).st_mode, file.read(_LARGEST_FILE)
    except OSError as error:
        says = f"The file {path} of HQ_ALERT_SLACK_FILE cannot be read ({error.strerror})."
        hint = "see that it is there, and that HQ's user may read it"
        raise Refused("alert_file_unreadable", says, hint=hint) from error
    if stat.S_IMODE(mode) & 0o077:
        says = f"The file {path} of HQ_ALERT_SLACK_FILE can be read by other users."
        raise Refused("alert_file_open", says, hint=f"chmod 600 {path}")
    url = body.decode("utf-8", "replace").strip()
    if not _is_safe(url):
        says = f"The file {path} of HQ_ALERT_SLACK_FILE holds no address of a webhook."
        hint = "have it hold the address alone: https://…, http only on this machine"
        raise BadDocument("bad_alert_file", says, hint=hint)
    return url


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or any(letter <= " " or letter == "\x7f" for letter in url) or "@" in parts.netloc:
        return False
    if parts.scheme != "http":
        return parts.scheme == "https"
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _tell_on(
    desk: Desk, alerts: Alerts, rung: asyncio.Event, stop: asyncio.Event, every_s: float
) -> None:
    while not stop.is_set():
        rung.clear()
        try:
            await _tell_due(desk, alerts)
        except Refusal as refusal:  # a full disk may be empty at the next turn
            log.warning("could not see to notices: %s", refusal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await rung.wait()


async def _tell_due(desk: Desk, alerts: Alerts) -> None:
    """Send what is due: by each way in one message, and all ways side by side."""
    due = await desk.read(due_notices, alerts.ways, now=desk.clock())
    by_way: dict[str, list[Any]] = {}
    for row in due:
        by_way.setdefault(row.way, []).append(row)

    async def told(way: str, rows: list[Any]) -> None:
        problem = await _told(way, alerts, "\n".join(row.text for row in rows))
        sent = [Sent(row.position, problem) for row in rows]
        given_up = await desk.database.transact(settle_notices, sent, now=desk.clock())
        if problem is not None:
            log.warning("could not tell anybody: %s", problem, extra={"said": {"way": way, "why": problem}})
        for position in given_up:
            log.error("a notice is given up", extra={"said": {"way": way, "notice": position}})

    await asyncio.gather(*(told(way, rows) for way, rows in by_way.items()))


async def _told(way: str, alerts: Alerts, text: str) -> str | None:
    """Tell a text in a way; why that failed, in words that hold no secret, or None."""
    if way == "command" and alerts.command:
        return await _performed(alerts.command, text)
    if way == "slack" and alerts.slack_file is not None:
        try:
            return await _posted(webhook_in(alerts.slack_file), text)
        except Refusal as refusal:
            return refusal.sentence
    return "this way is not set up"


async def _performed(argv: Sequence[str], text: str) -> str | None:
    """Run a command with a text on its stdin, without a shell; its output is not looked at."""
    nowhere = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return f"{argv[0]} cannot be run: {getattr(error, 'strerror', None) or 'it is no program'}"
    try:
        async with asyncio.timeout(WHOLE_S):
            await process.communicate(text.encode() + b"\n")
    except TimeoutError:
        return f"{argv[0]} did not end within {WHOLE_S:g} seconds"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return None if process.returncode == 0 else f"{argv[0]} ended with exit code {process.returncode}"


async def _posted(url: str, text: str) -> str | None:
    """Post a message to a webhook such as Slack's; its answer counts by its status alone."""
    import httpx2

    try:
        async with (
            asyncio.timeout(WHOLE_S),
            httpx2.AsyncClient(timeout=_STEP_S, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", url, json={"text": _escaped(text)}) as answer,
        ):
            status = answer.status_code
    except TimeoutError:
        return f"no answer within {WHOLE_S:g} seconds"
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        # Its words may hold the address.
        return f"no answer ({type(error).__name__})"
    return None if 200 <= status < 300 else f"HTTP {status}"


def _escaped(text: str) -> str:
    """A text in which Slack finds no link and nobody to call."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
