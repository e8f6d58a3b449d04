"""Read-only questions about the book, answered from memory until something is committed; and the state of its file."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar, cast

from bn_ml.errors import StateError
from bn_ml.state_reader import CycleRow, EventRow, MetricsRow, PositionRow, StateReader, Summary, TradeRow

T = TypeVar("T")

MOST_CYCLES = 5_000
MOST_REMEMBERED = 256
LOOK_TIMEOUT_S = 0.25
"""A look at the file never waits longer for a writer."""


class BookState(Enum):
    """What can be said about the database file."""

    READABLE = "readable"
    MISSING = "missing"
    LOCKED = "locked"
    CORRUPT = "corrupt"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the file, why, and the command that helps."""

    state: BookState
    problem: str = ""
    command: str = ""


class BookQueries:
    """Answers for all viewers of one dashboard; safe to use from several threads.

    Every question raises `StateError` when the book cannot be read. Lists are newest first.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the database; it is opened at the first question and never written."""
        self.path = Path(path).absolute()
        self._reader = StateReader(self.path)
        self._lock = threading.RLock()
        self._watch: sqlite3.Connection | None = None
        self._watched: tuple[int, int] = (0, 0)
        self._answers: OrderedDict[str, tuple[object, object]] = OrderedDict()
        self._trades: tuple[TradeRow, ...] = ()
        self._cycles: tuple[CycleRow, ...] = ()

    @property
    def version(self) -> tuple[int, ...]:
        """What changes with every commit of the bot, and when the file is replaced; raises `StateError`."""
        with self._lock:
            try:
                return (*self._identity(), self._data_version())
            except sqlite3.Error as error:
                self._let_go()
                raise StateError(f"{self.path}: {error}") from error

    def condition(self) -> Condition:
        """Look at the file without waiting for anybody; never raises for what is wrong with it."""
        with self._lock:
            try:
                self._identity()
                self._data_version()
            except sqlite3.Error as error:
                self._let_go()
                return _told(self.path, str(error))
            except StateError as error:
                return _told(self.path, str(error))
            try:
                self.summary()
            except StateError as error:
                return _told(self.path, str(error))
            return Condition(BookState.READABLE)

    def summary(self) -> Summary:
        """Give the bot at a glance."""
        return self.kept("summary", self._reader.summary)

    def positions(self) -> tuple[PositionRow, ...]:
        """Give the last position of each symbol, ordered by symbol."""
        return self.kept("positions", self._reader.positions)

    def trades(self) -> tuple[TradeRow, ...]:
        """Give all trades; only those that are new are read from the file."""
        with self._lock:
            count = self.summary().trades
            fresh = count - len(self._trades)
            if fresh < 0:
                self._trades, fresh = (), count
            if fresh:
                self._trades = (*self._reader.trades(limit=fresh), *self._trades)
            return self._trades

    def cycles(self) -> tuple[CycleRow, ...]:
        """Give the newest cycles, at most 5,000; only those that are new are read from the file."""
        with self._lock:
            last = self.summary().last_cycle
            if last is None:
                self._cycles = ()
            elif not self._cycles or last.id < self._cycles[0].id:
                self._cycles = self._reader.cycles(limit=MOST_CYCLES)
            elif last.id > self._cycles[0].id:
                known = self._cycles[0].id
                rows = self._reader.cycles(limit=min(last.id - known, MOST_CYCLES))
                self._cycles = (*(row for row in rows if row.id > known), *self._cycles)[:MOST_CYCLES]
            return self._cycles

    def kv(self, key: str) -> object:
        """Give a keyed value, None when it was never set."""
        return self.kept(f"kv {key}", lambda: self._reader.kv(key))

    def events(self, kind: str, limit: int = 500) -> tuple[EventRow, ...]:
        """Give the newest facts of one kind."""
        return self.kept(f"events {kind} {limit}", lambda: self._reader.events(limit=limit, kind=kind))

    def metrics(self, limit: int = 500) -> tuple[MetricsRow, ...]:
        """Give the newest figures of models."""
        return self.kept(f"metrics {limit}", lambda: self._reader.latest_metrics(limit=limit))

    def kept(self, key: str, make: Callable[[], T], *, changes_with: Sequence[object] | None = None) -> T:
        """Give a value made once per data version, or once per `changes_with` when it depends on less than that."""
        version: object = self.version if changes_with is None else (*self._stamp(), *changes_with)
        with self._lock:
            held = self._answers.get(key)
            if held is not None and held[0] == version:
                self._answers.move_to_end(key)
                return cast("T", held[1])
        value = make()
        with self._lock:
            self._answers[key] = (version, value)
            self._answers.move_to_end(key)
            while len(self._answers) > MOST_REMEMBERED:
                self._answers.popitem(last=False)
        return value

    def close(self) -> None:
        """Let go of the file; a later question opens it again."""
        with self._lock:
            self._let_go()

    def _stamp(self) -> tuple[int, int]:
        with self._lock:
            return self._identity()

    def _identity(self) -> tuple[int, int]:
        """Give which file lies there, and forget everything when it is another one."""
        try:
            found = self.path.stat()
        except OSError as error:
            self._let_go()
            raise StateError(f"{self.path}: no database yet ({error.strerror})") from error
        identity = (found.st_dev, found.st_ino)
        if identity != self._watched:
            self._let_go()
            self._watched = identity
        return identity

    def _data_version(self) -> int:
        # Only the connection that asked before can tell that another one has committed since.
        if self._watch is None:
            uri = f"{self.path.as_uri()}?mode=ro"
            self._watch = sqlite3.connect(
                uri, uri=True, timeout=LOOK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._watch.execute("PRAGMA query_only = ON")
            self._watch.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._watched = (0, 0)
        self._answers.clear()
        self._trades, self._cycles = (), ()


def _told(path: Path, problem: str) -> Condition:
    for needles, state, sentence, command in _KNOWN:
        if any(needle in problem for needle in needles):
            return Condition(state, f"{sentence}: {path}", command)
    return Condition(BookState.UNUSABLE, problem, "bnml-doctor check")


_KNOWN = (
    (
        ("no database yet",),
        BookState.MISSING,
        "There is no book yet",
        "bnml-bot --paper",
    ),
    (
        ("locked", "busy"),
        BookState.LOCKED,
        "Another process keeps the book locked, it is tried again",
        "bnml-doctor check",
    ),
    (
        (
            "not a database",
            "malformed",
            "corrupt",
            "damaged",
            "disk I/O",
            "not JSON",
            "no JSON object",
            "not a complete",
        ),
        BookState.CORRUPT,
        "The book is corrupt",
        "bnml-doctor backups list",
    ),
)
