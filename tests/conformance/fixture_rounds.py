"""The fixture tools of 2026-07-28 that answer with what they still need, and go on when they are asked again."""

from __future__ import annotations

import json
from typing import Any

from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

from server.tools.access import EVERYBODY
from server.tools.mcp_server import READS, HqServer
from tests.conformance.fixture_tools import Ctx, said


def wanted(message: str = "What is your name?", field: str = "name", kind: str = "string") -> ElicitRequest:
    """A question to the user, with one field to fill in."""
    schema: dict[str, Any] = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampled(words: str) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=words))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=50))


def needed(state: str | None = None, /, **requests: InputRequest) -> InputRequiredResult:
    """The answer of a tool that needs these first; it is handed `state` back with them."""
    return InputRequiredResult(input_requests=requests, request_state=state)


def filled(ctx: Ctx, name: str, field: str) -> Any:
    """What the user filled in; None where nothing was, or something else came back."""
    answer = (ctx.input_responses or {}).get(name)
    return (answer.content or {}).get(field) if isinstance(answer, ElicitResult) else None


def offer_questions(server: HqServer) -> None:
    """Tools that need one answer of the user, the model or the client."""

    @server.offer(EVERYBODY, READS, "Needs a name.")
    async def test_input_required_result_elicitation(ctx: Ctx) -> Any:
        name = filled(ctx, "user_name", "name")
        return needed(user_name=wanted()) if name is None else said(f"Hello, {name}!")

    @server.offer(EVERYBODY, READS, "Needs the client's model.")
    async def test_input_required_result_sampling(ctx: Ctx) -> Any:
        answer = (ctx.input_responses or {}).get("capital_question")
        if answer is None:
            return needed(capital_question=sampled("What is the capital of France?"))
        return said(f"Model said: {getattr(getattr(answer, 'content', None), 'text', '')}")

    @server.offer(EVERYBODY, READS, "Needs the client's roots.")
    async def test_input_required_result_list_roots(ctx: Ctx) -> Any:
        answer = (ctx.input_responses or {}).get("client_roots")
        if answer is None:
            return needed(client_roots=ListRootsRequest())
        return said(f"Client exposed {len(getattr(answer, 'roots', ()))} root(s).")

    @server.offer_prompt(EVERYBODY, "Needs a context.")
    async def test_input_required_result_prompt(ctx: Ctx) -> Any:
        words = filled(ctx, "user_context", "context")
        if words is None:
            return needed(user_context=wanted("What context should the prompt use?", "context"))
        return [UserMessage(f"Use the following context: {words}")]


def offer_rounds(server: HqServer) -> None:
    """Tools that keep where they are in a state which the client carries, and may not change."""

    @server.offer(EVERYBODY, READS, "Needs a confirmation, and its own state back.")
    async def test_input_required_result_request_state(ctx: Ctx) -> Any:
        if ctx.request_state == "nonce" and filled(ctx, "confirm", "ok") is not None:
            return said("state-ok: confirmation received")
        return needed("nonce", confirm=wanted("Please confirm", "ok", "boolean"))

    @server.offer(EVERYBODY, READS, "Needs its own state back as it was.")
    async def test_input_required_result_tampered_state(ctx: Ctx) -> Any:
        if ctx.request_state is not None:
            return said(f"state-ok: {ctx.request_state}")
        return needed("round-1", confirm=wanted("Please confirm", "ok", "boolean"))

    @server.offer(EVERYBODY, READS, "Needs three things at once.")
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> Any:
        asked: dict[str, InputRequest] = {
            "user_name": wanted(), "greeting": sampled("Generate a greeting"), "client_roots": ListRootsRequest()
        }  # fmt: skip
        if asked.keys() <= (ctx.input_responses or {}).keys():
            return said("All inputs received.")
        return needed("three", **asked)

    @server.offer(EVERYBODY, READS, "Needs one thing after another.")
    async def test_input_required_result_multi_round(ctx: Ctx) -> Any:
        state = json.loads(ctx.request_state or "{}")
        name, color = filled(ctx, "step1", "name"), filled(ctx, "step2", "color")
        if "name" in state and color is not None:
            return said(f"{state['name']} likes {color}.")
        if state and name is not None:
            asked = wanted("Step 2: What is your favorite color?", "color")
            return needed(json.dumps({"name": name}), step2=asked)
        return needed(json.dumps({"round": 1}), step1=wanted("Step 1: What is your name?"))

    @server.offer(EVERYBODY, READS, "Needs what the client can do.")
    async def test_input_required_result_capabilities(ctx: Ctx) -> InputRequiredResult:
        able, asked = ctx.client_capabilities, dict[str, InputRequest]()
        if able is not None and able.sampling is not None:
            asked["sample"] = sampled("Say hello")
        if able is not None and able.elicitation is not None:
            asked["ask"] = wanted()
        return needed("capabilities", **asked)
