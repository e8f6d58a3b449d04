"""What observers may know of the bot: read-only queries that work while the bot writes and never wait for it.

Each call reads one committed instant over a connection of its own. Numbers of the readable tables are for display.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from bn_ml.codecs import from_plain, from_units
from bn_ml.database import Parameter, reading
from bn_ml.domain.account import Control
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import Symbol, from_iso, from_ms, iso
from bn_ml.domain.orders import Fill, IntentRecord, Side
from bn_ml.domain.positions import PositionStatus
from bn_ml.errors import StateError
from bn_ml.state_rows import NEVER_STARTED, control_of, entries_of, fill_of, intent_record, ledger_entry

_OPEN_INTENTS = "state IN ('SENT', 'OPEN', 'UNKNOWN')"


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A row of `positions`: the last position of a symbol."""

    symbol: Symbol
    side: str
    size_usdt: float
    entry_price: float
    stop_loss: float
    take_profit_1: float
    take_profit_2: float
    opened_at: datetime
    status: str
    extra: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A row of `trades`."""

    id: int
    at: datetime
    symbol: Symbol
    side: str
    size_usdt: float
    price: float
    mode: str
    extra: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A row of `cycles`."""

    id: int
    at: datetime
    opportunities: int
    opened_positions: int
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """A row of `model_metrics`."""

    id: int
    at: datetime
    metrics: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of `journal`."""

    id: int
    at: datetime
    cycle: int
    kind: str
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Which trades to give; None means any. `since` is inclusive, `until` exclusive."""

    symbol: Symbol | None = None
    side: Side | None = None
    mode: str | None = None
    since: datetime | None = None
    until: datetime | None = None


ANY_TRADE = TradeFilter()


