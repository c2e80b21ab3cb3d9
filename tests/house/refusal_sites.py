"""Finds every refusal that the source can raise: its code, its kind, and its texts as templates."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from server.contract.refusals import REFUSAL_KINDS
from tests.house.source_tree import Source, tree_of

KINDS: Final = {kind.__name__: kind for kind in REFUSAL_KINDS}
# What a document's or a skill's problem is built by before it becomes a `BadDocument`.
_PROBLEMS: Final = ("wrong", "Problem")
# What carries words to where a refusal is made of them: the refusal's code, its sentence, its hint.
_CARRIERS: Final = {
    "ZipFlaw": ("archive_broken", "{source}: {}.", "get the archive again, or pack it again"),
    "Unread": ("phrase", "The schedule cannot be read exactly: {}.", "closest: {what is nearest and can be read}"),
}
_CODE: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")
# A text passes through at most this many functions on its way into a refusal.
_DEEPEST: Final = 5
_LONGEST_NAME: Final = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef
Texts = dict[str, ast.expr]


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One refusal as the source has it: `sentence` and `hint` are templates, with `{…}` for what is filled in.

    `place` is the module. `kind` is the name of a class of `server.contract.refusals`.
    """

    place: str
    code: str
    kind: str
    sentence: str
    hint: str

    @property
    def exit_code(self) -> int:
        """What the command line exits with."""
        return KINDS[self.kind].exit_code


@dataclass(frozen=True, slots=True)
class _Made:
    """Where a refusal is put together: its texts, the function around it, and the line it stands on."""

    kind: str
    texts: Texts
    owner: Function | None
    line: int


def sites_in(source: Source) -> list[Site]:
    """Every refusal that a file of the product constructs, each once, sorted.

    A refusal whose code is another refusal's is passed on, not constructed, and left out.
    """
    module = _Module(source)
    return sorted({site for made in module.all_made() for site in module.told(made)})


class _Module:
    """One file's functions, who calls them, and the constants that its refusals are put together from."""

    def __init__(self, source: Source) -> None:
        self.place = source.module
        tree = tree_of(source.text)
        self.constants = {
            name: value for statement in tree.body for name, value, _ in _assignments([statement], inside=False)
        }
        self.owners: dict[ast.AST, Function | None] = {}
        self._own(tree, None)
        self.calls = [(node, owner) for node, owner in self.owners.items() if isinstance(node, ast.Call)]

    def all_made(self) -> Iterator[_Made]:
        """Each place that makes a refusal, a problem of a document, or words that one is made of."""
        for call, owner in self.calls:
            name = _name(call.func)
            if name in (*KINDS, *_PROBLEMS):
                yield _Made(name if name in KINDS else "BadDocument", _texts(call), owner, call.lineno)
            elif name in _CARRIERS and not any(isinstance(argument, ast.Starred) for argument in call.args[:1]):
                yield _Made("BadDocument", _carried(call), owner, call.lineno)
        builds_problems = any(_name(call.func) == "Problem" for call, _ in self.calls)
        for node, owner in self.owners.items():
            if builds_problems and isinstance(node, ast.Return) and _is_problem(node.value):
                texts = dict(zip(("code", "words", "hint"), node.value.elts, strict=True))  # type: ignore[union-attr]
                yield _Made("BadDocument", texts, owner, node.lineno)

    def told(self, made: _Made) -> Iterator[Site]:
        """The refusals made in one place: one for each text that callers of its function hand in."""
        for texts in self._handed_in(made.texts, made.owner, made.line, _DEEPEST):
            for code in self._codes(texts["code"], made.owner):
                sentence, hint = self._text(texts["words"]), self._text(texts["hint"])
                yield Site(self.place, code, made.kind, sentence, hint)

    def _own(self, node: ast.AST, owner: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            self.owners[child] = owner
            self._own(child, child if isinstance(child, Function) else owner)

    def _handed_in(self, texts: Texts, owner: Function | None, line: int, depth: int) -> Iterator[Texts]:
        if owner is None or not depth:
            yield texts
            return
        local = _local(owner, line)
        texts = {key: _filled(text, local) for key, text in texts.items()}
        used = {node.id for text in texts.values() for node in ast.walk(text) if isinstance(node, ast.Name)}
        calls = [
            (given, caller, call.lineno)
            for call, caller in self.calls
            if _name(call.func) == owner.name and used & set(given := self._given(call, caller, owner))
        ]
        if not any(_is_text(value) for given, _, _ in calls for name, value in given.items() if name in used):
            yield texts
            return
        for given, caller, called_at in calls:
            filled = {key: _filled(text, given) for key, text in texts.items()}
            yield from self._handed_in(filled, caller, called_at, depth - 1)

    def _given(self, call: ast.Call, caller: Function | None, owner: Function) -> Texts:
        """What a call hands to `owner`, by the names of its parameters."""
        names = [argument.arg for argument in (*owner.args.posonlyargs, *owner.args.args)]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        given = dict(zip(names, call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords if word.arg is not None}
        local = _local(caller, call.lineno) if caller is not None else {}
        return {name: _filled(_filled(value, local), self.constants) for name, value in given.items()}

    def _codes(self, code: ast.expr, owner: Function | None) -> list[str]:
        """The literal codes that an expression can be; none when it is one that another refusal had."""
        if isinstance(code, ast.Constant):
            return [str(code.value)]
        if isinstance(code, ast.IfExp):
            return self._codes(code.body, owner) + self._codes(code.orelse, owner)
        if isinstance(code, ast.Name) and owner is not None:
            return sorted(set(self._in_table(code.id, owner)))
        return []

    def _in_table(self, name: str, owner: Function) -> Iterator[str]:
        """The codes of `code, shape = TABLE[kind]`, where TABLE is a mapping of the module."""
        for node in ast.walk(owner):
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)):
                continue
            target, table = node.targets[0], self.constants.get(_name(node.value.value))
            if isinstance(target, ast.Tuple) and isinstance(table, ast.Dict):
                for position, part in enumerate(target.elts):
                    if isinstance(part, ast.Name) and part.id == name:
                        rows = [row.elts[position] for row in table.values if isinstance(row, ast.Tuple)]
                        yield from (str(cell.value) for cell in rows if isinstance(cell, ast.Constant))

    def _text(self, expression: ast.expr) -> str:
        return " ".join(_shown(_filled(expression, self.constants)).split())


