"""Routines as files for another minion: YAML, Markdown with a header, JSON lines; written and taken apart.

Markdown has the routine's `content`, without blank lines around it, as its text, and all else in a header between
two lines of three hyphens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from minion.admission import changed
from server.contract.layout import as_yaml
from server.contract.refusals import BadDocument

Format = Literal["yaml", "markdown", "jsonl"]
FORMATS: Final[Mapping[Format, tuple[str, ...]]] = {
    "yaml": (".yaml", ".yml", ".json"), "markdown": (".md", ".markdown"), "jsonl": (".jsonl", ".ndjson"),
}  # fmt: skip
# Who owns a routine here means nothing elsewhere: another minion's id would be refused there.
OURS: Final = ("id", "minion_id")
MOST_ROUTINES: Final = 1_000
_BOUNDARY: Final = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_HEADER: Final = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def format_of(path: Path) -> Format | None:
    """The format that a file's name says, None when it says none."""
    return next((name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes), None)


def written_out(sources: Sequence[tuple[Path, bytes, Mapping[str, Any]]], format_: Format) -> list[str]:
    """Routines in a format, one text each: of each its file, the file's body, and what that says.

    YAML keeps the comments and the order of the file. Raises `Refusal` for a file that is no routine.
    """
    return [_written(path, body, document, format_) for path, body, document in sources]


def _written(path: Path, body: bytes, document: Mapping[str, Any], format_: Format) -> str:
    said = {key: value for key, value in document.items() if key not in OURS}
    if format_ == "jsonl":
        return json.dumps(said, ensure_ascii=False) + "\n"
    if format_ == "markdown":
        header = as_yaml({key: value for key, value in said.items() if key != "content"})
        return f"---\n{header}---\n\n{(said.get('content') or '').strip()}\n"
    if path.suffix == ".json":
        return as_yaml(said)
    text = changed(path, body, dict.fromkeys(OURS)).decode()
    return text if text.endswith("\n") else text + "\n"


def together(texts: Sequence[str], format_: Format) -> str:
    """Several routines in one file. Raises `BadDocument` for Markdown, which holds one."""
    if format_ == "yaml":
        return "---\n".join(texts)
    if format_ == "markdown" and len(texts) > 1:
        raise BadDocument(
            "one_in_markdown",
            f"A Markdown file holds one routine, not {len(texts)}.",
            hint="name one, or a folder: --output routines/",
        )
    return "".join(texts)


def taken_apart(source: Path, text: str, format_: Format) -> list[tuple[Path, bytes]]:
    """The routines in a file's text, each as a file of its own that a minion can admit; at least one.

    Raises `BadDocument` when there is none, or something else, in it.
    """
    if format_ == "jsonl":
        found = list(_json_lines(source, text))
    elif format_ == "markdown":
        found = [_markdown(source, text)]
    elif source.suffix.lower() == ".json":
        found = [(source, text.encode())]
    else:
        parts = [part for part in _BOUNDARY.split(text) if _says_something(part)]
        named = source if source.suffix.lower() in FORMATS["yaml"] else source.with_suffix(".yaml")
        found = [(named, part.lstrip("\r\n").encode()) for part in parts]
    if not found:
        hint = "write some with `minion export` first"
        raise BadDocument("no_routines", f"{source} holds no routine.", hint=hint)
    if len(found) > MOST_ROUTINES:
        raise BadDocument(
            "too_many_routines",
            f"{source} holds over {MOST_ROUTINES:,} routines.",
            hint="split it into several files",
        )
    return found


def _says_something(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in part.splitlines())


def _json_lines(source: Path, text: str) -> Iterable[tuple[Path, bytes]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise BadDocument(
                "bad_line", f"{source} line {number} is no JSON object.", hint="write one routine on each line"
            )
        if "verdict" in said and "topology" in said:
            raise BadDocument(
                "run_is_no_routine",
                f"{source} line {number} is a run, and runs are a record of where they happened.",
                hint="export the routines: `minion export`, without --runs",
            )
        yield source.with_suffix(".json"), line.encode()


def _markdown(source: Path, text: str) -> tuple[Path, bytes]:
    parts = _HEADER.match(text)
    if parts is None:
        raise BadDocument(
            "no_header",
            f"{source} has no header between two lines of three hyphens.",
            hint="begin it with ---, then lines such as name: my-routine, then ---, then the prompt",
        )
    named = source.with_suffix(".yaml")
    content = text[parts.end() :].strip()
    header = parts[1].encode()
    return named, changed(named, header, {"content": content}) if content else header
