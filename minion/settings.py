"""What `minion.json` says: who the minion is and how it works, each key checked, with its default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from server.contract.digest import read_uuid

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
# The newest runs that a home keeps unless its minion.json says another number (the seed's "last 200 runs").
KEPT_RUNS: Final = 200
# How many runs a daemon has go on at once, and how many seconds it gives them to end when it is stopped.
RUNS_AT_ONCE: Final = 8
GRACE_S: Final = 10
# What a minion may spend on models unless its minion.json says otherwise, in US dollars (DESIGN §6).
DOLLARS_PER_DAY: Final = 5.0
DOLLARS_PER_MONTH: Final = 50.0
MOST_DOLLARS: Final = 1_000_000
# As in a routine document; `auto` stands for the engine that fits, chosen when a routine is saved.
AUTO: Final = "auto"
ENGINE_NAMES: Final = ("script", "messages", "claude-code", AUTO)
# As many, and as long, as a routine document's `notify` may have.
_MOST_NOTICES: Final = 20
MOST_ARGUMENTS: Final = 64
LONGEST_ARGUMENT: Final = 4096
SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# As the contract's `ModelName`, which needs pydantic.
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}")
_MOST_MODELS: Final = 100
# Where pull requests and comments go: a repository's host and the API that answers for it.
FORGES: Final[Mapping[str, str]] = {"github.com": "https://api.github.com"}


class WrongSetting(Exception):
    """A configuration that says something wrong; the message is a sentence without its capital and its end."""


@dataclass(frozen=True, slots=True)
class Config:
    """What `minion.json` says: the minion's id (a UUID), its name and its defaults.

    `notify`: who is told when a routine that says none fails; entries as in a routine's `notify`. `runs_at_once`
    go on under the daemon, which gives them `grace_s` seconds to end when it is stopped. `model`: what performs a
    routine that names none; `prices` are one's own, by model (US dollars per million tokens); `api_url` is where
    the model's API is, None for the usual place. `dollars_per_day` and `dollars_per_month` are what all runs
    together may spend, None for no cap.
    """

    minion_id: str
    name: str
    engine: str = "script"
    timezone: str = "UTC"
    keep_runs: int = KEPT_RUNS
    repositories: tuple[str, ...] = field(default=())
    forges: Mapping[str, str] = field(default_factory=lambda: dict(FORGES))
    notify: tuple[Mapping[str, Any], ...] = ()
    runs_at_once: int = RUNS_AT_ONCE
    grace_s: int = GRACE_S
    model: str | None = None
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    api_url: str | None = None
    dollars_per_day: float | None = DOLLARS_PER_DAY
    dollars_per_month: float | None = DOLLARS_PER_MONTH

    def as_data(self) -> dict[str, Any]:
        """The configuration as it is written to the file."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        lists = {"repositories": list(self.repositories), "notify": [dict(notice) for notice in self.notify]}
        prices = {model: dict(price) for model, price in self.prices.items()}
        return plain | lists | {"forges": dict(self.forges), "prices": prices}


def read_settings(data: Any) -> Config:
    """The configuration that the file's JSON is. Raises `WrongSetting`, which names the field."""
    if not isinstance(data, dict):
        raise WrongSetting("it is not a JSON object")
    unknown = sorted(set(data) - {each.name for each in fields(Config)})
    if unknown:
        raise WrongSetting(f"it has the unknown key {unknown[0][:60]!r}")
    try:
        minion_id = read_uuid(data["minion_id"])
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise WrongSetting("`minion_id` is no UUID") from error
    values = {"name": None, **data, "minion_id": minion_id}
    for name, wrong in _CHECKS.items():
        words = wrong(values[name]) if name in values else None
        if words is not None:
            raise WrongSetting(f"`{name}` {words}")
    tuples = {name: tuple(values[name]) for name in ("repositories", "notify") if name in values}
    return Config(**values | tuples)


def is_slug(text: str) -> bool:
    """Whether `text` can be a name: small letters, digits and hyphens, and so no path."""
    return _NAME.fullmatch(text) is not None


def is_zone(key: str) -> bool:
    """Whether `key` is the name of an IANA time zone, spelled as the zone database has it."""
    from zoneinfo import ZoneInfo

    try:
        return bool(key) and ZoneInfo(key).key == key
    except (ValueError, OSError, KeyError):
        return False


def wrong_dollars(value: Any) -> str | None:
    """What is wrong with a cap in US dollars; None when nothing is. No cap at all is null."""
    fits = value is None or (_is_number(value) and 0 <= value <= MOST_DOLLARS)
    return None if fits else f"is no number of US dollars from 0 to {MOST_DOLLARS:,}, nor null for no cap"


