"""Posts a message to an incoming webhook, such as Slack's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from minion.runner.outbound import NoAnswer, NotSent, request
from server.contract.run import EffectState

_WORDS: Final = 200


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a message: delivered, accepted, failed or unknown, and a word on it."""

    state: EffectState
    detail: str


def webhook_of(target: str, secrets: Mapping[str, str]) -> str | None:
    """The webhook's URL for a message target: the secret `TARGET_webhook`, else the one named as the target."""
    return secrets.get(f"{target}_webhook", secrets.get(target))


async def post_message(url: str, text: str, redact: Callable[[str], str]) -> Posted:
    """Post `{"text": …}` once. Slack's `ok` is a delivery, other 2xx are only accepted.

    `redact` takes secrets out of the answer before it is cut short.
    """
    return await asyncio.to_thread(_post, url, json.dumps({"text": text}).encode(), redact)


def _post(url: str, body: bytes, redact: Callable[[str], str]) -> Posted:
    try:
        answer = request("POST", url, body=body, headers={"Content-Type": "application/json"})
    except NotSent as error:
        return Posted("failed", str(error))
    except NoAnswer as error:
        return Posted("unknown", str(error))
    words = " ".join(redact(answer.text).split())[:_WORDS]
    if answer.status == 200 and words == "ok":
        return Posted("delivered", "HTTP 200 ok")
    if 200 <= answer.status < 300:
        return Posted("accepted", f"HTTP {answer.status}")
    return Posted("failed", f"HTTP {answer.status} {words}".strip())
