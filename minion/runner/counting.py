"""Counts the tokens of a session's first request, by asking the API: the one that a run would send it to.

Run as `python -I -m minion.runner.counting` (see `minion.runner.questions`). It is asked for `now` and `branches`,
and answers with `tokens`, or with `why` not; nothing of the run is made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minion.engines.base import ApiAccess
from minion.engines.registry import API_KEY
from minion.engines.troubles import Trouble
from minion.runner.lifetime import die_with_parent
from minion.runner.questions import answer_one
from minion.runner.rehearsal import first_call
from minion.secrets_file import read_secrets
from minion.wire import Order
from server.contract.redaction import Redactor


async def answer(order: Order, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens of the first request, or why they cannot be counted. Raises a `Refusal` for bad secrets."""
    from minion.engines.model_calls import ModelCaller, Request

    secrets = read_secrets(Path(order.secrets_file))
    redact = Redactor(secrets.values()).data
    call = first_call(order, now=str(asked["now"]), branches=asked["branches"], redact=redact)
    caller = ModelCaller(
        ApiAccess(secrets.get(API_KEY, ""), order.api_url), run=order.run_id, redact=redact, told=_unheard,
        environment=order.passed_env,
    )  # fmt: skip
    request = Request(call.model, call.system, call.tools, call.messages, most_output=1)
    try:
        return {"tokens": await caller.count(request)}
    except Trouble as trouble:
        return {"why": trouble.why}
    finally:
        await caller.close()


async def _unheard(trouble: Trouble, wait_s: float) -> None:
    """Counting is tried once: nobody hears of a second try."""


def main() -> int:
    """Answer one question; the exit status is 0 when it was answered."""
    return answer_one(answer, otherwise="the tokens cannot be counted")


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
