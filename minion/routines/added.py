"""A routine as it was just added: what its owner answers, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minion.store.routines import KeptRoutine


@dataclass(frozen=True, slots=True)
class Added:
    """A routine as it was added: as kept, its file, and its next instants."""

    kept: KeptRoutine
    file: Path
    next: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """As JSON data."""
        return {"kept": asdict(self.kept), "file": str(self.file), "next": list(self.next)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Added:
        """What `as_data` wrote."""
        return cls(KeptRoutine(**data["kept"]), Path(data["file"]), tuple(data["next"]))
