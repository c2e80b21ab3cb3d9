"""What `minion setup` asks for: the answers a home has now, how they are checked, and how changed ones are kept.

One webhook is known to a set-up. Its name in `secrets.json` says what it is for: messages to `slack` go to
`slack_webhook` (so a run decides), a spare one is kept under a name that no report goes to.
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

from minion.asking import ask, beside
from minion.clock import Clock
from minion.config import (
    DOLLARS_PER_DAY,
    DOLLARS_PER_MONTH,
    Config,
    Home,
    is_zone,
    load_config,
    machine_zone,
    save_config,
    unwritable_home,
    wrong_dollars,
)
from minion.engines.registry import API_KEY, AUTO_CHOICE, INSTALLED, check_engine
from minion.repositories import top_level
from minion.secrets_file import forget_secret, keep_secret, read_secrets
from minion.setup.first_routine import (
    first_body,
    first_file,
    machine_name,
    put_first_routine,
    untouched_repositories,
)
from server.contract.refusals import BadUse, NotFound

# Where a run looks for the webhook of the target `slack`, first the one that this program writes.
SLACK_SECRETS: Final = ("slack_webhook", "slack")
# A webhook that reports do not go to: alerts only, or one whose test message did not arrive.
SPARE_SECRET: Final = "spare_slack_webhook"  # noqa: S105 - a name
_COMMAND: Final = "minion setup"
_CAPS: Final = ("dollars_per_day", "dollars_per_month")
FIELDS: Final = ("name", "timezone", "repositories", "reports", "engine", *_CAPS, "alerts")


@dataclass(frozen=True, slots=True)
class Answers:
    """All that a set-up decides. `reports` is outbox or slack; `alerts` as in a routine's `notify`.

    `webhook` is the Slack webhook that is known, whether or not reports go to it; `api_key` the key of the model's
    API if one was given now. The caps are in US dollars, None for none.
    """

    name: str
    timezone: str
    repositories: tuple[str, ...]
    reports: str
    engine: str
    alerts: tuple[Mapping[str, Any], ...]
    webhook: str | None = field(default=None, repr=False)
    dollars_per_day: float | None = DOLLARS_PER_DAY
    dollars_per_month: float | None = DOLLARS_PER_MONTH
    api_key: str | None = field(default=None, repr=False)

    @property
    def alert_kind(self) -> str:
        """none, slack or command; `several` for a list that somebody wrote by hand."""
        if not self.alerts:
            return "none"
        return next(iter(self.alerts[0])) if len(self.alerts) == 1 else "several"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a home says now: `config` is None when there is no minion in it.

    `routine` is how the first one stands: `missing`, `untouched` or `yours`; `secret` the webhook's name.
    """

    config: Config | None
    answers: Answers
    routine: str
    secret: str | None


def standing(home: Home, folder: Path) -> Standing:
    """What is there already; a fresh home has the defaults, its repository that of the checkout around `folder`.

    Raises a `Refusal` when something there cannot be read or its place cannot be written, or it is in use.
    """
    fresh = not home.config_file.exists()
    if fresh:
        _check_place(home)
    secrets = read_secrets(home.secrets_file)
    secret = next((name for name in (*SLACK_SECRETS, SPARE_SECRET) if name in secrets), None)
    reports = "slack" if secret in SLACK_SECRETS else "outbox"
    webhook = None if secret is None else secrets[secret]
    if fresh:
        around = top_level(folder)
        repositories = () if around is None else (str(around),)
        answers = Answers(machine_name(), machine_zone(), repositories, reports, INSTALLED[0], (), webhook)
        return Standing(None, answers, "missing", secret)
    config = load_config(home)
    with beside(home, _COMMAND):  # asked now: nobody should answer six questions for nothing
        pass
    listed = config.repositories or untouched_repositories(home, config) or ()
    answers = Answers(
        config.name, config.timezone, listed, reports, config.engine, config.notify, webhook,
        config.dollars_per_day, config.dollars_per_month,
    )  # fmt: skip
    return Standing(config, answers, _routine_of(home, config), secret)


def _check_place(home: Home) -> None:
    place = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        number = errno.EACCES if place.is_dir() else errno.ENOTDIR
        raise unwritable_home(home, OSError(number, os.strerror(number)))


def _routine_of(home: Home, config: Config) -> str:
    """`missing`: a set-up was cut off, so there is no routine, no routine's file and no run yet."""
    from minion.store.local_db import read_only
    from minion.store.routines import list_routines

    if untouched_repositories(home, config) is not None:
        return "untouched"
    if any(home.routines.glob("*.*")) or any(home.runs.glob("*")):
        return "yours"
    try:
        with read_only(home.store) as db:
            return "yours" if list_routines(db) else "missing"
    except NotFound:
        return "missing"


def checked_zone(name: str) -> str:
    """The time zone, if it is one. Raises `BadUse` with the nearest names."""
    if is_zone(name):
        return name
    near = " or ".join(_nearest_zones(name))
    hint = f"did you mean {near}?" if near else "use an IANA name such as Europe/Berlin"
    raise BadUse("unknown_zone", f"{name[:60]!r} is no IANA time zone.", hint=hint)


def _nearest_zones(name: str) -> list[str]:
    from server.contract.phrases.zones import zone_named

    exact = zone_named(name.lower().split() or [""])
    if exact is not None:
        return [exact[0]]
    keys = {key.lower(): key for key in sorted(available_timezones())}
    cities = {lower.rpartition("/")[2]: key for lower, key in keys.items()}
    wanted = name[:60].strip().lower().replace(" ", "_")
    near = [(cities | keys)[word] for word in get_close_matches(wanted, cities | keys, n=2, cutoff=0.6)]
    return list(dict.fromkeys(near))


