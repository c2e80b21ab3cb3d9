"""What is said of a routine that was just kept: where it lies, on what it works, when it is due, who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minion.commands.context import as_called, home_of, shown_path
from minion.commands.firing import fires
from minion.commands.presentation import spell_instant
from minion.config import load_config

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
    if not document["notify"] and not load_config(home_of(ctx)).notify:
        click.echo("  alerts        nobody will be told if this fails")
