"""The tools, resources and prompts that conformance scenarios ask for by name, for a server of HQ's own class.

Names and some texts are the suites'; all that is between the socket and these functions is what HQ serves with.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from server.contract.refusals import Refused
from server.tools.access import EVERYBODY
from server.tools.mcp_server import ADDS, READS, HqServer
from server.tools.schemas import shortened

Ctx = Context[Any, Any]
IMAGE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQAAAAA="
SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"}, "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}  # fmt: skip
_DEFAULTS: Final[dict[str, Any]] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_TITLED: Final = [{"const": f"value{number}", "title": f"Option {number}"} for number in (1, 2, 3)]
_ENUMS: Final[dict[str, Any]] = {
    "untitledSingle": {"type": "string", "enum": ["one", "two", "three"]},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": ["a", "b"], "enumNames": ["An A", "A B"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["one", "two", "three"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def said(*content: Any) -> CallToolResult:
    """The answer of a tool: this content, texts as they are, and the object that each tool of HQ has."""
    blocks = [TextContent(type="text", text=each) if isinstance(each, str) else each for each in content]
    return CallToolResult(content=blocks, structured_content={})


def image() -> ImageContent:
    """One red point."""
    return ImageContent(type="image", data=IMAGE, mime_type="image/png")


def embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    """A resource within an answer."""
    inside = TextResourceContents(uri=uri, text=text, mime_type=mime_type)
    return EmbeddedResource(type="resource", resource=inside)


def offer_contents(server: HqServer) -> None:
    """Tools that answer with each kind of content, or refuse."""

    @server.offer(EVERYBODY, READS, "Answers with a text.")
    async def test_simple_text() -> CallToolResult:
        return said("This is a simple text response for testing.")

    @server.offer(EVERYBODY, READS, "Answers with an image.")
    async def test_image_content() -> CallToolResult:
        return said(image())

    @server.offer(EVERYBODY, READS, "Answers with a sound.")
    async def test_audio_content() -> CallToolResult:
        return said(AudioContent(type="audio", data=SOUND, mime_type="audio/wav"))

    @server.offer(EVERYBODY, READS, "Answers with a resource.")
    async def test_embedded_resource() -> CallToolResult:
        return said(embedded("test://embedded-resource", "This is an embedded resource content."))

    @server.offer(EVERYBODY, READS, "Answers with several kinds of content.")
    async def test_multiple_content_types() -> CallToolResult:
        mixed = embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
        return said("Multiple content types test:", image(), mixed)

    @server.offer(EVERYBODY, READS, "Refuses.")
    async def test_error_handling() -> CallToolResult:
        raise Refused("always", "This tool intentionally returns an error for testing.", hint="expect it")

    @server.offer(EVERYBODY, READS, "Has an argument that travels in a header too.")
    async def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none",
    ) -> CallToolResult:
        return said(f"region={region}")

    @server.offer(EVERYBODY, READS, "Has every keyword of JSON Schema 2020-12 in its arguments.")
    async def json_schema_2020_12_tool() -> CallToolResult:
        return said("json_schema_2020_12_tool")

    tool = server._tool_manager.get_tool("json_schema_2020_12_tool")
    assert tool is not None
    tool.parameters = shortened(SCHEMA)


def offer_talk(server: HqServer) -> None:
    """Tools that talk with the client meanwhile, on the stream that a client of 2025-11-25 holds open.

    HQ answers a request with one JSON document, so nothing can travel with the answer itself.
    """

    @server.offer(EVERYBODY, READS, "Logs as it goes.")
    async def test_tool_with_logging(ctx: Ctx) -> CallToolResult:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.session.send_log_message("info", words)
        return said("Tool with logging executed successfully")

    @server.offer(EVERYBODY, READS, "Tells how far it is.")
    async def test_tool_with_progress(ctx: Ctx) -> CallToolResult:
        token = (ctx.request_context.meta or {}).get("progress_token")
        for done in (0, 50, 100):
            if token is not None:
                await ctx.session.send_progress_notification(token, done, 100, f"Completed step {done} of 100")
        return said(str(token))

    @server.offer(EVERYBODY, READS, "Has the client's model say something.")
    async def test_sampling(prompt: str, ctx: Ctx) -> CallToolResult:
        words = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        answer = await ctx.session.create_message([words], max_tokens=100)
        return said(f"LLM response: {getattr(answer.content, 'text', '')}")

    @server.offer(EVERYBODY, READS, "Asks the user something.")
    async def test_elicitation(message: str, ctx: Ctx) -> CallToolResult:
        return await _elicited(ctx, message, {"response": {"type": "string", "description": "An answer"}})

    @server.offer(EVERYBODY, READS, "Asks the user with defaults.")
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> CallToolResult:
        return await _elicited(ctx, "Please provide user information", _DEFAULTS)

    @server.offer(EVERYBODY, READS, "Asks the user with every kind of choice.")
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> CallToolResult:
        return await _elicited(ctx, "Please choose", _ENUMS)

    async def levelled(_: ServerRequestContext[Any, Any], params: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    server._lowlevel_server.add_request_handler("logging/setLevel", SetLevelRequestParams, levelled)


async def _elicited(ctx: Ctx, message: str, properties: dict[str, Any]) -> CallToolResult:
    schema = {"type": "object", "properties": properties, "required": []}
    answer = await ctx.session.elicit_form(message, schema)
    return said(f"User response: action={answer.action}, content={answer.content}")


def offer_changes(server: HqServer) -> None:
    """Tools that look at what the client can do, and that change what there is to see."""

    @server.offer(EVERYBODY, READS, "Needs a client whose model can be asked.")
    async def test_missing_capability(ctx: Ctx) -> CallToolResult:
        able = ctx.session.client_capabilities
        if able is None or able.sampling is None:
            needs = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "The client cannot sample.", needs)
        return said("The client can sample.")

    @server.offer(EVERYBODY, ADDS, "Changes the list of tools.")
    async def test_trigger_tool_change(ctx: Ctx) -> CallToolResult:
        @server.offer(EVERYBODY, READS, "Was not there before.")
        async def test_dynamic_tool() -> CallToolResult:
            return said("dynamic")

        server.remove_tool("test_dynamic_tool")
        await ctx.notify_tools_changed()
        return said("tool list changed")

    @server.offer(EVERYBODY, ADDS, "Changes the list of prompts.")
    async def test_trigger_prompt_change(ctx: Ctx) -> CallToolResult:
        async def dynamic() -> str:
            return "dynamic"

        server.add_prompt(Prompt.from_function(dynamic, name="test_dynamic_prompt", description="New."))
        server.remove_prompt("test_dynamic_prompt")
        await ctx.notify_prompts_changed()
        return said("prompt list changed")


def offer_addresses(server: HqServer) -> None:
    """Resources: JSON as all of HQ's are, one with a template, and one of bytes."""

    @server.offer_resource(EVERYBODY, "test://static-text", "A text.")
    async def static_text() -> dict[str, Any]:
        return {"text": "This is the content of the static text resource."}

    @server.offer_resource(EVERYBODY, "test://template/{id}/data", "What an id stands for.")
    async def template(id: str) -> dict[str, Any]:
        return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}

    @server.offer_resource(EVERYBODY, "test://watched-resource", "What can be watched.")
    async def watched() -> dict[str, Any]:
        return {"text": "Watched resource content"}

    # HQ has no way to offer bytes, for it has none; that they would travel is looked at nevertheless.
    server._resource_scopes["test://static-binary"] = EVERYBODY

    @server.resource("test://static-binary", description="An image.", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(IMAGE)


def offer_words(server: HqServer) -> None:
    """Prompts of each kind."""

    @server.offer_prompt(EVERYBODY, "Says something.")
    async def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.offer_prompt(EVERYBODY, "Says what it was given.")
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.offer_prompt(EVERYBODY, "Shows a resource.")
    async def test_prompt_with_embedded_resource(resourceUri: str) -> Any:  # noqa: N803 - the suite's name
        shown = UserMessage(embedded(resourceUri, "Embedded resource content for testing."))
        return [shown, UserMessage("Please process the embedded resource above.")]

    @server.offer_prompt(EVERYBODY, "Shows an image.")
    async def test_prompt_with_image() -> Any:
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]
