"""One open state database: durable settings, joined transactions, and errors that name the file and the fix."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bn_ml.crash_points import crash_point
from bn_ml.database import BUSY_TIMEOUT_MS, CACHE_KIB, Parameter, naming
from bn_ml.disk_reserve import DiskReserve
from bn_ml.errors import StateError
from bn_ml.schema import Migration, checked_version, migrate


class Session:
    """The one writing connection to a state database; used by one thread only.

    Raises `StateError` for everything that goes wrong with the file. `reserve` is disk space given up before a full
    disk can keep a transaction from being written; whoever runs for long keeps it with `reserve.ensure()`.
    """

    def __init__(self, path: str | Path, migrations: Sequence[Migration] | None = None) -> None:
        """Create or open the file with mode 0600, in a folder made with mode 0700, and migrate it."""
        self.path = Path(path).absolute()
        self.reserve = DiskReserve(self.path)
        self._depth = 0
        self._failure: str | None = None
        self._after_commit: deque[Callable[[], None]] = deque()
        _touch(self.path)
        with naming(self.path):
            self._connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        try:
            with naming(self.path):
                self._prepare(migrations)
        except BaseException:
            self._connection.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is running."""
        return self._depth > 0

    def execute(self, sql: str, parameters: Sequence[Parameter] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return self._run(sql, parameters)
        except StateError as error:
            # One statement of its own is undone whole, so that it may be tried again; a part of a transaction may not.
            if self._depth or not self._made_room(error):
                raise
        return self._run(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Parameter] = ()) -> list[sqlite3.Row]:
        """Give all rows of a query."""
        with naming(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Parameter] = ()) -> sqlite3.Row | None:
        """Give the first row of a query, None when there is none."""
        return next(iter(self.rows(sql, parameters)), None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything in the block, durably, or nothing of it.

        A block inside another joins it. Once a joined block has failed the outer one cannot commit any more, even when
        it catches the error.
        """
        if self._depth:
            with self._joined():
                yield
            return
        self.reserve.release_when_low()
        self.execute("BEGIN IMMEDIATE")
        self._depth, self._failure = 1, None
        try:
            yield
            if self._failure is not None:
                raise StateError(f"{self.path}: transaction given up because a part of it failed: {self._failure}")
            crash_point("commit.before")
            self.execute("COMMIT")
        except BaseException as error:
            self._after_commit.clear()
            self._roll_back()
            self._made_room(error)
            raise
        finally:
            self._depth = 0
        crash_point("commit.after")
        self._tell()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the outermost transaction has committed; at once when none is running."""
        if self._depth:
            self._after_commit.append(callback)
        else:
            callback()

    def checkpoint(self) -> None:
        """Move the write-ahead log into the main file and empty it; raises `StateError` while a reader holds it."""
        row = self.row("PRAGMA wal_checkpoint(TRUNCATE)")
        if row is None or row[0]:
            raise StateError(f"{self.path}: another process is reading the database; stop it and start again")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._connection.close()

    def _prepare(self, migrations: Sequence[Migration] | None) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        # The owner of the file is checked before anything is written to it.
        checked_version(connection, self.path, newest=migrations[-1].version if migrations else None)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateError(f"{self.path}: the file system offers no write-ahead log ({mode}); use a local disk")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StateError(
                f"{self.path}: the file is corrupt ({verdict}); restore a backup (bnml-doctor backups list)"
            )
        migrate(connection, self.path, migrations)

    @contextmanager
    def _joined(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        except BaseException as error:
            self._failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._depth -= 1

    def _run(self, sql: str, parameters: Sequence[Parameter]) -> sqlite3.Cursor:
        with naming(self.path):
            return self._connection.execute(sql, parameters)

    def _made_room(self, error: BaseException) -> bool:
        """Give up the reserve when a write failed for want of disk space; whether there was one to give up."""
        return isinstance(error, StateError) and "disk is full" in str(error) and self.reserve.release()

    def _roll_back(self) -> None:
        # A full disk makes SQLite roll back by itself; a second failure here must not hide the first.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _tell(self) -> None:
        while self._after_commit:
            self._after_commit.popleft()()


def _touch(path: Path) -> None:
    # An existing database is never opened here: closing a descriptor would drop the locks that another connection of
    # this process holds on the file.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            _require_writable(path)
            path.chmod(0o600)
        else:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StateError(
            f"{path}: cannot be created or written ({error.strerror}); "
            f"give the bot's user write access to {path.parent} or change storage.sqlite_path"
        ) from error


def _require_writable(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
