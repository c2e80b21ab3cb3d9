"""Reads the repository's own source: its files, what they import and the dotted names they use."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the repository's top, with slashes, and its text."""

    path: str
    text: str

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True, slots=True)
class Mention:
    """A dotted name (imported or used) and the line it stands on."""

    name: str
    line: int


Checker = Callable[[Source], list[str]]


def files(*folders: str, pattern: str = "*") -> list[Path]:
    """Every file under these top folders, in order, but no caches; a missing folder has none."""
    found = (path for folder in folders for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


def sources(*folders: str) -> list[Source]:
    """Every Python file under these top folders."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in files(*folders, pattern="*.py")
    ]


def gathered(checker: Checker, *folders: str) -> list[str]:
    """What the checker finds in every Python file under these top folders."""
    return [breach for source in sources(*folders) for breach in checker(source)]


def within(name: str, *roots: str) -> bool:
    """Whether a dotted name is one of `roots` or lies below one."""
    return any(name == root or name.startswith(root + ".") for root in roots)


@cache
def tree_of(text: str) -> ast.Module:
    """The syntax tree of a file's text; every rule asks for the same ones."""
    return ast.parse(text)


def imports(source: Source) -> list[Mention]:
    """What the file imports, wherever in it: `from a import b` counts as `a.b`, relative ones are resolved.

    Constant arguments of `import_module` and `__import__` count as well: laziness is no way round a layer.
    """
    found: list[Mention] = []
    for node in ast.walk(tree_of(source.text)):
        if isinstance(node, ast.Import):
            found += [Mention(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(source, node)
            found += [Mention(f"{origin}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
            found += [
                Mention(argument.value, node.lineno)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ]
    return sorted(found, key=lambda mention: mention.line)


def uses(text: str) -> Iterator[Mention]:
    """The dotted names that the code reads, with import aliases followed back to their module."""
    tree = tree_of(text)
    known = _aliases(tree)
    inner: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, ast.Attribute | ast.Name):
            continue
        chain: list[str] = []
        rest: ast.expr = node
        while isinstance(rest, ast.Attribute):
            chain.append(rest.attr)
            rest = rest.value
            inner.add(id(rest))
        if isinstance(rest, ast.Name):
            chain.append(known.get(rest.id, rest.id))
            yield Mention(".".join(reversed(chain)), node.lineno)


def _origin(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = source.module.split(".")
    drop = node.level - (1 if source.path.endswith("/__init__.py") else 0)
    base = package[: len(package) - drop] if drop else package
    return ".".join([*base, *([node.module] if node.module else [])])


def _aliases(tree: ast.AST) -> dict[str, str]:
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
