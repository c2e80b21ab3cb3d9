"""`minion status`: how the minion stands now, on one screen, with or without a daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from minion.commands.context import as_called, home_of, print_json
from minion.commands.presentation import mark, table
from minion.config import Config, Home, holder_now, load_config
from minion.daemon_client import DAEMON, answer_now, unanswered
from minion.release import program_version
from minion.routines.files import all_routine_files
from minion.spelling import local_time, one_line, spell_instant
from minion.standing import standing
from minion.store.local_db import read_only
from server.contract.refusals import NotFound

# So many of a list stand on the screen; `--json` has all of them.
_MOST: Final = 10


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show how the minion stands: its daemon, what runs and waits, each routine, what needs somebody.

    Works with and without a daemon: without one, nothing runs by itself, and it says so. `due next` is the next
    instant at which a routine starts by itself; under `now` stands what keeps it from that, or that it runs. What
    needs somebody comes last: alerts that are open, decisions that wait, effects of which nobody knows whether
    they happened. `minion why NAME` tells more of one routine.

    \b
    Examples:
      minion status
      minion status --json
    """
    home = home_of(ctx)
    document = status_of(home, load_config(home))
    if as_json:
        print_json(document)
        return
    click.echo("\n".join(_screen(document, lambda command: as_called(ctx, command))))


def status_of(home: Home, config: Config) -> dict[str, Any]:
    """The document of `minion status --json`, from the daemon, or from the store where none answers."""
    told = answer_now(home, "status")
    if told is not None:
        return told
    holder = holder_now(home)
    live = unanswered(holder[0]) if holder is not None and holder[1] == DAEMON else None
    document = _without_daemon(home, config, live)
    if holder is not None and live is None:
        document["holder"] = {"pid": holder[0], "command": holder[1]}
    return document


def _without_daemon(home: Home, config: Config, live: Mapping[str, Any] | None) -> dict[str, Any]:
    from minion.clock import utc_now

    try:
        with read_only(home.store) as db:
            files = {file.stem for file in all_routine_files(home)}
            return standing(db, config, now=utc_now(), live=live, files=files)
    except NotFound:  # nothing was added or run yet
        names: tuple[str, ...] = ("running", "waiting", "routines", "alerts", "decisions", "unknown_effects")
        empty = {
            "minion": {"id": config.minion_id, "name": config.name}, "daemon": live, "pid": None, "hq": None,
            "halted": None, "next_due": None, "unsent": 0,
        }  # fmt: skip
        return empty | {name: [] for name in names}


def _screen(said: Mapping[str, Any], called: Callable[[str], str]) -> Iterator[str]:
    """The lines; `called` makes of `minion VERB` how the program was called."""
    yield from _daemon(said, called)
    yield from _named("HQ", list(_hq(said.get("hq"))))
    if said["halted"] is not None:
        since, why = local_time(said["halted"]["at"]), one_line(said["halted"]["why"])
        says = f"{mark('held')}  nothing starts since {since}: {why}"
        yield from _named("halted", [says, called("minion unhalt")])
    yield from _named("running", [
        f"{run['routine']}  {run['run']}  since {local_time(run['since'])}" for run in said["running"]
    ])  # fmt: skip
    yield from _named("waiting", [
        f"{item['routine']}  {'due ' + spell_instant(item['due']) if item['due'] else item['run']}"
        for item in said["waiting"]
    ])  # fmt: skip
    yield ""
    if said["routines"]:
        header = ["routine", "due next", "last run", "now"]
        yield from table(header, [_row(item, called) for item in said["routines"]])
    else:
        yield called("No routines yet: minion routine new --list")
    yield from _needs(said, called)


def _daemon(said: Mapping[str, Any], called: Callable[[str], str]) -> Iterator[str]:
    daemon = said["daemon"]
    if daemon is None:
        yield called("No daemon runs this minion, so nothing starts by itself: minion up")
        if "holder" in said:
            yield from _named("in use", [f"by `{said['holder']['command']}` (process {said['holder']['pid']})"])
        return
    if daemon["health"] == "silent":
        yield f"The daemon (process {daemon['pid']}) does not answer."
    else:
        stopping = ", and is stopping" if daemon["stopping"] else ""
        yield f"The minion is up{stopping}: process {daemon['pid']}, since {local_time(daemon['since'])}."
    trouble = [f"{mark('problem')}  {text}" for text in daemon["trouble"] or ()]
    trouble += [called(daemon["fix"])] if daemon.get("fix") else []
    yield from _named("health", trouble or [mark("ok")])
    ours, theirs = program_version(), daemon.get("version")
    if theirs not in (None, ours):
        again = called("minion down && minion up")
        yield from _named("version", [f"{theirs}, and this program is {ours}: {again}"])


def _hq(said: Mapping[str, Any] | None) -> Iterator[str]:
    """The HQ that was joined, and whether it answers."""
    if said is None:
        return
    since = f" since {local_time(said['since'])}" if said["since"] else ""
    if said["linked"]:
        yield f"{mark('ok')}  linked to {said['url']}{since}"
    elif said["problem"] is None:
        yield f"–  {said['url']}, which nobody asks while the minion is down"
    else:
        yield f"{mark('warning')}  {said['url']} is away{since}: {one_line(said['problem'])}"
        yield "routines go on, HQ's too; what is ordered there comes when it is back"
    if said["reports"]:
        many = f"{said['reports']:,} reports wait" if said["reports"] > 1 else "1 report waits"
        yield f"{many} to be heard there"


def _row(item: Mapping[str, Any], called: Callable[[str], str]) -> list[str]:
    last, state = item["last_run"], item["state"]
    due = spell_instant(item["next"]) if item["next"] else "on demand" if item["on_demand"] else "–"
    words = {"scheduled": "", "on-demand": "", "hq": "HQ schedules it"}
    now = words[state] if state in words else mark(state)
    if item["problem"]:
        now = f"{now}: {one_line(item['problem'].removeprefix(item['name'] + ': '))}"
    elif state == "rejected":
        now = f"{now}: {called('minion decide ' + item['rejected'] + ' approve')}"
    when = local_time(last["ended_at"] or last["created_at"]) if last else ""
    ended = f"{mark(last['verdict'])} {when}" if last else "never ran"
    return [item["name"], due, ended, now]


def _needs(said: Mapping[str, Any], called: Callable[[str], str]) -> Iterator[str]:
    """What needs somebody, with the command for each."""
    alerts = [f"{mark('warning')}  {one_line(alert['text'])}" for alert in said["alerts"]]
    if said["unsent"]:
        many = f"{said['unsent']} notices" if said["unsent"] > 1 else "1 notice"
        alerts.append(f"{many} did not arrive, or not yet: {called('minion alerts')}")
    decisions = []
    for item in said["decisions"]:
        decisions += [one_line(item["question"]), called(f"minion decide {item['id']} approve")]
    effects = []
    for item in said["unknown_effects"]:
        what = f"{mark('unknown')}  {one_line(item['kind'])}:{one_line(item['target'])} of {item['routine']}"
        effects.append(f"{what}: {called('minion effects ' + item['run'])}")
    for name, lines in (("alerts", alerts), ("decisions", decisions), ("effects", effects)):
        if lines:
            yield ""
            yield from _named(name, lines)


def _named(name: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines under one name, the first beside it."""
    left = len(lines) - _MOST
    shown = [*lines[:_MOST], *([f"… and {left} more, which --json has"] if left > 0 else [])]
    for place, line in enumerate(shown):
        yield f"{name if place == 0 else '':<10} {line}"
