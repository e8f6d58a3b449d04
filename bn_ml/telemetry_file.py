"""The SQLite file of high-rate rows that may be lost: writing to it never raises and never waits for long."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)

Row = Sequence[str | int | float | None]
Batch = tuple[str, Sequence[Row]]

WAIT_S = 0.05
CACHE_KIB = 256
TABLES = ("predictions", "outcomes", "refusals")
_LEFTOVERS = ("-wal", "-shm", "-journal")
_PASSING = ("locked", "full", "readonly", "unable to open", "disk I/O")
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS predictions (symbol TEXT NOT NULL, close_ms INTEGER NOT NULL, version INTEGER, "
    "sell REAL NOT NULL, hold REAL NOT NULL, buy REAL NOT NULL, width REAL NOT NULL, volatility REAL NOT NULL, "
    "action TEXT NOT NULL, reason TEXT, gates TEXT NOT NULL, source TEXT NOT NULL, "
    "PRIMARY KEY (symbol, close_ms)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS outcomes (symbol TEXT NOT NULL, close_ms INTEGER NOT NULL, version INTEGER NOT NULL, "
    "label INTEGER NOT NULL, move REAL NOT NULL, PRIMARY KEY (symbol, close_ms)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS refusals (symbol TEXT NOT NULL, close_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
    "reason TEXT, value REAL, bound REAL, PRIMARY KEY (symbol, close_ms, at_ms)) WITHOUT ROWID",
)


class TelemetryFile:
    """Opens the file when first written to; a damaged or foreign one is set aside and begun anew.

    A failure that passes (locked, disk full, not writable) leaves the file as it is. Each state of trouble is told by
    one warning until a write succeeds again.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; its folder is made when needed."""
        self.path = path.absolute()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._told = False

    def write(self, batches: Sequence[Batch]) -> bool:
        """Write all rows in one transaction; give whether they are written."""
        for _ in range(2):
            try:
                self._commit(batches)
            except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
                self.close()
                if not self._mend(error):
                    return False
            else:
                self._told = False
                return True
        return False

    def read(self, query: str, parameters: Row) -> list[sqlite3.Row]:
        """Give the rows of a query from a reading connection; a file that is absent or unreadable has none."""
        if not self.path.exists():
            return []
        try:
            uri = f"{self.path.as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(query, tuple(parameters)).fetchall()
        except sqlite3.Error as error:
            if not self._told:
                log.warning("telemetry not read path=%s error=%s", self.path, error)
                self._told = True
            return []

    def prune(self, before_ms: int) -> int:
        """Delete rows closed before an instant; give how many went, 0 when that was not possible."""
        return self._delete("<", before_ms)

    def delete_after(self, now_ms: int) -> int:
        """Delete rows closed after an instant; give how many went, 0 when that was not possible."""
        return self._delete(">", now_ms)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            try:
                self._connection.close()
            except sqlite3.Error as error:
                log.debug("telemetry not closed path=%s error=%s", self.path, error)
            self._connection = None

    def _delete(self, compared: str, instant_ms: int) -> int:
        if not self.path.exists():
            return 0
        try:
            connection = self._open()
            with connection:
                return sum(_delete_from(connection, table, compared, instant_ms) for table in TABLES)
        except (sqlite3.Error, OSError) as error:
            self.close()
            self._mend(error)
            return 0

    def _commit(self, batches: Sequence[Batch]) -> None:
        connection = self._open()
        with connection:
            for statement, rows in batches:
                connection.executemany(statement, rows)

    def _open(self) -> sqlite3.Connection:
        """Give the connection; a file replaced or deleted under it is opened again."""
        if self._connection is not None and self._identity == _identity(self.path):
            return self._connection
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = connection = sqlite3.connect(self.path, timeout=WAIT_S, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        with connection:
            for statement in _SCHEMA:
                connection.execute(statement)
        self._identity = _identity(self.path)
        return connection

    def _mend(self, error: Exception) -> bool:
        """Set a file aside that will never take rows again; give whether writing is worth another attempt."""
        passing = not isinstance(error, sqlite3.DatabaseError) or any(word in str(error) for word in _PASSING)
        if not self._told:
            fate = "tried again at the next scan" if passing else "set aside and begun anew"
            log.warning("telemetry not written path=%s error=%s: %s", self.path, error, fate)
            self._told = True
        if passing:
            return False
        try:
            self.path.replace(f"{self.path}.damaged")
            for ending in _LEFTOVERS:
                Path(f"{self.path}{ending}").unlink(missing_ok=True)
        except OSError as failure:
            log.warning("telemetry not set aside path=%s error=%s", self.path, failure)
            return False
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _delete_from(connection: sqlite3.Connection, table: str, compared: str, instant_ms: int) -> int:
    """Delete symbol by symbol, so that only the rows that go are looked at."""
    symbols = connection.execute(
        f"WITH RECURSIVE known(symbol) AS (SELECT min(symbol) FROM {table} UNION ALL "
        f"SELECT (SELECT min(symbol) FROM {table} WHERE symbol > known.symbol) FROM known "
        "WHERE known.symbol IS NOT NULL) SELECT symbol FROM known WHERE symbol IS NOT NULL"
    ).fetchall()
    statement = f"DELETE FROM {table} WHERE symbol = ? AND close_ms {compared} ?"
    return sum(connection.execute(statement, (symbol, instant_ms)).rowcount for (symbol,) in symbols)
