"""Facts go into the journal inside the transaction that made them true; observers hear of them once it is durable."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from bn_ml.database import reading
from bn_ml.domain.events import CycleStarted, Event
from bn_ml.errors import StateError
from bn_ml.ports import EventSink

EXPORTED = (
    ("journal", "id"),
    ("intents", "seq"),
    ("fills", "id"),
    ("ledger", "id"),
    ("foreign_balances", "id"),
    ("control", "epoch"),
    ("position_book", "rowid"),
    ("trades", "id"),
)
_LOGGER = logging.getLogger(__name__)


class JournalStore(Protocol):
    """What the journal needs of the state store."""

    def add_event(self, event: Event, cycle: int) -> int:
        """Append a fact."""

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the running transaction has committed."""


class Journal:
    """The `EventSink` of the trader: writes first, tells observers after the commit, never suffers from them."""

    def __init__(self, store: JournalStore, observers: Sequence[EventSink] = ()) -> None:
        """Write to a store and tell the observers in the order given."""
        self._store = store
        self._observers = tuple(observers)
        self._cycle = 0

    def emit(self, event: Event) -> None:
        """Append a fact, joining the running transaction; raises `StateError` when it cannot be written."""
        if isinstance(event, CycleStarted):
            self._cycle = event.cycle
        self._store.add_event(event, self._cycle)
        self._store.on_commit(partial(self._tell, event))

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer.emit(event)
            except Exception:
                _LOGGER.exception("observer failed observer=%s event=%s", type(observer).__name__, event.kind)


def export_journal(path: str | Path, out: str | Path) -> str:
    """Write the exact tables as canonical JSON lines, in fixed order, atomically; give the SHA-256 of the file.

    Two books of the same story give the same bytes. Raises `StateError` when the database cannot be read or the file
    not be written.
    """
    target = Path(out)
    draft = target.with_name(f".{target.name}.part")
    digest = hashlib.sha256()
    try:
        with reading(path) as connection, draft.open("wb") as file:
            for line in _lines(connection):
                digest.update(line)
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise StateError(
            f"{target}: cannot be written ({error.strerror}); choose a folder the user may write"
        ) from error
    return digest.hexdigest()


def _lines(connection: sqlite3.Connection) -> Iterator[bytes]:
    for table, order in EXPORTED:
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
            content = {"table": table, **dict(row)}
            yield json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
