"""The order of a run, kept in its folder: for who reads its effects back, and for who goes on with it."""

from __future__ import annotations

import contextlib
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
# Of the day: how remotes and the API are reached (a proxy's address may hold a password), who started it, its
# token.
_OF_THE_DAY: Final = (
    "forges", "passed_env", "search_path", "api_url", "parent_pid", "resumed", "report_token",
)  # fmt: skip


class OrderLost(Exception):
    """An order that is not there any more, or is not the one that was kept; the message says how, after `its`."""


def keep_order(order: Order) -> None:
    """Write the order into its run's folder (0600). Raises `StoreFailed` when the disk refuses."""
    data = {name: value for name, value in asdict(order).items() if name not in _OF_THE_DAY}
    try:
        write_private(Path(order.run_dir) / _FILE, canonical_json(data) + "\n")
    except Refused as refusal:
        # As when the store cannot be written: what is due stays due, and is tried again.
        says = f"The order of {order.run_id} could not be kept in {order.run_dir}."
        raise StoreFailed("order_not_kept", says, hint=refusal.hint) from refusal


def forget_input(folder: Path) -> None:
    """Let go of what somebody gave a run on its way: it has an end now, and nobody goes on with it.

    The order of a routine with `resume: true` stays as it is. A disk that refuses leaves it in its 0600 file.
    """
    path = folder / _FILE
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, Refused):
        with path.open("rb") as file:
            data = json.loads(file.read(ORDER_BYTES))
        if isinstance(data, dict) and data.get("input") is not None and not data["routine"].get("resume"):
            write_private(path, canonical_json({**data, "input": None}) + "\n")


def kept_order(run_id: str, folder: Path, config: Config) -> Order:
    """The order that was kept of a run, its remotes reached as this minion reaches them now.

    Raises `OrderLost`.
    """
    today = {
        "forges": dict(config.forges), "passed_env": passed_environment(), "search_path": search_path(),
        "api_url": config.api_url,
    }  # fmt: skip
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
