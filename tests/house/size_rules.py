"""The rules of DESIGN §9 that one file can break by itself: sizes, docstrings, names, leftovers, doubles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.source_tree import Source, imports, tree_of, uses, within

LONGEST_FILE = 400
LONGEST_FUNCTION = 50
NAMES_THAT_SAY_NOTHING = frozenset({"util", "utils", "helper", "helpers", "common", "misc"})
# Spelled in halves, so that this file does not hold what it looks for.
LEFTOVER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
_SLEEPS = ("time.sleep", "asyncio.sleep", "anyio.sleep")
_MOCKS = ("unittest.mock", "mock", "pytest_mock")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def size_breaches(source: Source) -> list[str]:
    """A file over 400 lines, and functions over 50 lines from `def` to their end, docstring included."""
    found = []
    lines = len(source.text.splitlines())
    if lines > LONGEST_FILE:
        found.append(f"{source.path}: {lines} lines are more than {LONGEST_FILE}")
    for node in ast.walk(tree_of(source.text)):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                found.append(f"{source.path}:{node.lineno}: {node.name} has {length} lines")
    return found


def opening_breaches(source: Source) -> list[str]:
    """A file that does not open with a sentence (first paragraph of its docstring, ended by a full stop)."""
    tree = tree_of(source.text)
    if not tree.body:
        return [f"{source.path}: an empty file says nothing about what lives there"]
    opening = (ast.get_docstring(tree) or "").split("\n\n")[0].strip()
    if opening.endswith(".") and len(opening.split()) >= 3:
        return []
    return [f"{source.path}: the file does not open with a sentence that says what lives there"]


def docstring_breaches(source: Source) -> list[str]:
    """Public functions, classes and methods without a docstring; dunder methods explain themselves."""
    return [
        f"{source.path}:{node.lineno}: {node.name} has no docstring"
        for node in _public(tree_of(source.text).body)
        if not (ast.get_docstring(node) or "").strip()
    ]


def name_breaches(path: str) -> list[str]:
    """A file or folder whose name tells nothing of what lives there."""
    parts = [part.split(".")[0] for part in path.split("/")]
    return [f"{path}: `{part}` is no name" for part in parts if part in NAMES_THAT_SAY_NOTHING]


def leftover_breaches(path: str, text: str) -> list[str]:
    """Marks of unfinished work, in any text file."""
    return [
        f"{path}:{number}: unfinished work is finished or told in the issue, not marked in a file"
        for number, line in enumerate(text.splitlines(), 1)
        if LEFTOVER.search(line)
    ]


def double_breaches(source: Source) -> list[str]:
    """Sleeps, mocks and patched attributes in a test: a bounded wait or a real part serves better."""
    found = [
        f"{source.path}:{mention.line}: {mention.name} is a mock"
        for mention in imports(source)
        if within(mention.name, *_MOCKS)
    ]
    for mention in uses(source.text):
        if within(mention.name, *_SLEEPS):
            found.append(f"{source.path}:{mention.line}: {mention.name} in a test")
        elif mention.name.endswith(".setattr"):
            found.append(f"{source.path}:{mention.line}: {mention.name} patches the code under test")
    return found


def _public(body: list[ast.stmt]) -> Iterator[Documented]:
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)
