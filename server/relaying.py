"""MCP over stdin and stdout, handed on to an HQ over HTTP: line by line, as it stands, in both revisions.

Nothing of MCP itself is loaded here: joining a running HQ costs a session milliseconds and few megabytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx2

from server.at_hand import AtHand
from server.config import Address
from server.contract.refusals import Refusal

# What the headers of a request repeat of its body (revision 2026-07-28).
_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ACCEPT: Final = "application/json, text/event-stream"
_LARGEST_EVENT: Final = 16 * 1024 * 1024
_LISTENS: Final = "subscriptions/listen"
# How long what was asked may still take once stdin has ended.
_END_S: Final = 10.0
_CALL: Final = "tools/call"
_NOT_KNOWN: Final = (
    "HQ went away; whether it had done this is not known. "
    "Hint: look, then ask again; give a `client_key`, then asking again is safe"
)
_INVALID, _INTERNAL = -32600, -32603
Message = dict[str, Any]


class HqGone(Exception):
    """Nobody answers where HQ was; `asked` says whether it may have heard the request."""

    def __init__(self, *, asked: bool) -> None:
        super().__init__("HQ went away")
        self.asked = asked


class Relay:
    """One session of a client: its messages go to the HQ at hand, and answers and notices come back.

    Where HQ went away, the one that is at hand then takes over: a session of revision 2025-11-25 is begun there
    anew. What HQ may have done already is not sent twice, unless it carries a client_key.
    """

    def __init__(self, at_hand: AtHand, out: Callable[[bytes], None]) -> None:
        self._at_hand = at_hand
        self._out = out
        # A connection for each call: one that lay idle cannot tell whether it was heard.
        limits = httpx2.Limits(max_keepalive_connections=0)
        timeout = httpx2.Timeout(None, connect=5.0)
        self._client = httpx2.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._initialize: Message | None = None
        self._session: str | None = None
        self._revision: str | None = None
        self._opened_at: Address | None = None
        self._opening = asyncio.Lock()

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Hand on every line until there are no more, then let what was asked come to its end."""
        try:
            async for line in lines:
                if line.strip():
                    await self._take(line)
            await self._finish()
        finally:
            for task in (*self._tasks.values(), self._listening):
                if task is not None:
                    task.cancel()
            await self._end_session()
            await self._client.aclose()

    async def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "This is no message."}})
            return
        if "method" not in message or "id" not in message:
            await self._note(message)
            return
        key = json.dumps(message["id"])
        if message["method"] == "initialize":
            self._initialize = self._session = self._revision = self._opened_at = None
            await self._ask(message)  # what follows needs the session that it opens
            return
        task = asyncio.create_task(self._ask(message), name=str(message["method"]))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None) if self._tasks.get(key) is task else None)

    async def _note(self, message: Message) -> None:
        """A notification, or the client's answer to a request of HQ's: nothing comes back."""
        if message.get("method") == "notifications/cancelled" and self._session is None:
            # In the newer revision a request is broken off by no longer listening to it.
            task = self._tasks.pop(json.dumps((message.get("params") or {}).get("requestId")), None)
            if task is not None:
                task.cancel()
            return
        with contextlib.suppress(HqGone, Refusal):
            await self._post(message, self._nothing)
        if message.get("method") == "notifications/initialized":
            self._listen()

    async def _ask(self, message: Message) -> None:
        """A request: its answer, whatever happens."""
        try:
            for last in (False, True):
                try:
                    if message["method"] != "initialize":
                        await self._in_session()
                    return await self._post(message, self._answered)
                except HqGone as gone:
                    if last or (gone.asked and not _may_come_again(message)):
                        says = _NOT_KNOWN
                        if not gone.asked:
                            says = "HQ went away. Hint: ask again in a moment."
                        return self._fail(message, says)
        except Refusal as refusal:
            self._fail(message, f"{refusal.sentence} Hint: {refusal.hint}")
        except (HqGone, OSError):
            self._fail(message, "HQ went away. Hint: ask again in a moment.")

    async def _in_session(self) -> None:
        """Where the HQ at hand is another one by now, open the client's session there too, without its noticing.

        Raises `HqGone`, a `Refusal`.
        """
        if self._initialize is None:
            return
        async with self._opening:
            if self._opened_at == await self._address():
                return
            self._session, self._revision = None, None
            await self._post(self._initialize, self._remember)
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, self._nothing)
            self._listen()

    async def _post(self, message: Message, take: Callable[[Message, httpx2.Response], Any]) -> None:
        """Send a message to the HQ at hand, and have `take` read what comes. Raises `HqGone`, a `Refusal`."""
        address, session = await self._address(), self._session
        try:
            async with self._client.stream(
                "POST", f"{address.url}/mcp", content=json.dumps(message).encode(),
                headers=self._headers(address, message),
            ) as response:  # fmt: skip
                if response.status_code in (401, 421):  # another HQ is there: nothing was done
                    self._at_hand.lost(address)
                    raise HqGone(asked=False)
                if response.status_code == 404 and session is not None:  # it has forgotten the session
                    self._opened_at = self._opened_at if self._session != session else None
                    raise HqGone(asked=False)
                await take(message, response)
        except httpx2.TransportError as error:
            self._at_hand.lost(address)
            raise HqGone(asked=not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)) from error

    async def _address(self) -> Address:
        try:
            return await self._at_hand.address()
        except ConnectionRefusedError:
            raise HqGone(asked=False) from None

    def _headers(self, address: Address, message: Message) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {address.token}", "content-type": "application/json", "accept": _ACCEPT,
        }  # fmt: skip
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        revision = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
        if isinstance(revision, str):
            headers |= {"mcp-protocol-version": _as_header(revision), "mcp-method": _as_header(message["method"])}
            named = params.get(_NAMED.get(message["method"], "")) if isinstance(params, dict) else None
            if isinstance(named, str):
                headers["mcp-name"] = _as_header(named)
        elif message.get("method") != "initialize":
            headers |= {"mcp-session-id": self._session} if self._session else {}
            headers |= {"mcp-protocol-version": self._revision} if self._revision else {}
        return headers

    async def _answered(self, message: Message, response: httpx2.Response) -> None:
        """Hand back what comes: one answer, or a stream of notices with the answer at its end."""
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            answered = False
            async for event in httpx2.EventSource(response, max_event_size=_LARGEST_EVENT):
                answered = self._hand_back(event.data) == message["id"] or answered
            if not answered:  # HQ stopped in good order, and listens to nobody any more
                raise HqGone(asked=True)
            return
        body = await response.aread()
        if message["method"] == "initialize":
            await self._remember(message, response)
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("jsonrpc") != "2.0":
            error = said.get("error") if isinstance(said, dict) else None
            words = f"HQ answered with status {response.status_code}."
            if isinstance(error, dict) and "sentence" in error:
                words = f"{error['sentence']} Hint: {error['hint']}"
            self._fail(message, words)
            return
        if said.get("id") is None:  # refused before it was read so far
            said["id"] = message["id"]
        self._say(said)

    async def _remember(self, message: Message, response: httpx2.Response) -> None:
        """Which session, of which revision, an `initialize` opened."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._revision = str(json.loads(await response.aread())["result"]["protocolVersion"])
            self._session = response.headers.get("mcp-session-id")
            self._initialize, self._opened_at = message, await self._address()

    async def _nothing(self, message: Message, response: httpx2.Response) -> None:  # noqa: ARG002 - as `take`
        await response.aread()

    def _listen(self) -> None:
        """Hear what HQ says unasked, in a session of the older revision."""
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.ensure_future(self._hear()) if self._session else None

    async def _hear(self) -> None:
        with contextlib.suppress(httpx2.HTTPError, HqGone, Refusal):
            address = await self._address()
            headers = self._headers(address, {}) | {"accept": "text/event-stream"}
            async with self._client.stream("GET", f"{address.url}/mcp", headers=headers) as response:
                if response.status_code == 200:
                    async for event in httpx2.EventSource(response, max_event_size=_LARGEST_EVENT):
                        self._hand_back(event.data)

    async def _finish(self) -> None:
        """Let what was asked be answered; who only listens hears no more."""
        asked = [task for task in self._tasks.values() if task.get_name() != _LISTENS]
        if asked:
            await asyncio.wait(asked, timeout=_END_S)

    async def _end_session(self) -> None:
        """Tell HQ that a session of the older revision is over."""
        address = self._at_hand.found
        if self._session is not None and address is not None:
            with contextlib.suppress(httpx2.HTTPError):
                await self._client.delete(f"{address.url}/mcp", headers=self._headers(address, {}), timeout=2.0)

    def _fail(self, message: Message, words: str) -> None:
        if message["method"] == _CALL:  # the model reads what a tool says, and not what the protocol does
            result: Message = {"content": [{"type": "text", "text": words}], "isError": True}
            result |= {"resultType": "complete"} if self._initialize is None else {}
            self._say({"jsonrpc": "2.0", "id": message["id"], "result": result})
            return
        code = _INVALID if message["method"] == "initialize" else _INTERNAL
        self._say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": words}})

    def _hand_back(self, data: str) -> Any:
        """Hand back what an event says; the id of the request that it answers, None where it answers none."""
        try:
            said = json.loads(data)
        except ValueError:  # an event without data only keeps the stream open
            return None
        self._say(said)
        return said.get("id") if isinstance(said, dict) and "method" not in said else None

    def _say(self, message: Any) -> None:
        self._out(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def _may_come_again(message: Message) -> bool:
    """Whether a request does no harm when it comes twice: it changes nothing, or HQ knows it by its key."""
    if message["method"] != _CALL:
        return True
    arguments = (message.get("params") or {}).get("arguments")
    return isinstance(arguments, dict) and isinstance(arguments.get("client_key"), str)


def _as_header(value: str) -> str:
    """A text as a header may carry it."""
    if _PLAIN.fullmatch(value) and not value.startswith("=?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="
