"""Reads which instant somebody asks about: a clock time, the newest such one, or a date with its time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from server.contract.refusals import BadUse

_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_TO_THE_SECOND: Final = re.compile(r"([0-9]{1,2}:[0-9]{2}):[0-9]{2}")
_DATED: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The minute that is meant: as the zone's clock shows it (naive), and each UTC instant at which it does."""

    wall: datetime
    instants: tuple[datetime, ...]


def read_asked(text: str, zone: tzinfo, now: datetime) -> Asked:
    """The minute that `text` means in a zone: `9:00` the newest one not after `now`, `2026-01-05T09:00` that one.

    Raises `BadUse`.
    """
    fine = _TO_THE_SECOND.fullmatch(text.strip())
    if fine is not None:
        says = f"{fine[0]!r} says seconds, which are not taken: a time of day is a whole minute."
        raise BadUse("bad_time", says, hint=f"write {fine[1]}, or a date with it: 2026-01-05T09:00")
    clock, said = _CLOCK.fullmatch(text.strip()), text.strip().upper()
    try:
        if clock is not None:
            local = now.astimezone(zone)
            wall = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0, tzinfo=None)
            if min(_instants(wall, zone)) > now:
                wall -= timedelta(days=1)
            return Asked(wall, _instants(wall, zone))
        if _DATED.fullmatch(said):
            moment = datetime.fromisoformat(said.replace(" ", "T"))
            if moment.tzinfo is not None:
                wall = moment.astimezone(zone).replace(second=0, tzinfo=None, fold=0)
                return Asked(wall, (moment.astimezone(UTC).replace(second=0),))
            return Asked(moment.replace(second=0), _instants(moment.replace(second=0), zone))
    except (ValueError, OverflowError):
        pass
    hint = "write a clock time such as 9:00, or a date with it: 2026-01-05T09:00"
    raise BadUse("bad_time", f"{text[:40]!r} is no time.", hint=hint)


def _instants(wall: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """Both of a repeated hour; for a skipped one those before and after the gap."""
    found = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return tuple(sorted(found))
