"""What a process of the system costs: its memory and its processor time."""

from __future__ import annotations

from pathlib import Path


def memory_of(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process, in MB."""
    kept = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            kept[name] = int(rest.split()[0]) / 1024
    return kept["Rss"], kept["Pss"]


def cpu_ms(pid: int) -> float:
    """CPU time that all threads of a process used so far, in milliseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
