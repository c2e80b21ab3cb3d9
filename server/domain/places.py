"""Every place of the classification with its path from L0 to L4, and which of them fit what somebody looks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Final, Literal, get_args

from server.contract.process import Process
from server.domain.classification import Classification, steps_with_blocks

Kind = Literal["domain", "subdomain", "process", "variant", "block", "step", "example"]
_ORDER: Final = {kind: number for number, kind in enumerate(get_args(Kind))}
_WORD: Final = re.compile(r"[^\W_]+")
# They say nothing of what is looked for, unless there is nothing else.
_LITTLE: Final = frozenset(
    {"a", "an", "and", "are", "do", "for", "how", "i", "in", "is", "it", "my", "of", "on", "or", "the", "to"}
    | {"what", "which", "with"}
)
# How well a word fits another: the same, its beginning, a longer form of it, a slip of the pen.
_SAME, _BEGINS, _LONGER, _NEAR = 1.0, 0.8, 0.6, 0.5
_SHORTEST_BEGINNING: Final = 2
_SHORTEST_STEM: Final = 3
_LONGEST_ENDING: Final = 3
_SHORTEST_SLIP: Final = 4
_ROOT: Final = 5  # deploying and deployment are of one root
_LIKENESS: Final = 0.8
_MOST_WORDS: Final = 20
# How well a code fits; words alone reach `_BY_WORDS` at most.
_EXACT, _BELOW, _BY_WORDS = 100.0, 80.0, 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """One place: its kind, code and name, the codes above it and its own by level (`L0` to `L4`).

    `short` is a domain's or sub-domain's second code, `says` what more its file says, `file` the file of one's own
    that it comes from.
    """

    kind: Kind
    code: str
    name: str
    path: Mapping[str, str]
    short: str | None = None
    says: str | None = None
    file: str | None = None


def places(known: Classification) -> Iterator[Place]:
    """Every place of the classification, from top to bottom."""
    for domain in known.domains.values():
        above = {"L0": f"{domain.code} {domain.short}"}
        file = known.own.get(domain.code)
        yield Place("domain", domain.code, domain.name, above, short=domain.short, file=file)
    for sub in known.subdomains.values():
        domain = known.domains[sub.domain]
        above = {"L0": f"{domain.code} {domain.short}", "L1": f"{sub.code} {sub.short}"}
        file = known.own.get(sub.code)
        yield Place("subdomain", sub.code, sub.name, above, short=sub.short, file=file)
        for example in known.examples_of(sub.code):
            says = f"{example.trigger}: {example.does}"
            yield Place("example", sub.code, example.name, above, short=sub.short, says=says)
        for process in known.processes_of(sub.code):
            yield from _in_process(process, above, known.own.get(process.code))


def fitting(known: Classification, text: str) -> list[Place]:
    """The places whose code or name fits a text, best first; at equal fit the higher level first.

    A code finds what bears it, then all below it, and nothing else. Else words count (the first 20 of them): each
    may be the same as one of a place, its beginning, a longer form or a slip of it; a third of them must fit.
    """
    wanted, words = text.strip().casefold(), _words(text)[:_MOST_WORDS]
    if not wanted:
        return []
    fit = cache(_fit)  # places share most of their words
    scored = [(score, place) for place in places(known) if (score := _score(place, wanted, words, fit))]
    if any(score == _EXACT for score, _ in scored):
        scored = [each for each in scored if each[0] >= _BELOW]
    scored.sort(key=lambda each: (-each[0], _ORDER[each[1].kind], each[1].code, each[1].name))
    return [place for _, place in scored]


def _in_process(process: Process, above: Mapping[str, str], file: str | None) -> Iterator[Place]:
    here = {**above, "L2": process.code}
    yield Place("process", process.code, process.name, here, file=file)
    for variant in process.variants:
        code = f"{process.code}.{variant.code}"
        path = {**above, "L2": code}
        yield Place("variant", code, variant.name, path, says=variant.description, file=file)
    for block in process.blocks:
        yield Place("block", block.code, block.name, {**here, "L3": block.code}, says=block.kind, file=file)
    for block, step in steps_with_blocks(process):
        path = {**here, "L3": block.code, "L4": step.code}
        yield Place("step", step.code, step.name, path, file=file)


def _score(place: Place, wanted: str, words: Sequence[str], fit: Callable[[str, str], float]) -> float:
    own = {place.code.casefold(), (place.short or place.code).casefold()} if place.kind != "example" else set()
    if wanted in own:
        return _EXACT
    above = {part for level in place.path.values() for part in level.casefold().split()}
    if wanted in above or any(code.startswith(wanted) for code in own):
        return _BELOW
    there = _words(" ".join(filter(None, (place.code, place.short, place.name, place.says))))
    fits = [max((fit(word, other) for other in there), default=0.0) for word in words]
    if not fits or sum(each > 0 for each in fits) * 3 < len(fits):
        return 0.0
    # Of two that fit alike, the one that says less besides is meant.
    return _BY_WORDS * sum(fits) / len(fits) - min(len(there), 20) / 100


def _words(text: str) -> list[str]:
    all_ = list(dict.fromkeys(word.casefold() for word in _WORD.findall(text)))
    return [word for word in all_ if word not in _LITTLE] or all_


def _fit(word: str, other: str) -> float:
    if word == other:
        return _SAME
    if len(word) >= _SHORTEST_BEGINNING and other.startswith(word):
        return _BEGINS
    if len(other) >= _SHORTEST_STEM and word.startswith(other) and len(word) - len(other) <= _LONGEST_ENDING:
        return _LONGER
    if word[0] != other[0] or min(len(word), len(other)) < _SHORTEST_SLIP or word.isdigit() or other.isdigit():
        return 0.0  # a slip seldom changes how a word begins
    if len(word) >= _ROOT and word[:_ROOT] == other[:_ROOT]:
        return _NEAR
    near = SequenceMatcher(None, word, other, autojunk=False)
    return _NEAR if near.quick_ratio() >= _LIKENESS and near.ratio() >= _LIKENESS else 0.0
