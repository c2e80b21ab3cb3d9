"""The HQ that was joined: whether its file is its owner's alone, and whether it answers; no token is shown."""

from __future__ import annotations

import http.client
import stat
from typing import Final
from urllib.parse import urlsplit

from minion.config import Home
from minion.doctor.finding import Finding, ok, problem, refused, warning
from minion.doctor.remedies import quoted
from minion.hq.membership import Membership, file_of, membership_of
from server.contract.refusals import Refusal

_WITHIN_S: Final = 5.0
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def joined(home: Home) -> list[Finding]:
    """Whether the HQ that was joined can be asked; nothing is said where none was. Its absence is no problem."""
    file = file_of(home)
    try:
        membership = membership_of(home)
        mode = file.stat().st_mode if membership is not None else 0
    except Refusal as refusal:
        return [refused("hq", refusal, f"rm {quoted(file)}")]
    if membership is None:
        return []
    if mode & _OTHERS:
        says = f"{file} holds a token, and others than its owner may read it."
        return [problem("hq", says, f"chmod 600 {quoted(file)}")]
    trouble = _trouble(membership)
    if trouble is not None:
        says = f"The HQ at {membership.url} cannot be asked: {trouble}. Routines go on, and reports wait."
        return [warning("hq", says, "minion status")]
    return [ok("hq", f"The HQ at {membership.url} answers.")]


def _trouble(membership: Membership) -> str | None:
    """What keeps HQ from being asked."""
    parts = urlsplit(membership.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "strerror", None) or error or type(error).__name__)
    finally:
        connection.close()
    return None if status == http.client.OK else f"it answers with HTTP {status}"
