"""The order of a run, kept in its folder: for who reads its effects back, and for who goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from minion.config import Config, passed_environment, search_path, write_private
from minion.wire import ORDER_BYTES, Order, WireError
from server.contract.digest import canonical_json, digest_of
from server.contract.refusals import Refused, StoreFailed

_FILE: Final = "order.json"
# Of the day: how remotes are reached (a proxy's address may hold a password), who started it, its token.
_OF_THE_DAY: Final = ("forges", "passed_env", "search_path", "parent_pid", "resumed", "report_token")


class OrderLost(Exception):
    """An order that is not there any more, or is not the one that was kept; the message says how, after `its`."""


def keep_order(order: Order) -> None:
    """Write the order into its run's folder (0600). Raises `StoreFailed` when the disk refuses.

    What somebody gave the run on its way is kept only where it may be needed again.
    """
    data = {name: value for name, value in asdict(order).items() if name not in _OF_THE_DAY}
    if not order.routine.get("resume"):
        data["input"] = None
    try:
        write_private(Path(order.run_dir) / _FILE, canonical_json(data) + "\n")
    except Refused as refusal:
        # As when the store cannot be written: what is due stays due, and is tried again.
        says = f"The order of {order.run_id} could not be kept in {order.run_dir}."
        raise StoreFailed("order_not_kept", says, hint=refusal.hint) from refusal


def kept_order(run_id: str, folder: Path, config: Config) -> Order:
    """The order that was kept of a run, its remotes reached as this minion reaches them now.

    Raises `OrderLost`.
    """
    today = {"forges": dict(config.forges), "passed_env": passed_environment(), "search_path": search_path()}
    try:
        with (folder / _FILE).open("rb") as file:
            data = json.loads(file.read(ORDER_BYTES))
        order = _read(data | today)
    except FileNotFoundError:
        raise OrderLost("order was not kept") from None
    except (OSError, ValueError, TypeError, RecursionError, WireError) as error:
        raise OrderLost("order cannot be read any more") from error
    same = order.run_id == run_id and order.run_dir == str(folder)
    if not same or digest_of(dict(order.routine)) != order.routine_digest:
        raise OrderLost("order is not the one that was kept")
    return order


def _read(data: Mapping[str, Any]) -> Order:
    return Order.read(canonical_json(data).encode())
