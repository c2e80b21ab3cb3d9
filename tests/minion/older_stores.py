"""Homes as version 1 of the store left them: made by its own SQL, with routines in use and runs that ended."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from minion.admission import VERSION, answers_of, routine_candidate
from minion.config import Config, Home, load_config
from minion.setup.upgrade import Outcome, upgrade
from minion.store.local_db import _APPEND_ONLY, _TABLES, _TRIGGERS, APPLICATION_ID, SCHEMA_VERSION, create
from minion.store.routines import keep_routine
from minion.store.writer import Writer, open_writer
from server.contract.digest import canonical_json
from tests.minion.stored_runs import Teller, make_order, perform
from tests.whole.homes import make_home

MADE: Final = "2026-11-20T08:00:00.000Z"
# What version 1 kept; a fresh store of this version holds more.
TABLES_OF_1: Final = (
    "admissions", "block_runs", "effects", "events", "gaps", "home_chain", "meta", "routine_history", "routines",
    "runs", "sessions", "step_logs",
)  # fmt: skip


# A routine that is due once a day, one every few minutes, one when somebody asks.
ROUTINES: Final[Mapping[str, str | None]] = {"early": "0 7 * * *", "often": "*/5 * * * *", "asked": None}
# A Sunday; the clocks of Berlin are an hour ahead.
NOW: Final = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


def put_home_of_version_1(folder: Path) -> Home:
    """A home of version 1 with `ROUTINES` and two runs of the first, made once and copied.

    Its store remembers no admissions, so that nothing is read anew by a child.
    """
    home = Home(folder / "home")
    for path, body in _usual_home().items():
        file = home.root / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(body)
        file.chmod(0o600)
    return home


@cache
def _usual_home() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        home = home_of_version_1(Path(folder), ROUTINES)
        with_sql(home.store, "DELETE FROM admissions")
        paths = [path for path in home.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(home.root)): path.read_bytes() for path in paths}


def home_of_version_1(folder: Path, routines: Mapping[str, str | None], *, runs: int = 2) -> Home:
    """A home whose store is of version 1: routines by name with their cron lines, and so many runs that ended."""
    home = make_home(folder)
    config = load_config(home)
    create(home.store, config.minion_id)
    for name, cron in routines.items():
        said = {"name": name, "content": "Say hello", "repositories": [], "cron_expression": cron}
        (home.routines / f"{name}.json").write_text(json.dumps(said))
    asyncio.run(_fill(home, config, sorted(routines), runs))
    as_version_1(home.store)
    return home


def as_version_1(path: Path) -> None:
    """Have a store of this version be one of version 1 that holds the same, so far as that version could."""
    made = path.with_name("made-by-version-1.db")
    old = sqlite3.connect(made, isolation_level=None)
    try:
        triggers = "".join(_TRIGGERS.format(table=table) for table in _APPEND_ONLY)
        old.executescript(
            f"PRAGMA journal_mode = WAL; PRAGMA application_id = {APPLICATION_ID}; BEGIN; {_TABLES}{triggers}"
            "PRAGMA user_version = 1; COMMIT;"
        )
        old.execute("ATTACH ? AS new", (str(path),))
        for table in TABLES_OF_1:
            old.execute(f'INSERT INTO main."{table}" SELECT * FROM new."{table}"')  # noqa: S608 - our own names
    finally:
        old.close()
    made.chmod(0o600)
    for log in ("-wal", "-shm"):
        path.with_name(path.name + log).unlink(missing_ok=True)
    made.rename(path)


def content_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the tables of version 1 hold in a store of any version."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        queries = {table: f'SELECT * FROM "{table}" ORDER BY 1, 2' for table in TABLES_OF_1}  # noqa: S608
        return {table: db.execute(query).fetchall() for table, query in queries.items()}
    finally:
        db.close()


def files_in(home: Home) -> dict[str, bytes]:
    """Everything in a home but its lock and what SQLite puts beside a store while it is read."""
    paths = [path for path in home.root.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {str(path.relative_to(home.root)): path.read_bytes() for path in paths if path.name != "lock"}


def upgraded(home: Home, *, accept: bool = False, now: datetime = NOW, to: int = SCHEMA_VERSION) -> Outcome:
    """Upgrade a home's store, as its owner would."""
    return upgrade(home, load_config(home), now, accept=accept, to=to)


def with_sql(path: Path, *statements: str, values: Sequence[Any] = ()) -> None:
    """Change a store behind its owner's back."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            db.execute(statement, values)
    finally:
        db.close()


async def _fill(home: Home, config: Config, routines: Sequence[str], runs: int) -> None:
    """Keep the routines as the check of version 1 admitted their files, and perform runs of the first."""
    files = [home.routines / f"{name}.json" for name in routines]
    candidates = [routine_candidate(file, file.read_bytes()) for file in files]
    documents = []
    for answer in answers_of(candidates) if candidates else ():
        assert isinstance(answer, dict), answer
        documents.append({key: value for key, value in answer.items() if key not in ("watch", "lock", "resume")})
    async with open_writer(home.store) as writer:
        for file, candidate, document in zip(files, candidates, documents, strict=True):
            await _keep(writer, file, candidate.digest, document, config)
        for number in range(1, runs + 1):
            order = make_order(number, routine=routines[0] if routines else "gone")
            await perform(writer, order, Teller(number).plain())


async def _keep(writer: Writer, file: Path, digest: str, document: dict[str, Any], config: Config) -> None:
    owned = {**document, "minion_id": config.minion_id}

    async def write(db: Any) -> None:
        row = (digest, VERSION - 1, "routine", canonical_json(document))
        await db.execute("INSERT INTO admissions VALUES (?, ?, ?, ?)", row)
        await keep_routine(db, owned, source=str(file), replace=False, now=MADE)

    await writer.transact(write)
