"""A conformance suite run against a server, what failed in it, and what was reviewed and may fail."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.conformance.programs import HERE, run

_FOLDER: Final = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_SUMMED_UP: Final = re.compile(r"^[✓✗] (\S+): \d+ passed, \d+ failed", re.MULTILINE)
# A warning is what a server should do and did not: it is reviewed like a failure.
_FAILED: Final = frozenset({"FAILURE", "WARNING"})
_LOOKED: Final = _FAILED | {"SUCCESS"}


@dataclass(frozen=True, slots=True)
class Suite:
    """One version of the suite and the scenarios chosen from it; in `silent` ones it looks at nothing of ours."""

    name: str
    package: str
    options: tuple[str, ...]
    silent: frozenset[str]


# What it looks at there only concerns answers that are streams: HQ's are JSON documents.
_POLLING: Final = frozenset({"server-sse-polling"})
# The suite leaves it out itself, until it is written anew.
_NOTIFICATIONS: Final = frozenset({"tasks-status-notifications"})
_2026: Final = "conformance-2026"
SUITES: Final = (
    Suite("0.1.16", "conformance-2025", ("--suite", "all"), _POLLING),
    Suite("0.2.0-alpha.12-on-2025-11-25", _2026, ("--requirements", "2025-11-25"), _POLLING),
    Suite("0.2.0-alpha.12-on-2026-07-28", _2026, ("--requirements", "2026-07-28"), _NOTIFICATIONS),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a suite found: the checks of each scenario that failed, and whether the suite itself is content.

    In the `silent` scenarios nothing was looked at; `kept` is the number of checks that passed.
    """

    failed: dict[str, set[str]]
    silent: set[str]
    kept: int
    content: bool
    said: str

    @property
    def passed(self) -> set[str]:
        """The scenarios in which something was looked at and nothing failed."""
        return {scenario for scenario, checks in self.failed.items() if not checks} - self.silent

    def not_reviewed(self, entries: set[str]) -> set[str]:
        """The checks that failed though no entry says they may."""
        every = {f"{scenario}:{check}" for scenario, checks in self.failed.items() for check in checks}
        return {each for each in every if each not in entries and each.partition(":")[0] not in entries}

    def stale(self, entries: set[str]) -> set[str]:
        """The entries that nothing needs (any more)."""
        needed = {f"{scenario}:{check}" for scenario, checks in self.failed.items() for check in checks}
        return entries - needed - {scenario for scenario, checks in self.failed.items() if checks}


def exceptions(server: str, suite: Suite) -> tuple[Path, set[str]]:
    """The reviewed file of what may fail, in the suite's own format, and its entries: scenarios or checks."""
    path = HERE / f"{server}.{suite.name}.yml"
    entries: list[str] = yaml.safe_load(path.read_text(encoding="utf-8"))["server"]
    assert len(set(entries)) == len(entries)
    return path, set(entries)


async def found(suite: Suite, url: str, reviewed: Path, home: Path) -> Found:
    """Run a suite against the server at an address."""
    results = home / "results"
    results.mkdir(parents=True)
    status, out, err = await run(
        f"{suite.package}/dist/index.js", "server", "--url", url, *suite.options,
        "--expected-failures", str(reviewed), "--output-dir", str(results), home=home,
    )  # fmt: skip
    failed: dict[str, set[str]] = {}
    silent: set[str] = set()
    kept = 0
    for path in results.glob("*/checks.json"):
        named = _FOLDER.fullmatch(path.parent.name)
        assert named is not None, path
        checks = json.loads(path.read_text(encoding="utf-8"))
        failed[named[1]] = {str(each["id"]) for each in checks if each["status"] in _FAILED}
        kept += sum(each["status"] == "SUCCESS" for each in checks)
        if not any(each["status"] in _LOOKED for each in checks):
            silent.add(named[1])
    # What it sums up and what it wrote down are the same scenarios, else one of them was not read.
    assert failed.keys() == set(_SUMMED_UP.findall(out)), out + err
    return Found(failed, silent, kept, status == 0, out[out.rfind("=== SUMMARY") :] + err)
