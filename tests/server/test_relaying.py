"""What a session over stdio is told where HQ heard its call and was gone before it answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.at_hand import AtHand
from server.config import Address, HqHome
from server.relaying import Relay
from tests.server.test_owning import _answering

pytestmark = pytest.mark.promise("HQ-3")


def test_a_call_that_broke_off_is_a_tools_error_that_says_how_asking_again_is_safe(tmp_path: Path) -> None:
    params = {"name": "record_gap", "arguments": {"gap_type": "skill"}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    told: list[dict[str, Any]] = []

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(call).encode()

    async def played(url: str) -> None:
        at_hand = AtHand(HqHome(tmp_path), "session", "me", "test", _found=Address(url, "x"))
        await Relay(at_hand, lambda line: told.append(json.loads(line))).run(lines())

    with _answering(b"") as url:
        asyncio.run(played(url))
    (said,) = told
    assert (said["id"], said["result"]["isError"], said["result"]["content"][0]["type"]) == (7, True, "text")
    text = said["result"]["content"][0]["text"]
    assert "whether it had done this is not known" in text
    assert "give a `client_key`, then asking again is safe" in text
