"""Posts a message to an incoming webhook: the one place where a run's text leaves this machine by HTTP."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from server.contract.run import EffectState

TIMEOUT_S: Final = 15.0
_ANSWER_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a message: delivered, accepted, failed or unknown, and a word on it."""

    state: EffectState
    detail: str


def webhook_of(target: str, secrets: Mapping[str, str]) -> str | None:
    """The webhook's URL for a message target: the secret `TARGET_webhook`, else the one named as the target."""
    return secrets.get(f"{target}_webhook", secrets.get(target))


def is_webhook_url(url: str) -> bool:
    """Whether a URL may be posted to: https, or http on loopback (DECISIONS "Routine and skills")."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if not host or any(character <= " " for character in url) or parts.username is not None:
        return False
    if parts.scheme == "https":
        return True
    if parts.scheme != "http":
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def post_message(url: str, text: str) -> Posted:
    """Post `{"text": …}` once, without redirects. Slack's `ok` is a delivery, other 2xx only accepted."""
    if not is_webhook_url(url):
        return Posted("failed", "the webhook's URL is not https (http only on loopback)")
    return await asyncio.to_thread(_post, url, json.dumps({"text": text}).encode())


def _post(url: str, body: bytes) -> Posted:
    parts = urllib.parse.urlsplit(url)
    connection = _connection(parts)
    try:
        connection.connect()
    except OSError as error:
        return Posted("failed", f"no connection: {error.strerror or type(error).__name__}")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", "User-Agent": "minion"})
        response = connection.getresponse()
        answer = response.read(_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        # The request left; whether it arrived cannot be told from here.
        return Posted("unknown", f"no answer: {type(error).__name__}")
    finally:
        connection.close()
    words = " ".join(answer.split())
    if response.status == 200 and words == "ok":
        return Posted("delivered", "HTTP 200 ok")
    if 200 <= response.status < 300:
        return Posted("accepted", f"HTTP {response.status}")
    return Posted("failed", f"HTTP {response.status} {words}".strip())


def _connection(parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
