"""What is said of a routine that was just kept: where it lies, on what it works, when it is due, who is told."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from minion.commands.context import as_called, home_of, shown_path
from minion.commands.firing import fires
from minion.config import AUTO, Config, Home, load_config
from minion.engines.registry import has_model, payer_of
from minion.routines.engines import is_chosen
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
    click.echo(f"  engine        {engine_and_payer(document, load_config(home_of(ctx)))}")
    click.echo(f"  estimate      {as_called(ctx, estimate_of(home_of(ctx), added.kept.name, document))}")
    if added.next:
        click.echo(f"  due           {', '.join(map(spell_instant, added.next))}")
        click.echo(f"  fires         {as_called(ctx, fires(home_of(ctx), added.kept.name, document))}")
    notify = load_config(home_of(ctx)).notify
    if not document["notify"] and not notify:
        click.echo("  alerts        nobody will be told if this fails")
    for lack in _lacking(home_of(ctx), document, notify):
        click.echo(f"  alerts        {lack.says}")


def added_as_data(added: Added, config: Config) -> dict[str, Any]:
    """A routine as `--json` has it when it was just kept; `pays` is who does, None while no engine is chosen."""
    document = added.kept.document
    engine = document["engine"] or config.engine
    pays = None if engine == AUTO else payer_of(engine)
    return {**document, "pays": pays, "next": list(added.next), "file": str(added.file)}


def engine_and_payer(document: Mapping[str, Any], config: Config) -> str:
    """Which engine a kept routine runs on, why that one, and who pays for it, on one line."""
    engine = document["engine"] or config.engine
    if engine == AUTO:  # kept before minion.json left it to auto
        return "chosen by auto when its next run begins"
    why = ", chosen by auto" if is_chosen(document) else "" if document["engine"] else ", the minion's default"
    return f"{engine}{why} – paid by {payer_of(engine)}"


def estimate_of(home: Home, name: str, document: Mapping[str, Any]) -> str:
    """What a kept routine will cost a run and a month, on one line; nothing is asked of any network."""
    if not has_model(document["engine"] or load_config(home).engine):
        return "costs nothing: no model"
    # What a prompt is made of, loaded where there is one.
    from minion.clock import utc_now
    from minion.foresight.forecast import forecast
    from minion.foresight.prospect import Wanted

    try:
        found = forecast(home, name, Wanted(), now=utc_now())
    except (Refusal, OSError) as error:
        return f"none: {error.sentence if isinstance(error, Refusal) else error}"
    return found.in_a_line


def _lacking(home: Home, document: Mapping[str, Any], notify: Iterable[Mapping[str, Any]]) -> list[Missing]:
    """What is not there of what the alerts of a routine need; `notify` is the minion's."""
    secrets: Collection[str] | None = None
    with contextlib.suppress(Refusal, OSError):  # said by the doctor, and by whoever needs them
        secrets = read_secrets(home.secrets_file).keys()
    instead = [] if document["notify"] else missing_for_notify(notify, secrets, field="notify of minion.json")
    return [*missing_for(document, secrets), *instead]