@dataclass(frozen=True, slots=True)
class Summary:
    """The bot at a glance; `account` is the keyed value `account_state`, None before the first cycle."""

    identity: BookIdentity | None
    control: Control
    open_positions: int
    closed_positions: int
    unresolved_orders: int
    trades: int
    cycles: int
    last_cycle: CycleRow | None
    account: object


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about the database."""

    name: str
    passed: bool
    detail: str


class StateReader:
    """Read-only questions about one state database.

    Every method raises `StateError` when the file is absent, corrupt, foreign or of another schema version.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the database; it is opened by each question."""
        self.path = Path(path).absolute()

    def summary(self) -> Summary:
        """Give the bot at a glance, all of one instant."""
        with reading(self.path) as connection:
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM position_book WHERE status = 'OPEN') AS held, "
                "(SELECT count(*) FROM position_book WHERE status = 'CLOSED') AS closed, "
                f"(SELECT count(*) FROM intents WHERE {_OPEN_INTENTS}) AS orders, "
                "(SELECT count(*) FROM trades) AS trades, (SELECT count(*) FROM cycles) AS cycles"
            ).fetchone()
            cycle = connection.execute("SELECT * FROM cycles ORDER BY id DESC LIMIT 1").fetchone()
            identity = self._kv(connection, "book_identity")
            return Summary(
                identity=None if identity is None else from_plain(BookIdentity, identity),
                control=_control(connection),
                open_positions=counts["held"],
                closed_positions=counts["closed"],
                unresolved_orders=counts["orders"],
                trades=counts["trades"],
                cycles=counts["cycles"],
                last_cycle=None if cycle is None else self._cycle(cycle),
                account=self._kv(connection, "account_state"),
            )

    def control(self) -> Control:
        """Give the control state in force."""
        with reading(self.path) as connection:
            return _control(connection)

    def positions(self, status: PositionStatus | None = None) -> tuple[PositionRow, ...]:
        """Give the last position of each symbol, those of one status or all, ordered by symbol."""
        where = "" if status is None else "WHERE status = ?"
        rows = self._rows(f"SELECT * FROM positions {where} ORDER BY symbol", () if status is None else (status.value,))
        return tuple(self._position(row) for row in rows)

    def trades(self, which: TradeFilter = ANY_TRADE, *, limit: int = 500) -> tuple[TradeRow, ...]:
        """Give the newest trades that pass the filter, newest first."""
        where, values = _trade_conditions(which)
        rows = self._rows(f"SELECT * FROM trades {where} ORDER BY id DESC LIMIT ?", (*values, limit))
        return tuple(self._trade(row) for row in rows)

    def cycles(self, *, limit: int = 500, since: datetime | None = None) -> tuple[CycleRow, ...]:
        """Give the newest cycles at or after `since`, newest first."""
        start = "" if since is None else iso(since)
        rows = self._rows("SELECT * FROM cycles WHERE ts >= ? ORDER BY id DESC LIMIT ?", (start, limit))
        return tuple(self._cycle(row) for row in rows)

    def kv(self, key: str) -> object:
        """Give a keyed value, None when it was never set."""
        with reading(self.path) as connection:
            return self._kv(connection, key)

    def latest_metrics(self, *, limit: int = 100) -> tuple[MetricsRow, ...]:
        """Give the newest model metrics, newest first."""
        rows = self._rows("SELECT * FROM model_metrics ORDER BY id DESC LIMIT ?", (limit,))
        return tuple(MetricsRow(row["id"], from_iso(row["ts"]), self._object(row["metrics_json"])) for row in rows)

    def events(self, *, limit: int = 500, kind: str | None = None) -> tuple[EventRow, ...]:
        """Give the newest facts of the journal, of one kind or all, newest first."""
        where = "" if kind is None else "WHERE kind = ?"
        values: tuple[Parameter, ...] = (limit,) if kind is None else (kind, limit)
        rows = self._rows(f"SELECT * FROM journal {where} ORDER BY id DESC LIMIT ?", values)
        return tuple(
            EventRow(row["id"], from_ms(row["at_ms"]), row["cycle"], row["kind"], self._object(row["payload"]))
            for row in rows
        )

    def open_orders(self) -> tuple[IntentRecord, ...]:
        """Give the intents that are not terminal, oldest first."""
        rows = self._rows(f"SELECT * FROM intent_records WHERE {_OPEN_INTENTS} ORDER BY seq")
        return tuple(intent_record(row) for row in rows)

    def fills(self, *, limit: int = 500) -> tuple[Fill, ...]:
        """Give the newest fills, newest first."""
        return tuple(fill_of(row) for row in self._rows("SELECT * FROM fills ORDER BY id DESC LIMIT ?", (limit,)))

    def ledger_balances(self) -> dict[str, Decimal]:
        """Give what the ledger says is owned of each asset, exactly."""
        rows = self._rows("SELECT asset, sum(amount) AS total FROM ledger GROUP BY asset ORDER BY asset")
        return {row["asset"]: from_units(row["total"]) for row in rows}

    def checks(self) -> tuple[Check, ...]:
        """Give findings about the file and the books: integrity, references, and fills against the ledger."""
        with reading(self.path) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            strays = len(connection.execute("PRAGMA foreign_key_check").fetchall())
            unexplained = _unexplained_fills(connection)
        return (
            Check("integrity", verdict == "ok", str(verdict)),
            Check("references", strays == 0, f"{strays} rows without their parent"),
            Check("ledger", not unexplained, f"{len(unexplained)} fills the ledger does not explain"),
        )

    def _rows(self, sql: str, values: tuple[Parameter, ...] = ()) -> list[sqlite3.Row]:
        with reading(self.path) as connection:
            return connection.execute(sql, values).fetchall()

    def _kv(self, connection: sqlite3.Connection, key: str) -> object:
        row = connection.execute("SELECT value_json FROM kv_state WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._parsed(row["value_json"])

    def _parsed(self, text: str) -> object:
        try:
            return json.loads(text)
        except (TypeError, ValueError) as error:
            raise StateError(f"{self.path}: a stored value is not JSON ({error}); restore a backup") from error

    def _object(self, text: str) -> dict[str, object]:
        content = self._parsed(text)
        if not isinstance(content, dict):
            raise StateError(f"{self.path}: a stored value is no JSON object: {text[:80]!r}; restore a backup")
        return content

    def _position(self, row: sqlite3.Row) -> PositionRow:
        return PositionRow(
            symbol=Symbol(row["symbol"]),
            side=row["side"],
            size_usdt=row["size_usdt"],
            entry_price=row["entry_price"],
            stop_loss=row["stop_loss"],
            take_profit_1=row["take_profit_1"],
            take_profit_2=row["take_profit_2"],
            opened_at=from_iso(row["opened_at"]),
            status=row["status"],
            extra=self._object(row["extra_json"]),
        )

    def _trade(self, row: sqlite3.Row) -> TradeRow:
        return TradeRow(
            id=row["id"],
            at=from_iso(row["ts"]),
            symbol=Symbol(row["symbol"]),
            side=row["side"],
            size_usdt=row["size_usdt"],
            price=row["price"],
            mode=row["mode"],
            extra=self._object(row["extra_json"]),
        )

    def _cycle(self, row: sqlite3.Row) -> CycleRow:
        data = self._object(row["data_json"])
        return CycleRow(row["id"], from_iso(row["ts"]), row["opportunities"], row["opened_positions"], data)


def _control(connection: sqlite3.Connection) -> Control:
    row = connection.execute("SELECT * FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
    return NEVER_STARTED if row is None else control_of(row)


def _trade_conditions(which: TradeFilter) -> tuple[str, tuple[str, ...]]:
    given = (
        ("symbol = ?", str(which.symbol) if which.symbol else None),
        ("side = ?", which.side.value if which.side else None),
        ("mode = ?", which.mode),
        ("ts >= ?", iso(which.since) if which.since else None),
        ("ts < ?", iso(which.until) if which.until else None),
    )
    wanted = [(condition, value) for condition, value in given if value is not None]
    where = "WHERE " + " AND ".join(condition for condition, _ in wanted) if wanted else ""
    return where, tuple(value for _, value in wanted)


def _unexplained_fills(connection: sqlite3.Connection) -> tuple[str, ...]:
    booked: dict[tuple[str, str], list[tuple[str, Decimal, str]]] = {}
    for row in connection.execute("SELECT * FROM ledger WHERE trade_id IS NOT NULL ORDER BY id"):
        entry = ledger_entry(row)
        booked.setdefault((row["symbol"], row["trade_id"]), []).append((entry.asset, entry.amount, entry.reason))
    fills = [fill_of(row) for row in connection.execute("SELECT * FROM fills ORDER BY id")]
    return tuple(
        fill.trade_id
        for fill in fills
        if booked.get((str(fill.symbol), fill.trade_id))
        != [(entry.asset, entry.amount, entry.reason) for entry in entries_of(fill)]
    )
