"""Stopping the bot from outside: the halt committed into its book, and the marker beside a book that cannot be written.

Nothing here opens the book as its writer does: one short transaction on a connection of its own, so that a halt is
committed before anything else is looked at.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.codecs import display_json
from bn_ml.database import explained
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import ControlChanged, Event
from bn_ml.domain.market import Symbol, from_iso, iso, to_ms
from bn_ml.errors import StateError
from bn_ml.schema import MIGRATIONS, checked_version
from bn_ml.state_rows import NEVER_STARTED, control_of

FLATTEN_CAUSES = ("kill_switch", "breaker_drawdown")
"""Why a HALTED bot sells what it holds; any other halt leaves the resting stops alone."""

CLOSE_SYMBOL = "close_symbol"
"""The word before the one symbol whose orders are to be cancelled and whose position is to be sold."""

PAUSED = "paused"
"""Why an operator lets the bot only sell and protect what it holds."""

_BUSY = ("locked", "busy")


class BookBusy(StateError):
    """Another process is writing the book at this moment; trying again may help."""


def is_busy(error: StateError) -> bool:
    """Tell whether a book could not be read or written only because another process was at it."""
    return isinstance(error, BookBusy) or "database is locked" in str(error)


@dataclass(frozen=True, slots=True)
class KillSwitchPulled(Event):
    """Somebody told the bot to cancel its orders and sell: everything, or one symbol."""

    scope: str
    set_by: str
    epoch: int


def flattens(control: Control, symbol: Symbol) -> bool:
    """Tell whether the control state in force says to cancel and sell what is held of a symbol."""
    if control.state is ControlState.HALTED and any(cause in control.reason for cause in FLATTEN_CAUSES):
        return True
    tightened = control.state is not ControlState.NORMAL
    return tightened and f"{CLOSE_SYMBOL} {symbol}" in control.reason.split(", ")


def commit_halt(path: Path, set_by: str, at: datetime, *, symbol: Symbol | None = None, busy_s: float = 0.3) -> Control:
    """Commit HALTED, or at least REDUCE_ONLY with the order to close one symbol, under the next epoch.

    A halt already in force is never loosened and keeps its instant and its cause. Waits `busy_s` seconds for another
    writer. Raises `BookBusy` when it still writes then, `StateError` when the book cannot be used.
    """
    with _writing(path, busy_s) as connection:
        control = _tightened(_last(connection), set_by, at, symbol)
        _commit(connection, control, at, KillSwitchPulled(at, str(symbol or "all"), set_by, control.epoch))
    return control


def commit_pause(path: Path, set_by: str, at: datetime, *, busy_s: float = 0.3) -> Control:
    """Commit REDUCE_ONLY under the next epoch, for a cause that only an operator takes back.

    A halt, and a pause already in force, stay as they are. Waits and raises as `commit_halt`.
    """
    with _writing(path, busy_s) as connection:
        last = _last(connection)
        causes = [] if last.state is ControlState.NORMAL else last.reason.split(", ")
        if last.state is ControlState.HALTED or PAUSED in causes:
            return last
        since = last.since if last.state is ControlState.REDUCE_ONLY else at
        reason = ", ".join([*causes, PAUSED])
        control = Control(last.epoch + 1, ControlState.REDUCE_ONLY, reason, since, set_by, last.owner)
        _commit(connection, control, at)
    return control


def is_outdated(path: Path) -> bool:
    """Tell whether a book is of an older schema, so that it has to be upgraded before anything is written."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            return 0 < checked_version(connection, path) < MIGRATIONS[-1].version
    except sqlite3.Error:
        return False


def _tightened(last: Control, set_by: str, at: datetime, symbol: Symbol | None) -> Control:
    wanted = f"{FLATTEN_CAUSES[0]}: {set_by}" if symbol is None else f"{CLOSE_SYMBOL} {symbol}"
    lowest = ControlState.HALTED if symbol is None else ControlState.REDUCE_ONLY
    state = ControlState.HALTED if last.state is ControlState.HALTED else lowest
    since = last.since if last.state is state else at
    causes = [] if last.state is ControlState.NORMAL else last.reason.split(", ")
    reason = ", ".join(dict.fromkeys([*causes, wanted]))
    return Control(last.epoch + 1, state, reason, since, set_by, last.owner)


def _last(connection: sqlite3.Connection) -> Control:
    row = connection.execute("SELECT * FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
    return NEVER_STARTED if row is None else control_of(row)


def _commit(connection: sqlite3.Connection, control: Control, at: datetime, *facts: Event) -> None:
    connection.execute(
        "INSERT INTO control(epoch, state, reason, since_ms, set_by, at_ms, owner) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            control.epoch,
            control.state.value,
            control.reason,
            to_ms(control.since),
            control.set_by,
            to_ms(at),
            control.owner,
        ),
    )
    changed = ControlChanged(at, control.state.value, control.reason, control.set_by, control.epoch)
    for event in (*facts, changed):
        _journal(connection, event)


def _journal(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "INSERT INTO journal(at_ms, cycle, kind, payload) "
        "VALUES (?, (SELECT coalesce(max(cycle), 0) FROM journal WHERE id = (SELECT max(id) FROM journal)), ?, ?)",
        (to_ms(event.at), event.kind, display_json(event.payload())),
    )


@contextmanager
def _writing(path: Path, busy_s: float) -> Iterator[sqlite3.Connection]:
    """One durable transaction of its own, committed at the end of the block."""
    if not path.exists():
        raise StateError(f"{path}: there is no book")
    try:
        with closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            version = checked_version(connection, path)
            if version != MIGRATIONS[-1].version:
                raise StateError(f"{path}: schema version {version} is older than {MIGRATIONS[-1].version}")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        said = explained(error, path)
        raise (BookBusy(str(said)) if any(word in str(error) for word in _BUSY) else said) from error


@dataclass(frozen=True, slots=True)
class HaltMarker:
    """The order to start HALTED, kept in `<database>.halt` when the book itself could not take it."""

    path: Path

    @classmethod
    def beside(cls, database: Path) -> HaltMarker:
        """Give the marker of a database."""
        return cls(Path(f"{database.absolute()}.halt"))

    def write(self, reason: str, at: datetime) -> None:
        """Leave the order, durably; raises `StateError` when it cannot be written."""
        draft = Path(f"{self.path}.part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"reason": reason, "at": iso(at)}))
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(0o600)
            draft.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise StateError(f"{self.path}: cannot be written ({error.strerror})") from error

    def reason(self) -> str | None:
        """Give why the bot is to start HALTED, None when it is not; an unreadable marker still halts."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return f"{content['reason']} at {iso(from_iso(content['at']))}"
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"{self.path.name} cannot be read"

    def remove(self) -> None:
        """Take the order back once the book itself says HALTED."""
        self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
