"""`minion schedule`: routines from a sentence, and their times read, changed, paused and resumed."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from minion.commands.added import print_added
from minion.commands.completion import complete_routine
from minion.commands.context import as_called, hinting, home_of, print_json, program
from minion.commands.firing import fires
from minion.commands.owner import add_routine, change_routine
from minion.commands.timing import (
    print_proposal,
    print_scheduled,
    print_times,
    print_update,
    proposed,
    scheduled,
    timed,
    words_of,
)
from minion.config import load_config
from minion.spelling import spell_instant
from minion.standing import scheduling
from minion.store.local_db import read_only
from minion.store.routines import KeptRoutine, find_routine, last_run_of, list_routines
from server.contract.refusals import BadDocument, BadUse

if TYPE_CHECKING:
    from minion.config import Home
    from minion.routines.added import Added
    from minion.routines.phrased import Proposal
    from server.contract.phrases import Reading

# Verbs that are those of another command too: one meaning, two places to look for it.
_ELSEWHERE: Final = {"run": ("minion.commands.run", "command"), "remove": ("minion.commands.routine", "remove")}
_VERBS: Final = {
    "list": "List when each routine runs, and when it is due next.",
    "run": "Run a routine now: minion run.",
    "update": "Change when a routine runs.",
    "pause": "Stop a routine's triggers.",
    "resume": "Let a paused routine's triggers fire again.",
    "remove": "Take a routine out of use: minion routine remove.",
}
# Words of other tools for these verbs.
_SAID_ELSEWHERE: Final = {
    "ls": "list", "show": "list", "start": "run", "now": "run",
    "edit": "update", "change": "update", "set": "update",
    "stop": "pause", "disable": "pause", "enable": "resume", "unpause": "resume",
    "rm": "remove", "delete": "remove",
}  # fmt: skip
_EXAMPLE: Final = 'minion schedule "every weekday at 9: my team\'s commits to Slack"'


class PhraseGroup(click.Group):
    """A group that takes anything but one of its verbs as the sentence that begins a routine."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order people meet them; the sentence has none."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; those of other modules are imported when they are typed."""
        if cmd_name in _ELSEWHERE:
            module, attribute = _ELSEWHERE[cmd_name]
            command_: click.Command = getattr(importlib.import_module(module), attribute)
            return command_
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their one line each, without importing those of other modules."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was typed, else the sentence."""
        if args[0] in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        return None, sentence, args


