"""A scripted Messages API on loopback: it says the turns of a script, and keeps what it was asked.

A test's stand-in for a model (DESIGN §9). What a client does besides, such as looking whether the API is there,
counting tokens or asking for a title, is answered and is no turn of the script.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.prompt_cache import PromptCache
from tests.serving import serving

Block = dict[str, Any]
# What is said where no turn of the script is due.
_NOTHING_MORE: Final = "Done."


@dataclass(frozen=True)
class Turn:
    """One answer: its blocks, why it stops (else told by its blocks), the model that says it was it."""

    blocks: Sequence[Block]
    stop: str | None = None
    model: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What one request comes to instead of an answer.

    An error of this `status` and `type`; or, with `cut`, the answer that was due, broken off after so many events,
    or ended after them as if that were all of it (`clean`); with `hang`, silence until the event is set, after the
    events of one that is `cut`; with `body`, that and nothing else.
    """

    status: int = 529
    type: str = "overloaded_error"
    message: str = "Overloaded"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    clean: bool = False
    hang: threading.Event | None = None
    body: bytes | None = None


Said = Sequence[Block] | Turn
Model = Callable[[dict[str, Any]], Said]


def text(words: str) -> Block:
    """A block of text."""
    return {"type": "text", "text": words}


def use(tool: str, **given: Any) -> Block:
    """A block that calls a tool; its id is made when it is said."""
    return {"type": "tool_use", "name": tool, "input": given}


