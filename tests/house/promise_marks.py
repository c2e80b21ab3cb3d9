"""Finds in the syntax tree which tests carry which promise, and marks that no test run would ever honour."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from tests.house.source_tree import Source, tree_of

Decorated = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids that tests of one or more files carry, and what is wrong with other marks."""

    ids: frozenset[str]
    breaches: tuple[str, ...]


def promise_marks(source: Source) -> Marks:
    """The promises marked in a file: on a test, on a test class, in `pytestmark` or on a parameter set.

    A mark with anything but one constant id, or on something that pytest does not collect, is a breach.
    """
    tree = tree_of(source.text)
    ids: set[str] = set()
    breaches: list[str] = []
    idle = {
        id(call)
        for node in ast.walk(tree)
        if isinstance(node, Decorated) and not _collected(source, node.name)
        for decorator in node.decorator_list
        for call in ast.walk(decorator)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("mark.promise"):
            continue
        named = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if id(node) in idle or not _collected(source, "test_"):
            breaches.append(f"{source.path}:{node.lineno}: the mark stands on what pytest does not collect")
        elif len(node.args) != 1 or node.keywords or not named or not isinstance(named[0], str):
            breaches.append(f"{source.path}:{node.lineno}: a promise mark takes one constant id")
        else:
            ids.add(named[0])
    return Marks(frozenset(ids), tuple(breaches))


def repeated_ids(text: str) -> list[str]:
    """Keys that stand twice in a dict display of the text: the later one would hide the earlier."""
    keys = [
        key.value
        for node in ast.walk(tree_of(text))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    ]
    return sorted({str(key) for key in keys if keys.count(key) > 1})


def _collected(source: Source, name: str) -> bool:
    in_test_file = source.path.split("/")[-1].startswith("test_")
    return in_test_file and name.startswith(("test_", "Test"))
