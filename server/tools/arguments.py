"""What a tool is called with: it arrives as it was sent, and what does not fit is refused in plain words."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError

from server.contract.plain_words import meant_key, problems, shown
from server.contract.refusals import BadUse
from server.tools.schemas import shortened

_UNIONS: Final = (Union, types.UnionType)
_LISTS: Final = (list, tuple)
# What a function takes follows from its text: worked out once, however many servers of a process offer it.
_WORKED_OUT: Final[dict[types.CodeType, Tool]] = {}


class AsSent(FuncMetadata):
    """The SDK's reading of arguments, but for one thing: a text stays the text that was sent.

    The SDK reads a text as JSON wherever an argument may be something else too, such as null: `null` would be
    nothing then. Where an argument takes no text, a list or mapping that a client wrote as text is read still.
    """

    @classmethod
    def of(cls, said: FuncMetadata) -> AsSent:
        """The same, of what the SDK made of a function."""
        made = cls(**{name: getattr(said, name) for name in FuncMetadata.model_fields})
        made._adapter = said._adapter
        return made

    def convert_result(self, result: Any) -> Any:
        """A dict as the answer of a tool: as data, and as text for clients that read no data.

        The SDK would check it against `dict`, copy it and lay it out over many lines, at each call.
        """
        if type(result) is not dict:
            return super().convert_result(result)
        content = TextContent(type="text", text=json.dumps(result, ensure_ascii=False))
        return CallToolResult.model_construct(content=[content], structured_content=result, is_error=False)

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """The arguments with JSON read where there is no other way to take it."""
        read, fields = super().pre_parse_json(data), self.arg_model.model_fields
        for name, sent in data.items():
            if read[name] is not sent and _stays(fields[name].annotation, read[name]):
                read[name] = sent
        return read


def tool_of(answered: Callable[..., Any], description: str, annotations: ToolAnnotations) -> Tool:
    """The tool that a function is: its arguments arrive as they were sent, and are shown in few words."""
    code = inspect.unwrap(answered).__code__
    if code not in _WORKED_OUT:
        made = Tool.from_function(answered)
        read = AsSent.of(made.fn_metadata)
        said = {**shortened(made.parameters), "additionalProperties": False}
        _WORKED_OUT[code] = made.model_copy(update={"fn_metadata": read, "parameters": said})
    changes = {"fn": answered, "description": description, "annotations": annotations}
    return _WORKED_OUT[code].model_copy(update=changes)


def names_headers(schema: Any) -> bool:
    """Whether an argument is to be said in a header too (`x-mcp-header`, 2026-07-28)."""
    if isinstance(schema, Mapping):
        return "x-mcp-header" in schema or any(names_headers(part) for part in schema.values())
    return isinstance(schema, list) and any(names_headers(part) for part in schema)


def unknown_argument(tool: str, model: type[BaseModel], arguments: Mapping[str, Any]) -> BadUse | None:
    """The refusal of the first argument that a tool does not have; None where it has them all."""
    known = list(model.model_fields)
    unknown = next((name for name in arguments if name not in known), None)
    if unknown is None:
        return None
    meant = meant_key(unknown, known)
    listed = f"give {', '.join(known)}" if known else "give it none"
    hint = f"did you mean `{meant}`?" if meant is not None else listed
    return BadUse("unknown_argument", f"The tool {tool} has no argument {shown(unknown)}.", hint=hint)


def misused(tool: str, model: type[BaseModel], arguments: Mapping[str, Any], error: ValidationError) -> BadUse:
    """The refusal of arguments that do not fit, in plain words: the first one."""
    found = problems(error, model, arguments)[0]
    where = f"`{found.path}` " if found.path else "The arguments "
    return BadUse(found.code, f"{tool}: {where}{found.words}.", hint=found.hint)


def _stays(annotation: Any, read: object) -> bool:
    """Whether a text stays one: the argument takes texts, and nothing such as JSON makes of this one."""
    kinds = set(_kinds(annotation))
    wanted = _LISTS if isinstance(read, list) else (type(read),) if read is not None else ()
    return str in kinds and kinds.isdisjoint(wanted)


def _kinds(annotation: Any) -> list[Any]:
    """The plain types that an annotation takes at its top."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin is Literal:
        return [type(each) for each in get_args(annotation)]
    if origin in _UNIONS:
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [origin or annotation]
