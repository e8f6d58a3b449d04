"""The rows of a state database that a daily check looks at, read in one instant. Amounts are units of 1e-8."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from bn_ml.codecs import UNITS_PER_ONE, from_json
from bn_ml.database import reading
from bn_ml.domain.market import ZERO, MarketRules, from_iso, iso, to_ms
from bn_ml.errors import StateError
from monitoring.dod_findings import Window

T = TypeVar("T")
CYCLE_KINDS = ("CycleStarted", "CycleFinished")
TOLD_KINDS = (
    "OrderSent",
    "OrderFilled",
    "OrderFinished",
    "OrderRejected",
    "OrderOutcomeUnknown",
    "PositionReconciled",
    "BalanceUnexplained",
)


@dataclass(frozen=True, slots=True)
class IntentRow:
    """An order that was meant. `reference_px` is the price it was judged at, as text."""

    seq: int
    client_id: str
    symbol: str
    side: str
    qty: int
    limit_px: int | None
    stop_px: int | None
    purpose: str
    position_id: str
    state: str
    epoch: int
    reserved_quote: int
    reference_px: str | None
    created_ms: int
    resolved_ms: int | None

    @property
    def is_entry(self) -> bool:
        """Whether it opens a position."""
        return self.purpose == "entry"

    @property
    def notional(self) -> int:
        """What a buy costs at the worst price known for it, without fees."""
        reference = int(Decimal(self.reference_px) * UNITS_PER_ONE) if self.reference_px else 0
        price = self.limit_px or reference
        return self.qty * price // UNITS_PER_ONE if price else self.reserved_quote


@dataclass(frozen=True, slots=True)
class FillRow:
    """One trade of one order."""

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
        """The fee where it was taken from what was bought."""
        return self.fee if self.fee_asset == self.symbol.partition("/")[0] else 0

    @property
    def quote_fee(self) -> int:
        """The fee where it was paid in the quote asset."""
        return self.fee if self.fee_asset == self.symbol.partition("/")[2] else 0


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One change of what is owned of an asset; without a symbol it came from outside."""

    id: int
    at_ms: int
    asset: str
    amount: int
    reason: str
    symbol: str | None
    trade_id: str | None


@dataclass(frozen=True, slots=True)
class ControlRow:
    """A control state and from when it was in force."""

    epoch: int
    state: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Notes:
    """What was measured when an entry was decided; None where it was not written."""

    equity: float | None = None
    daily_risk_used_pct: float | None = None
    daily_risk_with_trade_pct: float | None = None
    weekly_risk_used_pct: float | None = None
    weekly_risk_with_trade_pct: float | None = None
    market_volatility_ratio: float | None = None
    market_drift_detected: bool | None = None
    data_source: str = ""
    client_id: str = ""
    order_id: str = ""
    pnl_usdt: float | None = None


@dataclass(frozen=True, slots=True)
class BookLeg:
    """A part of a position that was sold, written off or went missing."""

    reason: str
    quantity: Decimal
    pnl_quote: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class BookPosition:
    """A position as the exact book keeps it; nothing of it is taken for granted. Open until `closed_at`."""

    position_id: str
    symbol: str
    opened_at: datetime
    remaining_quantity: Decimal
    cost_quote: Decimal
    stop: Decimal | None = None
    proceeds_quote: Decimal = ZERO
    realized_quote: Decimal = ZERO
    planned_loss_quote: Decimal = ZERO
    dust_quantity: Decimal = ZERO
    legs: tuple[BookLeg, ...] = ()
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan an entry was committed with."""

    position_id: str
    rules: MarketRules
    planned_loss_quote: Decimal
    data_source: str = ""
    notes: str = "{}"


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A trade as people read it."""

    at_ms: int
    symbol: str
    side: str
    size: float
    price: float
    mode: str
    notes: Notes


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What a cycle says of itself; shares are fractions of equity."""

    cycle: int = -1
    mode: str = ""
    data_source: str = ""
    open_positions: int = 0
    equity: float | None = None
    exposure_pct: float | None = None
    daily_pnl_pct: float | None = None
    breakers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A finished cycle and when it ended."""

    at_ms: int
    facts: CycleFacts


@dataclass(frozen=True, slots=True)
class Payload:
    """The names in a fact of the journal, empty where it has none."""

    client_id: str = ""
    symbol: str = ""
    trade_id: str = ""
    position_id: str = ""
    missing: str = "0"
    asset: str = ""
    difference: str = ""


_NAMES = tuple(item.name for item in fields(Payload))


