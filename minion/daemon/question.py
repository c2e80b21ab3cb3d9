"""Asks a short-lived child, which holds the secrets, one question about a run (`minion.runner.questions`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minion.wire import Order
from server.contract.digest import canonical_json


async def ask_child(
    module: str, order: Order, asked: Mapping[str, Any], *, patience_s: float
) -> dict[str, Any]:
    """What the child answers; nothing when it comes to no end in so many seconds.

    Raises `OSError` only where no child could be started: nothing has happened then.
    """
    order = replace(order, parent_pid=os.getpid())
    log_file = os.open(Path(order.run_dir) / "runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", module),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log_file,
            cwd=order.run_dir, env={"PATH": order.search_path, "LC_ALL": "C.UTF-8"}, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log_file)
    try:
        async with asyncio.timeout(patience_s):
            out, _ = await process.communicate(order.line() + canonical_json(dict(asked)).encode() + b"\n")
        return dict(json.loads(out))
    except (TimeoutError, ValueError, TypeError):
        return {}
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