def checked_engine(name: str, secrets: Collection[str]) -> str:
    """The engine, if it can be used with the secrets of these names; `auto` always. Raises `Refused`."""
    return name if name == AUTO_CHOICE.name else check_engine(name, lambda: secrets)


def checked_dollars(text: str) -> float | None:
    """A cap in US dollars, None for `none`. Raises `BadUse`."""
    if text.strip().lower() == "none":
        return None
    try:
        dollars = float(text.strip().removeprefix("$"))
    except ValueError:
        dollars = -1.0
    if wrong_dollars(dollars) is not None:
        says = f"{text[:40]!r} is no number of US dollars."
        raise BadUse("bad_dollars", says, hint="write a number such as 5 or 2.50, or none for no cap")
    return dollars


def keep(
    home: Home, before: Standing, wanted: Answers, *, clock: Clock, alert: Callable[[str], None]
) -> tuple[str, ...]:
    """Write what was answered differently; the names of the `FIELDS` that changed.

    In this order: the home, the routine (which alone can still be refused), a webhook, `minion.json`, and at
    last the names a webhook no longer has. Cut off in between, the home works and setting it up again mends it.
    A daemon that is up keeps the routine itself, and reads the rest again at the end.
    """
    changed = tuple(name for name in FIELDS if _differs(before, wanted, name))
    if before.routine == "missing":
        changed += ("routine",)
    if wanted.api_key is not None:
        changed += (API_KEY,)
    if changed or _moved(before.answers, wanted):
        wanted = _with_secret(before, wanted)
        if before.config is None:
            import asyncio

            asyncio.run(_begin(home, before, wanted, clock, alert))
        else:
            _keep_routine(home, before, wanted, alert)
            with beside(home, _COMMAND) as daemon:
                _keep_files(home, before, wanted)
                if daemon is not None:
                    daemon.ask("reload", {})
    return changed


async def _begin(
    home: Home, before: Standing, wanted: Answers, clock: Clock, alert: Callable[[str], None]
) -> None:
    from minion.app import initialise, opened

    def begin() -> Config:
        return initialise(home, name=wanted.name, timezone=wanted.timezone)

    async with opened(home, _COMMAND, clock=clock, alert=alert, begin=begin) as minion:
        await put_first_routine(minion, wanted.repositories)
        _keep_files(home, before, wanted)


def _keep_files(home: Home, before: Standing, wanted: Answers) -> None:
    """Write the secrets and `minion.json`, as far as they change."""
    moved = _moved(before.answers, wanted)
    if moved and wanted.webhook is not None:
        keep_secret(home.secrets_file, _place(wanted), wanted.webhook)
    if wanted.api_key is not None:
        keep_secret(home.secrets_file, API_KEY, wanted.api_key)
    # Read again: what somebody wrote since the first question stays.
    config = load_config(home)
    kept = replace(config, **_changes(before, wanted))
    if kept != config:
        save_config(home, kept)
    if moved:
        for name in sorted({*SLACK_SECRETS, SPARE_SECRET} - {_place(wanted)}):
            forget_secret(home.secrets_file, name)


def _changes(before: Standing, wanted: Answers) -> dict[str, Any]:
    """What changes in `minion.json`; where reports go is said by the webhook's name instead."""
    names = {name: name for name in FIELDS if name != "reports"} | {"alerts": "notify"}
    return {key: getattr(wanted, name) for name, key in names.items() if _differs(before, wanted, name)}


def _keep_routine(home: Home, before: Standing, wanted: Answers, alert: Callable[[str], None]) -> None:
    """Have the home's owner keep the first routine: a missing one, or ours still on other repositories."""
    config, file = load_config(home), first_file(home)
    said = {"body": _sent(first_body(config, wanted.repositories)), "folder": str(home.root)}
    if before.routine == "missing":
        ask(home, "routine.add", {**said, "source": str(file)}, command=_COMMAND, alert=alert)
    # Looked at again: a routine that somebody made theirs stays as it is.
    elif untouched_repositories(home, config) is not None and _differs(before, wanted, "repositories"):
        said |= {"name": file.stem, "draft": str(file), "begun": _sent(file.read_bytes())}
        ask(home, "routine.edit", said, command=_COMMAND, alert=alert)


def _sent(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _differs(before: Standing, wanted: Answers, name: str) -> bool:
    """Whether a field is answered differently; in a fresh home every answer is new, caps of money apart.

    A webhook is part of where reports go, or of the alerts that go to it.
    """
    if getattr(before.answers, name) != getattr(wanted, name) or (before.config is None and name not in _CAPS):
        return True
    used = {"reports": wanted.reports == "slack", "alerts": wanted.alert_kind == "slack"}
    return used.get(name, False) and before.answers.webhook != wanted.webhook


def _moved(before: Answers, wanted: Answers) -> bool:
    return (before.webhook, before.reports) != (wanted.webhook, wanted.reports)


def _place(wanted: Answers) -> str:
    return SLACK_SECRETS[0] if wanted.reports == "slack" else SPARE_SECRET


def _with_secret(before: Standing, wanted: Answers) -> Answers:
    """The answers with the name in their alerts under which the webhook will lie."""
    if _moved(before.answers, wanted):
        name = _place(wanted)
    elif before.answers.alerts != wanted.alerts and before.secret is not None:
        name = before.secret
    else:
        return wanted
    ours = (*SLACK_SECRETS, SPARE_SECRET)
    return replace(
        wanted, alerts=tuple({"slack": name} if each.get("slack") in ours else each for each in wanted.alerts)
    )
