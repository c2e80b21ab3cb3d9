"""`minion doctor`: runs each thing a minion needs and says what one command mends it."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from minion.commands.context import home_of, print_json, program
from minion.commands.presentation import mark

if TYPE_CHECKING:  # what the doctor runs is loaded when it runs
    from minion.doctor.finding import Finding

_WIDEST_STATE: Final = len("problem")
# A column that is narrower makes more lines than it saves.
_NARROWEST: Final = 20
# This program as a command of its own in a shell line.
_OWN_NAME: Final = re.compile(r"(?:^|(?<=&& ))minion(?= )")


@click.command("doctor")
@click.option("--as-service", is_flag=True, help="As a service would find things, and what differs from here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, as_service: bool, as_json: bool) -> int:
    """Run each thing that a minion needs, and say how to mend what does not work.

    Nothing is judged by its looks: a repository is cloned, a command runs in the sandbox, each engine does a piece
    of work, 1 MiB goes to the disk, a database is written and read back, every routine file is admitted and git
    asks its repositories on this machine (remote ones are not tried), the log's chains are followed. Whatever is
    not well comes with one command that mends it.

    A warning is something that works, but not as it should; a problem keeps routines from running, or their record
    from being believed. Nothing in the home is changed, and a home in use is examined all the same. Without a home
    only the machine is.

    --as-service does all that in a process with the variables of the unit that `minion service install` wrote, or
    would write: its PATH, no ssh agent, no terminal. A line `here:` says what is found otherwise from this shell.

    Exit code 0 when there is no problem, 1 when there is one.

    \b
    Examples:
      minion doctor
      minion doctor --as-service
      minion doctor --json
      minion --home .minion doctor
    """
    from minion.clock import utc_now
    from minion.doctor.examination import examine

    findings = examine(home_of(ctx), utc_now)
    here: dict[int, Finding] = {}
    if as_service:
        from minion.doctor.as_service import examine_as_service

        compared = examine_as_service(home_of(ctx), findings)
        findings = [each.finding for each in compared]
        here = {number: each.here for number, each in enumerate(compared) if each.here is not None}
    sound = all(finding.state != "problem" for finding in findings)
    if as_json:
        told = [{**f.as_data(), "fix": _fix(ctx, f)} for f in findings]
        for number, each in enumerate(told if as_service else ()):
            other = here.get(number)
            each["here"] = None if other is None else {"state": other.state, "says": other.says}
        print_json({"ok": sound, "findings": told})
        return 0 if sound else 1
    _print(ctx, findings, here)
    return 0 if sound else 1


def _print(ctx: click.Context, findings: Sequence[Finding], here: Mapping[int, Finding]) -> None:
    """The findings for people; below one that is otherwise `here`, by its number, what it is here."""
    width = max(len(finding.name) for finding in findings)
    for number, finding in enumerate(findings):
        state = mark(finding.state) + " " * (_WIDEST_STATE - len(finding.state))
        margin = " " * (_WIDEST_STATE + 6 + width)
        click.echo(f"{state}  {finding.name:<{width}}  {_wrapped(finding.says, margin)}")
        if number in here:
            other = here[number]
            click.echo(f"{margin}here: {mark(other.state)}  {_wrapped(other.says, margin)}")
        if finding.fix is not None:  # never broken: it is copied
            click.echo(f"{margin}{click.style('fix:', bold=True)} {_fix(ctx, finding)}")
    click.echo(_conclusion(findings))


def _wrapped(says: str, margin: str) -> str:
    """A sentence on as many lines as a terminal needs for it, each but the first behind the margin."""
    room = shutil.get_terminal_size().columns - len(margin)
    if not sys.stdout.isatty() or room < _NARROWEST:
        return says
    return f"\n{margin}".join(textwrap.wrap(says, room, break_long_words=False, break_on_hyphens=False))


def _fix(ctx: click.Context, finding: Finding) -> str | None:
    """The fixing command, with this program named as it was called, `--home` included."""
    own = program(ctx)
    return None if finding.fix is None else _OWN_NAME.sub(lambda _: own, finding.fix)


def _conclusion(findings: Sequence[Finding]) -> str:
    counts = {state: sum(finding.state == state for finding in findings) for state in ("problem", "warning")}
    said = " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n)
    if not said:
        return f"All is well: {len(findings)} things were tried and work."
    below = "below it" if sum(counts.values()) == 1 else "below each one"
    return f"There {'is' if said.startswith('1 ') else 'are'} {said}; the command {below} mends it."
