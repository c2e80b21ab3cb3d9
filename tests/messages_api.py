"""A scripted Messages API on loopback: it says the turns of a script, and keeps what it was asked.

A test's stand-in for a model (DESIGN §9). What a client does besides, such as looking whether the API is there,
counting tokens or asking for a title, is answered and is no turn of the script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.serving import serving

Block = dict[str, Any]
# What is said where no turn of the script is due.
_NOTHING_MORE: Final = "Done."
_USAGE: Final = {"input_tokens": 10, "output_tokens": 10}


def text(words: str) -> Block:
    """A block of text."""
    return {"type": "text", "text": words}


def use(tool: str, **given: Any) -> Block:
    """A block that calls a tool; its id is made when it is said."""
    return {"type": "tool_use", "name": tool, "input": given}


class MessagesApi(ThreadingHTTPServer):
    """Says `script` turn by turn: each is the blocks of one answer; after the last it says that it is done.

    Which turn is due is told by how many the conversation has had: a request that comes twice is answered alike.
    `asked` are the requests that a turn answered, oldest first; `paths` everything that came, as `METHOD /path`.
    Named as a client's proxy too, it leads nowhere and notes where the client wanted to go: `CONNECT host:port`.
    """

    daemon_threads = True

    def __init__(self, script: Sequence[Sequence[Block]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._script = script
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a request; one that offers no tools is not of the conversation."""
        number = sum(message["role"] == "assistant" for message in asked["messages"])
        said: Sequence[Block] = ()
        if asked.get("tools"):
            self.asked.append(asked)
            said = self._script[number] if number < len(self._script) else ()
        blocks = [
            {**block, "id": f"toolu_{number:02}{place:02}"} if block["type"] == "tool_use" else block
            for place, block in enumerate(said or [text(_NOTHING_MORE)])
        ]
        stopped = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
        return {
            "id": f"msg_{len(self.paths):04}", "type": "message", "role": "assistant", "model": asked["model"],
            "content": blocks, "stop_reason": stopped, "stop_sequence": None, "usage": _USAGE,
        }  # fmt: skip

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
            asked = json.loads(body)
            said = self.server.answer(asked)
            if asked.get("stream"):
                self._answer(200, b"".join(_event(each) for each in _streamed(said)), "text/event-stream")
            else:
                self._answer(200, json.dumps(said).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test looks at `asked` and `paths`."""

    def _note(self) -> str:
        path = self.path.partition("?")[0]
        self.server.paths.append(f"{self.command} {path}")
        return path

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _streamed(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as the events of a stream, each block in one piece."""
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        if block["type"] == "tool_use":
            begun = {**block, "input": {}}
            piece = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        else:
            begun, piece = text(""), {"type": "text_delta", "text": block["text"]}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": message["usage"]}
    yield {"type": "message_stop"}


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _words(block: Block) -> str:
    if block.get("type") == "tool_result":
        content = block.get("content") or ""
        return content if isinstance(content, str) else "\n".join(_words(part) for part in content)
    return str(block.get("text", ""))


@contextmanager
def scripted(*script: Sequence[Block]) -> Iterator[MessagesApi]:
    """A running API with this script, ended with the block."""
    with serving(MessagesApi(script)) as server:
        yield server
