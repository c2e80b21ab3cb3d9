"""What is said of a routine that was just kept: where it lies, on what it works, when it is due, who is told."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from minion.commands.context import as_called, home_of, shown_path
from minion.commands.firing import fires
from minion.config import Home, load_config
from minion.routines.telling import Missing, missing_for, missing_for_notify
from minion.secrets_file import read_secrets
from minion.spelling import spell_instant
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from minion.routines.added import Added


def print_added(ctx: click.Context, added: Added) -> None:
    """Where a routine is kept, on what it works, when it is due and whether it fires, who is told if it fails."""
    document = added.kept.document
    click.echo(f"{click.style(added.kept.name, bold=True)} is kept in {shown_path(added.file)}.")
    repositories = [item["url"] for item in document["repositories"] or ()]
    click.echo(f"  repositories  {', '.join(repositories) or 'none'}")
    if added.next:
        click.echo(f"  due           {', '.join(map(spell_instant, added.next))}")
        click.echo(f"  fires         {as_called(ctx, fires(home_of(ctx), added.kept.name, document))}")
    notify = load_config(home_of(ctx)).notify
    if not document["notify"] and not notify:
        click.echo("  alerts        nobody will be told if this fails")
    for lack in _lacking(home_of(ctx), document, notify):
        click.echo(f"  alerts        {lack.says}")


def _lacking(home: Home, document: Mapping[str, Any], notify: Iterable[Mapping[str, Any]]) -> list[Missing]:
    """What is not there of what the alerts of a routine need; `notify` is the minion's."""
    secrets: Collection[str] | None = None
    with contextlib.suppress(Refusal, OSError):  # said by the doctor, and by whoever needs them
        secrets = read_secrets(home.secrets_file).keys()
    instead = [] if document["notify"] else missing_for_notify(notify, secrets, field="notify of minion.json")
    return [*missing_for(document, secrets), *instead]
