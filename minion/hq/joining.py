"""A minion joins an HQ and leaves it: what is asked of the home's owner, and what changes then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from minion.hq.away import HqAway
from minion.hq.client import HqClient
from minion.hq.membership import Membership, end_membership, good_token, good_url, keep_membership, membership_of
from minion.hq.mirror import held, let_go
from minion.hq.standing import hello_of
from minion.release import program_version
from minion.store.outbox import begin_reporting, end_reporting
from server.contract.refusals import Refusal, Refused

if TYPE_CHECKING:
    from minion.owner import Owner


async def join(owner: Owner, url: str, token: str) -> dict[str, Any]:
    """Join the HQ at an address, with a token of scope minion; what it says of itself.

    Raises `BadUse` for what is no address or token, and `Refused` where another HQ was joined, where HQ is not
    there, or where it does not let this minion in; nothing is kept then.
    """
    minion, good = owner.minion, Membership(good_url(url), good_token(token))
    before = membership_of(minion.home)
    if before is not None and before.url != good.url:
        says = f"This minion has joined the HQ at {before.url}."
        raise Refused("has_joined", says, hint="leave that one first: minion leave")
    client = HqClient(good, version=program_version())
    try:
        welcome = await client.ask("join", hello_of(minion.home, minion.config, program_version()))
        joined_at = str(welcome["joined_at"])
    except (HqAway, KeyError) as away:
        says = f"The HQ at {good.url} could not be asked: {str(away).rstrip('.')}."
        raise Refused("hq_away", says, hint="see that `hq serve` runs there, at that address") from away
    finally:
        client.close()
    await minion.writer.transact(lambda db: begin_reporting(db, good.url))
    keep_membership(minion.home, good)
    if owner.resident is not None:
        owner.resident.join_changed()
    return {"url": good.url, "name": minion.config.name, "joined_at": joined_at, "hq": welcome.get("hq_version")}


async def leave(owner: Owner) -> dict[str, Any]:
    """Leave the HQ: its routines and skills go, what was to be told it is not told. Raises `Refused`."""
    minion = owner.minion
    membership = membership_of(minion.home)
    if membership is None:
        raise Refused("not_joined", "This minion has joined no HQ.", hint="minion join URL")
    names = [str(kept["name"]) for kept in held(minion.home).routines.values()]
    client = HqClient(membership, version=program_version())
    told = False
    try:
        await client.ask("leave", {"minion": minion.config.minion_id})
        told = True
    except (HqAway, Refusal):
        pass  # one must be able to leave an HQ that is gone
    finally:
        client.close()
    end_membership(minion.home)
    if owner.resident is not None:
        await owner.resident.untied()
    waiting = await minion.writer.transact(end_reporting)
    let_go(minion.home)
    for name in names:
        with contextlib.suppress(Refusal):
            await minion.routines.forget_hqs(name)
    if owner.resident is not None:
        await owner.resident.refresh()
    return {"url": membership.url, "told": told, "routines": sorted(names), "unreported": waiting}
