"""The programs of others that try an MCP server: where they are, and how they are run.

`make test-heavy` installs what `package-lock.json` beside this says, where the machine has npm.
"""

from __future__ import annotations

import asyncio
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.server.servers import environment

HERE: Final = Path(__file__).parent
PLACE: Final = Path(sys.prefix) / "conformance" / "node_modules"
# Make leaves it behind when all of them are there.
READY: Final = Path(sys.prefix) / ".ready-node"
# The oldest Node that the inspector runs on.
OLDEST: Final = (22, 19)
OVER_S: Final = 240.0


@functools.cache
def node() -> str | None:
    """A Node that is new enough: the one beside the programs, else the machine's; None where neither is."""
    came = [str(path) for path in sorted(PLACE.glob("node-*/bin/node"))]
    for program in (*came, shutil.which("node")):
        if program is None:
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"v(\d+)\.(\d+)\.", said)
        if version is not None and (int(version[1]), int(version[2])) >= OLDEST:
            return program
    return None


def why_not() -> str:
    """Why the programs cannot be run here; empty where they can."""
    if not READY.exists():
        return "the MCP conformance programs are not installed (`make test-heavy` does that where npm is)"
    return "" if node() is not None else "no Node 22.19 or newer is here"


needs_programs = pytest.mark.skipif(bool(why_not()), reason=why_not() or "they are here")


async def run(script: str, *arguments: str, home: Path) -> tuple[int, str, str]:
    """Run a program to its end in a folder of its own: its exit status, what it said on stdout, on stderr."""
    program = node()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, str(PLACE / script), *arguments, cwd=home,
        env={**environment(), "HOME": str(home), "MCP_INSPECTOR_SECRET_STORE": "memory"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), OVER_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
