"""Serves an HQ over HTTP until it is told to stop; it says in the lock where, once it answers there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import uvicorn

from server.actions.desk import Desk
from server.app import offered
from server.config import HqHome, Lock, alerts, door_open, public_url
from server.contract.refusals import Refused
from server.log import log_committed
from server.scheduling import scheduled
from server.sweeping import swept
from server.telling import telling
from server.web.connections import BoundedHttp
from server.web.door import Door
from server.web.gate import Hosts
from server.web.rates import Rates
from server.web.routes import web_app

HOST: Final = "127.0.0.1"
PORT: Final = 7717
_BACKLOG: Final = 512
# Streams that only listen never end by themselves; what does something is done in milliseconds.
_GRACE_S: Final = 3


async def serve(
    desk: Desk, lock: Lock, home: HqHome, *, port: int, version: str, who: str, told: Callable[[str], None],
    stop: asyncio.Event, rates: Rates | None = None,
) -> None:  # fmt: skip
    """Answer at a port of loopback (0: any free one) until `stop`; `told` hears where, once it does.

    `who` is the user whose programs come in by the home's door, `rates` how much each caller may ask. Raises
    `Refused`.
    """
    public, told_by = public_url(), alerts()
    with contextlib.closing(bind(port)) as bound:
        number = bound.getsockname()[1]
        url, door, ending = f"http://{HOST}:{number}", Door(who), asyncio.Event()
        server = offered(desk, version=version, links=public or url)
        app = web_app(desk, server, Hosts.of(number, public), rates=rates, door=door, ending=ending)
        config = uvicorn.Config(
            app, lifespan="on", log_config=None, access_log=False, server_header=False, date_header=False,
            timeout_graceful_shutdown=_GRACE_S, backlog=_BACKLOG, loop="none", ws="none", http=BoundedHttp,
            # Anybody on this machine could say that they come from elsewhere, and be counted as somebody else.
            proxy_headers=False,
        )  # fmt: skip

        def answers() -> None:
            lock.say(url=url, public=public)
            told(url)

        serving = _Server(config, answers, ending)
        stopping = asyncio.ensure_future(_told_to_stop(serving, stop))
        unheard = desk.listen(log_committed)
        try:
            with door_open(home, door.text):
                async with (
                    telling(desk, told_by), swept(desk, ways=told_by.ways), scheduled(desk),
                    _looked_through(desk, serving.answering),
                ):  # fmt: skip
                    await serving.serve(sockets=[bound])
        finally:
            stopping.cancel()
            unheard()
            lock.say()


class _Server(uvicorn.Server):
    """A server that says when it answers, and leaves signals to who started it."""

    def __init__(self, config: uvicorn.Config, answers: Callable[[], None], ending: asyncio.Event) -> None:
        """`answers` is called once it does; `ending` is set when it takes no more connections."""
        super().__init__(config)
        self.answering = asyncio.Event()
        self._answers, self._ending = answers, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._answers()
            self.answering.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, then have those that only listen end, and wait for the rest."""
        # Whose stream ends looks for HQ anew, and must not find it here.
        asyncio.get_running_loop().call_soon(self._ending.set)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are taken where the process began."""
        yield


@contextlib.asynccontextmanager
async def _looked_through(desk: Desk, answering: asyncio.Event) -> AsyncIterator[None]:
    """Have the store looked through once, from when HQ answers on."""

    async def looking() -> None:
        await answering.wait()
        await desk.database.look_through()

    looks = asyncio.create_task(looking())
    try:
        yield
    finally:
        looks.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looks


async def _told_to_stop(server: Any, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


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
