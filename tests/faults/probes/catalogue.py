"""All probes by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults.probes.changing import CHANGING
from tests.faults.probes.network import NETWORK
from tests.faults.probes.probe import Probe
from tests.faults.probes.processes import PROCESSES
from tests.faults.probes.pushing import PUSHING
from tests.faults.probes.reading import READING

PROBES: Final[Mapping[str, Probe]] = {
    probe.name: probe for probe in (*READING, *CHANGING, *PROCESSES, *NETWORK, *PUSHING)
}
