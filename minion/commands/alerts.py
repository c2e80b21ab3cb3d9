"""`minion alerts`: what went wrong and is not over yet, and who was told of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click

from minion.commands.context import as_called, home_of, print_json, warn
from minion.config import load_config, reaching
from minion.daemon.judgement import look
from minion.daemon_client import connected
from minion.spelling import local_time, one_line
from minion.store.alerts import list_alerts
from minion.store.local_db import read_only
from server.contract.refusals import NotFound

WORDS = {
    "slot_missed": "missed", "not_delivered": "not delivered", "failing": "failing", "cost_rise": "costs more",
    "bad_file": "bad file", "waits": "waits for you", "auto_paused": "paused itself",
    "ping_failed": "switch not called",
}  # fmt: skip


@click.command("alerts")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List what went wrong and is not over yet, newest first, and who was told of it.

    An alert opens once and stays open until what it tells of is over: a good run, a slot that ran, a mended file,
    a resumed routine. Its beginning and its end are each told once, in the ways that `notify` of the routine
    names, else `notify` of minion.json. What cannot be sent is tried again for a day, as it says here. The daemon
    sends; while none runs, nothing is sent. The newest 500 that are over are kept.

    \b
    Examples:
      minion alerts
      minion alerts --all --json
    """
    home = home_of(ctx)
    load_config(home)
    try:
        with read_only(home.store) as db:
            found = list_alerts(db, open_only=not everything)
    except NotFound:  # nothing was added or run yet
        found = []
    for alert in found:
        about = alert["run"] or alert["decision"]
        alert["look"] = look(alert["kind"], alert["routine"], about) if alert["until"] is None else []
    if as_json:
        print_json([alert | {"look": [reaching(home, line) for line in alert["look"]]} for alert in found])
        return
    if not found:
        click.echo("There never was an alert." if everything else "No alerts.")
    for alert in found:
        click.echo("\n".join(as_called(ctx, line) for line in _lines(alert)))
    waiting = sum(notice["state"] == "waiting" for alert in found for notice in alert["told"])
    if waiting and connected(home) is None:
        wait = f"{waiting} notices wait" if waiting > 1 else "1 notice waits"
        warn(as_called(ctx, f"{wait} for a daemon, which sends them: minion up"))


def _lines(alert: Mapping[str, Any]) -> Iterator[str]:
    word = WORDS.get(alert["kind"], alert["kind"])
    over = alert["until"] is not None
    sign = click.style(f"✓ {word}", fg="green") if over else click.style(f"✗ {word}", fg="red")
    until = f" until {local_time(alert['until'])}" if over else ""
    yield f"{sign}  {click.style(alert['routine'], bold=True)}  since {local_time(alert['since'])}{until}"
    yield f"  {one_line(alert['text'])}"
    if over:
        yield f"  {one_line(alert['closing'])}"
    for notice in alert["told"]:
        yield f"  {_told(notice)}"
    if not alert["told"]:
        yield "  told nobody: neither the routine nor minion.json has `notify`"
    for line in alert["look"]:
        yield f"  look {line}"


def _told(notice: Mapping[str, Any]) -> str:
    way = notice["way"]
    whom = f"Slack ({way['slack']})" if "slack" in way else shlex.join(way["command"])
    what = "its end " if notice["over"] else ""
    why = f": {one_line(notice['problem'])}" if notice["problem"] else ""
    if notice["state"] == "sent":
        return f"told {what}{whom}, {local_time(notice['at'])}"
    if notice["state"] == "waiting":
        return f"to tell {what}{whom} {local_time(notice['at'])}, tried {_times(notice['tries'])}{why}"
    return f"not told {what}{whom}, given up: tried {_times(notice['tries'])}{why}"


def _times(tries: int) -> str:
    return {0: "not yet", 1: "once"}.get(tries, f"{tries} times")