def _name(value: Any) -> str | None:
    fits = isinstance(value, str) and is_slug(value)
    return None if fits else "is no slug of small letters, digits and hyphens"


def _engine(value: Any) -> str | None:
    return None if value in ENGINE_NAMES else f"is none of the engines: {', '.join(ENGINE_NAMES)}"


def _timezone(value: Any) -> str | None:
    if not isinstance(value, str):
        return "is no text"
    fits = value == "UTC" or is_zone(value)
    return None if fits else f"{value[:60]!r} is no IANA time zone, such as Europe/Berlin"


def _from_1_to(most: int) -> Callable[[Any], str | None]:
    def wrong(value: Any) -> str | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        return None if fits else f"is no number from 1 to {most:,}"

    return wrong


def _repositories(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if fits else "is no list of paths or URLs"


def _forges(value: Any) -> str | None:
    fits = isinstance(value, dict) and all(isinstance(api, str) for api in value.values())
    return None if fits else "is no object of hosts and API addresses"


def _notify(value: Any) -> str | None:
    fits = isinstance(value, list) and len(value) <= _MOST_NOTICES and all(map(_is_notice, value))
    return None if fits else 'is no list of {"slack": SECRET} or {"command": [PROGRAM, …]}'


def _is_notice(item: Any) -> bool:
    """Whether this is one entry of a routine's `notify` (the bounds are those of the routine document)."""
    if not isinstance(item, dict) or len(item) != 1:
        return False
    ((kind, value),) = item.items()
    if kind == "slack":
        return isinstance(value, str) and SECRET_NAME.fullmatch(value) is not None
    return (
        kind == "command"
        and isinstance(value, list)
        and 1 <= len(value) <= MOST_ARGUMENTS
        and all(isinstance(word, str) and word.strip() and len(word) <= LONGEST_ARGUMENT for word in value)
    )


def _is_model(value: Any) -> bool:
    return isinstance(value, str) and _MODEL.fullmatch(value) is not None


def _model(value: Any) -> str | None:
    return None if value is None or _is_model(value) else "is no name of a model, nor null for the usual one"


def _prices(value: Any) -> str | None:
    """What is wrong with a price table of one's own (`server/contract/prices.py` reads it)."""
    if not isinstance(value, dict) or len(value) > _MOST_MODELS:
        return 'is no object such as {"MODEL": {"input": 3, "output": 15}}'
    for model, price in value.items():
        if not _is_model(model):
            return f"has {str(model)[:60]!r}, which is no name of a model"
        words = _price(price)
        if words is not None:
            return f"of {model} {words}"
    return None


def _price(value: Any) -> str | None:
    from server.contract.prices import KINDS  # who has no prices of their own need not load it

    rates = dict(value) if isinstance(value, dict) else {}
    tables = [rates]
    if "long_prompt" in rates:
        said = rates.pop("long_prompt")
        longer = dict(said) if isinstance(said, dict) else {}
        over = longer.pop("over", None)
        if not isinstance(over, int) or isinstance(over, bool) or over < 1:
            return "has a long_prompt without `over`, a number of tokens"
        tables.append(longer)
    for table in tables:
        if not {"input", "output"} <= set(table):
            return "needs input and output, in US dollars per million tokens"
        strange = next((key for key, rate in table.items() if key not in KINDS or not _is_rate(rate)), None)
        if strange is not None:
            return f"has {strange[:60]!r}: it takes {', '.join(KINDS)} as numbers, and long_prompt"
    return None


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= MOST_DOLLARS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _api_url(value: Any) -> str | None:
    """What is wrong with the API's address: its key goes there, and so nowhere that others can listen."""
    if value is None:
        return None
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(value if isinstance(value, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no address"
    plain = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    if not plain or not host or parts.query or parts.fragment or parts.username is not None:
        return "is no plain address such as https://api.example.com"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return None
    return "must begin with https:// (http:// only on this machine, such as http://127.0.0.1:8080)"


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# What is wrong with the value of each key, in words behind the key; None when nothing is.
_CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "name": _name, "keep_runs": _from_1_to(100_000), "runs_at_once": _from_1_to(64), "grace_s": _from_1_to(3600),
    "repositories": _repositories, "engine": _engine, "timezone": _timezone, "forges": _forges, "notify": _notify,
    "model": _model, "prices": _prices, "api_url": _api_url, "dollars_per_day": wrong_dollars,
    "dollars_per_month": wrong_dollars,
}  # fmt: skip
