"""Whether the state database has changed, asked so cheaply that every request may ask."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

Version = tuple[int, int, int]
"""Device and inode of the file, and SQLite's own count of commits seen on one kept connection."""


class BookWatch:
    """Watches one database file over a kept read-only connection.

    `PRAGMA data_version` moves with every commit of another connection and with nothing else. The time of the `-wal`
    file would not do: two commits within one tick of the file system look alike, and a checkpoint looks like news.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened when first asked for."""
        self._path = path.absolute()
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def version(self) -> Version | None:
        """Give what differs after every change, None when the database is absent, locked or unreadable."""
        with self._lock:
            try:
                facts = self._path.stat()
                if self._connection is None or self._file != (facts.st_dev, facts.st_ino):
                    self._let_go()
                    self._open((facts.st_dev, facts.st_ino))
                return facts.st_dev, facts.st_ino, self._asked()
            except (OSError, sqlite3.Error):
                self._let_go()
                return None

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        connection, self._connection, self._file = self._connection, None, None
        if connection is not None:
            connection.close()

    def _open(self, file: tuple[int, int]) -> None:
        # Never waits: what is locked is told as such, and asked for again by the next request.
        address = f"{self._path.as_uri()}?mode=ro"
        self._connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self._file = file

    def _asked(self) -> int:
        assert self._connection is not None
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
