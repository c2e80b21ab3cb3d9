"""Calls the Messages API: one streamed answer, tried again within bounds, or a `Trouble` that says how it ended.

The only module that loads `anthropic` (2 s, 76 MB): a runner does, when a run's engine is `messages`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import anthropic
import httpx2

from minion.engines.base import ApiAccess
from minion.engines.troubles import Trouble, kind_of
from server.contract.prices import Tokens

# Seconds: to connect, and between two pieces of an answer (a model may think for minutes before the first).
_CONNECT_S: Final = 15.0
_SILENCE_S: Final = 300.0
# A call is tried so often, waiting 1, 2, 4 … seconds between; an API that asks for longer than this is left alone.
MOST_TRIES: Final = 5
LONGEST_WAIT_S: Final = 60.0
# Tokens of the conversation at which the API sums up its older part, by its own means.
COMPACT_AT: Final = 150_000
COMPACT_LEAST: Final = 50_000
_COMPACTION: Final = "compact-2026-01-12"
_LONGEST_WORDS: Final = 300
_API: Final = "https://api.anthropic.com"
# Characters to a token, roughly: what an answer that broke off will be billed for, which its events do not say.
CHARACTERS: Final = 3
# What the SDK raises where events are not as it expects them, or a tool's input is no JSON.
_NOT_UNDERSTOOD: Final = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What the model is asked: the conversation so far, what it may use, and how much it may write (tokens).

    `compact_at` are the tokens from which on the API sums up what is older, None for never.
    """

    model: str
    system: str
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    most_output: int
    compact_at: int | None = COMPACT_AT


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the model said: its blocks as they are sent back, why it stopped, which model it was, tokens used.

    `detail` are the API's words on why it stopped, where there are any.
    """

    content: tuple[Block, ...]
    stop: str
    model: str
    tokens: Tokens
    detail: str = ""

    @property
    def text(self) -> str:
        """What it wrote, without what it thought or called."""
        said = [block["text"] for block in self.content if block.get("type") == "text"]
        return "\n\n".join(text for text in said if text.strip())

    @property
    def calls(self) -> list[Block]:
        """The tools it called, in order."""
        return [block for block in self.content if block.get("type") == "tool_use"]


class ModelCaller:
    """The line to the API of one session. `run` is the run's id, for what hints tell people to type.

    `environment` are the variables that name the machine's proxy, if it has one.

    `redact` takes secrets out of what the API says. `told` hears of each failed try that is followed by another:
    the trouble, and the seconds until then; what it raises ends the call. `unanswered` are the tokens of a call
    that was cancelled, as far as known.
    """

    def __init__(
        self, access: ApiAccess, *, run: str, environment: Mapping[str, str], redact: Callable[[Any], Any],
        told: Callable[[Trouble, float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._run = run
        self._redact = redact
        self._told = told
        self._cannot_compact: set[str] = set()
        self.unanswered: Tokens | None = None
        timeout = httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S)
        # Nothing but what is said here decides where it goes: no variable, no profile, no `.netrc`, no redirect.
        proxy = proxy_for(access.url, environment)
        http = anthropic.DefaultAsyncHttpxClient(
            proxy=proxy, trust_env=False, timeout=timeout, follow_redirects=False
        )
        self._client = anthropic.AsyncAnthropic(
            api_key=access.key, base_url=access.url, max_retries=0, timeout=timeout, http_client=http
        )

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    async def answer(self, request: Request, *, within_s: float) -> ModelAnswer:
        """The model's answer. Raises `Trouble` once another try would not help, or would come too late."""
        until = time.monotonic() + within_s
        for failed in range(1, MOST_TRIES + 1):
            try:
                return await self._once(request)
            except Trouble as trouble:
                wait_s = trouble.wait_s if trouble.wait_s is not None else _pause_s(failed)
                late = wait_s > LONGEST_WAIT_S or time.monotonic() + wait_s >= until
                if not trouble.again or late or failed == MOST_TRIES:
                    raise
                await self._told(trouble, wait_s)
                await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    async def count(self, request: Request) -> int:
        """The tokens that a request's conversation, tools and system prompt take. Raises `Trouble`."""
        try:
            counted = await self._client.beta.messages.count_tokens(
                model=request.model, system=request.system, messages=_any(request.messages),
                tools=_any(request.tools),
            )  # fmt: skip
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise self._trouble(error, request, None) from error
        return counted.input_tokens

    async def _once(self, request: Request) -> ModelAnswer:
        stream: Any = None
        self.unanswered = None
        try:
            async with self._client.beta.messages.stream(**self._asked(request)) as stream:
                message = await stream.get_final_message()
        except asyncio.CancelledError:
            self.unanswered = _used_by(stream, request)
            raise
        except (anthropic.APIError, httpx2.HTTPError, *_NOT_UNDERSTOOD) as error:
            trouble = self._trouble(error, request, stream)
            compacts = request.model not in self._cannot_compact
            if trouble.kind == "bad_request" and compacts and "compact" in trouble.why:
                # This model, or this address, does not sum up: the conversation goes on until it is full.
                self._cannot_compact.add(request.model)
                return await self._once(request)
            raise trouble from error
        if message.stop_reason is None:  # it ended as a stream should, but before its message did
            words = "it ended in the middle"
            raise Trouble(
                "stream_cut", model=request.model, run=self._run, words=words, tokens=_used_by(stream, request)
            )
        content = tuple(_as_sent(block) for block in message.content)
        detail = self._line(getattr(message.stop_details, "explanation", None) or "")
        return ModelAnswer(content, str(message.stop_reason), str(message.model), _tokens(message.usage), detail)

    def _asked(self, request: Request) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": request.model, "max_tokens": request.most_output, "messages": list(request.messages),
            # One mark behind tools and system prompt, one that the API moves behind the newest message.
            "system": [{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}],
            "tools": list(request.tools), "cache_control": {"type": "ephemeral"},
        }  # fmt: skip
        if request.model not in self._cannot_compact and request.compact_at is not None:
            trigger = {"type": "input_tokens", "value": max(COMPACT_LEAST, request.compact_at)}
            asked["betas"] = [_COMPACTION]
            asked["context_management"] = {"edits": [{"type": "compact_20260112", "trigger": trigger}]}
        return asked

    def _trouble(self, error: Exception, request: Request, stream: Any) -> Trouble:
        used, wait_s, words = _used_by(stream, request), None, ""
        if isinstance(error, anthropic.APIStatusError):
            kind, words = kind_of(error.status_code, error.body)
            wait_s = _retry_after(error.response)
            if wait_s is not None and wait_s > LONGEST_WAIT_S:
                words = f"{words.rstrip('.')}; it asks to wait {wait_s:,.0f} s"
        elif isinstance(error, (anthropic.APIResponseValidationError, *_NOT_UNDERSTOOD)):
            kind, words = "api_error", "its answer is not understood"
        elif used is not None:
            kind, words = "stream_cut", _said(error)
        else:
            kind, words = "connection_lost", _said(error)
        return Trouble(
            kind, model=request.model, run=self._run, words=self._line(words), wait_s=wait_s, tokens=used
        )

    def _line(self, words: str) -> str:
        """What the API said, as one line without secrets."""
        plain = "".join(c if c.isprintable() else " " for c in str(self._redact(words)))
        return " ".join(plain.split())[:_LONGEST_WORDS]


