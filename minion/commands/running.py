"""A run that a command waits for: what is shown while it goes on, and what is printed of its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from minion.asking import ask
from minion.commands.context import as_called, home_of, print_json, program, warn
from minion.commands.presentation import facts, headline, mark, rule, tree
from minion.config import Home
from minion.spelling import one_line, report_text
from minion.store.local_db import read_only
from minion.store.run_history import results_of, whole_run
from minion.terminal import can_rewrite, wants_styles
from server.contract.run import EXIT_CODES


def performed(home: Home, verb: str, params: Mapping[str, Any], *, command: str) -> str:
    """Have a verb begin a run, or go on with one; its id. Unless it is to `detach`, it has ended then."""
    progress = Progress()
    with progress:
        answer = ask(
            home, verb, params, command=command, alert=warn,
            on_event=None if params["detach"] else progress.take,
        )  # fmt: skip
    return str(answer["run"])


def tell_end(ctx: click.Context, run_id: str, *, detach: bool, as_json: bool) -> int:
    """Print what came of a run, of one that is detached its id alone; the exit code that its verdict has."""
    with read_only(home_of(ctx).store) as db:
        run, results = whole_run(db, run_id), results_of(db, run_id)
    if detach:
        if as_json:
            print_json({"run": run_id, "routine": run["routine"]})
        else:
            click.echo(run_id)
        return 0
    if as_json:
        print_json(run)
    else:
        _print(run, results, ctx)
    return EXIT_CODES[run["verdict"]]


class Progress:
    """One line that tells what is under way, on a terminal only, wiped at the end."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and can_rewrite()
        self._plain = wants_styles() is False
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._show("")

    def take(self, event: Mapping[str, Any]) -> None:
        """Say which run it is; then show the block or step that began."""
        if "type" not in event:
            click.echo(f"{event['routine']} · run {event['run']}", err=True)
            return
        words = _words_of(event["type"], event["block"], event["data"]) if self._live else ""
        if words:
            self._show(f"  {mark('running')}  {words}")

    def _show(self, line: str) -> None:
        self._shown = True
        # To wipe a line is no style: it is said where styles are off too.
        said = click.unstyle(line) if self._plain else line
        click.echo(f"\r\x1b[2K{said}", nl=False, err=True, color=True)


def _words_of(type_: str, block: str | None, data: Mapping[str, Any]) -> str:
    if type_ == "block.started":
        return f"{block} {data['name']}"
    if type_ == "step.started" and data["kind"] != "tool_call":
        return f"{block} {data['code']}"
    if type_ == "effect.intent":
        return f"{block} performing an effect"
    return ""


def _print(run: Mapping[str, Any], results: list[dict[str, Any]], ctx: click.Context) -> None:
    report = report_text(results)
    if report:
        click.echo("\n".join([rule("report"), "", *report, ""]))
    click.echo("\n".join([rule("what ran"), "", *tree(run), ""]))
    summary = one_line(run["summary"] or "")
    click.echo("\n".join([rule("what came of it"), "", headline(run), summary, "", *facts(run), ""]))
    hint = [f"{click.style('hint:', bold=True)} {as_called(ctx, run['hint'])}", ""] if run["hint"] else []
    click.echo("\n".join([rule("next"), "", *hint, *next_commands(run, program(ctx))]))


def next_commands(run: Mapping[str, Any], program_: str) -> list[str]:
    """What somebody may want to type after this run, the likeliest first; each line is a command."""
    lines = [f"{program_} show {run['routine']}@last -v", f"{program_} runs"]
    if run["verdict"] in ("failed", "partial"):
        lines.insert(0, f"{program_} logs {run['routine']}@last")
    if any(effect["state"] == "unknown" for effect in run["effects"]):
        lines.insert(0, f"{program_} effects --unsettled")
    if run["state"] == "interrupted":
        lines.insert(0, f"{program_} resume {run['id']}")
    if any(asked["state"] == "open" for asked in run["questions"]):
        lines.insert(0, f"{program_} inbox")
    messages = [effect for effect in run["effects"] if effect["kind"] == "message"]
    if any(e["state"] == "accepted" and "webhook" not in (e["destination"] or "") for e in messages):
        lines.append(f"{program_} setup --reports slack")
    return lines
