"""The MCP server: one object for stdio and HTTP, both protocol eras, with the tools of the asker's scope."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, ParamSpec

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from mcp_types import Tool as ListedTool
from pydantic import BaseModel, ValidationError

from server.actions.desk import CALLER, asking, caller
from server.contract.plain_words import problems
from server.contract.refusals import BadUse, Refusal
from server.storage.access_store import Caller
from server.tools.access import may_use, visible

P = ParamSpec("P")
INSTRUCTIONS: Final = (
    "HQ keeps routines: standing work for Claude that runs on the user's own minions, on schedule, and survives "
    "closing Claude. Create and look at routines and their runs here, say what a run lacked with record_gap, and, "
    "where you run a process yourself, log each step with the ledger tools as it happens. Decisions are a human's."
)
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
        super().__init__(
            "hq", title="HQ", instructions=INSTRUCTIONS, version=version, log_level="WARNING",
            middleware=[self._know_who_asks],
        )  # fmt: skip
        self._owner = owner
        self._scopes: dict[str, frozenset[str]] = {}

    async def _know_who_asks(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        who = self._owner
        if ctx.request is not None:
            who = ctx.request.scope.get(CALLER)
        before = asking.set(who)
        try:
            return await call_next(ctx)
        finally:
            asking.reset(before)

    def offer(
        self, scopes: frozenset[str], annotations: ToolAnnotations, description: str
    ) -> Callable[[Callable[P, Awaitable[dict[str, Any]]]], Callable[P, Awaitable[dict[str, Any]]]]:
        """Register a tool for these scopes; what it raises as a `Refusal` is its answer, marked as an error."""

        def register(
            function: Callable[P, Awaitable[dict[str, Any]]],
        ) -> Callable[P, Awaitable[dict[str, Any]]]:
            @functools.wraps(function)
            async def answered(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await function(*args, **kwargs)
                except Refusal as refusal:
                    return refused(refusal)

            self._scopes[function.__name__] = scopes
            self.add_tool(answered, description=description, annotations=annotations)
            return function

        return register

    async def list_tools(self) -> list[ListedTool]:
        """The tools that are there for who asks."""
        there = visible(caller(), self._scopes)
        return [tool for tool in await super().list_tools() if tool.name in there]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool that is there for who asks; any other is unknown."""
        scopes = self._scopes.get(name)
        if scopes is None or not may_use(caller(), scopes):
            raise ToolError(f"There is no tool {name[:60]!r} here. Hint: tools/list shows those there are.")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                tool = self._tool_manager.get_tool(name)
                if tool is not None:
                    return _misused(name, tool.fn_metadata.arg_model, arguments, error.__cause__)
            raise


def refused(refusal: Refusal) -> CallToolResult:
    """A refusal as the answer of a tool: its sentence and its hint, and the same as data."""
    text = f"{refusal.sentence} Hint: {refusal.hint}"
    content: Any = [TextContent(type="text", text=text)]
    return CallToolResult(content=content, structured_content=refusal.as_data(), is_error=True)


def _misused(
    tool: str, model: type[BaseModel], arguments: dict[str, Any], error: ValidationError
) -> CallToolResult:
    """Arguments that do not fit, in plain words: the first one."""
    found = problems(error, model, arguments)[0]
    where = f"`{found.path}` " if found.path else "The arguments "
    return refused(BadUse(found.code, f"{tool}: {where}{found.words}.", hint=found.hint))