class MessagesApi(ThreadingHTTPServer):
    """Says `script` turn by turn: each is the blocks of one answer; after the last it says that it is done.

    Which turn is due is told by how many the conversation has had: a request that comes twice is answered alike. A
    `model` is asked instead where there is one. `faults` are what the next requests come to, None for an answer.
    `asked` are the requests that a turn answered, oldest first; `paths` everything that came, as `METHOD /path`;
    `used` the usage that each answer said, as a prompt cache would have it; `keys` the key of each request.
    Named as a client's proxy too, it leads nowhere and notes where the client wanted to go: `CONNECT host:port`.
    """

    daemon_threads = True

    def __init__(
        self, script: Sequence[Said] = (), *, model: Model | None = None, faults: Sequence[Fault | None] = ()
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._script = script
        self._model = model
        self._cache = PromptCache()
        self.faults = list(faults)
        self.asked: list[dict[str, Any]] = []
        self.used: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a request; one that offers no tools is not of the conversation."""
        number = sum(message["role"] == "assistant" for message in asked["messages"])
        said: Said = ()
        if asked.get("tools"):
            self.asked.append(asked)
            if self._model is not None:
                said = self._model(asked)
            else:
                said = self._script[number] if number < len(self._script) else ()
        turn = said if isinstance(said, Turn) else Turn(said)
        blocks = [
            {**block, "id": f"toolu_{number:02}{place:02}"} if block["type"] == "tool_use" else block
            for place, block in enumerate(turn.blocks or [text(_NOTHING_MORE)])
        ]
        stopped = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
        usage = {**self._cache.read(asked), "output_tokens": max(1, len(json.dumps(blocks)) // 4), **turn.usage}
        if asked.get("tools"):
            self.used.append(usage)
        return {
            "id": f"msg_{len(self.paths):04}", "type": "message", "role": "assistant",
            "model": turn.model or asked["model"], "content": blocks, "stop_reason": turn.stop or stopped,
            "stop_sequence": None, "usage": usage,
        }  # fmt: skip

    def fault(self) -> Fault | None:
        """What the request that came just now comes to, if not to an answer."""
        return self.faults.pop(0) if self.faults else None

    def tools(self) -> list[str]:
        """The names of the tools that the last request offered."""
        return [tool["name"] for tool in self.asked[-1]["tools"]]

    def results(self, *, failed: bool = False) -> list[str]:
        """What the model was shown of what tools answered, as the last request has it, oldest first.

        `failed`: of those calls that ended with an error, else of the others.
        """
        found = [block for block in self._blocks() if block.get("type") == "tool_result"]
        return [_words(block) for block in found if bool(block.get("is_error")) is failed]

    def read(self) -> str:
        """All the text that the model was shown, but for the tools' definitions: said to it, or by tools."""
        system = self.asked[-1].get("system") or ""
        parts = [system] if isinstance(system, str) else [block["text"] for block in system]
        return "\n".join([*parts, *(_words(block) for block in self._blocks())])

    def _blocks(self) -> list[Block]:
        found: list[Block] = []
        for message in self.asked[-1]["messages"]:
            content = message["content"]
            found += [text(content)] if isinstance(content, str) else content
        return found


class _Handler(BaseHTTPRequestHandler):
    server: MessagesApi
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._note()
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._note()
        self._answer(200, b"{}")

    def do_CONNECT(self) -> None:
        self.server.paths.append(f"CONNECT {self.path}")
        self._answer(403, b"")

    def do_POST(self) -> None:
        path = self._note()
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if path == "/v1/messages/count_tokens":
            self._answer(200, json.dumps({"input_tokens": len(body) // 4}).encode())
        elif path != "/v1/messages":
            self._answer(404, json.dumps({"type": "error", "error": {"type": "not_found_error"}}).encode())
        else:
            said = self.headers.get("Authorization") or ""
            self.server.keys.append(self.headers.get("x-api-key") or said.removeprefix("Bearer "))
            self._converse(json.loads(body))

    def _converse(self, asked: dict[str, Any]) -> None:
        """Answer a request of the conversation, or have it come to the fault that is due."""
        fault = self.server.fault()
        if fault is not None and fault.hang is not None and fault.cut is None:
            fault.hang.wait(60)
        if fault is not None and fault.cut is None:
            error = {"type": "error", "error": {"type": fault.type, "message": fault.message}}
            said = fault.body if fault.body is not None else json.dumps(error).encode()
            self._answer(fault.status, said, headers=fault.headers)
            return
        message = self.server.answer(asked)
        if not asked.get("stream"):
            self._answer(200, json.dumps(message).encode())
            return
        events = [_event(each) for each in _streamed(message)]
        if fault is None or fault.clean:
            came = events if fault is None else events[: fault.cut]
            self._answer(200, b"".join(came), "text/event-stream")
            return
        # The length promises more than comes: the connection breaks off in the middle.
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(sum(map(len, events))))
        self.end_headers()
        self.wfile.write(b"".join(events[: fault.cut]))
        if fault.hang is not None:
            self.wfile.flush()
            fault.hang.wait(60)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test looks at `asked` and `paths`."""

    def _note(self) -> str:
        path = self.path.partition("?")[0]
        self.server.paths.append(f"{self.command} {path}")
        return path

    def _answer(
        self, status: int, body: bytes, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _streamed(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as the events of a stream, each block in one piece."""
    begun = {**message["usage"], "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": begun}}
    for index, block in enumerate(message["content"]):
        begun, pieces = _pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": message["usage"]}
    yield {"type": "message_stop"}


def _pieces(block: Block) -> tuple[Block, list[Block]]:
    """A block as a stream begins it, and the pieces in which the rest comes."""
    if block["type"] == "tool_use":
        given = block["input"]  # a text is JSON already, or what is none
        written = given if isinstance(given, str) else json.dumps(given)
        piece = {"type": "input_json_delta", "partial_json": written}
        return {**block, "input": {}}, [piece]
    if block["type"] == "thinking":
        signed = {"type": "signature_delta", "signature": block["signature"]}
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return {**block, "thinking": "", "signature": ""}, [thought, signed]
    if block["type"] == "compaction":
        return {**block, "content": None}, [{"type": "compaction_delta", "content": block["content"]}]
    if block["type"] != "text":
        return block, []
    return text(""), [{"type": "text_delta", "text": block["text"]}]


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _words(block: Block) -> str:
    if block.get("type") == "tool_result":
        content = block.get("content") or ""
        return content if isinstance(content, str) else "\n".join(_words(part) for part in content)
    return str(block.get("text", ""))


@contextmanager
def scripted(
    *script: Said, model: Model | None = None, faults: Sequence[Fault | None] = ()
) -> Iterator[MessagesApi]:
    """A running API with this script, or that asks this model; ended with the block."""
    with serving(MessagesApi(script, model=model, faults=faults)) as server:
        yield server
