"""Statements that run with nearly every call: compiled once, and handed to SQLite's driver as they are.

SQLAlchemy Core stays the language they are written in; executing by it costs some 50 µs a statement on top of the
5 that SQLite needs, which is more than all else that a call does.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import sqlite

_DIALECT: Final = sqlite.dialect(paramstyle="named")
Parameters = Mapping[str, Any]


class Prepared:
    """A statement with named parameters; `columns` are those that an INSERT or UPDATE sets.

    What it raises is the driver's: `sqlite3.Error`. Values come back as SQLite has them: a truth value as 0 or 1.
    """

    __slots__ = ("_fixed", "_row", "_text")

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        """Compile it. `statement` is SQLAlchemy Core's."""
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        self._text = str(compiled)
        # What the statement itself says, such as its LIMIT; what it leaves open has no value yet.
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._row: Any = None

    def one(self, connection: Connection, parameters: Parameters = {}) -> Any:  # noqa: B006 - it is only read
        """The one row that it finds, with the columns as attributes; None where it finds none."""
        cursor = self._execute(connection, parameters)
        found = cursor.fetchone()
        return None if found is None else self._rows(cursor)(*found)

    def all(self, connection: Connection, parameters: Parameters = {}) -> list[Any]:  # noqa: B006 - as above
        """All rows that it finds, with the columns as attributes."""
        cursor = self._execute(connection, parameters)
        row = self._rows(cursor)
        return [row(*found) for found in cursor]

    def do(self, connection: Connection, parameters: Parameters) -> int:
        """Change what it changes; how many rows that were."""
        return self._execute(connection, parameters).rowcount

    def do_many(self, connection: Connection, parameters: Sequence[Parameters]) -> None:
        """Do it once for each of these."""
        _driver(connection).executemany(self._text, parameters)

    def _execute(self, connection: Connection, parameters: Parameters) -> sqlite3.Cursor:
        return _driver(connection).execute(self._text, {**self._fixed, **parameters})

    def _rows(self, cursor: sqlite3.Cursor) -> Any:
        if self._row is None:
            made: Any = namedtuple  # its fields are the statement's: known to nobody before it ran
            self._row = made("Found", [column[0] for column in cursor.description])
        return self._row


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: Any = connection.connection.dbapi_connection
    return cast(sqlite3.Connection, driver)
