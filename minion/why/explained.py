"""Explains the routines of a home: the links of one of them, or of each, from its store and its daemon."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from minion.config import Config, Home
from minion.daemon_client import live_now
from minion.routines.files import all_routine_files
from minion.secrets_file import secret_names
from minion.store.alerts import list_alerts
from minion.store.local_db import read_only
from minion.store.routines import find_routine, list_routines, problem_files
from minion.why.asked import read_asked
from minion.why.chain import Chain, Facts, Link, zone_of
from minion.why.walk import explain
from server.contract.refusals import NotFound, Refusal


def chains_of(
    home: Home, config: Config, routine: str | None, at: str | None = None, *, now: datetime
) -> list[Chain]:
    """The links of one routine, or of all. Raises `NotFound`, and `BadUse` for what is no time."""
    files = {file.stem for file in all_routine_files(home)}
    facts = Facts(now, config.timezone, config.engine, live_now(home), files, _secrets(home))
    with read_only(home.store) as db:
        db.execute("BEGIN")
        try:
            chosen = list_routines(db) if routine is None else [find_routine(db, routine)]
        except NotFound:
            unknown = _not_taken_in(files, str(routine), problem_files(db))
            if unknown is None:
                raise
            return [unknown]
        alerts = _open_alerts(db)
        return [
            explain(
                db, kept, facts, alerts=alerts.get(kept.name, {}),
                asked=None if at is None else read_asked(at, zone_of(kept.document, config.timezone), facts.now),
            )
            for kept in chosen
        ]  # fmt: skip


def _secrets(home: Home) -> Collection[str]:
    """The names of the secrets; none where they cannot be read, of which every run's refusal tells."""
    try:
        return secret_names(home.secrets_file)
    except Refusal:
        return ()


def _not_taken_in(files: Collection[str], name: str, problems: Mapping[str, str]) -> Chain | None:
    """What is to be said of a routine's file that has no routine; None when there is no such file."""
    if name in problems:
        says = f"Its file is bad, so there is no such routine: {problems[name].removeprefix(f'{name}: ')}"
        return Chain(name, None, (Link("due", "broken", says, f"minion routine edit {name}"),))
    if name in files:
        says = "Its file lies in the home, and no daemon has taken it in yet."
        return Chain(name, None, (Link("due", "broken", says, f"minion routine edit {name}"),))
    return None


def _open_alerts(db: Any) -> dict[str, dict[str, str]]:
    """The open alerts of each routine, by its name and their kind."""
    found: dict[str, dict[str, str]] = {}
    for alert in list_alerts(db):
        found.setdefault(alert["routine"], {})[alert["kind"]] = alert["text"]
    return found
