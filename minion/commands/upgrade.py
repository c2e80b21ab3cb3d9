"""`minion upgrade`: brings the store to this program's version, looks first, and takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from minion.commands.context import as_called, home_of, print_json, program, warn
from minion.commands.presentation import mark
from minion.config import held, load_config
from minion.spelling import plain
from server.contract.refusals import BadUse

if TYPE_CHECKING:
    from minion.setup.rollback import Rollback
    from minion.setup.upgrade import Outcome

_CANNOT = 3


@click.command("upgrade")
@click.option("--check", "checking", is_flag=True, help="Try it on a copy and say what would come of it.")
@click.option("--accept", is_flag=True, help="Take it although the next week's slots differ.")
@click.option("--rollback", is_flag=True, help="Put back what was there before the last upgrade.")
@click.option("--yes", is_flag=True, help="With --rollback: lose what came since.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context, checking: bool, accept: bool, rollback: bool, yes: bool, as_json: bool
) -> int:
    """Bring the run store to this program's version, with all it holds.

    Store, routine files and minion.json are backed up first (backups/ in the home; the newest 5 are kept). Then
    the store is migrated in one transaction and looked at before that is committed: its pages are sound, its
    chains hold, no row is gone, and every routine is due at the same instants of the next 7 days as before, and
    as the daemon of the earlier version noted. Where one is not, all stays as it was (exit code 3), unless it is
    accepted.

    Who opens an older store, as `minion up` or `minion run` do, upgrades it the same way and says so: this command
    is for looking first. `--check` works beside a daemon; the others need it down.

    `--rollback` puts back what the last upgrade found, for going on with the earlier version of the program; this
    one would upgrade it again. What is there is copied first.

    \b
    Examples:
      minion upgrade --check
      minion upgrade
      minion upgrade --rollback
    """
    from minion.clock import utc_now

    if rollback and (checking or accept):
        raise BadUse("bad_choice", "A rollback goes with neither --check nor --accept.", hint="say one of them")
    if yes and not rollback:
        raise BadUse("bad_choice", "There is nothing to say yes to without --rollback.", hint="leave --yes out")
    home = home_of(ctx)
    config = load_config(home)
    if rollback:
        from minion.setup.rollback import roll_back

        with held(home, "minion upgrade --rollback"):
            plan, kept = roll_back(home, config, utc_now(), lose=yes)
        _print_rollback(plan, str(kept.folder), as_json=as_json)
        return 0
    from minion.setup.upgrade import check, upgrade

    if checking:
        found = check(home, config, utc_now())
    else:
        with held(home, "minion upgrade"):
            found = upgrade(home, config, utc_now(), accept=accept)
    _print(ctx, found, checking=checking, as_json=as_json)
    return _CANNOT if checking and found.differences and not accept else 0


def _print(ctx: click.Context, found: Outcome, *, checking: bool, as_json: bool) -> None:
    if as_json:
        print_json(_as_data(found, checking=checking))
        return
    told = f"{_counted(found.routines, 'routine')}, {_counted(found.runs, 'run')}"
    differing, more = len(found.differences), found.before != found.after
    same = "as before" if not differing else f"and {_counted(differing, 'routine')} would be due at other times"
    if not more:
        click.echo(f"{mark('ok')}  the run store is of this version ({found.after}): nothing to upgrade")
    elif checking:
        state = mark("warning" if differing else "ok")
        click.echo(f"{state}  from version {found.before} to {found.after}, tried on a copy")
    else:
        click.echo(f"{mark('ok')}  upgraded from version {found.before} to {found.after}")
    click.echo(f"  holds    {told}{', all chains as they were' if more else ''}")
    click.echo(f"  week     the next one has {_counted(found.slots, 'slot')}, {same}")
    for each in found.differences:
        noted = f" ({each.noted_by} noted that)" if each.noted_by else ""
        click.echo(f"    {mark('problem')}  {plain(each.sentence())}{noted}")
    if found.backup is not None:
        click.echo(f"  backup   {found.backup.folder}")
        click.echo(f"  back     {program(ctx)} upgrade --rollback")
    for note in found.notes:
        warn(plain(as_called(ctx, note)))
    if checking and more:
        click.echo(f"  next     {program(ctx)} upgrade{' --accept' if differing else ''}")


def _as_data(found: Outcome, *, checking: bool) -> Mapping[str, Any]:
    return {
        "from": found.before, "to": found.after, "upgraded": not checking and found.before != found.after,
        "routines": found.routines, "slots": found.slots, "runs": found.runs,
        "differences": [each.as_data() for each in found.differences], "notes": list(found.notes),
        "backup": None if found.backup is None else str(found.backup.folder),
    }  # fmt: skip


def _print_rollback(plan: Rollback, kept: str, *, as_json: bool) -> None:
    lost, backup = plan.loss, plan.backup
    if as_json:
        print_json({
            "from": plan.version, "to": backup.schema, "backup": str(backup.folder), "made_at": backup.made_at,
            "files": list(plan.files), "kept": kept,
            "lost": {"runs": list(lost.runs), "slots": lost.slots, "decisions": lost.decisions},
        })  # fmt: skip
        return
    click.echo(f"{mark('ok')}  rolled back from version {plan.version} to {backup.schema}, as of {backup.made_at}")
    click.echo(f"  files    {', '.join(plan.files) or 'none had changed'}")
    click.echo(f"  kept     what was there: {kept}")
    click.echo("  next     install the earlier version of the program; this one upgrades the store again")


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
