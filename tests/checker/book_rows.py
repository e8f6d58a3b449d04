"""The rows of a state database as plain values, read with SQL alone. Amounts are integer units of 1e-8."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

UNITS = 10**8
TERMINAL = frozenset({"FILLED", "CANCELED", "EXPIRED", "REFUSED", "NEVER_ACCEPTED"})
NEVER_PLACED = frozenset({"REFUSED", "NEVER_ACCEPTED"})
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IntentRow:
    seq: int
    client_id: str
    symbol: str
    side: str
    type: str
    qty: int
    limit_px: int | None
    stop_px: int | None
    purpose: str
    position_id: str
    state: str
    epoch: int
    reserved_quote: int
    time_in_force: str | None
    list_id: str | None
    tranche: str
    reference_px: str | None
    created_ms: int
    resolved_ms: int | None
    trailing_bp: int

    @property
    def stop_level(self) -> int:
        """Where a stop stands when it is placed; one that trails may start a quarter of its distance lower."""
        if not self.trailing_bp or not self.reference_px:
            return self.stop_px or 0
        share = self.trailing_bp / 10_000
        return int(units(self.reference_px) * (1 - share) * (1 - share / 4)) - 1

    @property
    def price(self) -> int:
        """The worst price a buy may pay, as far as it is known."""
        return self.limit_px or (units(self.reference_px) if self.reference_px else 0)


@dataclass(frozen=True, slots=True)
class FillRow:
    id: int
    symbol: str
    trade_id: str
    client_id: str
    side: str
    price: int
    qty: int
    quote: int
    fee: int
    fee_asset: str
    at_ms: int

    @property
    def base_fee(self) -> int:
        return self.fee if self.fee_asset == self.symbol.partition("/")[0] else 0

    @property
    def quote_fee(self) -> int:
        return self.fee if self.fee_asset == self.symbol.partition("/")[2] else 0


@dataclass(frozen=True, slots=True)
class LedgerRow:
    id: int
    at_ms: int
    asset: str
    amount: int
    reason: str
    symbol: str | None
    trade_id: str | None


@dataclass(frozen=True, slots=True)
class ControlRow:
    epoch: int
    state: str
    reason: str
    since_ms: int
    set_by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PositionRow:
    position_id: str
    symbol: str
    status: str
    opened_ms: int
    closed_ms: int | None
    facts: Facts


@dataclass(frozen=True, slots=True)
class EventRow:
    id: int
    at_ms: int
    cycle: int
    kind: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class TradeRow:
    id: int
    ts: str
    symbol: str
    side: str
    size_usdt: float
    price: float
    extra: Facts


@dataclass(frozen=True)
class Book:
    """Everything a checker looks at. `venue_*` are what the simulated exchange says by itself."""

    intents: tuple[IntentRow, ...]
    fills: tuple[FillRow, ...]
    ledger: tuple[LedgerRow, ...]
    control: tuple[ControlRow, ...]
    positions: tuple[PositionRow, ...]
    events: tuple[EventRow, ...]
    trades: tuple[TradeRow, ...]
    readable: Mapping[str, Facts]
    cycles: tuple[Facts, ...]
    steps: Mapping[str, Facts]
    venue_orders: tuple[Facts, ...]
    venue_trades: tuple[Facts, ...]
    venue_balances: Mapping[str, int]

    @cached_property
    def intent_of(self) -> Mapping[str, IntentRow]:
        return {row.client_id: row for row in self.intents}

    @cached_property
    def fill_of(self) -> Mapping[tuple[str, str], FillRow]:
        return {(row.symbol, row.trade_id): row for row in self.fills}

    @cached_property
    def fills_by_order(self) -> Mapping[str, tuple[FillRow, ...]]:
        return _grouped(self.fills, lambda row: row.client_id)

    @cached_property
    def fills_by_position(self) -> Mapping[str, tuple[FillRow, ...]]:
        known = self.intent_of
        mine = [row for row in self.fills if row.client_id in known]
        return _grouped(mine, lambda row: known[row.client_id].position_id)

    @cached_property
    def intents_by_position(self) -> Mapping[str, tuple[IntentRow, ...]]:
        return _grouped(self.intents, lambda row: row.position_id)

    @cached_property
    def position_of(self) -> Mapping[str, PositionRow]:
        return {row.position_id: row for row in self.positions}

    def rules(self, position_id: str) -> Facts:
        """Give the venue's rules a position was entered under, empty when none were kept."""
        rules: Facts = self.steps.get(position_id, {}).get("rules", {})
        return rules

    def step(self, position_id: str) -> int:
        """Give the lot step a position was entered under; one unit when none was kept."""
        return units(self.rules(position_id).get("step", "0.00000001"))


def units(amount: str | Decimal) -> int:
    """Give an amount in units; what is finer than a unit is cut."""
    return int(Decimal(amount) * UNITS)


def amount(value: int) -> float:
    """Give units as a number for people and for shares."""
    return value / UNITS


def read_book(database: Path) -> Book:
    """Read a database that nobody writes to any more; raises `sqlite3.Error` when it is no such database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return Book(
            intents=_rows(connection, IntentRow, "intents", "seq"),
            fills=_rows(connection, FillRow, "fills", "id"),
            ledger=_rows(connection, LedgerRow, "ledger", "id"),
            control=_rows(connection, ControlRow, "control", "epoch"),
            positions=_rows(connection, PositionRow, "position_book", "rowid", facts="json"),
            events=_rows(connection, EventRow, "journal", "id", facts="payload"),
            trades=_rows(connection, TradeRow, "trades", "id", facts="extra_json"),
            readable={row["symbol"]: dict(row) for row in connection.execute("SELECT * FROM positions")},
            cycles=tuple(
                {**json.loads(row["data_json"]), "opened": row["opened_positions"]}
                for row in connection.execute("SELECT * FROM cycles ORDER BY id")
            ),
            steps={
                row["key"].partition("/")[2]: json.loads(row["value_json"])
                for row in connection.execute("SELECT * FROM kv_state WHERE key LIKE 'entry_plan/%'")
            },
            venue_orders=_json_column(connection, "venue_orders", "rowid"),
            venue_trades=_json_column(connection, "venue_trades", "id"),
            venue_balances={
                row["asset"]: sum(units(part) for part in row["json"].split())
                for row in connection.execute("SELECT * FROM venue_balances")
            },
        )


def _rows(connection: sqlite3.Connection, kind: Any, table: str, order: str, *, facts: str = "") -> tuple[Any, ...]:
    names = list(kind.__slots__)
    parsed = "extra" if "extra" in names else "facts"
    rows = connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
    return tuple(
        kind(**{name: json.loads(row[facts]) if facts and name == parsed else row[name] for name in names})
        for row in rows
    )


def _json_column(connection: sqlite3.Connection, table: str, order: str) -> tuple[Facts, ...]:
    return tuple(json.loads(row["json"]) for row in connection.execute(f"SELECT json FROM {table} ORDER BY {order}"))


def _grouped(rows: Any, key: Any) -> dict[str, tuple[Any, ...]]:
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {name: tuple(members) for name, members in groups.items()}
