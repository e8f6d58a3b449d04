"""The sandbox's own file: the venue's records, and what the sandbox must remember over a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from bn_ml.errors import StateError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders(key TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trades(row INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS balances(key TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes(key TEXT PRIMARY KEY, text TEXT NOT NULL);
"""
_TABLES = ("orders", "trades", "balances", "meta", "notes")


class VenueFile:
    """Keeps a venue in one SQLite file (or in memory); a killed process loses nothing that was saved."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; raises `StateError` when it is none of ours or cannot be written."""
        self.path = path
        try:
            self._base = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StateError(f"cannot use {path} as the sandbox's state: {error}") from error

    def save(
        self,
        changed_orders: Mapping[str, str],
        new_trades: Sequence[str],
        balances: Mapping[str, str],
        meta: Mapping[str, str],
    ) -> None:
        """Commit in one piece; raises `StateError`."""
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._put("orders", changed_orders)
            self._base.executemany("INSERT INTO trades(text) VALUES (?)", [(text,) for text in new_trades])
            self._put("balances", balances)
            self._put("meta", meta)
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            raise StateError(f"cannot save the sandbox's state: {error}") from error

    def orders(self) -> Mapping[str, str]:
        """Give every order ever saved, by key."""
        return self._all("orders")

    def trades(self) -> Sequence[str]:
        """Give every trade ever saved, oldest first."""
        return [text for (text,) in self._base.execute("SELECT text FROM trades ORDER BY row")]

    def balances(self) -> Mapping[str, str]:
        """Give the balances by asset."""
        return self._all("balances")

    def meta(self) -> Mapping[str, str]:
        """Give counters and market state by key."""
        return self._all("meta")

    def note(self, key: str, text: str) -> None:
        """Remember a fact of the sandbox itself."""
        self._put("notes", {key: text})

    def noted(self, key: str) -> str | None:
        """Give a remembered fact, None when there is none."""
        row = self._base.execute("SELECT text FROM notes WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def wipe(self) -> None:
        """Forget everything."""
        for table in _TABLES:
            self._base.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _put(self, table: str, entries: Mapping[str, str]) -> None:
        statement = f"INSERT INTO {table}(key, text) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET text=excluded.text"
        self._base.executemany(statement, list(entries.items()))

    def _all(self, table: str) -> dict[str, str]:
        return dict(self._base.execute(f"SELECT key, text FROM {table} ORDER BY rowid"))
