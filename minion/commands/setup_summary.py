"""What `minion setup` prints at its end: how things stand now, what was tried, what changed, what is next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from minion.commands.context import print_json, shown_path
from minion.commands.presentation import mark
from minion.commands.setup_questions import Sitting, spelled_cap
from minion.config import Home, load_config
from minion.engines.registry import AUTO_CHOICE, has_model, payer_of
from minion.setup.answers import Answers
from minion.setup.first_routine import FIRST_ROUTINE, is_paused, next_commands


def print_summary(home: Home, sitting: Sitting, changed: Sequence[str], *, program: str, as_json: bool) -> None:
    """The summary on stdout, for people or as one JSON document."""
    wanted, fresh = sitting.wanted, sitting.before.config is None
    config = load_config(home)
    phrase = "every weekday at 9: my team's commits to Slack"
    following = [*next_commands(home, program), f"{program} doctor", f'{program} schedule "{phrase}"']
    if as_json:
        print_json({
            "home": str(home.root), "minion_id": config.minion_id,
            "name": wanted.name, "timezone": wanted.timezone,
            "repositories": list(wanted.repositories), "reports": wanted.reports, "engine": wanted.engine,
            "pays": payer_of(wanted.engine), "dollars_per_day": wanted.dollars_per_day,
            "dollars_per_month": wanted.dollars_per_month, "alerts": wanted.alert_kind,
            "notify": [dict(notice) for notice in config.notify], "tested": sitting.tested,
            "changed": list(changed), "next": following,
        })  # fmt: skip
        return
    made = "is set up" if fresh else "is changed" if changed else "stays as it was"
    click.echo(f"{click.style(wanted.name, bold=True)} {made}, in {shown_path(home.root)}.\n")
    rows = {
        "name": wanted.name,
        "time zone": wanted.timezone,
        "repositories": ", ".join(
            url + (f" ({mark('passed')}: git reads it)" if url in sitting.tested["repositories"] else "")
            for url in wanted.repositories
        ) or "none",
        "reports": _reports(home, wanted, sitting.tested["message"]),
        "engine": wanted.engine,
        "who pays": payer_of(wanted.engine) + _caps(wanted),
        "alerts": _alerts(wanted, sitting.tested["alert"], program),
    }
    if is_paused(home):
        name = FIRST_ROUTINE["name"]
        rows["schedule"] = f"{name} is paused until you start it: {program} schedule resume {name}"
    if not fresh:
        rows["changed"] = ", ".join(changed) or "nothing"
    click.echo("\n".join(f"  {name:<13} {value}" for name, value in rows.items()))
    click.echo("\nnext\n" + "\n".join(f"  {line}" for line in following))


def _caps(wanted: Answers) -> str:
    """What runs may spend, where they can spend anything."""
    if not has_model(wanted.engine) and wanted.engine != AUTO_CHOICE.name:
        return ""
    pairs = ((wanted.dollars_per_day, "a day"), (wanted.dollars_per_month, "a month"))
    caps = [f"${spelled_cap(cap)} {word}" for cap, word in pairs if cap is not None]
    return f"; at most {' and '.join(caps)}" if caps else "; without any cap of dollars"


def _reports(home: Home, wanted: Answers, tested: dict[str, Any] | None) -> str:
    if wanted.reports == "outbox":
        return f"files in {shown_path(home.outbox)}/ROUTINE"
    return f"slack{_tried(tested)}"


def _alerts(wanted: Answers, tested: dict[str, Any] | None, program: str) -> str:
    if not wanted.alerts:
        return "none: nobody is told when a routine fails"
    how = wanted.alert_kind
    if how == "command":
        how = shlex.join(wanted.alerts[0]["command"])
    return f"{how}{_tried(tested)}; sent by the daemon: {program} up"


def _tried(tested: dict[str, Any] | None) -> str:
    if tested is None:
        return ""
    if "exit_code" in tested:
        return f" ({mark('passed')}: exit code {tested['exit_code']})"
    word = "delivered" if tested["arrived"] else "failed"
    return f" ({mark(word)}: {tested['host']} answered {tested['answer']})"
