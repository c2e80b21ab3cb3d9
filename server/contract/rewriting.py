"""Changes top-level keys of a routine's file and leaves every other byte of it as its author wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from .documents import admit, load_document
from .layout import as_value
from .refusals import BadDocument
from .routine import Routine, admitted


def rewritten(body: bytes, changes: Mapping[str, Any], *, source: str) -> bytes:
    """The routine file `body` with `changes`, new values by top-level key, written into it.

    JSON (when `source` ends in `.json`) is laid out anew with its keys in their order; in YAML, comments, order
    and style of everything else stay. The result is admitted and compared: it differs from `body` in the given
    keys alone. Raises `BadDocument` for a file that is no routine, and when it cannot be changed that way.
    """
    before = load_document(body, source=source)
    if not isinstance(before, dict):
        before = _admitted(before, source)  # which says that it is no mapping
    meant = _admitted({**before, **changes}, source)
    full = {**before, **changes}
    # What a file does not say and need not say is not written into it.
    needed = {
        key: value for key, value in changes.items() if key in before or not _may_go(key, full, meant, source)
    }
    if source.lower().endswith(".json"):
        return (json.dumps({**before, **needed}, indent=2, ensure_ascii=False) + "\n").encode()
    for place in (_append, _insert):
        text = body.decode()
        for key, value in needed.items():
            text = _with_key(text, key, value, place)
        if _says(text.encode(), meant, source):
            return text.encode()
    keys = " and ".join(f"`{key}`" for key in needed)
    raise BadDocument(
        "not_rewritable",
        f"{source}: {keys} cannot be written into a file of this form.",
        hint=f"write {keys} into the file yourself",
    )


def _admitted(document: object, source: str) -> dict[str, Any]:
    return admitted(admit(Routine, document, source=source))


def _may_go(key: str, document: Mapping[str, Any], meant: Mapping[str, Any], source: str) -> bool:
    """Whether the document says the same without this key."""
    rest = {name: value for name, value in document.items() if name != key}
    try:
        return _admitted(rest, source) == meant
    except BadDocument:
        return False


def _says(body: bytes, meant: Mapping[str, Any], source: str) -> bool:
    try:
        return _admitted(load_document(body, source=source), source) == meant
    except BadDocument:
        return False


def _with_key(text: str, key: str, value: Any, place: Callable[[str, yaml.MappingNode, str], str]) -> str:
    """`text` with a top-level key set; where there is no mapping to put it into, `text` itself."""
    said = as_value(value)
    root = _root_of(text)
    if root is None:
        return text
    for name, node in root.value:
        if name.value == key:
            return _replaced(text, name, node, said)
    return place(text, root, f"{key}: {said}")


def _root_of(text: str) -> yaml.MappingNode | None:
    try:
        # The Python reader: its marks count characters, whatever the text holds.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    return root if isinstance(root, yaml.MappingNode) else None


def _replaced(text: str, name: yaml.Node, node: yaml.Node, said: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    # 0 where a key has not even a colon, as flow style allows: the comparison finds that out.
    colon = text.find(":", name.end_mark.index) + 1
    if not text[start:end].strip():
        return f"{text[:colon]} {said}{text[colon:]}"
    if _on_one_line(node, text):
        return text[:start] + said + text[end:]
    # A block's end lies where the next key begins: the blanks and comments between belong to that one.
    lines = text[start:end].splitlines(keepends=True)
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].startswith("#")):
        end -= len(lines.pop())
    return f"{text[:colon]} {said}\n{text[end:]}"


def _on_one_line(node: yaml.Node, text: str) -> bool:
    if isinstance(node, yaml.ScalarNode):
        return node.style not in ("|", ">")
    return text[node.start_mark.index] in "[{"


def _append(text: str, root: yaml.MappingNode, line: str) -> str:
    """The key at the end of the file, where people look for what was changed last."""
    if root.flow_style:
        return _insert(text, root, line)
    head, end, rest = text.partition("\n...")
    if end:
        return f"{head}\n{line}{end}{rest}"
    return text + ("" if text.endswith("\n") else "\n") + line + "\n"


def _insert(text: str, root: yaml.MappingNode, line: str) -> str:
    """The key before all others: at the end it could become part of a text that stands there."""
    at = root.start_mark.index
    if not root.flow_style:
        return f"{text[:at]}{line}\n{text[at:]}"
    return f"{text[: at + 1]}{line}{', ' if root.value else ''}{text[at + 1 :]}"
