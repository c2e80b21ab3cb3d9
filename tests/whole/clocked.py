"""A daemon whose clock a test moves on: `python -m tests.whole.clocked HOME FILE`; the file has the seconds."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from minion.always_on import stay_up
from minion.clock import utc_now
from minion.config import Home
from minion.daemon.daemon_log import begin_log

if __name__ == "__main__":
    home, ahead = Home(Path(sys.argv[1])), Path(sys.argv[2])

    said = "0"

    def clock() -> datetime:
        """The wall clock, and the seconds that the file says now; as before while it is being written."""
        global said
        said = ahead.read_text() or said
        return utc_now() + timedelta(seconds=float(said))

    os.umask(0o077)
    begin_log(home.daemon_log, also_stderr=False)
    asyncio.run(stay_up(home, clock=clock))
