"""The MCP server: one object for stdio and HTTP, both protocol eras, with what the asker's scope allows."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, ParamSpec

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.resources.templates import ResourceSecurityError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Prompt as ListedPrompt
from mcp_types import Resource as ListedResource
from mcp_types import ResourceTemplate as ListedTemplate
from mcp_types import Tool as ListedTool
from pydantic import ValidationError

from server.actions.desk import CALLER, asking, caller
from server.contract.refusals import NotFound, Refusal
from server.storage.access_store import Caller
from server.tools.access import may_use, visible
from server.tools.arguments import misused, names_headers, tool_of, unknown_argument
from server.tools.changes import Changes, serve_watches
from server.tools.schemas import ANSWER

P = ParamSpec("P")
# What is offered: a function that answers with data.
Answers = Callable[P, Awaitable[dict[str, Any]]]
INSTRUCTIONS: Final = (
    "HQ keeps routines: standing work for Claude that runs on the user's own minions, on schedule, and survives "
    "closing Claude. Create and look at routines and their runs here, say what a run lacked with record_gap, and, "
    "where you run a process yourself, log each step with the ledger tools as it happens. Decisions are a human's."
)
# What calls come by here are made by programs: nobody is known to sit there (`domain/decision.py`).
DOOR: Final = "mcp"
# The order in which tools are shown, group by group (DESIGN §7); one that is not here comes last.
ORDER: Final = (
    "list_minions", "create_routine", "list_routines", "get_routine", "update_routine", "delete_routine",
    "run_routine", "explain_routine", "rotate_routine_token", "list_runs", "get_run", "cancel_run",
    "ledger_start_run", "ledger_start_block", "ledger_log_step", "ledger_finish_block", "ledger_finish_run",
    "record_gap", "list_gaps", "resolve_gap", "list_decisions", "decide",
    "find_process", "list_variants", "publish_skill", "get_skill", "list_skills",
)  # fmt: skip
READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
REPEATS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
ENDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


class HqServer(MCPServer[Any]):
    """An MCP server that shows, and lets call, only what the asker's scope allows; refusals are plain sentences.

    Over HTTP the asker is who the web door let in, for each message anew; else, over stdio or in process, `owner`.
    """

    def __init__(self, *, version: str, owner: Caller | None = None) -> None:
        self.changes = Changes()
        super().__init__(
            "hq", title="HQ", instructions=INSTRUCTIONS, version=version, log_level="WARNING",
            middleware=[self._know_who_asks], subscriptions=self.changes,
        )  # fmt: skip
        self._owner = owner
        self._scopes: dict[str, frozenset[str]] = {}
        self._resource_scopes: dict[str, frozenset[str]] = {}
        self._prompt_scopes: dict[str, frozenset[str]] = {}
        # The schemas that a call's headers are held against: the SDK goes through the whole of each at every call.
        self._in_headers: dict[str, dict[str, Any] | None] = {}
        self._lowlevel_server.get_tool_input_schema = self._in_headers.get
        serve_watches(self._lowlevel_server, self.changes, self.may_read)

    async def _know_who_asks(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        who = self._owner
        if ctx.request is not None:
            who = ctx.request.scope.get(CALLER)
        before = asking.set(None if who is None else replace(who, door=DOOR))
        try:
            return await call_next(ctx)
        finally:
            asking.reset(before)

    def offer(
        self, scopes: frozenset[str], annotations: ToolAnnotations, description: str
    ) -> Callable[[Answers[P]], Answers[P]]:
        """Register a tool for these scopes; what it raises as a `Refusal` is its answer, marked as an error."""

        def register(function: Answers[P]) -> Answers[P]:
            @functools.wraps(function)
            async def answered(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await function(*args, **kwargs)
                except Refusal as refusal:
                    return refused(refusal)

            name = function.__name__
            self._scopes[name] = scopes
            tool = self._tool_manager._tools[name] = tool_of(answered, description, annotations)
            self._in_headers[name] = tool.parameters if names_headers(tool.parameters) else None
            return function

        return register

    def offer_resource(
        self, scopes: frozenset[str], uri: str, description: str
    ) -> Callable[[Answers[P]], Answers[P]]:
        """Register what lies at a URI, or at all that a template with `{…}` covers, as JSON for these scopes."""

        def register(function: Answers[P]) -> Answers[P]:
            @functools.wraps(function)
            async def answered(*args: P.args, **kwargs: P.kwargs) -> Any:
                if not may_use(caller(), scopes):
                    raise ResourceNotFoundError("There is nothing here. Hint: resources/list shows what there is.")
                try:
                    return json.dumps(await function(*args, **kwargs), ensure_ascii=False)
                except Refusal as refusal:
                    code = INVALID_PARAMS if isinstance(refusal, NotFound) else INTERNAL_ERROR
                    said = f"{refusal.sentence} Hint: {refusal.hint}"
                    raise MCPError(code, said, {"uri": uri, **refusal.as_data()}) from refusal

            self._resource_scopes[uri] = scopes
            self.resource(uri, description=description, mime_type="application/json")(answered)
            return function

        return register

    def offer_prompt(
        self, scopes: frozenset[str], description: str
    ) -> Callable[[Callable[P, Awaitable[str]]], Callable[P, Awaitable[str]]]:
        """Register a prompt for these scopes; its arguments are texts."""

        def register(function: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
            self._prompt_scopes[function.__name__] = scopes
            self.prompt(description=description)(function)
            return function

        return register

    def offer_completion(
        self,
        complete: Callable[[ServerRequestContext[Any, Any], CompleteRequestParams], Awaitable[CompleteResult]],
    ) -> None:
        """Have `complete` answer what somebody begins to type."""
        self._lowlevel_server.add_request_handler("completion/complete", CompleteRequestParams, complete)

    def may_read(self, uri: str) -> bool:
        """Whether something can lie at a URI that who asks may read."""
        for template in self._resource_manager.list_templates():
            try:
                if template.matches(uri) is not None:
                    return may_use(caller(), self._resource_scopes[template.uri_template])
            except ResourceSecurityError:
                return False
        return uri in self._resource_scopes and may_use(caller(), self._resource_scopes[uri])

    async def list_tools(self) -> list[ListedTool]:
        """The tools that are there for who asks, group by group."""
        there = visible(caller(), self._scopes)
        listed = [tool for tool in await super().list_tools() if tool.name in there]
        for tool in listed:
            tool.output_schema = ANSWER
        return sorted(listed, key=_place)

    async def list_resources(self) -> list[ListedResource]:
        """The resources that are there for who asks."""
        there = visible(caller(), self._resource_scopes)
        return [each for each in await super().list_resources() if str(each.uri) in there]

    async def list_resource_templates(self) -> list[ListedTemplate]:
        """The templates of resources that are there for who asks."""
        there = visible(caller(), self._resource_scopes)
        return [each for each in await super().list_resource_templates() if each.uri_template in there]

    async def list_prompts(self) -> list[ListedPrompt]:
        """The prompts that are there for who asks."""
        there = visible(caller(), self._prompt_scopes)
        return [each for each in await super().list_prompts() if each.name in there]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """A prompt that is there for who asks, filled in; another one, or one that lacks something, is refused."""
        prompt = next((each for each in await self.list_prompts() if each.name == name), None)
        if prompt is None:
            says = f"There is no prompt {name[:60]!r} here. Hint: prompts/list shows those there are."
            raise MCPError(INVALID_PARAMS, says)
        needed = [each.name for each in prompt.arguments or () if each.required]
        missing = next((each for each in needed if not (arguments or {}).get(each)), None)
        if missing is not None:
            raise MCPError(INVALID_PARAMS, f"The prompt {name} needs `{missing}`. Hint: give it as an argument.")
        known = {each.name for each in prompt.arguments or ()}
        unknown = next((each for each in arguments or {} if each not in known), None)
        if unknown is not None:
            hint = f"give {', '.join(sorted(known))}" if known else "give it none"
            says = f"The prompt {name} has no argument {unknown[:60]!r}. Hint: {hint}."
            raise MCPError(INVALID_PARAMS, says)
        return await super().get_prompt(name, arguments, context)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool that is there for who asks; any other is unknown, and so is an argument that it has not."""
        try:
            who = caller()
        except Refusal as refusal:
            return refused(refusal)
        scopes, tool = self._scopes.get(name), self._tool_manager.get_tool(name)
        if scopes is None or tool is None or not may_use(who, scopes):
            raise ToolError(f"There is no tool {name[:60]!r} here. Hint: tools/list shows those there are.")
        model = tool.fn_metadata.arg_model
        unknown = unknown_argument(name, model, arguments)
        if unknown is not None:
            return refused(unknown)
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                return refused(misused(name, model, arguments, error.__cause__))
            raise


def _place(tool: ListedTool) -> tuple[int, str]:
    return (ORDER.index(tool.name), "") if tool.name in ORDER else (len(ORDER), tool.name)


def refused(refusal: Refusal) -> CallToolResult:
    """A refusal as the answer of a tool: its sentence and its hint, and the same as data."""
    text = f"{refusal.sentence} Hint: {refusal.hint}"
    content: Any = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content=refusal.as_data(), is_error=True)
