"""Checks a source file against DESIGN §4: its imports, and what it touches of clock and environment."""

from __future__ import annotations

import ast
import sys

from tests.house.home_rules import AT_HOME, CATCHES_ALL, READS_CLOCK, READS_DOCUMENTS, READS_ENVIRONMENT
from tests.house.layer_rules import CONTRACT, MAY_IMPORT, PURE, PURE_THIRD_PARTY
from tests.house.source_tree import Source, imports, tree_of, uses, within

_ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv")
_CLOCKS = (
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "time.time",
    "time.time_ns",
    "time.clock_gettime",
    "time.clock_gettime_ns",
)
# The tool host, and what it imports from beside its own file.
RUN_INSIDE = frozenset(
    f"minion/sandbox/{name}.py"
    for name in ("tool_host", "tool_requests", "kernel_doors", "file_tools", "file_search", "door")
)
_EVERYTHING = frozenset({"Exception", "BaseException"})


def layer_breaches(source: Source) -> list[str]:
    """Imports within the house that go against the arrows, and modules that have no room."""
    room = _room(source.module)
    if source.module in ("server", "minion"):
        allowed: tuple[str, ...] = ()
    elif room is None:
        return [f"{source.path}: the module has no room in MAY_IMPORT"]
    else:
        allowed = MAY_IMPORT[room]
    found = []
    for mention in imports(source):
        if not within(mention.name, "server", "minion", "tests"):
            continue
        if not within(mention.name, *allowed):
            found.append(f"{source.path}:{mention.line}: {room or source.module} imports {mention.name}")
        elif _is_document(mention.name) and not within(source.module, "server", *READS_DOCUMENTS):
            found.append(f"{source.path}:{mention.line}: {mention.name} loads pydantic")
    return found


def library_breaches(source: Source) -> list[str]:
    """Libraries imported outside their homes, and pure contract modules that import more than they may."""
    found = []
    for mention in imports(source):
        top = mention.name.split(".")[0]
        if top in AT_HOME and not within(source.module, *AT_HOME[top]):
            found.append(f"{source.path}:{mention.line}: {top} is imported outside its room")
        elif _is_pure(source.module) and not _pure_may_import(mention.name):
            found.append(f"{source.path}:{mention.line}: a pure contract module imports {mention.name}")
    return found


def standard_library_breaches(source: Source, beside: frozenset[str] = frozenset()) -> list[str]:
    """Imports of anything but the standard library, in a file that runs alone inside the sandbox.

    `beside`: the modules in the same folder, which a skill's script brings along.
    """
    return [
        f"{source.path}:{mention.line}: only the standard library is there, not {mention.name}"
        for mention in imports(source)
        if mention.name.split(".")[0] not in sys.stdlib_module_names | beside
    ]


def runs_alone(path: str) -> bool:
    """Whether the file runs inside the sandbox without the house: the tool host's, and the scripts of skills."""
    parts = path.split("/")
    return path in RUN_INSIDE or (parts[0] == "skills" and parts[2:3] == ["scripts"])


def environment_breaches(source: Source) -> list[str]:
    """Readings of the process environment outside the settings modules."""
    if source.path in READS_ENVIRONMENT:
        return []
    return [
        f"{source.path}:{mention.line}: {mention.name} is read outside config"
        for mention in uses(source.text)
        if within(mention.name, *_ENVIRONMENT)
    ]


def clock_breaches(source: Source) -> list[str]:
    """Readings of the wall clock, or mentions of a function that reads it, outside the clock modules."""
    if source.path in READS_CLOCK:
        return []
    return [
        f"{source.path}:{mention.line}: {mention.name} reads the clock; `now` is an argument"
        for mention in uses(source.text)
        if within(mention.name, *_CLOCKS)
    ]


def catch_all_breaches(source: Source) -> list[str]:
    """Handlers outside the tops that swallow every exception; one that ends in a bare `raise` swallows none."""
    if source.path in CATCHES_ALL:
        return []
    found = []
    for node in ast.walk(tree_of(source.text)):
        if isinstance(node, ast.ExceptHandler) and _catches_all(node):
            found.append(f"{source.path}:{node.lineno}: a handler here may not catch everything")
        elif isinstance(node, ast.Call) and _suppresses_all(node):
            found.append(f"{source.path}:{node.lineno}: suppress here may not catch everything")
    return found


def _room(module: str) -> str | None:
    holders = [room for room in MAY_IMPORT if within(module, room)]
    return max(holders, key=len) if holders else None


def _is_pure(module: str) -> bool:
    return module == CONTRACT or (within(module, CONTRACT) and module.split(".")[2] in PURE)


def _is_document(name: str) -> bool:
    return name != CONTRACT and within(name, CONTRACT) and name.split(".")[2] not in PURE


def _pure_may_import(name: str) -> bool:
    top = name.split(".")[0]
    return top in sys.stdlib_module_names or top in PURE_THIRD_PARTY or _is_pure(name)


def _names(node: ast.expr) -> set[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return {ast.unparse(part).split(".")[-1] for part in parts}


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = _names(handler.type) & _EVERYTHING
    last = handler.body[-1]
    passes_on = isinstance(last, ast.Raise) and last.exc is None
    return "Exception" in caught or ("BaseException" in caught and not passes_on)


def _suppresses_all(call: ast.Call) -> bool:
    named = ast.unparse(call.func).split(".")[-1] == "suppress"
    return named and any(_names(argument) & _EVERYTHING for argument in call.args)