def proxy_for(url: str | None, environment: Mapping[str, str]) -> str | None:
    """The machine's proxy on the way to the API; none for an address of this machine, the only one without TLS."""
    if (url or "").startswith("http://"):
        return None
    around = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    host = urllib.parse.urlsplit(url or _API).hostname or ""
    names = [each.strip().lower() for each in around.split(",") if each.strip()]
    if "*" in names or any(f".{host}".endswith(f".{name.lstrip('*.')}") for name in names):
        return None
    return environment.get("https_proxy") or environment.get("HTTPS_PROXY")


def _pause_s(failed: int) -> float:
    """Seconds before the next try: doubled each time, and not the same for all who failed together."""
    return float(2 ** (failed - 1)) * (0.75 + random.random() / 2)  # noqa: S311 - nothing is kept secret by it


def _retry_after(response: Any) -> float | None:
    """The seconds that a response asks to wait; an HTTP date is not waited for."""
    said = response.headers.get("retry-after")
    try:
        wait_s = float(said) if said is not None else math.nan
    except ValueError:
        return None
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def _used_by(stream: Any, request: Request) -> Tokens | None:
    """What a stream had used when it broke off: it is billed, as far as it came.

    The API says only at an answer's end what was written: until then it is told by what came of it, and never more
    than it was let to write.
    """
    if stream is None:
        return None
    try:
        message = stream.current_message_snapshot
        came = sum(len(str(block.to_dict(mode="json"))) for block in message.content) // CHARACTERS
        tokens = _tokens(message.usage)
    except _NOT_UNDERSTOOD:  # it broke off before its first event, or holds what cannot be counted
        return None
    return replace(tokens, output=max(tokens.output, min(came, request.most_output)))


def _tokens(usage: Any) -> Tokens:
    """Tokens by kind, those of summing up included, which the totals leave out."""
    parts = [usage, *(each for each in usage.iterations or () if each.type == "compaction")]
    found = [_tokens_of(part) for part in parts]
    return Tokens(*(sum(getattr(one, kind) for one in found) for kind in Tokens.__slots__))


def _tokens_of(part: Any) -> Tokens:
    created = part.cache_creation
    longer = (created.ephemeral_1h_input_tokens or 0) if created is not None else 0
    written = part.cache_creation_input_tokens or 0
    return Tokens(
        input=part.input_tokens or 0, output=part.output_tokens or 0, cache_write=max(0, written - longer),
        cache_write_1h=longer, cache_read=part.cache_read_input_tokens or 0,
    )  # fmt: skip


def _as_sent(block: Any) -> Block:
    said: Block = _sound(block.to_dict(mode="json", exclude_unset=True))
    said.pop("parsed_output", None)  # the SDK's own, which the API would refuse
    return said


def _sound(value: Any) -> Any:
    """A JSON value without halves of characters, which UTF-8 does not have: it could not be sent back."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    return [_sound(item) for item in value] if isinstance(value, list) else value


def _any(value: Sequence[Any]) -> Any:
    """Plain JSON where the SDK names its own types."""
    return list(value)


def _said(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, anthropic.APIConnectionError) and error.__cause__ else error
    if isinstance(cause, httpx2.ReadTimeout):
        return f"it said nothing for {_SILENCE_S:g} s"
    return str(cause) or type(cause).__name__
