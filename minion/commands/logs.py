"""`minion logs`: everything that was written down while a run went on, of all of it or of one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from minion.commands.completion import complete_run
from minion.commands.context import home_of, print_json, shown_path
from minion.commands.presentation import headline, mark, rule
from minion.config import Home, load_config
from minion.spelling import STEP_KINDS, plain, spell_cost, spell_ms
from minion.store.local_db import read_only
from minion.store.run_events import run_events, within_step
from minion.store.run_history import find_run, whole_run
from server.contract.digest import parse_instant
from server.contract.refusals import BadUse

_LINES: Final = 12
# What the processes of a run wrote beside the events: empty unless something went wrong in them.
_BESIDE: Final = ("runner.log", "tool_host.log")
_BESIDE_BYTES: Final = 65_536


@click.command("logs")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("--step", metavar="S", help="Only one step: its code, its skill, its number, or a block's code.")
@click.option("--follow", "-f", is_flag=True, help="Go on as long as the run does, with each event.")
@click.option("--verbose", "-v", is_flag=True, help="Every event and every line of text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; with -f one a line.")
@click.pass_context
def command(
    ctx: click.Context, run: str, step: str | None, follow: bool, verbose: bool, as_json: bool
) -> None:
    """Show what was written down while a run went on: blocks, steps, what skills said, effects, checks.

    RUN is an id, the beginning of one, a routine's name, NAME@last, or last. Times are this machine's.
    Secrets were taken out before anything was written. Long texts are cut; --step and --verbose show them whole.

    --follow shows a run that goes on, from its beginning to its end, from any terminal; whoever performs it.
    Ctrl-C ends the following, and not the run: `minion cancel RUN` does that.

    \b
    Examples:
      minion logs last
      minion logs -f morning-report
      minion logs morning-report@last --step write-daily-report
      minion logs run_01A2B3C4 --step 040.001.02 --json
    """
    home = home_of(ctx)
    load_config(home)
    with read_only(home.store) as db:
        run_id = find_run(db, run)
        whole, events = whole_run(db, run_id), run_events(db, run_id)
    if follow:
        if step is not None:
            hint = "leave one of them out: `minion logs RUN --step S` shows the step once it is there"
            raise BadUse("follow_step", "--follow shows the whole run, and --step one step of it.", hint=hint)
        _follow(home, whole, verbose=verbose, as_json=as_json)
        return
    if step is not None:
        events = within_step(events, step)
    if as_json:
        print_json({"run": run_id, "routine": whole["routine"], "verdict": whole["verdict"], "events": events})
        return
    click.echo(headline(whole))
    _print(events, whole, all_of_it=step is not None, verbose=verbose)
    for name in _BESIDE if step is None else ():
        _print_beside(Path(whole["folder"]) / name)


def _print(
    events: Sequence[Mapping[str, Any]], run: Mapping[str, Any], *, all_of_it: bool, verbose: bool
) -> None:
    """Events of a run as lines; with `all_of_it` or `verbose` no text is cut and nothing left out."""
    names = {effect["id"]: f"{effect['kind']}:{effect['target']}" for effect in run["effects"]}
    most = None if verbose or all_of_it else _LINES
    for event in events:
        if verbose or all_of_it or not _is_noise(event, run["engine"]):
            click.echo("\n".join(_told(event, names, most, verbose)))


def _follow(home: Home, run: Mapping[str, Any], *, verbose: bool, as_json: bool) -> None:
    from minion.commands.following import follow

    run_id = run["id"]

    def show(events: Sequence[Mapping[str, Any]], effects: Sequence[Mapping[str, Any]]) -> None:
        now = {**run, "effects": effects}
        if as_json:
            for event in events:
                click.echo(json.dumps({"run": run_id, **event}, ensure_ascii=False))
        else:
            _print(events, now, all_of_it=False, verbose=verbose)

    if not as_json:
        click.echo(headline(run))
    follow(home, run_id, show)
    if as_json:
        return
    with read_only(home.store) as db:
        ended = whole_run(db, run_id)
    for name in _BESIDE:
        _print_beside(Path(ended["folder"]) / name)
    if ended["verdict"] != run["verdict"]:
        click.echo(headline(ended))


def _is_noise(event: Mapping[str, Any], engine: str) -> bool:
    """Whether an event only repeats what another says: a start, what an answer used, the one call of a script."""
    return event["type"] in ("step.started", "usage") or (
        engine == "script" and event["data"].get("kind") == "tool_call"
    )


def _told(event: Mapping[str, Any], effects: Mapping[str, str], most: int | None, verbose: bool) -> Iterator[str]:
    at = parse_instant(event["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = _harmless(event["data"])
    inner = event["block"] is not None and not event["type"].startswith("block.")
    indent = "  " if inner else ""
    tell = _WORDS.get(event["type"])
    more = {"effect": effects.get(data.get("id", ""), ""), "block": event["block"]}
    words, text = tell({**data, **more}) if tell is not None else (event["type"], "")
    yield f"{click.style(at, dim=True)}  {indent}{' '.join(words.splitlines())}"
    margin = f"{' ' * len(at)}  {indent}{click.style('│', dim=True)} "
    lines = text.rstrip().splitlines()
    shown = lines if most is None else lines[:most]
    yield from (f"{margin}{line}" for line in shown)
    if len(lines) > len(shown):
        yield f"{margin}{click.style(f'… {len(lines) - len(shown)} more lines', dim=True)}"
    if verbose:
        yield f"{margin}{click.style(json.dumps(data, ensure_ascii=False), dim=True)}"


def _harmless(value: Any) -> Any:
    """The same data without control characters: what a skill said cannot drive the reader's terminal."""
    if isinstance(value, dict):
        return {key: _harmless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    return plain(value) if isinstance(value, str) else value


def _block(data: Mapping[str, Any]) -> tuple[str, str]:
    if "state" in data:
        return f"{data['block']}  {mark(data['state'])}{_why(data)}", ""
    return f"{click.style(data['block'], bold=True)}  {data['name']} ({data['kind']})", ""


def _step(data: Mapping[str, Any]) -> tuple[str, str]:
    kind = data["kind"]
    code = data["code"] if kind == "step" else f"{data['code']} ({STEP_KINDS.get(kind, kind)})"
    if "state" not in data:
        return f"{mark('running')}  {code}", ""
    cost = spell_cost({**(data.get("cost") or {}), "turns": None})
    return f"{mark(data['state'])}  {code}{', ' if cost else ''}{cost}{_why(data)}", ""


def _result(data: Mapping[str, Any]) -> tuple[str, str]:
    left = f", exit {data['exit']}" if data["exit"] is not None and not data["why"] else ""
    cut = f", {data['truncated']:,} bytes cut off" if data["truncated"] else ""
    cost = spell_cost(data.get("cost") or {})
    took = f"{spell_ms(data['duration_ms'])}{', ' if cost else ''}{cost}"
    return f"result of {data['skill']}{left}, {took}{cut}{_why(data)}", _text(data["text"])


def _log(data: Mapping[str, Any]) -> tuple[str, str]:
    text = _text(data["text"])
    if "skill" not in data:
        first, _, rest = text.partition("\n")
        return f"{data['level']}: {first}", rest
    return f"{data['level']}: said by {data['skill']} on stderr", text


def _staged(data: Mapping[str, Any]) -> tuple[str, str]:
    return f"effect {data['kind']}:{data['target']} {data['state']}, {data['bytes']:,} bytes", ""


def _effect(data: Mapping[str, Any]) -> tuple[str, str]:
    if "state" not in data:
        return f"effect {data['effect']} is performed now", ""
    where = f" → {shown_path(data['destination'])}" if data.get("destination") else ""
    detail = f" ({data['detail']})" if data.get("detail") else ""
    return f"effect {data['effect']} {mark(data['state'])}{where}{detail}", ""


def _finished(data: Mapping[str, Any]) -> tuple[str, str]:
    hint = f"hint: {_text(data['hint'])}" if data.get("hint") else ""
    return f"the runner ended: {data['state']}{_why(data)}", hint


def _usage(data: Mapping[str, Any]) -> tuple[str, str]:
    if "model" not in data:
        return f"used {spell_ms(data.get('wall_ms', 0))}", ""
    kinds = ("input", "output", "cache_read", "cache_write")
    told = {kind.replace("_", " "): data.get(f"{kind}_tokens") for kind in kinds}
    parts = [f"{number:,} {kind}" for kind, number in told.items() if number]
    cut = "" if data.get("turns") else ", broken off"
    return f"used of {data['model']}: {spell_cost(data) or 'nothing'}{cut}", f"tokens: {', '.join(parts)}"


def _moved(data: Mapping[str, Any]) -> tuple[str, str]:
    return f"{data['from']} → {data['to']}{_why(data)}", ""


def _why(data: Mapping[str, Any]) -> str:
    return f": {_text(data['why'])}" if data.get("why") else ""


def _text(value: Any) -> str:
    """A text, or the beginning of one that was too long for an event and lies in the run's folder."""
    if isinstance(value, dict):
        return f"{value['start']}\n… {value['bytes']:,} bytes, whole in {value['file']}"
    return str(value or "")


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]]] = {
    "run.opened": lambda data: (f"opened by {data['trigger']}", ""),
    "run.moved": _moved,
    "run.finished": _finished,
    "session.opened": lambda data: (f"session with the {data['engine']} engine, {data['sandbox']}", ""),
    "block.started": _block,
    "block.finished": _block,
    "step.started": _step,
    "step.finished": _step,
    "skill.result": _result,
    "effect.staged": _staged,
    "effect.intent": _effect,
    "effect.result": _effect,
    "effect.again": lambda data: (f"effect {data['effect']} is performed again, asked for by {data['by']}", ""),
    "effect.settled": _effect,
    "check": lambda data: (
        f"check {mark(data['state'])}  {data['kind']} {data['expected']}: {data['detail']}",
        "",
    ),
    "report": lambda data: (f"report: {data['outcome']}, filed by the {data['filed_by']}", _text(data["summary"])),
    "report.claimed": lambda data: (f"its session reported {data['outcome']}", _text(data["summary"])),
    "gap": lambda data: (f"gap: {data['requested_code']}", data["description"]),
    "decision": lambda data: ("asked people", _text(data["question"])),
    "usage": _usage,
    "log": _log,
}


def _print_beside(path: Path) -> None:
    try:
        with path.open("rb") as file:
            body = file.read(_BESIDE_BYTES)
    except OSError:
        return
    if body.strip():
        click.echo("\n".join([rule(path.name), plain(body.decode(errors="replace")).rstrip()]))