@click.group("schedule", cls=PhraseGroup, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Make a routine from a sentence, and see to when routines run.

    minion schedule "WHEN: WHAT" reads WHEN as a schedule and shows it as cron, with its zone and the next three
    instants; it fits WHAT to the ready templates and the skills that are there, and says what it chose. Nothing
    is kept before you agree (or give --yes), and what cannot be read in full is refused with the closest
    readable phrase, never guessed.

    \b
    WHEN can be:
      every weekday at 9                  at 8:30 and 17:00 on weekends
      every 15 minutes between 9 and 17   every two hours on weekdays
      on the 1st of the month at noon     on the last day of the month
      mondays and thursdays at 7 pm       every day at midnight in Asia/Tokyo
      tomorrow at 10                      a cron line: 0 9 * * 1-5

    \b
    Options of the sentence:
      --yes          Keep it without asking.
      --name NAME    The routine's name [default: from the words].
      --repo PATH    A repository it works on, again for each more
                     [default: the checkout around this folder].
      --json         Print one JSON document: cron, timezone, next, routine,
                     saved. Keeps nothing unless --yes is given too.

    \b
    Examples:
      minion schedule "every weekday at 9: my team's commits to Slack"
      minion schedule "fridays at 16: weekly digest" --name digest --yes
      minion schedule "every 30 minutes: sort my inbox folder" --json
      minion schedule update digest "thursdays at 15:30"
      minion schedule pause digest
    """


@click.command("sentence", hidden=True)
@click.argument("said", metavar='"WHEN: WHAT"', nargs=-1, required=True)
@click.option("--name", metavar="NAME", help="The routine's name [default: from the words].")
@click.option("--repo", "repositories", metavar="PATH|URL", multiple=True, help="A repository it works on.")
@click.option("--yes", is_flag=True, help="Keep it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sentence(
    ctx: click.Context, said: tuple[str, ...], name: str | None, repositories: tuple[str, ...],
    yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a routine from one sentence, WHEN and WHAT apart by a colon."""
    from minion.clock import utc_now
    from minion.routines.files import all_routine_files
    from minion.routines.phrased import propose, read_time

    home = home_of(ctx)
    config = load_config(home)
    text = " ".join(said)  # who forgets the quotes means the same
    verb = _meant_verb(text)
    if verb is not None:
        raise BadUse("no_such_verb", f"{text!r} is no sentence.", hint=f"minion schedule {verb} --help")
    reading, due = read_time(text, zone=config.timezone, now=utc_now())
    if reading.task is None:
        print_times(reading, due, as_json=as_json)
        if as_json:
            return
        raise BadUse("no_task", "The sentence says when, but not what.", hint=_EXAMPLE)
    if name is None and reading.task in {file.stem for file in all_routine_files(home)}:
        says = f"There is a routine {reading.task} already."
        hint = f'minion schedule update {reading.task} "{_when_of(text, reading)}"'
        raise BadUse("routine_there", says, hint=hint)
    proposal = propose(
        home, config, reading.task, reading, due, folder=Path.cwd(), name=name, repositories=repositories
    )
    if not as_json:
        print_proposal(proposal)
    keep = yes or (not as_json and _agreed("Keep this routine?"))
    added = _keep(home, proposal, _when_of(text, reading)) if keep else None
    if as_json:
        print_json(proposed(proposal, added))
    elif added is not None:
        print_added(ctx, added)
    else:
        click.echo("Nothing was kept.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List when each routine runs, in words, and when it is due next.

    \b
    Examples:
      minion schedule list
      minion schedule list --json
    """
    from minion.clock import utc_now

    home = home_of(ctx)
    zone = load_config(home).timezone
    now = utc_now()
    with read_only(home.store) as db:
        kept = [(item, last_run_of(db, item.name)) for item in list_routines(db)]
    listed = [scheduled(item, last, zone, now) for item, last in kept]
    if as_json:
        print_json(listed)
    elif listed:
        print_scheduled(listed)
    else:
        click.echo(f"No routines yet: {program(ctx)} schedule \"every weekday at 9: my team's commits\"")


@command.command("update")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.argument("text", metavar="CRON-OR-WORDS")
@click.option("--yes", is_flag=True, help="Change it without asking; a cron line is never asked about.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; words need --yes too.")
@click.pass_context
def update(ctx: click.Context, routine: str, text: str, yes: bool, as_json: bool) -> None:
    """Change when a routine runs; everything else in its file stays as written.

    Words are shown as cron with the next three instants before anything changes. The zone is the one that the
    words name, else the one the routine has.

    \b
    Examples:
      minion schedule update morning-report "30 8 * * 1-5"
      minion schedule update morning-report "every weekday at 8:30 in Berlin"
      minion schedule update weekly-digest "fridays at 16" --yes
    """
    from minion.clock import utc_now
    from minion.routines.phrased import read_time, timing

    home = home_of(ctx)
    config = load_config(home)
    kept = _found(home, routine)
    triggers = kept.document["triggers"]
    if len(triggers) > 1:
        says = f"{kept.name} has {len(triggers)} schedules, and it is not said which one is meant."
        raise BadUse("several_schedules", says, hint=f"minion routine edit {kept.name}")
    zone = kept.document["timezone"] or (triggers[0]["timezone"] if triggers else None) or config.timezone
    try:
        reading, due = read_time(text, zone=zone, now=utc_now())
    except BadDocument as refusal:
        refusal.hint = refusal.hint.removesuffix("; what to do comes after a colon")  # not here
        raise
    if reading.task is not None:
        hint = f'minion schedule update {kept.name} "{_when_of(text, reading)}"'
        raise BadUse("task_in_update", "Only the time can be changed here, not what is done.", hint=hint)
    if not as_json:
        print_update(kept.name, words_of(kept.document, zone), reading, due)
    exact = " ".join(text.split()) == reading.expression or text.startswith("@")
    added = None
    if yes or exact or (not as_json and _agreed("Change it?")):
        added = _change(home, kept.name, timing(reading))
    if as_json:
        print_json(timed(reading, due) | {"name": kept.name, "saved": added is not None})
    else:
        click.echo(f"{kept.name} is changed." if added is not None else "Nothing was changed.")


@command.command("pause")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def pause(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Stop a routine's triggers.

    `minion run` still runs it; what fell due while it was paused is not made up for. A daemon that is up goes by
    it at once; while `minion run` works in the home itself, this is refused.

    \b
    Examples:
      minion schedule pause morning-report
    """
    _set_paused(ctx, routine, True, as_json)


@command.command("resume")
@click.argument("routine", metavar="NAME", shell_complete=complete_routine)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def resume(ctx: click.Context, routine: str, as_json: bool) -> None:
    """Let a paused routine's triggers fire again.

    Its next three instants are shown.

    \b
    Examples:
      minion schedule resume morning-report
    """
    _set_paused(ctx, routine, False, as_json)


def _set_paused(ctx: click.Context, routine: str, paused: bool, as_json: bool) -> None:
    home = home_of(ctx)
    load_config(home)
    kept = _found(home, routine)
    already = kept.document["paused"] == paused
    added = _change(home, kept.name, {"paused": paused})
    if as_json:
        print_json({"name": kept.name, "paused": paused, "changed": not already, "next": list(added.next)})
        return
    state = "paused" if paused else "resumed"
    click.echo(f"{kept.name} {'was' if already else 'is'} {state}{' already' if already else ''}.")
    if not paused:
        due = ", ".join(map(spell_instant, added.next))
        click.echo(f"  due           {due or as_called(ctx, f'on demand only: {scheduling(kept.name)}')}")
        if added.next:
            click.echo(f"  fires         {as_called(ctx, fires(home, kept.name, added.kept.document))}")


def _found(home: Home, routine: str) -> KeptRoutine:
    with read_only(home.store) as db:
        return find_routine(db, routine)


def _keep(home: Home, proposal: Proposal, when: str) -> Added:
    change = f'minion schedule update {proposal.name} "{when}"'
    with hinting("routine_exists", f"choose another --name, or change when that one runs: {change}"):
        return add_routine(home, Path("routine.yaml"), proposal.body, replace=False, command="minion schedule")


def _change(home: Home, name: str, changes: dict[str, Any]) -> Added:
    return change_routine(home, name, changes, command=f"minion schedule {name}")


def _agreed(question: str) -> bool:
    """Whether a person says yes. Raises `BadUse` where none can be asked: nobody's silence is a yes."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        says = "Nothing was kept or changed: nobody could be asked."
        raise BadUse("not_confirmed", says, hint="give the same command again with --yes")
    return click.confirm(question, default=True)


def _when_of(text: str, reading: Reading) -> str:
    """The words before the colon that ends them: a colon in a clock time is none."""
    before = text.strip().removesuffix(reading.task or "")
    return before.rstrip().removesuffix(":").rstrip()


def _meant_verb(text: str) -> str | None:
    """The verb that somebody meant who began with a word like one, and said no sentence."""
    first, _, rest = text.strip().lower().partition(" ")
    if ":" in text or len(rest.split()) > 1:
        return None
    near = difflib.get_close_matches(first, _VERBS, n=1)
    return _SAID_ELSEWHERE.get(first) or (near[0] if near and not rest.startswith("at ") else None)
