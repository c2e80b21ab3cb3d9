"""Turns a Markdown table into an aligned block of code, the only way to show columns in Slack."""

import re
import unicodedata

from inline import escaped, plain

CELL_LIMIT = 60
RULE_CELL = re.compile(r"[ \t]*(:?)-+(:?)[ \t]*")
BAR = re.compile(r"(?<!\\)\|")


def is_rule(line: str, header: str) -> bool:
    """Whether `line` is the row of dashes below `header` that makes a table: as many cells, only dashes."""
    if "-" not in line or "|" not in line:
        return False
    cells = _cells(line)
    return len(cells) == len(_cells(header)) and all(RULE_CELL.fullmatch(cell) for cell in cells)


def table(lines: list[str]) -> list[str]:
    """The lines of a code block for a header line, a rule line and any number of rows."""
    header, rule, *rows = [_cells(line) for line in lines]
    right = [bool((found := RULE_CELL.fullmatch(cell)) and found[2] and not found[1]) for cell in rule]
    grid = [[_shown(cell) for cell in (row + [""] * len(header))[: len(header)]] for row in [header, *rows]]
    sizes = [max(_width(row[column]) for row in grid) for column in range(len(header))]
    drawn = [_row(row, sizes, right) for row in grid]
    dashes = "  ".join("─" * size for size in sizes)
    return ["```", drawn[0], dashes, *drawn[1:], "```"]


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip().replace("\\|", "|") for cell in BAR.split(inner)]


def _shown(cell: str) -> str:
    text = plain(cell).replace("```", "'''")
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - 1] + "…"


def _row(cells: list[str], sizes: list[int], right: list[bool]) -> str:
    drawn = []
    for cell, size, to_the_right in zip(cells, sizes, right, strict=True):
        blank = " " * (size - _width(cell))
        text = escaped(cell)
        drawn.append(blank + text if to_the_right else text + blank)
    return "  ".join(drawn).rstrip()


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
