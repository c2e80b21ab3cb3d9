"""Starts a runner: ties its life to the daemon's, reads the order from stdin, performs it, and ends."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from minion.clock import utc_now
from minion.runner.lifetime import die_with_parent
from minion.runner.link import DaemonLink, DaemonLost
from minion.runner.resumed import Before, Damaged, recall
from minion.runner.runner import run_order
from minion.secrets_file import read_secrets
from minion.wire import ORDER_BYTES, Order, WireError
from server.contract.redaction import Redactor
from server.contract.refusals import Refusal

EXIT_BAD_ORDER = 64
EXIT_DAEMON_LOST = 75


async def main() -> int:
    """One run; the exit status is 0 when it was performed to an end, whatever that end was."""
    answers = asyncio.StreamReader(limit=ORDER_BYTES)
    protocol = asyncio.StreamReaderProtocol(answers)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        order = Order.read(await answers.readline())
        secrets = read_secrets(Path(order.secrets_file))
    except (WireError, ValueError, Refusal) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BAD_ORDER
    if os.getppid() != order.parent_pid:
        return EXIT_DAEMON_LOST
    goes_on = order.resumed is not None
    try:
        before = recall(order) if goes_on else Before()
    except Damaged as damage:
        sys.stderr.write(f"the run cannot go on: its {damage}\n")
        return EXIT_BAD_ORDER
    redactor = Redactor([*secrets.values(), *filter(None, [order.report_token])])
    link = DaemonLink(
        Path(order.run_dir), out_fd=sys.stdout.fileno(), redactor=redactor, clock=utc_now,
        seq=before.seq, size=before.size if goes_on else None,
    )  # fmt: skip
    listening = asyncio.ensure_future(link.listen(answers))
    try:
        await run_order(order, link, utc_now, secrets, before)
    except DaemonLost:
        # A thread may still hold a socket; nobody is left to tell, so nothing is waited for.
        os._exit(EXIT_DAEMON_LOST)
    finally:
        listening.cancel()
    return 0


if __name__ == "__main__":
    die_with_parent()
    status = asyncio.run(main())
    sys.stderr.flush()
    # All is said and kept: taking the interpreter apart would only make the daemon wait for this end.
    os._exit(status)
