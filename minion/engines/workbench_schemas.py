"""The definitions of the six tools that work inside the sandbox, as a model reads them, and their checks.

Their text is stable, for it is cached.
"""

from __future__ import annotations

from typing import Any, Final

from minion.sandbox.shell import LONGEST_COMMAND

# Seconds that one call may take unless it says more; and characters of what it may hand over.
FILE_S: Final = 30
COMMAND_S: Final = 120
LONGEST_PATH: Final = 4_096
LONGEST_PATTERN: Final = 2_000
LONGEST_TEXT: Final = 1_000_000

_PATH: Final = {
    "type": "string", "minLength": 1, "maxLength": LONGEST_PATH,
    "description": "Relative to the repository (without one, to the scratch folder), or absolute.",
}  # fmt: skip
_FOLDER: Final = {
    "type": "string", "minLength": 1, "maxLength": LONGEST_PATH,
    "description": "Where to look; without it, the repository.",
}  # fmt: skip


def _tool(name: str, description: str, required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    schema = {
        "type": "object", "additionalProperties": False, "required": list(required), "properties": properties,
    }  # fmt: skip
    return {"name": name, "description": description, "input_schema": schema}


WORKBENCH_TOOLS: Final[tuple[dict[str, Any], ...]] = (
    _tool(
        "bash",
        "Run a command in the sandbox's bash. Folder, variables, functions, aliases and options carry over to the"
        " next command; it begins in the repository. Output and errors come in the order they were printed, long"
        " output without its middle. There is no terminal and no input. Start a server with `&` and send what it"
        " prints to a file: it goes on running, but is not heard any more. To look at and change files prefer"
        " read, edit, glob and grep.",
        ("command",),
        command={"type": "string", "minLength": 1, "maxLength": LONGEST_COMMAND},
        timeout_s={
            "type": "number", "exclusiveMinimum": 0, "maximum": 86_400,
            "description": f"Seconds until it is stopped; {COMMAND_S} unless you say otherwise.",
        },
    ),
    _tool(
        "read",
        "Read lines of a text file, each with its number and a tab before it. Long lines are cut.",
        ("path",),
        path=_PATH,
        offset={"type": "integer", "minimum": 1, "description": "The first line to show; 1 unless said."},
        limit={"type": "integer", "minimum": 1, "maximum": 10_000, "description": "How many; 2,000 unless said."},
    ),
    _tool(
        "write",
        "Make a file, with the folders it lies in, or replace all that is in it. To change a part, use edit.",
        ("path", "content"),
        path=_PATH,
        content={"type": "string", "maxLength": LONGEST_TEXT},
    ),
    _tool(
        "edit",
        "Replace exact text in a file. `old` must be there exactly once, with its spaces and line ends and without"
        " the numbers that read shows; with `all`, every place is replaced.",
        ("path", "old", "new"),
        path=_PATH,
        old={"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
        new={"type": "string", "maxLength": LONGEST_TEXT},
        all={"type": "boolean"},
    ),
    _tool(
        "glob",
        "List paths that match a pattern such as `src/**/*.{py,md}`, newest first. `*` and `?` stay within a name,"
        " `**` is any folders. A pattern without `**` lists folders too, with a / at their end. Links to folders"
        " are not followed; .git, .venv, node_modules and __pycache__ are entered only if the pattern names them.",
        ("pattern",),
        pattern={"type": "string", "minLength": 1, "maxLength": LONGEST_PATTERN},
        path=_FOLDER,
    ),
    _tool(
        "grep",
        "Search text files, line by line, for a regular expression of Python. Shows path:line:text, or with mode"
        " `files` the paths, with `count` the matching lines of each. Folders are searched as glob does.",
        ("pattern",),
        pattern={"type": "string", "minLength": 1, "maxLength": LONGEST_PATTERN},
        path=_FOLDER,
        glob={
            "type": "string", "minLength": 1, "maxLength": LONGEST_PATTERN,
            "description": "Only files that match it; without a / it is meant for names in any folder.",
        },
        ignore_case={"type": "boolean"},
        context={"type": "integer", "minimum": 0, "maximum": 50, "description": "Lines around each match."},
        mode={"type": "string", "enum": ["content", "files", "count"]},
        limit={"type": "integer", "minimum": 1, "maximum": 2_000, "description": "Most matches; 200 unless said."},
    ),
)  # fmt: skip


def problem_of(name: str, given: Any) -> str | None:
    """Why the input of a call does not fit its tool's schema, in one sentence; None when it does."""
    schema = next(tool["input_schema"] for tool in WORKBENCH_TOOLS if tool["name"] == name)
    known = schema["properties"]
    takes = f"it takes {', '.join(known)}"
    for key in given:
        if key not in known:
            return f"{name} does not know `{str(key)[:80]}`: {takes}."
    for key in schema["required"]:
        if key not in given:
            return f"{name} needs `{key}`: {takes}."
    for key, value in given.items():
        wrong = _wrong(value, known[key])
        if wrong is not None:
            return f"`{key}` of {name} {wrong}."
    return "`command` of bash holds a NUL character." if "\0" in given.get("command", "") else None


def _wrong(value: Any, rule: dict[str, Any]) -> str | None:
    """What is wrong with one value, None when nothing is."""
    if rule["type"] == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if rule["type"] == "string":
        return _wrong_text(value, rule)
    whole = rule["type"] == "integer"
    noun = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return f"must be {noun}"
    least, most = rule.get("minimum"), rule.get("maximum")
    over_nothing = "exclusiveMinimum" not in rule or value > 0
    if not over_nothing or (least is not None and value < least) or (most is not None and not value <= most):
        range_of = f"from {least} " if least is not None else "above 0 "
        return f"must be {noun} {range_of}{f'to {most:,}' if most is not None else 'on'}"
    return None


def _wrong_text(value: Any, rule: dict[str, Any]) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if "enum" in rule and value not in rule["enum"]:
        return f"must be one of {', '.join(rule['enum'])}"
    if len(value) < rule.get("minLength", 0):
        return "is empty"
    if len(value) > rule.get("maxLength", len(value)):
        return f"is {len(value):,} characters long, at most {rule['maxLength']:,} fit: do it in parts"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds a character that UTF-8 does not have (half of a surrogate pair)"
    return None
