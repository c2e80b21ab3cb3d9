"""Block .01: validates that an order may be run here, and names what it asks for that is missing."""

from __future__ import annotations

from minion.engines.registry import INSTALLED
from minion.runner.blocks import BlockFailed
from minion.wire import Order
from server.contract.digest import digest_of, is_id
from server.contract.topology import canonical_sequence

Gap = tuple[str, str, str]


def validate_trigger(order: Order) -> list[Gap]:
    """The gaps (type, code, description) of an order that is otherwise fit to run.

    Raises `BlockFailed` when the order was altered, belongs to another minion or cannot be executed at all.
    """
    hint = "run the routine again; if this repeats, report it as a defect"
    if not is_id(order.run_id, "run_") or not is_id(order.session_id, "session_") or not order.key:
        raise BlockFailed("The order has no proper identity.", hint=hint)
    if digest_of(dict(order.routine)) != order.routine_digest:
        raise BlockFailed("The routine in the order is not the one that was admitted.", hint=hint)
    if order.routine.get("minion_id") not in (None, order.minion_id):
        raise BlockFailed("The routine belongs to another minion.", hint="use this minion's own id, or none")
    if order.engine not in INSTALLED:
        raise BlockFailed(f"The engine {order.engine} is not installed.", hint="use --engine script")
    names = [skill.name for skill in order.skills]
    if names != list(order.routine.get("pipeline") or ()):
        raise BlockFailed("The order's skills are not the routine's pipeline.", hint=hint)
    if not canonical_sequence(order.blocks):
        raise BlockFailed("The order names no process to walk.", hint=hint)
    # An order keeps the place of a skill that is not installed any more, without a path.
    skills = [
        ("skill", skill.code, f"The skill {skill.name} is not installed on this minion.")
        for skill in order.skills
        if not skill.path
    ]
    connectors = [
        ("connector", f"TSK-CONNECT-{name.upper()}", f"The connector {name} is not available on this minion.")
        for name in order.routine.get("connectors") or ()
    ]
    return skills + connectors
