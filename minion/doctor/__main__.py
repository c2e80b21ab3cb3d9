"""Examines a home from the environment that this process was given, and prints the findings as a JSON list.

Run as `python -I -m minion.doctor HOME`; `minion doctor --as-service` starts it with a service's variables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from minion.clock import utc_now
from minion.config import Home
from minion.doctor.examination import examine

if __name__ == "__main__":
    found = examine(Home(Path(sys.argv[1])), utc_now)
    sys.stdout.write(json.dumps([finding.as_data() for finding in found]))
