"""Serves an HQ over HTTP until it is told to stop; its address is bound first, and said in the lock."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from server.actions.desk import Desk
from server.app import offered
from server.config import Lock, public_url
from server.contract.refusals import Refused
from server.web.gate import Hosts
from server.web.routes import web_app

HOST: Final = "127.0.0.1"
PORT: Final = 7717
_BACKLOG: Final = 512
_GRACE_S: Final = 10


async def serve(desk: Desk, lock: Lock, *, port: int, version: str, told: Callable[[str], None]) -> None:
    """Answer at a port of loopback (0: any free one) until a signal; `told` hears where. Raises `Refused`."""
    bound = bind(port)
    number = bound.getsockname()[1]
    url = f"http://{HOST}:{number}"
    app = web_app(desk, offered(desk, version=version), Hosts.of(number, public_url()))
    config = uvicorn.Config(
        app, lifespan="on", log_config=None, access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=_GRACE_S, backlog=_BACKLOG, loop="none", ws="none",
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
