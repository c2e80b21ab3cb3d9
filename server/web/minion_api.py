"""The door of minions: each asks, as who its token says it is; HQ never calls one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.actions import handing_out, joining, reporting
from server.actions.desk import CALLER, Desk, asking
from server.contract.documents import admit
from server.contract.joining import Answers, Beat, Goodbye, Have, Hello, Reports
from server.contract.refusals import BadDocument, Refusal
from server.storage.access_store import Caller
from server.storage.committed import Happened
from server.web.gate import MINIONS

Message = TypeVar("Message", bound=BaseModel)
# Waits until whoever asked has gone away, or its token is good for nothing any more.
Leaves = Callable[[], Awaitable[Any]]
# After these a minion that waits may have something to hear.
_OF_INTEREST: Final = ("order.", "routine.", "skill.")


def minion_routes(desk: Desk, *, version: str, ending: asyncio.Event | None = None) -> list[Route]:
    """What a minion asks of HQ, and says to it, by the verb; whoever waits is answered once `ending` is set."""
    bell, ends = _Bell(desk), ending or asyncio.Event()

    async def join(_: Caller, body: Any, _leaves: Leaves) -> dict[str, Any]:
        return await desk.do(joining.join, _read(Hello, body), version=version)

    async def sync(who: Caller, body: Any, _leaves: Leaves) -> dict[str, Any]:
        have = _read(Have, body)
        while True:
            found = await desk.read(joining.differences, who, have)
            # What HQ does not know to have told must not have been told: it is looked at anew.
            if await desk.do(handing_out.told, have, found["cursor"]):
                return found

    async def poll(who: Caller, body: Any, leaves: Leaves) -> dict[str, Any]:
        said = _read(Beat, body)
        leaving = asyncio.ensure_future(leaves())
        try:
            await desk.do(joining.beat, said)
            with desk.questions.listening(said.minion):
                return await _news(desk, bell, ends, who, said, leaving)
        finally:
            leaving.cancel()

    async def reports(_: Caller, body: Any, _leaves: Leaves) -> dict[str, Any]:
        said = _read(Reports, body)
        return await desk.do(reporting.take_reports, desk.processes, said)

    async def leave(_: Caller, body: Any, _leaves: Leaves) -> dict[str, Any]:
        return await desk.do(joining.goodbye, _read(Goodbye, body))

    async def answers(who: Caller, body: Any, _leaves: Leaves) -> dict[str, Any]:
        said = _read(Answers, body)
        minion = await desk.read(handing_out.answering, who, said)
        return {"taken": desk.questions.answered(minion, said.answers)}

    verbs = {
        "join": join, "sync": sync, "poll": poll, "reports": reports, "leave": leave, "answers": answers,
    }  # fmt: skip
    return [Route(MINIONS + name, _answered(verb), methods=["POST"]) for name, verb in verbs.items()]


async def _news(
    desk: Desk, bell: _Bell, ends: asyncio.Event, who: Caller, said: Beat, leaving: asyncio.Future[Any]
) -> dict[str, Any]:
    """What HQ has for a minion, as soon as it has something, or when its wait is over, or it left."""
    loop = asyncio.get_running_loop()
    until = loop.time() + said.wait_s
    while True:
        with bell.heard() as rung:
            found, told_before = await desk.read(handing_out.news, who, said)
            # Nobody was told of what a connection carries whose other end has died: it must not count as begun.
            if not told_before and not leaving.done():
                found = await desk.do(handing_out.hand_out, said)
            left_s = until - loop.time()
            over = left_s <= 0 or ends.is_set() or leaving.done()
            may_ask = found["cursor"] == said.cursor and not leaving.done()
            questions = desk.questions.take(said.minion) if may_ask else []
            nothing = not (questions or found["orders"] or found["cursor"] != said.cursor)
            if not nothing or over:
                return found | {"questions": questions}
            ended = asyncio.ensure_future(ends.wait())
            waits: set[asyncio.Future[Any]] = {rung, ended, leaving}
            await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()


class _Bell:
    """Rings for whoever waits when something of interest was committed."""

    def __init__(self, desk: Desk) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        desk.listen(self._hear)
        desk.questions.rings(self._ring)

    def heard(self) -> _Heard:
        """What is rung once, from now on; to be begun before what it rings for is looked at."""
        return _Heard(self._waiting)

    def _hear(self, happened: Sequence[Happened]) -> None:
        if any(each.type.startswith(_OF_INTEREST) for each in happened):
            self._ring()

    def _ring(self) -> None:
        for each in tuple(self._waiting):
            if not each.done():
                each.set_result(None)


class _Heard:
    """One who waits for the bell."""

    def __init__(self, waiting: set[asyncio.Future[None]]) -> None:
        self._waiting = waiting
        self._rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> asyncio.Future[None]:
        self._waiting.add(self._rung)
        return self._rung

    def __exit__(self, *_: object) -> None:
        self._waiting.discard(self._rung)


def _answered(
    verb: Callable[[Caller, Any, Leaves], Awaitable[dict[str, Any]]],
) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        who: Caller = request.scope[CALLER]
        before = asking.set(who)
        try:
            try:
                body = json.loads(await request.body())
            except (ValueError, RecursionError):
                raise BadDocument("not_json", "The message is no JSON.", hint="send one JSON object") from None
            return JSONResponse(await verb(who, body, request.receive))
        except Refusal as refusal:
            return JSONResponse({"error": refusal.as_data()}, status_code=refusal.http_status)
        finally:
            asking.reset(before)

    return answered


def _read(model: type[Message], body: Any) -> Message:
    return admit(model, body, source="The message")