def _texts(call: ast.Call) -> Texts:
    order: tuple[str, ...] = ("code", "words", "hint")
    if _name(call.func) == "Problem" and len(call.args) > len(order):
        order = ("path", *order)
    found = dict(zip(order, call.args, strict=False))
    found |= {"words" if word.arg == "sentence" else str(word.arg): word.value for word in call.keywords}
    return {key: found.get(key, ast.Constant(value="")) for key in ("code", "words", "hint")}


def _carried(call: ast.Call) -> Texts:
    code, sentence, hint = _CARRIERS[_name(call.func)]
    before, _, after = sentence.partition("{}")
    words = call.args[0]
    joined = ast.JoinedStr([ast.Constant(before), ast.FormattedValue(words, -1), ast.Constant(after)])
    said = call.args[1] if _name(call.func) == "ZipFlaw" and len(call.args) > 1 else ast.Constant(hint)
    return {"code": ast.Constant(code), "words": joined, "hint": said}


def _is_problem(value: ast.expr | None) -> bool:
    """Whether a returned value is a tuple of code, words and hint."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != 3:
        return False
    code = value.elts[0]
    return isinstance(code, ast.Constant) and isinstance(code.value, str) and bool(_CODE.fullmatch(code.value))


def _assignments(body: list[ast.stmt], *, inside: bool) -> Iterator[tuple[str, ast.expr, int]]:
    for statement in body:
        for node in ast.walk(statement) if inside else [statement]:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        yield target.id, node.value, node.lineno


def _local(owner: Function, line: int) -> Texts:
    """What the names of a function stand for at a line of it: what they were last set to above."""
    found = sorted(_assignments(owner.body, inside=True), key=lambda each: each[2])
    return {name: value for name, value, at in found if at < line}


def _filled(expression: ast.expr, known: Mapping[str, ast.expr]) -> ast.expr:
    """The expression with the texts that its names stand for."""
    filled: ast.expr = _Fill(known).visit(deepcopy(expression))
    return filled


class _Fill(ast.NodeTransformer):
    """Puts texts, and names that callers gave, in the place of names."""

    def __init__(self, known: Mapping[str, ast.expr], seen: frozenset[str] = frozenset()) -> None:
        self.known = known
        self.seen = seen

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The name's text, or the name itself when it stands for none."""
        value = self.known.get(node.id)
        if value is None or node.id in self.seen or not (_is_text(value) or isinstance(value, ast.Name)):
            return node
        filled: ast.expr = _Fill(self.known, self.seen | {node.id}).visit(deepcopy(value))
        return filled


def _is_text(value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return _is_text(value.body) or _is_text(value.orelse)
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


def _shown(expression: ast.expr) -> str:
    """An expression as text: what is literal as it is, what is filled in as `{name}`, choices as `(a | b)`."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(_shown(value) for value in expression.values)
    if isinstance(expression, ast.FormattedValue):
        return _shown(expression.value)
    if isinstance(expression, ast.IfExp) and _is_text(expression):
        branches = dict.fromkeys((_shown(expression.body), _shown(expression.orelse)))
        return "(" + " | ".join(branches) + ")" if "" not in branches else f"[{''.join(branches)}]"
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.Add):
        return _shown(expression.left) + _shown(expression.right)
    text = re.sub(r"\b(?:self\.|_(?=[a-zA-Z]))", "", ast.unparse(expression))
    return "{" + (text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…") + "}"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
