"""The file that keeps critical alerts until every channel has told them, whatever becomes of the process.

`keep` is one small transaction with full sync on the caller's thread, the trading loop's too. That is on purpose:
handed over to another thread, an alert would be lost when the process dies before that thread runs, and a crash is
just when critical alerts come. It costs about as much as one of the loop's own commits on the same disk (0.6 ms, 10 ms
at worst of 1,000 in a row), and only for critical alerts, of which a sound day has none. The wait for the lock is
bounded; what cannot be kept at once is kept by the sending thread a moment later.

A message may have gone out when the process dies before this is noted: after a restart it is told again. Every channel
tells every critical alert at least once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol, from_ms, to_ms

log = logging.getLogger(__name__)

CAPACITY = 5000
OVERFLOW_KEY = "more"
LOCK_WAIT_S = 0.05
_BUSY_S = 0.05
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS critical(key TEXT PRIMARY KEY, id TEXT NOT NULL, count INTEGER NOT NULL, "
    "at_ms INTEGER NOT NULL, title TEXT NOT NULL, why TEXT NOT NULL, next_action TEXT NOT NULL, symbol TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS told(key TEXT NOT NULL, channel TEXT NOT NULL, count INTEGER NOT NULL, "
    "PRIMARY KEY (key, channel)) STRICT",
    "CREATE TABLE IF NOT EXISTS notes(name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT",
)
_KEEP = (
    "INSERT INTO critical VALUES (?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET count = count + 1, "
    "at_ms = excluded.at_ms, title = excluded.title, why = excluded.why, next_action = excluded.next_action "
    "RETURNING count"
)
_TOLD = "INSERT INTO told VALUES (?, ?, ?) ON CONFLICT (key, channel) DO UPDATE SET count = max(count, excluded.count)"


@dataclass(frozen=True, slots=True)
class Kept:
    """A critical alert of an earlier life: how often it happened, and how many of those each channel has told."""

    alert: Alert
    id: str
    count: int
    told: Mapping[str, int]


class AlertOutbox:
    """Used from any thread. A failure is told once by a log line and never raised to who has something to tell."""

    def __init__(self, path: Path, channels: Iterable[str]) -> None:
        """Name the file and the channels that have to tell; it is opened, 0600, when first used."""
        self.path = path.absolute()
        self._channels = tuple(channels)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_told = False

    def keep(self, alert: Alert, incident: str, *, wait_s: float = LOCK_WAIT_S) -> int | None:
        """Store one occurrence durably; gives how many of its key are stored, None when that was not possible.

        Beyond the capacity it is counted with others under one key, which gives 0.
        """
        with self._using(wait_s) as connection:
            if connection is None:
                return None
            key = alert.key
            if self._is_full(connection, key):
                key = OVERFLOW_KEY
            symbol = None if alert.symbol is None else str(alert.symbol)
            values = (key, incident, to_ms(alert.at), alert.title, alert.why, alert.next_action, symbol)
            with _committed(connection):
                (count,) = connection.execute(_KEEP, values).fetchone()
            return int(count) if key == alert.key else 0
        return None

    def note_told(self, channel: str, counts: Mapping[str, int]) -> None:
        """Store that a channel has told so many occurrences of each key; what all have told is forgotten."""
        counts = {key: count for key, count in counts.items() if count}
        if not counts:
            return
        with self._using(5.0) as connection:
            if connection is None:
                return
            with _committed(connection):
                connection.executemany(_TOLD, [(key, channel, count) for key, count in counts.items()])
                for key in counts:
                    self._forget_if_told(connection, key)

    def waiting(self) -> tuple[Kept, ...]:
        """Give what an earlier life kept and not every channel has told, oldest first."""
        with self._using(5.0) as connection:
            if connection is None:
                return ()
            with _committed(connection):
                for (key,) in connection.execute("SELECT key FROM critical").fetchall():
                    self._forget_if_told(connection, key)
            told: dict[str, dict[str, int]] = {}
            for key, channel, count in connection.execute("SELECT key, channel, count FROM told"):
                told.setdefault(key, {})[channel] = count
            rows = connection.execute("SELECT * FROM critical ORDER BY at_ms, rowid").fetchall()
            return tuple(_kept(row, told.get(row[0], {})) for row in rows)
        return ()

    def note(self, name: str) -> str:
        """Give a text stored under a name, empty when there is none."""
        with self._using(5.0) as connection:
            if connection is not None:
                row = connection.execute("SELECT text FROM notes WHERE name = ?", (name,)).fetchone()
                return "" if row is None else str(row[0])
        return ""

    def put_note(self, name: str, text: str) -> None:
        """Store a text under a name."""
        with self._using(5.0) as connection:
            if connection is not None:
                with _committed(connection):
                    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _is_full(self, connection: sqlite3.Connection, key: str) -> bool:
        (rows,) = connection.execute("SELECT count(*) FROM critical").fetchone()
        known = connection.execute("SELECT 1 FROM critical WHERE key = ?", (key,)).fetchone()
        return rows >= CAPACITY and known is None

    def _forget_if_told(self, connection: sqlite3.Connection, key: str) -> None:
        row = connection.execute("SELECT count FROM critical WHERE key = ?", (key,)).fetchone()
        told = dict(connection.execute("SELECT channel, count FROM told WHERE key = ?", (key,)).fetchall())
        if row is None or all(told.get(channel, 0) >= row[0] for channel in self._channels):
            connection.execute("DELETE FROM critical WHERE key = ?", (key,))
            connection.execute("DELETE FROM told WHERE key = ?", (key,))

    @contextmanager
    def _using(self, wait_s: float) -> Iterator[sqlite3.Connection | None]:
        """Give the connection, None when another thread holds it too long or the file cannot be used."""
        if not self._lock.acquire(timeout=wait_s):
            yield None
            return
        try:
            connection = self._usable()
            yield connection
            self._is_told = self._is_told and connection is None
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            self._close()
            self._say(error)
        finally:
            self._lock.release()

    def _usable(self) -> sqlite3.Connection | None:
        try:
            return self._opened()
        except (sqlite3.Error, OSError) as error:
            self._say(error)
            return None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            if not any(word in str(error) for word in ("not a database", "malformed", "no such", "has no column")):
                raise
            log.warning("%s cannot be used (%s): set aside and begun anew", self.path.name, error)
            self.path.replace(f"{self.path}.damaged")
            for ending in ("-wal", "-shm"):
                Path(f"{self.path}{ending}").unlink(missing_ok=True)
            return self._opened()
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("SELECT key, id, count, at_ms, title, why, next_action, symbol FROM critical").fetchone()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _say(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            log.error("critical alerts are not kept over a restart path=%s error=%s", self.path, error)


def outbox_beside(state: Path) -> Path:
    """Give where the alerts of a state database are kept: `alerts.db` beside `bn_ml.db`, a name of its own otherwise.

    >>> outbox_beside(Path("state/bn_ml.db")).name, outbox_beside(Path("state/may.db")).name
    ('alerts.db', 'may.alerts.db')
    """
    return state.with_name("alerts.db" if state.stem == "bn_ml" else f"{state.stem}.alerts.db")


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _kept(row: tuple[str, str, int, int, str, str, str, str | None], told: Mapping[str, int]) -> Kept:
    key, incident, count, at_ms, title, why, next_action, symbol = row
    alert = Alert(
        at=from_ms(at_ms),
        level=AlertLevel.CRITICAL,
        key=key,
        title=title,
        why=why,
        next_action=next_action,
        symbol=None if symbol is None else Symbol(symbol),
    )
    return Kept(alert, incident, count, told)
