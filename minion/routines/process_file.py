"""The process document that runs walk, as it came with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import server.contract

PROCESS: Final = "WF-ROUTINE-EXEC"


def process_file() -> bytes:
    """The bundled process document that runs walk."""
    package = Path(server.contract.__file__).parent
    return (package / "processes" / f"{PROCESS.lower()}.yaml").read_bytes()
