"""A short-lived process that answers one question about a run: the order on the first line of stdin, what is asked
on the second; one line of JSON is the answer. It holds the run's secrets as a runner does, and says none of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from minion.wire import Order, WireError
from server.contract.digest import canonical_json
from server.contract.refusals import Refusal

EXIT_BAD_ORDER: Final = 64
EXIT_PARENT_LOST: Final = 75


def answer_one(
    answer: Callable[[Order, Mapping[str, Any]], Awaitable[Mapping[str, Any]]], *, otherwise: str
) -> int:
    """Answer one question; the exit status is 0 when it was answered. `otherwise` says what cannot be done."""
    try:
        order = Order.read(sys.stdin.buffer.readline())
        asked = json.loads(sys.stdin.buffer.readline())
        if os.getppid() != order.parent_pid:
            return EXIT_PARENT_LOST

        async def work() -> Mapping[str, Any]:
            return await answer(order, asked)

        said = asyncio.run(work())
    except (WireError, ValueError, KeyError, OSError, Refusal) as error:
        sys.stderr.write(f"{otherwise}: {type(error).__name__}: {error}\n")
        return EXIT_BAD_ORDER
    sys.stdout.write(canonical_json(dict(said)) + "\n")
    return 0
