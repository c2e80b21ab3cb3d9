"""Reports what became of runs, from the outbox: the oldest first, in batches, until HQ has each on its disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from minion.hq.away import HqAway
from minion.store.local_db import read_only
from minion.store.outbox import Waiting, next_reports, settle_reports
from server.contract.refusals import Refusal, StoreFailed

if TYPE_CHECKING:
    from minion.hq.client import HqClient
    from minion.owner import Owner

# Fewer than HQ takes at a time, and less than the largest body that it takes: it does nothing else meanwhile.
MOST: Final = 10
_LARGEST: Final = 1_000_000
# Looked at now and then also when nobody said that there is something: it costs one read.
_LOOK_S: Final = 30.0
_FIRST_S, _LONGEST_S = 1.0, 60.0
log = logging.getLogger(__name__)


class Teller:
    """Empties the outbox while HQ answers; it has a connection of its own, for a poll keeps the other one."""

    def __init__(self, owner: Owner, client: HqClient) -> None:
        self._owner, self._client = owner, client
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to report, once HQ knows who does."""
        self._task = self._task or asyncio.create_task(self._run(), name="hq reports")

    def stir(self) -> None:
        """There is something new."""
        self._stirred.set()

    async def close(self) -> None:
        """Report nothing any more; what was not told stays."""
        self._client.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        tries = 0
        while True:
            self._stirred.clear()
            try:
                while await self._tell():
                    tries = 0
                pause = _LOOK_S
            except (HqAway, StoreFailed) as away:
                tries += 1
                pause = min(_LONGEST_S, _FIRST_S * 2**tries) * random.uniform(0.5, 1.0)  # noqa: S311
                log.info("reports wait: %s", away)
            except Refusal as refusal:
                pause = _LONGEST_S
                log.error("HQ takes no reports: %s", refusal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()

    async def _tell(self) -> bool:
        """Report a batch; whether there may be more. Raises `HqAway`, and a `Refusal`."""
        minion = self._owner.minion

        def read() -> list[Waiting]:
            with read_only(minion.home.store) as db:
                return next_reports(db, most=MOST, largest=_LARGEST)

        waiting = await asyncio.to_thread(read)
        done: dict[str, int | None] = {each.run_id: None for each in waiting if each.report is None}
        done |= await self._told([each.report for each in waiting if each.report is not None])
        if done:
            await minion.writer.transact(lambda db: settle_reports(db, done))
        return len(done) > 0


    async def _told(self, reports: Sequence[dict[str, Any]]) -> dict[str, int | None]:
        """By run the revision that HQ has now, None for one that it never will. Raises what `ask` raises."""
        if not reports:
            return {}
        said = {"minion": self._owner.minion.config.minion_id, "reports": list(reports)}
        return _settled(await self._client.ask("reports", said), reports)


def _settled(receipt: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """By run the revision that HQ has, None for one that it never will. Raises `HqAway` for no such answer."""
    sent = {str(each["id"]): int(each["revision"]) for each in reports}
    try:
        done: dict[str, int | None] = {str(run): int(revision) for run, revision in receipt["taken"]}
        for refused in receipt["refused"]:
            log.error("HQ refused the report of %s: %s", refused["id"], refused["sentence"])
            done[str(refused["id"])] = None
    except (KeyError, TypeError, ValueError) as error:
        raise HqAway("it answers reports with what nobody understands") from error
    return {run: revision for run, revision in done.items() if run in sent}
