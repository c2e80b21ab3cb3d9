"""Admits what comes with the program (its process, skills and templates) and keeps the answers beside the code."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from minion.admission import RELEASED, VERSION, Candidate, answers_of, process_candidate, routine_candidate
from minion.config import Home
from minion.routines.process_file import PROCESS, process_file
from minion.routines.template_list import FOLDER, templates
from minion.skills.loader import bundled_folder, bundled_names, load_skill
from server.contract.digest import canonical_json
from server.contract.refusals import Refusal

WRITE: Final = "python -m tests.house.bundled_admissions --write"


def candidates() -> list[Candidate]:
    """Every document that comes with the program."""
    nowhere = Home(bundled_folder() / "nowhere")
    skills = [load_skill(nowhere, name).candidate() for name in sorted(bundled_names())]
    ready = [routine_candidate(FOLDER / f"{item.name}.yaml", item.body) for item in templates()]
    return [process_candidate(PROCESS, process_file()), *skills, *ready]


def admitted() -> dict[str, Any]:
    """What the file should hold: the admission's version, and canonical JSON by kind and digest."""
    found = candidates()
    documents = {}
    for candidate, answer in zip(found, answers_of(found), strict=True):
        if isinstance(answer, Refusal):
            raise answer
        documents[f"{candidate.kind} {candidate.digest}"] = canonical_json(answer)
    return {"version": VERSION, "documents": dict(sorted(documents.items()))}


def text() -> str:
    """The file's text."""
    return json.dumps(admitted(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        RELEASED.write_text(text(), encoding="utf-8")
    elif RELEASED.read_text(encoding="utf-8") != text():
        sys.exit(f"{RELEASED.name} is stale: {WRITE}")
