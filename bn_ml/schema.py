"""The tables of the state database, their triggers, and the numbered migrations that lead to them.

Five readable tables with REAL columns (`positions`, `trades`, `cycles`, `kv_state`, `model_metrics`) stand beside the
exact ones in integer units of 1e-8 (`intents`, `fills`, `ledger`, `control`). Times named `_ms` or `_ts` are
milliseconds since 1970.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bn_ml.errors import StateError

APPLICATION_ID = 0x424E4D4C


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that lead from version `version - 1` to `version`."""

    version: int
    statements: tuple[str, ...]


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] | None = None) -> None:
    """Bring a database to the newest version in one transaction, after a backup copy of an existing one.

    `connection` is in autocommit mode. Raises `StateError` on a foreign database or a newer version and lets
    `sqlite3.Error` out.
    """
    steps = MIGRATIONS if migrations is None else tuple(migrations)
    version = checked_version(connection, path, newest=steps[-1].version)
    if version == steps[-1].version:
        return
    if version:
        _copy(connection, path.with_name(f"{path.name}.v{version}.bak"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated between the check and the lock.
        version = _pragma(connection, "user_version")
        for step in steps:
            if step.version > version:
                _apply(connection, step)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def checked_version(connection: sqlite3.Connection, path: Path, *, newest: int | None = None) -> int:
    """Give the schema version, 0 for an empty file; raises `StateError` on a foreign or newer database."""
    limit = MIGRATIONS[-1].version if newest is None else newest
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise StateError(
            f"{path}: belongs to another program (application_id {application:#x}); "
            "move it away or point storage.sqlite_path elsewhere"
        )
    if version > limit:
        raise StateError(
            f"{path}: schema version {version} is newer than this program knows ({limit}); "
            "upgrade BN-ML or restore an older backup"
        )
    return version


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    for statement in step.statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {step.version}")


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    copy = sqlite3.connect(target)
    try:
        connection.backup(copy)
    finally:
        copy.close()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _append_only(table: str) -> tuple[str, str]:
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN "
        f"SELECT RAISE(ABORT, '{table} is append-only'); END",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN "
        f"SELECT RAISE(ABORT, '{table} is append-only'); END",
    )


_UNITS = "BETWEEN 0 AND 4611686018427387904"
_POSITIVE = "BETWEEN 1 AND 4611686018427387904"
_TERMINAL = "('FILLED','CANCELED','EXPIRED','REFUSED','NEVER_ACCEPTED')"

_READABLE = (
    """CREATE TABLE positions(symbol TEXT PRIMARY KEY, side TEXT, size_usdt REAL, entry_price REAL, stop_loss REAL,
    take_profit_1 REAL, take_profit_2 REAL, opened_at TEXT, status TEXT, extra_json TEXT)""",
    """CREATE TABLE trades(id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT, symbol TEXT, side TEXT, size_usdt REAL,
    price REAL, mode TEXT, extra_json TEXT)""",
    """CREATE TABLE cycles(id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT, opportunities INTEGER,
    opened_positions INTEGER, data_json TEXT)""",
    "CREATE TABLE kv_state(key TEXT PRIMARY KEY, value_json TEXT, updated_at TEXT)",
    "CREATE TABLE model_metrics(id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT, metrics_json TEXT)",
    "CREATE INDEX trades_ts ON trades(ts)",
    "CREATE INDEX cycles_ts ON cycles(ts)",
    "CREATE INDEX model_metrics_ts ON model_metrics(ts)",
)

_EXACT = (
    """CREATE TABLE control(epoch INTEGER PRIMARY KEY CHECK (epoch > 0),
    state TEXT NOT NULL CHECK (state IN ('NORMAL','REDUCE_ONLY','HALTED')), reason TEXT NOT NULL,
    since_ms INTEGER NOT NULL, set_by TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT""",
    "CREATE TABLE sequences(name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value > 0)) STRICT",
    f"""CREATE TABLE intents(seq INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id TEXT NOT NULL UNIQUE CHECK (length(client_id) BETWEEN 1 AND 36),
    symbol TEXT NOT NULL, side TEXT NOT NULL CHECK (side IN ('BUY','SELL')), type TEXT NOT NULL,
    qty INTEGER NOT NULL CHECK (qty {_POSITIVE}),
    limit_px INTEGER CHECK (limit_px {_POSITIVE}), stop_px INTEGER CHECK (stop_px {_POSITIVE}),
    purpose TEXT NOT NULL CHECK (purpose IN ('entry','stop','target','exit')), position_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('SENT','OPEN','UNKNOWN','FILLED','CANCELED','EXPIRED','REFUSED',
    'NEVER_ACCEPTED')),
    epoch INTEGER NOT NULL, request_ts INTEGER NOT NULL, deadline_ts INTEGER NOT NULL CHECK (deadline_ts > request_ts),
    reserved_quote INTEGER NOT NULL CHECK (reserved_quote {_UNITS}),
    reserved_base INTEGER NOT NULL CHECK (reserved_base {_UNITS}),
    time_in_force TEXT, list_id TEXT, tranche TEXT NOT NULL, note TEXT NOT NULL, reference_px TEXT,
    exchange_id TEXT NOT NULL DEFAULT '', created_ms INTEGER NOT NULL, resolved_ms INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    CHECK ((resolved_ms IS NOT NULL) = (state IN {_TERMINAL}))) STRICT""",
    f"CREATE INDEX intents_open ON intents(seq) WHERE state NOT IN {_TERMINAL}",
    "CREATE INDEX intents_entries ON intents(created_ms) WHERE purpose = 'entry'",
    "CREATE INDEX intents_position ON intents(position_id)",
    f"""CREATE TRIGGER intents_terminal BEFORE UPDATE ON intents WHEN OLD.state IN {_TERMINAL}
    BEGIN SELECT RAISE(ABORT, 'a terminal intent never changes'); END""",
    """CREATE TRIGGER intents_fixed BEFORE UPDATE OF seq, client_id, symbol, side, type, qty, limit_px, stop_px,
    purpose, position_id, epoch, request_ts, deadline_ts, reserved_quote, reserved_base, time_in_force, list_id,
    tranche, note, reference_px, created_ms ON intents
    BEGIN SELECT RAISE(ABORT, 'what an intent asked for never changes'); END""",
    """CREATE TRIGGER intents_no_delete BEFORE DELETE ON intents
    BEGIN SELECT RAISE(ABORT, 'intents are never deleted'); END""",
    f"""CREATE TABLE fills(id INTEGER PRIMARY KEY AUTOINCREMENT, symbol TEXT NOT NULL, trade_id TEXT NOT NULL,
    client_id TEXT NOT NULL REFERENCES intents(client_id), side TEXT NOT NULL CHECK (side IN ('BUY','SELL')),
    price INTEGER NOT NULL CHECK (price {_POSITIVE}), qty INTEGER NOT NULL CHECK (qty {_POSITIVE}),
    quote INTEGER NOT NULL CHECK (quote {_UNITS}), fee INTEGER NOT NULL CHECK (fee {_UNITS}),
    fee_asset TEXT NOT NULL, at_ms INTEGER NOT NULL, UNIQUE (symbol, trade_id)) STRICT""",
    "CREATE INDEX fills_client ON fills(client_id)",
    """CREATE TABLE ledger(id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, asset TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount <> 0 AND abs(amount) <= 4611686018427387904),
    reason TEXT NOT NULL CHECK (reason IN ('fill_base','fill_quote','fee','deposit','withdrawal')),
    symbol TEXT, trade_id TEXT, note TEXT NOT NULL,
    CHECK ((symbol IS NULL) = (trade_id IS NULL)),
    FOREIGN KEY (symbol, trade_id) REFERENCES fills(symbol, trade_id)) STRICT""",
    "CREATE INDEX ledger_asset ON ledger(asset, amount)",
    """CREATE VIEW intent_records AS SELECT i.*,
    coalesce((SELECT sum(f.qty) FROM fills f WHERE f.client_id = i.client_id), 0) AS filled,
    coalesce((SELECT sum(f.quote) FROM fills f WHERE f.client_id = i.client_id), 0) AS quote FROM intents i""",
    """CREATE TABLE position_book(position_id TEXT PRIMARY KEY, symbol TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('OPEN','CLOSED')), opened_ms INTEGER NOT NULL, closed_ms INTEGER,
    json TEXT NOT NULL, CHECK ((closed_ms IS NOT NULL) = (status = 'CLOSED'))) STRICT""",
    "CREATE UNIQUE INDEX position_one_open ON position_book(symbol) WHERE status = 'OPEN'",
    "CREATE INDEX position_closed ON position_book(closed_ms) WHERE status = 'CLOSED'",
    "CREATE INDEX position_symbol ON position_book(symbol, opened_ms)",
    """CREATE TRIGGER position_stays_closed BEFORE UPDATE ON position_book
    WHEN OLD.status = 'CLOSED' AND NEW.status <> 'CLOSED'
    BEGIN SELECT RAISE(ABORT, 'a closed position never reopens'); END""",
    """CREATE TABLE journal(id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, cycle INTEGER NOT NULL,
    kind TEXT NOT NULL, payload TEXT NOT NULL) STRICT""",
)

_VENUE = (
    """CREATE TABLE venue_orders(key TEXT PRIMARY KEY, json TEXT NOT NULL,
    open INTEGER NOT NULL CHECK (open IN (0, 1))) STRICT""",
    "CREATE TABLE venue_trades(id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL) STRICT",
    "CREATE TABLE venue_balances(asset TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT",
    "CREATE TABLE venue_meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
)

_OWNERS_AND_TRAILS = (
    "ALTER TABLE control ADD COLUMN owner INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE intents ADD COLUMN trailing_bp INTEGER NOT NULL DEFAULT 0 CHECK (trailing_bp BETWEEN 0 AND 10000)",
    "ALTER TABLE intents ADD COLUMN replaces TEXT NOT NULL DEFAULT ''",
    "DROP TRIGGER intents_fixed",
    """CREATE TRIGGER intents_fixed BEFORE UPDATE OF seq, client_id, symbol, side, type, qty, limit_px, stop_px,
    purpose, position_id, epoch, request_ts, deadline_ts, reserved_quote, reserved_base, time_in_force, list_id,
    tranche, note, reference_px, created_ms, trailing_bp, replaces ON intents
    BEGIN SELECT RAISE(ABORT, 'what an intent asked for never changes'); END""",
    """CREATE TABLE foreign_balances(id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, asset TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount <> 0 AND abs(amount) <= 4611686018427387904), note TEXT NOT NULL) STRICT""",
    "CREATE INDEX fills_at ON fills(at_ms)",
    "CREATE INDEX intents_created ON intents(created_ms)",
    "CREATE INDEX intents_resolved ON intents(resolved_ms)",
    "CREATE INDEX intents_exchange ON intents(symbol, exchange_id) WHERE exchange_id <> ''",
)

MIGRATIONS = (
    Migration(
        1,
        (
            *_READABLE,
            *_EXACT,
            *_VENUE,
            *_append_only("control"),
            *_append_only("fills"),
            *_append_only("ledger"),
            *_append_only("journal"),
        ),
    ),
    Migration(2, (*_OWNERS_AND_TRAILS, *_append_only("foreign_balances"))),
)