@dataclass(frozen=True, slots=True)
class ToldRow:
    """A fact of the journal."""

    id: int
    at_ms: int
    cycle: int
    kind: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class ReadableStop:
    """A position that is open as people read it, with its stop."""

    symbol: str
    stop: float | None
    opened_ms: int


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """A trade as the paper exchange itself keeps it."""

    symbol: str
    trade_id: object
    client_id: str
    side: str
    price: str
    quantity: str
    quote_quantity: str
    fee: str
    fee_asset: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything a check of one day looks at. `cycles` are those of the day; the rest is the whole book.

    `venue_*` are what the paper exchange says by itself, empty for an account at a real one.
    """

    intents: tuple[IntentRow, ...]
    fills: tuple[FillRow, ...]
    ledger: tuple[LedgerRow, ...]
    control: tuple[ControlRow, ...]
    positions: tuple[BookPosition, ...]
    readable: tuple[ReadableStop, ...]
    trades: tuple[TradeRow, ...]
    cycles: tuple[CycleRow, ...]
    told: tuple[ToldRow, ...]
    plans: Mapping[str, Plan]
    venue_trades: tuple[VenueTrade, ...] = ()
    venue_balances: Mapping[str, int] = field(default_factory=dict)


def read_rows(path: Path | str, window: Window) -> Rows:
    """Read what a check of a day needs, as of one committed instant, while the bot may go on writing.

    Raises `StateError` when the database is absent, corrupt, foreign or of another schema version.
    """
    with reading(path) as connection:
        return Rows(
            intents=_plain_rows(connection, IntentRow, "intents", "seq"),
            fills=_plain_rows(connection, FillRow, "fills", "id"),
            ledger=_plain_rows(connection, LedgerRow, "ledger", "id"),
            control=_plain_rows(connection, ControlRow, "control", "epoch"),
            positions=tuple(
                from_json(BookPosition, row["json"])
                for row in connection.execute("SELECT json FROM position_book ORDER BY opened_ms, rowid")
            ),
            readable=_readable(connection),
            trades=tuple(map(_trade, connection.execute("SELECT * FROM trades ORDER BY id"))),
            cycles=_cycles(connection, window),
            told=_told(connection, window),
            plans=_plans(connection),
            venue_trades=tuple(
                from_json(VenueTrade, row["json"])
                for row in connection.execute("SELECT json FROM venue_trades ORDER BY id")
            ),
            venue_balances={
                row["asset"]: sum(to_whole(part) for part in row["json"].split())
                for row in connection.execute("SELECT asset, json FROM venue_balances")
            },
        )


def to_whole(amount: str | Decimal) -> int:
    """Give an amount in units; what is finer than a unit is cut."""
    return int(Decimal(amount) * UNITS_PER_ONE)


def _plain_rows(connection: sqlite3.Connection, kind: type[T], table: str, order: str) -> tuple[T, ...]:
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    rows = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}")
    return tuple(kind(*row) for row in rows)


def _readable(connection: sqlite3.Connection) -> tuple[ReadableStop, ...]:
    rows = connection.execute("SELECT symbol, stop_loss, opened_at FROM positions WHERE status = 'OPEN'")
    return tuple(ReadableStop(row["symbol"], row["stop_loss"], to_ms(from_iso(row["opened_at"]))) for row in rows)


def _trade(row: sqlite3.Row) -> TradeRow:
    return TradeRow(
        at_ms=to_ms(from_iso(row["ts"])),
        symbol=row["symbol"],
        side=row["side"],
        size=row["size_usdt"],
        price=row["price"],
        mode=row["mode"],
        notes=from_json(Notes, row["extra_json"]),
    )


def _cycles(connection: sqlite3.Connection, window: Window) -> tuple[CycleRow, ...]:
    rows: Iterable[sqlite3.Row] = connection.execute(
        "SELECT ts, data_json FROM cycles WHERE ts >= ? AND ts < ? ORDER BY id", (iso(window.begin), iso(window.end))
    )
    return tuple(CycleRow(to_ms(from_iso(row["ts"])), from_json(CycleFacts, row["data_json"])) for row in rows)


def _told(connection: sqlite3.Connection, window: Window) -> tuple[ToldRow, ...]:
    """Read the facts about orders of all times, and those about the cycles of the day."""
    orders, cycles = (", ".join("?" * len(kinds)) for kinds in (TOLD_KINDS, CYCLE_KINDS))
    query = (
        f"SELECT id, at_ms, cycle, kind, payload FROM journal WHERE kind IN ({orders}) "
        f"OR (kind IN ({cycles}) AND at_ms >= ? AND at_ms < ?) ORDER BY id"
    )
    empty = Payload()
    return tuple(
        ToldRow(number, at_ms, cycle, kind, empty if kind in CYCLE_KINDS else _payload(text))
        for number, at_ms, cycle, kind, text in connection.execute(
            query, (*TOLD_KINDS, *CYCLE_KINDS, window.begin_ms, window.end_ms)
        )
    )


def _payload(text: str) -> Payload:
    """Read the names a fact carries; most of what is read is this, so it takes no road through type hints."""
    try:
        plain = json.loads(text)
        return Payload(**{name: str(plain[name]) for name in _NAMES if name in plain})
    except (TypeError, ValueError) as error:
        raise StateError(f"a fact of the journal is not JSON ({error}): {text[:80]!r}; restore a backup") from error


def _plans(connection: sqlite3.Connection) -> dict[str, Plan]:
    rows = connection.execute("SELECT value_json FROM kv_state WHERE key LIKE 'entry_plan/%'")
    plans = (from_json(Plan, row["value_json"]) for row in rows)
    return {plan.position_id: plan for plan in plans}
