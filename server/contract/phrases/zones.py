"""Time zones as people name them in a phrase: IANA keys and cities, and abbreviations that are none."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from typing import Final
from zoneinfo import available_timezones

MOST_WORDS: Final = 4
_LONGEST_NAME: Final = 32

# An abbreviation says one half of the year only, and several are used by places far apart (CST, IST, BST).
ABBREVIATIONS: Final = {
    "cet": "Europe/Berlin", "cest": "Europe/Berlin", "met": "Europe/Berlin", "mez": "Europe/Berlin",
    "gmt": "Europe/London", "bst": "Europe/London", "wet": "Europe/Lisbon", "west": "Europe/Lisbon",
    "eet": "Europe/Athens", "eest": "Europe/Athens", "msk": "Europe/Moscow", "sast": "Africa/Johannesburg",
    "est": "America/New_York", "edt": "America/New_York", "et": "America/New_York",
    "cst": "America/Chicago", "cdt": "America/Chicago", "ct": "America/Chicago",
    "mst": "America/Denver", "mdt": "America/Denver", "mt": "America/Denver",
    "pst": "America/Los_Angeles", "pdt": "America/Los_Angeles", "pt": "America/Los_Angeles",
    "akst": "America/Anchorage", "hst": "Pacific/Honolulu", "brt": "America/Sao_Paulo",
    "ist": "Asia/Kolkata", "jst": "Asia/Tokyo", "kst": "Asia/Seoul", "hkt": "Asia/Hong_Kong",
    "sgt": "Asia/Singapore", "awst": "Australia/Perth", "aest": "Australia/Sydney",
    "aedt": "Australia/Sydney", "nzst": "Pacific/Auckland", "nzdt": "Pacific/Auckland",
}  # fmt: skip

_AREAS: Final = (
    "Africa/", "America/", "Antarctica/", "Arctic/", "Asia/", "Atlantic/", "Australia/", "Europe/",
    "Indian/", "Pacific/",
)  # fmt: skip
# Large cities that the zone database does not name.
_CITIES: Final = {
    "munich": "Europe/Berlin", "hamburg": "Europe/Berlin", "frankfurt": "Europe/Berlin",
    "cologne": "Europe/Berlin", "geneva": "Europe/Zurich", "milan": "Europe/Rome",
    "barcelona": "Europe/Madrid", "manchester": "Europe/London", "edinburgh": "Europe/London",
    "san francisco": "America/Los_Angeles", "seattle": "America/Los_Angeles", "boston": "America/New_York",
    "miami": "America/New_York", "atlanta": "America/New_York", "philadelphia": "America/New_York",
    "houston": "America/Chicago", "dallas": "America/Chicago", "austin": "America/Chicago",
    "mumbai": "Asia/Kolkata", "delhi": "Asia/Kolkata", "new delhi": "Asia/Kolkata",
    "bangalore": "Asia/Kolkata", "beijing": "Asia/Shanghai", "osaka": "Asia/Tokyo",
    "rio de janeiro": "America/Sao_Paulo",
}  # fmt: skip


def zone_named(words: Sequence[str]) -> tuple[str, int] | None:
    """The IANA key that the longest start of `words` (small letters) names and how many it takes, or None."""
    names = _names()
    for count in range(min(len(words), MOST_WORDS), 0, -1):
        key = names.get(_plain(" ".join(words[:count])))
        if key is not None:
            return key, count
    return None


def nearest_zone(word: str) -> str | None:
    """The key whose name or city is spelled much like `word`, or None."""
    names = _names()
    near = get_close_matches(_plain(word), names, n=1, cutoff=0.75) if len(word) <= _LONGEST_NAME else []
    return names[near[0]] if near else None


@cache
def _names() -> dict[str, str]:
    keys = sorted(available_timezones())
    whole = {_plain(key): key for key in keys if key[0].isupper() and key != "Factory"}
    # Keys that share their last part (America/Cordoba, America/Argentina/Cordoba) are aliases of one zone.
    by_city = {_plain(key.rpartition("/")[2]): key for key in reversed(keys) if key.startswith(_AREAS)}
    return whole | _CITIES | by_city


def _plain(name: str) -> str:
    # A sign belongs to the name in Etc/GMT-5 alone.
    kept = name.lower().replace("_", " ")
    return kept if "gmt" in kept else kept.replace("-", " ")
