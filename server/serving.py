"""Serves an HQ over HTTP until it is told to stop: its address is bound first, said in the lock, then answered at."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from server.app import Hq, offered
from server.config import Lock, public_url
from server.contract.digest import instant
from server.contract.refusals import Refused
from server.web.gate import Hosts
from server.web.routes import web_app

HOST: Final = "127.0.0.1"
PORT: Final = 7717
_BACKLOG: Final = 512
_GRACE_S: Final = 10


async def serve(hq: Hq, lock: Lock, *, port: int, version: str, told: Callable[[str], None]) -> None:
    """Answer at a port of loopback (0: any free one) until a signal; `told` hears the address. Raises `Refused`."""
    bound = bind(port)
    number = bound.getsockname()[1]
    url = f"http://{HOST}:{number}"
    app = web_app(
        hq, offered(hq, version=version), Hosts.of(number, public_url()), now=lambda: instant(hq.clock())
    )
    config = uvicorn.Config(
        app, lifespan="on", log_config=None, access_log=False, server_header=False, date_header=False,  # type: ignore[arg-type]
        timeout_graceful_shutdown=_GRACE_S, backlog=_BACKLOG, loop="none", ws="none", h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    lock.say(url=url)
    told(url)
    await uvicorn.Server(config).serve(sockets=[bound])


def bind(port: int) -> socket.socket:
    """A socket that listens at a port of loopback. Raises `Refused` where somebody else does."""
    # Named as TCP: asyncio sends at once only on such, else each answer waits 40 ms for an acknowledgement.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        says = f"The port {port} of {HOST} cannot be had ({error.strerror})."
        raise Refused("port_taken", says, hint="give another one with --port, 0 for any free one") from error
    return bound
