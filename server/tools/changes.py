"""Who watches what, and is told after a commit that it changed: in both revisions of MCP.

2026-07-28: a client listens (`subscriptions/listen`), and its stream is fed by the bus that stands here.
2025-11-25: it subscribes (`resources/subscribe`), and hears of it on its connection. It is told that something
changed, never what.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import anyio.lowlevel
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import ListenHandler, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from server.storage.committed import Happened

MayWatch = Callable[[str], bool]
# What changes often is told at most so often: a client that reads slowly is not buried in what it knows already.
PAUSE_S: Final = 0.05
# What one client may watch; more is left out of what it is promised, or refused.
MOST_WATCHED: Final = 500
# These change what a listing of runs shows; others change only the run.
_LISTED: Final = frozenset({"run.opened", "run.moved", "run.closed"})
_WATCH: Final = "hq.watch"


def touched(happened: Happened) -> Iterator[str]:
    """The resources that an event of the log changes."""
    if happened.run_id is not None:
        yield f"hq://runs/{happened.run_id}"
        if happened.type in _LISTED:
            yield "hq://runs"
    room = happened.type.partition(".")[0]
    if room == "gap":
        yield "hq://gaps"
    elif room == "routine":
        yield from (f"hq://routines/{happened.data[key]}" for key in ("name", "routine") if key in happened.data)


class Changes:
    """The bus between the log and who listens: `tell` is handed what was committed."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[ServerEvent], None]] = {}
        self._waiting: dict[str, None] = {}
        self._pause: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Have `listener` told; answers how to end it."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

    async def publish(self, event: ServerEvent) -> None:
        """Tell everybody at once (what the SDK asks of a bus)."""
        self._tell(event)
        await anyio.lowlevel.checkpoint()

    def tell(self, happened: Sequence[Happened]) -> None:
        """Tell who listens which resources changed: now, or after the pause if somebody was just told."""
        if not self._listeners:
            return
        self._waiting.update(dict.fromkeys(uri for each in happened for uri in touched(each)))
        if self._pause is None:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._pause = self._waiting, {}, None
        for uri in waiting:
            self._tell(ResourceUpdated(uri))
        if waiting:
            self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._flush)

    def _tell(self, event: ServerEvent) -> None:
        for listener in tuple(self._listeners.values()):
            listener(event)


def serve_watches(lowlevel: Server[Any], changes: Changes, may_watch: MayWatch) -> None:
    """Answer both eras' requests to watch, for what the asker may read."""
    listen = ListenHandler(changes)

    async def listened(
        ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        asked = params.notifications
        allowed = [uri for uri in asked.resource_subscriptions or () if may_watch(uri)][:MOST_WATCHED]
        told = asked.model_copy(update={"resource_subscriptions": allowed or None})
        return await listen(ctx, params.model_copy(update={"notifications": told}))

    async def subscribe(ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        if not may_watch(params.uri):
            raise MCPError(INVALID_PARAMS, f"There is nothing to watch at {params.uri[:100]}.")
        watch = _Watch.of(ctx, changes)
        if params.uri not in watch.uris and len(watch.uris) >= MOST_WATCHED:
            raise MCPError(INVALID_PARAMS, f"A connection watches at most {MOST_WATCHED} resources.")
        watch.uris.add(params.uri)
        return EmptyResult()

    async def unsubscribe(ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        _Watch.of(ctx, changes).uris.discard(params.uri)
        return EmptyResult()

    lowlevel.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, listened)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)


class _Watch:
    """What one connection of 2025-11-25 watches, and the task that tells it; it ends with the connection."""

    def __init__(self, connection: Connection, changes: Changes) -> None:
        self.uris: set[str] = set()
        self._connection = connection
        self._waiting: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._end = changes.subscribe(self._hear)
        self._teller = asyncio.create_task(self._tell())
        connection.exit_stack.push_async_callback(self._close)

    @classmethod
    def of(cls, ctx: ServerRequestContext[Any, Any], changes: Changes) -> _Watch:
        """The watch of the connection that a request came by."""
        # The SDK gives handlers no other way to the connection, whose end a watch must not outlive.
        connection = ctx.session._connection
        watch: _Watch | None = connection.state.get(_WATCH)
        if watch is None:
            watch = connection.state[_WATCH] = cls(connection, changes)
        return watch

    def _hear(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self.uris:
            self._waiting[event.uri] = None
            self._woken.set()

    async def _tell(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            waiting, self._waiting = self._waiting, {}
            for uri in waiting:
                await self._connection.notify("notifications/resources/updated", {"uri": uri})

    async def _close(self) -> None:
        self._end()
        self._teller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._teller
