"""Ways to HQ's HTTP door for tests: one request as it comes, byte for byte, and a real server to connect to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from server.actions import entrust
from server.actions.desk import Desk
from server.app import offered
from server.serving import bind
from server.tools.mcp_server import HqServer
from server.web.connections import BoundedHttp
from server.web.gate import App, Hosts
from server.web.rates import Rates
from server.web.routes import web_app
from tests.server.desks import ADMIN

PORT = 7717
HERE = f"127.0.0.1:{PORT}"
PUBLIC = "https://hq.example.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: status, headers in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(json.loads(self.body)["error"]["code"])


async def make_token(desk: Desk, scope: str, name: str = "one", **more: Any) -> dict[str, Any]:
    """A token, as its maker is shown it."""
    said: dict[str, Any] = await desk.database.transact(
        entrust.create_token, ADMIN, name, scope, now=desk.clock(), **more
    )
    return said


async def ask(
    app: App, path: str, *, method: str = "GET", host: str | None = HERE, token: str | None = None,
    headers: Iterable[tuple[str, str]] = (), body: Sequence[bytes] = (b"",), client: str = "127.0.0.1",
    stays: bool = True,
) -> Answer:  # fmt: skip
    """One request, its body in these pieces; who asked stays until it is answered, or leaves once it is said."""
    said = [("host", host)] if host is not None else []
    said += [("authorization", f"Bearer {token}")] if token is not None else []
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*said, *headers)]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": raw,
        "client": (client, 50_000), "server": ("127.0.0.1", PORT),
    }  # fmt: skip
    pieces = [{"type": "http.request", "body": each, "more_body": True} for each in body]
    pieces[-1]["more_body"] = False
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop(0)
        if stays:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await app(scope, receive, send)
    names = {name.decode().lower(): value.decode() for name, value in told[0]["headers"]}
    return Answer(told[0]["status"], names, b"".join(each.get("body", b"") for each in told[1:]))


@asynccontextmanager
async def gate_of(desk: Desk, *, public: str | None = None, rates: Rates | None = None) -> AsyncIterator[App]:
    """The whole application of an HQ, alive, as it would be at PORT."""
    server = offered(desk, version="test")
    app = web_app(desk, server, Hosts.of(PORT, public), rates=rates)
    async with server.session_manager.run():
        yield app


@asynccontextmanager
async def answering(
    desk: Desk, protocol: type[BoundedHttp] = BoundedHttp, *, server: HqServer | None = None,
    public: str | None = None,
) -> AsyncIterator[int]:  # fmt: skip
    """A real server of an HQ, or of what else is to stand behind its door; the port where it answers."""
    bound = bind(0)
    port = int(bound.getsockname()[1])
    # Tests ask again and again; how often one may is looked at elsewhere.
    often = Rates(a_minute=10**9, burst=10**9)
    behind = server or offered(desk, version="test")
    app = web_app(desk, behind, Hosts.of(port, public), rates=often)
    config = uvicorn.Config(
        app, lifespan="on", log_config=None, access_log=False, loop="none", ws="none", http=protocol,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    answers = uvicorn.Server(config)
    serving = asyncio.create_task(answers._serve([bound]))
    while not answers.started:
        done, _ = await asyncio.wait({serving}, timeout=0.01)
        assert not done, serving.result()
    try:
        yield port
    finally:
        answers.should_exit = True
        await serving
