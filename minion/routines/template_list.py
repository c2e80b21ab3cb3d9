"""Finds the ready routines that come with the product, and reads what their first comment lines say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.contract.refusals import NotFound

FOLDER: Final = Path(__file__).parent / "templates"
_NEAREST: Final = 3


@dataclass(frozen=True, slots=True)
class Template:
    """A ready routine: `body` is its YAML file as it lies in the package, comments included.

    `summary` is one sentence; `keywords` are small-letter words and phrases that somebody may ask for it with,
    `also` words that only together with others mean it.
    """

    name: str
    summary: str
    keywords: tuple[str, ...]
    also: tuple[str, ...]
    body: bytes


def templates() -> tuple[Template, ...]:
    """All ready routines, by name."""
    return tuple(_read(file) for file in sorted(FOLDER.glob("*.yaml")))


def template_named(name: str) -> Template:
    """The ready routine of this name. Raises `NotFound`, its hint naming the nearest ones, or else all."""
    known = {template.name: template for template in templates()}
    if name in known:
        return known[name]
    words = set(name.lower().split("-"))
    near = [other for other in known if words & set(other.split("-"))]
    near += [other for other in difflib.get_close_matches(name.lower(), known, n=_NEAREST) if other not in near]
    hint = f"did you mean {' or '.join(near[:_NEAREST])}?" if near else f"name one of: {', '.join(known)}"
    raise NotFound("no_such_template", f"There is no template {name[:64]!r}.", hint=hint)


def _read(file: Path) -> Template:
    # The file is not parsed here: whoever only lists templates must not pay for loading YAML.
    body = file.read_bytes()
    said: dict[str, str] = {}
    for line in body.decode("utf-8").splitlines():
        if not line.startswith("#"):
            break
        key, colon, value = line.lstrip("# ").partition(":")
        if colon and key in ("summary", "keywords", "also"):
            said.setdefault(key, value.strip())
    return Template(file.stem, said.get("summary", ""), _listed(said, "keywords"), _listed(said, "also"), body)


def _listed(said: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in said.get(key, "").split(",") if word.strip())
