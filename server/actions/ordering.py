"""Orders are put for minions: in the queue and in the log, in one transaction, so that either has both."""

from __future__ import annotations

from typing import Any

from server.contract.digest import digest_of
from server.contract.orders import Order
from server.queue import embedded
from server.storage.database import Connection
from server.storage.event_store import append_event


def put_order(
    connection: Connection, order: Order, *, key: str, minion_id: str, routine_id: str, actor: str, now: str,
    run_id: str | None = None, trigger: str | None = None, state: str = embedded.WAITS, **told: Any,
) -> None:  # fmt: skip
    """Put an order for a minion; `told` is said of it in the log beside. Raises `Refused` for a key put before.

    `run_id` is the run that it is about, `trigger` that of the slot that it is for; `state` says whether it may be
    handed out (`queued`) or waits its turn (`held`).
    """
    body = order.model_dump(mode="json")
    embedded.put(
        connection, order.id, key, minion_id, body, routine_id=routine_id, run_id=run_id, now=now, trigger=trigger,
        state=state,
    )  # fmt: skip
    said = {
        "order": order.id, "minion": minion_id, "routine": routine_id, "kind": order.kind, "key": key,
        "body": digest_of(body), "state": state, **told,
    }  # fmt: skip
    append_event(connection, "order.queued", said, actor=actor, now=now, run_id=run_id)
