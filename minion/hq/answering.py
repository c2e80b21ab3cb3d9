"""Answers what HQ would like to know of a routine just now, in a process of its own: why it runs, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from minion.config import Home, is_slug

_WITHIN_S: Final = 8.0
_LARGEST: Final = 256 * 1024
# 9:00, or 2026-01-05T09:00 with whatever zone behind it.
_AT: Final = re.compile(r"[0-9:T.+Z-]{1,40}")


async def answered(home: Home, question: Mapping[str, Any]) -> dict[str, Any]:
    """What `minion why ROUTINE --json` says, and whether what the routine needs can be had here (`preflight`).

    `{"refused": …}` where it cannot say.
    """
    name, at = str(question.get("routine")), question.get("at")
    if question.get("kind") != "why" or not is_slug(name):
        return {"refused": "this minion does not understand the question"}
    if at is not None and _AT.fullmatch(str(at)) is None:
        return {"refused": f"{str(at)[:40]!r} is no time"}
    place = str(home.root)
    why, looked = await asyncio.gather(
        _asked("minion", "--home", place, "why", name, "--json", *([] if at is None else ["--at", str(at)])),
        _asked("minion.hq.preflight", place, name),
    )
    if not isinstance(why[0], dict):
        return {"refused": why[1] or "it could not be found out"}
    return why[0] | {"preflight": looked[0] if isinstance(looked[0], list) else []}


async def _asked(module: str, *words: str) -> tuple[Any, str]:
    """What a module prints as JSON, None if it is none; and what it complains of."""
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", module, *words), stdin=nothing, stdout=pipe, stderr=pipe, cwd="/",
            limit=_LARGEST,
        )  # fmt: skip
    except OSError as error:
        return None, f"it could not be looked at ({error.strerror})"
    try:
        async with asyncio.timeout(_WITHIN_S):
            said, complaint = await process.communicate()
    except TimeoutError:
        return None, "it took too long to find out"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    with contextlib.suppress(ValueError):
        return json.loads(said), ""
    return None, complaint.decode("utf-8", "replace").strip().partition("\n")[0][:500]
