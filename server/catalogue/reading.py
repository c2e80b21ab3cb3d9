"""Reads the catalogue: what came with HQ, and the files of one's own that extend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from server.contract.classification import ClassificationFile
from server.contract.documents import LARGEST_BYTES, admit, load_document
from server.contract.process import Process
from server.contract.refusals import BadDocument, Refusal
from server.domain.classification import Classification, LeftOut, with_codes, with_process

# The file with domains and sub-domains, beside the processes; every other file is a process.
CODES: Final = "pcf"
SUFFIXES: Final = (".yaml", ".yml", ".json")


@cache
def bundled() -> Classification:
    """The classification and the processes that came with HQ."""
    here, processes = files("server.catalogue"), files("server.contract").joinpath("processes")
    known = Classification()
    for file in [*_by_turn(here), *_by_turn(processes)]:
        known = _with_file(known, file.name, file.read_bytes(), own=False)
    return known


def read_catalogue(folder: Path) -> Classification:
    """What came with HQ and, on top of it, what the files in a folder add: `pcf.yaml` first, then by name.

    A file that says something wrong is left out, whole, and stands in `left_out`; the others count. A folder that
    is not there adds nothing.
    """
    known = bundled()
    try:
        found = list(_by_turn(folder)) if folder.is_dir() else []
    except OSError as error:
        return _without(known, folder.name, _unreadable(folder.name, error))
    for file in found:
        name = "".join(letter if letter.isprintable() else "?" for letter in file.name)
        try:
            known = _with_file(known, name, _body_of(folder / file.name, name), own=True)
        except Refusal as refusal:
            known = _without(known, name, refusal)
    return known


def _by_turn(folder: Traversable) -> Iterator[Traversable]:
    """The documents of a folder: codes first, then processes by name; what begins with a dot is a draft."""
    documents = [each for each in folder.iterdir() if each.name.endswith(SUFFIXES) and each.name[0] != "."]
    yield from sorted(documents, key=lambda each: (not _has_codes(each.name), each.name))


def _has_codes(name: str) -> bool:
    return name.rpartition(".")[0] == CODES


def _with_file(known: Classification, name: str, body: bytes, *, own: bool) -> Classification:
    document = load_document(body, source=name)
    if _has_codes(name):
        return with_codes(known, admit(ClassificationFile, document, source=name), source=name, own=own)
    return with_process(known, admit(Process, document, source=name), source=name, own=own)


def _body_of(path: Path, name: str) -> bytes:
    """A file's bytes, one beyond the limit at most. Raises `BadDocument` when it cannot be read."""
    if not path.is_file():  # a pipe would be waited for
        raise BadDocument("process_unreadable", f"{name} is no file.", hint="put the file itself there")
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> BadDocument:
    says = f"{name} cannot be read ({error.strerror})."
    return BadDocument("process_unreadable", says, hint="check its rights")


def _without(known: Classification, name: str, refusal: Refusal) -> Classification:
    return replace(known, left_out=(*known.left_out, LeftOut(name, refusal)))
