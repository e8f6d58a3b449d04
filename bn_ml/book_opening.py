"""Opening the book of a bot: complete an interrupted restore, replace a damaged book, switch it, never begin anew.

A damaged database is put aside with its log, the newest backup of the same book that is whole takes its place, and the
bot starts HALTED with a report of what may be missing. A locked, foreign or newer file is left alone, like one on a
disk that fails.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from bn_ml.backup_store import Backup, BackupStore
from bn_ml.book_identity import PAPER, archived_book, switch_book
from bn_ml.domain.market import iso, to_ms
from bn_ml.errors import StateError
from bn_ml.restore import RECOVERY, finish_restore, identity_of, restore_book
from bn_ml.settings_ops import StorageSettings
from bn_ml.state_store import StateStore

log = logging.getLogger(__name__)

_DAMAGE = ("malformed", "file is not a database", "file is encrypted")
_MOST_LINES = 20


def open_book(storage: StorageSettings, mode: str, account: str, at: datetime) -> StateStore:
    """Open the book of an environment and account, mended where it has to be, and keep disk space in reserve.

    Call it while holding the process lock. Raises `StateError`, naming the fix, when the book is damaged and no backup
    of it is whole, or when a live book is absent although its backups hold positions or orders.
    """
    path = Path(storage.sqlite_path).absolute()
    backups = BackupStore(storage.backup.base_dir)
    _finish(path)
    damage = damage_of(path)
    if damage:
        _mend(path, backups, (mode, account), damage, at)
    switched = switch_book(path, mode, account, at)
    if switched.archived:
        log.warning("the book of another environment was archived to %s", switched.archived)
    is_absent = not path.exists()
    if is_absent:
        _require_new(path, backups, mode, account)
    store = StateStore(path)
    try:
        if store.identity() is None and not is_absent:
            _require_new(path, backups, mode, account)
        store.bind_book(mode, account, at)
    except BaseException:
        store.close()
        raise
    store.session.reserve.ensure()
    return store


def damage_of(path: Path) -> str:
    """Say what is broken in a database file, empty when nothing is.

    Empty as well for one that is absent, locked, or on a disk that fails: opening it says so. Reads the whole file.
    """
    if not path.exists() or not path.stat().st_size:
        return ""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)) as read:
            (verdict,) = read.execute("PRAGMA integrity_check(1)").fetchone()
            (pages,), (page_size,) = (read.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    except sqlite3.DatabaseError as error:
        text = str(error)
        return text if any(word in text for word in _DAMAGE) else ""
    except UnicodeDecodeError:
        return "the schema is no text"
    if verdict != "ok":
        return str(verdict)
    # What is missing at the end of the last page reads as zeros and looks whole.
    log_file = Path(f"{path}-wal")
    is_cut = not (log_file.exists() and log_file.stat().st_size) and path.stat().st_size < pages * page_size
    return "the end of the file is missing" if is_cut else ""


def _finish(path: Path) -> None:
    try:
        replaced = finish_restore(path)
    except OSError as error:
        raise StateError(f"{error.filename or path}: a restore cannot be completed ({error.strerror})") from error
    if replaced is not None:
        log.warning("an interrupted restore was completed, the former files are in %s", replaced)


def _mend(path: Path, backups: BackupStore, owner: tuple[str, str], damage: str, at: datetime) -> None:
    """Put the newest whole backup in the place of a damaged book, or refuse."""
    told = identity_of(path)
    if (told and (told.mode, told.account) != owner) or (told is None and archived_book(path, *owner)):
        raise StateError(
            f"{path}: the file is damaged ({damage}) and not known to be the {owner[0]} book of {owner[1]}; "
            "restore it (bnml-doctor backups list) or move it away"
        )
    log.critical("the book is damaged path=%s damage=%s", path, damage)
    problems: list[str] = []
    for backup in reversed(_of(backups, owner)):
        missing = tuple(_missing(path, backup))
        try:
            done = restore_book(path, backup, at=at, set_by=RECOVERY, missing=missing)
        except StateError as error:
            log.error("a backup cannot take its place: %s", error)
            problems.append(str(error))
            continue
        _report(path, backup, missing, done.replaced)
        return
    raise StateError(
        f"{path}: the file is damaged ({damage}) and no whole backup of this book is in {backups.base}"
        f"{': ' + problems[0] if problems else ''}; put one there and run bnml-doctor backups restore ID. "
        "To begin an empty book, flatten at the exchange first and move the file away"
    )


def _report(path: Path, backup: Backup, missing: Sequence[str], replaced: Path | None) -> None:
    made_at = iso(backup.manifest.made_at)
    log.critical(
        "backup %s of %s is in the place of the damaged %s, now in %s", backup.backup_id, made_at, path, replaced
    )
    for line in missing or ("the damaged file does not tell what it held beyond the backup",):
        log.critical("may be missing: %s", line)
    log.critical(
        "trading is HALTED: compare the positions with the exchange, then bnml-kill-switch --resume --reason TEXT"
    )


def _missing(path: Path, backup: Backup) -> Iterator[str]:
    """Say what a damaged book still shows of the time after a backup: its orders and trades."""
    book = backup.manifest.book
    since = to_ms(book.newest if book and book.newest else backup.manifest.made_at)
    yield f"everything after {iso(backup.manifest.made_at)}"
    queries = (
        ("order", "SELECT symbol, side, client_id, state FROM intents WHERE created_ms > ? ORDER BY seq"),
        ("trade", "SELECT symbol, side, trade_id, client_id FROM fills WHERE at_ms > ? ORDER BY id"),
    )
    for word, query in queries:
        try:
            uri = f"{path.as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None)) as read:
                rows = read.execute(query, (since,)).fetchmany(_MOST_LINES)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            yield f"{word}s: cannot be read ({error})"
            continue
        yield from (f"{word} {' '.join(map(str, row))}" for row in rows)


def _require_new(path: Path, backups: BackupStore, mode: str, account: str) -> None:
    """Refuse to begin an empty live book where backups of it hold something; a paper book may begin anew."""
    own = _of(backups, (mode, account))
    if not own:
        return
    newest = own[-1]
    book = newest.manifest.book
    held = f"{book.positions} open positions and {book.orders} orders" if book else "its facts"
    if mode == PAPER:
        log.warning("a new paper book begins although backup %s of the last one holds %s", newest.backup_id, held)
        return
    raise StateError(
        f"{path}: there is no book, but backup {newest.backup_id} of the {mode} book of {account} holds {held}; "
        f"run bnml-doctor backups restore {newest.backup_id}. To begin an empty book, flatten at the exchange and move "
        f"{backups.base} away"
    )


def _of(backups: BackupStore, owner: tuple[str, str]) -> tuple[Backup, ...]:
    """Give the backups that hold the book of an environment and account, oldest first."""
    found = []
    try:
        present = backups.backups()
    except StateError as error:
        # The preflight, or the first backup, says more about a folder that cannot be used.
        log.warning("no backup can be read: %s", error)
        present = ()
    for backup in present:
        identity = backup.manifest.book.identity if backup.manifest.book else None
        if identity is not None and (identity.mode, identity.account) == owner:
            found.append(backup)
    return tuple(found)
