"""Writes and checks `tests/refusals.md`: every refusal in one file, to be read as the people who meet them do.

`python -m tests.house.refusal_catalogue` checks the texts; `--write` says every case of
`tests/whole/refusal_cases.py` to a real home and writes the file anew.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

from tests.house.refusal_sites import Site, sites_in
from tests.house.source_tree import ROOT, Source, sources, tree_of

FILE: Final = ROOT / "tests" / "refusals.md"
WRITE: Final = "python -m tests.house.refusal_catalogue --write"
PRODUCT: Final = ("server", "minion")
_TEXTS: Final = "## Every text, by room\n"
_OPENING: Final = f"""\
# Every refusal

Written by the tests; `{WRITE}` writes it anew, and the tests
say so when it is stale. Read it whole when you change a text: each is one sentence that says what is wrong without
blame, and a hint that says what to do next.

## As people meet them

Each of these is said to a real home by `tests/whole/test_refusals.py`, which also sees that nothing else is
printed, and that home and files are as they were. `HOME` is the home, `FOLDER` where the command is given.
"""
_ABOUT_TEXTS: Final = """
From the source: `{…}` is filled in, `(a | b)` is one of two, `[a]` is there or not. A text that begins with a
small letter follows the name of the file and the field that it is about.
"""


@cache
def all_sites() -> tuple[Site, ...]:
    """Every refusal of the product, sorted by room and code."""
    return tuple(sorted(site for source in sources(*PRODUCT) for site in sites_in(source)))


def texts(sites: Iterable[Site]) -> str:
    """The part of the file that lists every text."""
    lines = [_TEXTS + _ABOUT_TEXTS]
    for room, in_room in groupby(sorted(sites), key=lambda site: site.place):
        lines.append(f"### {room}\n")
        for heading, said in groupby(
            in_room, key=lambda site: f"{site.code}** · exit {site.exit_code} · {site.kind}"
        ):
            lines.append(f"- **{heading}")
            for site in said:
                lines += [f"  - {_plain(site.sentence)}", f"    <br>hint: {_plain(site.hint)}"]
        lines.append("")
    return "\n".join(lines)


def example(title: str, code: str | None, exit_code: int, said: str, shown: Sequence[str]) -> str:
    """One refusal as people meet it: what was typed, what was told."""
    heading = f"### {title}: {code or 'bad use'}, exit {exit_code}"
    return "\n".join([heading, "", "```console", f"$ minion {said}", *shown, "```", ""])


def examples_in(text: str) -> Mapping[str, str]:
    """The examples of the file by their title."""
    met = text.partition(_TEXTS)[0]
    return {part.split(": ", 1)[0]: f"### {part}".rstrip("\n") + "\n" for part in met.split("\n### ")[1:]}


def asserted_codes(source: Source, codes: Iterable[str]) -> set[str]:
    """Which of the codes a test file holds a refusal against.

    That is: the code stands by itself as a text in an `assert`, in a decorator, in the arguments of a call, or in
    a table of the file.
    """
    wanted, found = set(codes), set()
    tree = tree_of(source.text)
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    waiting: list[tuple[ast.AST, bool]] = [(tree, False), *((table, True) for table in tables)]
    while waiting:
        node, holds = waiting.pop()
        if holds and isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in wanted:
            found.add(node.value)
        holds = holds or isinstance(node, ast.Assert | ast.Call)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [(decorator, True) for decorator in node.decorator_list]
        waiting += [(child, holds) for child in ast.iter_child_nodes(node)]
    return found


def stale() -> bool:
    """Whether the texts in the file are other ones than the source has."""
    written = FILE.read_text("utf-8") if FILE.is_file() else ""
    return written.partition(_TEXTS)[2] != texts(all_sites()).partition(_TEXTS)[2]


def write() -> None:
    """Say every case, and write the file."""
    from tests.whole.refusal_cases import CASES
    from tests.whole.refusals_said import as_shown, furnish, prepared, say

    met = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "furnished").mkdir()
        furnished = asyncio.run(furnish(Path(folder) / "furnished"))
        for number, case in enumerate(CASES):
            (Path(folder) / str(number)).mkdir()
            with prepared(furnished, Path(folder) / str(number), case) as place:
                told = say(place, case.said)
            met.append(example(case.name, told.code, told.exit_code, case.said, as_shown(place, told)))
    FILE.write_text("\n".join([_OPENING, *met, texts(all_sites())]), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when the file is as it should be or was written, 1 when it is stale."""
    parser = argparse.ArgumentParser(prog="python -m tests.house.refusal_catalogue", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the file anew")
    if parser.parse_args(arguments).write:
        write()
    if stale():
        print(f"tests/refusals.md is stale: {WRITE}", file=sys.stderr)
        return 1
    return 0


def _plain(text: str) -> str:
    # What Markdown would take for an element is text here.
    return re.sub(r"([<>])", r"\\\1", text) or "…"


if __name__ == "__main__":
    sys.exit(main())
