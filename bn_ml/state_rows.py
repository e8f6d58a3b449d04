"""Rows of the exact tables as domain values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bn_ml.codecs import from_units
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.market import EPOCH, Symbol, from_ms
from bn_ml.domain.orders import Fill, IntentRecord, IntentState, OrderIntent, OrderType, Purpose, Side, TimeInForce

NEVER_STARTED = Control(0, ControlState.NORMAL, "never started", EPOCH, "")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One change of what we own of one asset; `symbol` and `trade_id` name the fill, None for a deposit."""

    at: datetime
    asset: str
    amount: Decimal
    reason: str
    symbol: Symbol | None = None
    trade_id: str | None = None
    note: str = ""


def control_of(row: sqlite3.Row) -> Control:
    """Give the control state of a row of `control`."""
    state, since = ControlState(row["state"]), from_ms(row["since_ms"])
    return Control(row["epoch"], state, row["reason"], since, row["set_by"], row["owner"])


def entries_of(fill: Fill) -> Iterator[LedgerEntry]:
    """Give the balance changes of a fill: base, quote and fee, those that are not zero."""
    sign = 1 if fill.side is Side.BUY else -1
    changes = (
        (fill.symbol.base, sign * fill.quantity, "fill_base"),
        (fill.symbol.quote, -sign * fill.quote_quantity, "fill_quote"),
        (fill.fee_asset, -fill.fee, "fee"),
    )
    for asset, amount, reason in changes:
        if amount:
            yield LedgerEntry(fill.at, asset, amount, reason, fill.symbol, fill.trade_id)


def fill_of(row: sqlite3.Row) -> Fill:
    """Give the fill of a row of `fills`."""
    return Fill(
        trade_id=row["trade_id"],
        client_id=row["client_id"],
        symbol=Symbol(row["symbol"]),
        side=Side(row["side"]),
        price=from_units(row["price"]),
        quantity=from_units(row["qty"]),
        quote_quantity=from_units(row["quote"]),
        fee=from_units(row["fee"]),
        fee_asset=row["fee_asset"],
        at=from_ms(row["at_ms"]),
    )


def ledger_entry(row: sqlite3.Row) -> LedgerEntry:
    """Give the entry of a row of `ledger`."""
    return LedgerEntry(
        at=from_ms(row["at_ms"]),
        asset=row["asset"],
        amount=from_units(row["amount"]),
        reason=row["reason"],
        symbol=Symbol(row["symbol"]) if row["symbol"] else None,
        trade_id=row["trade_id"],
        note=row["note"],
    )


def intent_record(row: sqlite3.Row) -> IntentRecord:
    """Give the intent of a row of `intent_records`."""
    intent = OrderIntent(
        client_id=row["client_id"],
        symbol=Symbol(row["symbol"]),
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        quantity=from_units(row["qty"]),
        purpose=Purpose(row["purpose"]),
        position_id=row["position_id"],
        created_at=from_ms(row["created_ms"]),
        limit_price=None if row["limit_px"] is None else from_units(row["limit_px"]),
        stop_price=None if row["stop_px"] is None else from_units(row["stop_px"]),
        time_in_force=TimeInForce(row["time_in_force"]) if row["time_in_force"] else None,
        list_id=row["list_id"],
        tranche=row["tranche"],
        reason=row["note"],
        reference_price=None if row["reference_px"] is None else Decimal(row["reference_px"]),
        reserved_quote=from_units(row["reserved_quote"]),
        trailing_bp=row["trailing_bp"],
        replaces=row["replaces"],
    )
    return IntentRecord(
        intent=intent,
        state=IntentState(row["state"]),
        epoch=row["epoch"],
        exchange_id=row["exchange_id"],
        filled_quantity=from_units(row["filled"]),
        filled_quote=from_units(row["quote"]),
        reason=row["reason"],
        deadline=from_ms(row["deadline_ts"]),
    )
