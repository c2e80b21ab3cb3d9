"""The one ASGI application of HQ: what is there over HTTP, and the gate around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from server.actions.desk import Desk
from server.contract.refusals import BadUse, NotFound, Refusal
from server.storage.database import Connection
from server.web.door import Door, door_routes
from server.web.gate import LARGEST_BODY, App, Hosts, bodies_up_to, hosts_only, tokens_only
from server.web.known_tokens import KnownTokens
from server.web.metrics import Metrics
from server.web.minion_api import minion_routes
from server.web.pages.decisions import decision_routes
from server.web.rates import Rates
from server.web.sign_in_links import SignInLinks
from server.web.sign_ins import SignIns, pages_apart


def web_app(
    desk: Desk, server: MCPServer[Any], hosts: Hosts, *, rates: Rates | None = None, door: Door | None = None,
    ending: asyncio.Event | None = None,
) -> App:  # fmt: skip
    """The application; its lifespan runs the MCP server's sessions. Once `ending` is set, open streams end."""
    mcp = server.streamable_http_app(
        json_response=True, max_request_body_size=LARGEST_BODY,
        # The gate around all of it checks both, for every path.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )  # fmt: skip

    @asynccontextmanager
    async def alive(_: Starlette) -> AsyncIterator[None]:
        async with _streams_end(ending, tokens), server.session_manager.run():
            yield

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        try:
            await desk.read(_answers)
            await desk.database.be_sound()
        except Refusal as refusal:
            return JSONResponse({"error": refusal.as_data()}, status_code=503)
        return PlainTextResponse("ready\n")

    async def told(_: Request) -> Response:
        try:
            held = await desk.read(metrics.counts)
        except Refusal as refusal:
            return JSONResponse({"error": refusal.as_data()}, status_code=503)
        return PlainTextResponse(metrics.text(held), media_type="text/plain; version=0.0.4")

    # The most asked for stands in front: routes are tried one by one.
    routes = [*mcp.routes, Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", told)]
    routes += minion_routes(desk, version=server.version or "", ending=ending)
    links = SignInLinks(desk)
    if door is not None:
        routes += door_routes(desk, door, links)
    app: Any = Starlette(routes=routes, lifespan=alive, exception_handlers={HTTPException: _in_json})
    tokens, rates = KnownTokens(desk, door.caller_of if door is not None else _nobody), rates or Rates()
    signed = SignIns(desk, tokens)
    people = decision_routes(desk, signed, links, secure=hosts.secure)
    pages: Any = Starlette(routes=people)
    named = frozenset(route.path for route in (*routes, *people) if isinstance(route, Route))
    metrics = Metrics(named)
    inner = pages_apart(pages, tokens_only(app, tokens, rates), signed, rates)
    return metrics.measured(hosts_only(bodies_up_to(inner), hosts))


@asynccontextmanager
async def _streams_end(ending: asyncio.Event | None, tokens: KnownTokens) -> AsyncIterator[None]:
    """Have open streams end once `ending` is set."""

    async def end() -> None:
        if ending is not None:
            await ending.wait()
            tokens.end_streams()

    waiting = asyncio.create_task(end())
    try:
        yield
    finally:
        waiting.cancel()


async def _in_json(_: Request, error: Exception) -> Response:
    """A path that is none, or is not asked so, as every refusal is shown."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    more = error.headers if isinstance(error, HTTPException) else None
    refusal: Refusal = NotFound("no_such_path", "There is nothing at this path.", hint="MCP is at /mcp")
    if status != refusal.http_status:
        allowed = (more or {}).get("Allow", "another")
        refusal = BadUse("wrong_method", "This path is not asked with this method.", hint=f"use {allowed}")
    return JSONResponse({"error": refusal.as_data()}, status_code=status, headers=more)


def _nobody(_: str) -> None:
    """Who has a token that is in no store, where there is no door for such."""


def _answers(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT 1").scalar() or 0)
