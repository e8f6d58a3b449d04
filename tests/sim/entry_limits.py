"""The limits at the commit of an entry, from committed rows and the quotes the bot sees."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from bn_ml.domain.market import ZERO, Symbol

if TYPE_CHECKING:
    from tests.sim.invariants import Watch
    from tests.sim.world import SimWorld

UNITS = 10**8
MINUTE_MS = 60_000
ROUNDING = Decimal("1.000000001")

_LIVE = (
    "SELECT i.*, coalesce((SELECT sum(f.quote) FROM fills f WHERE f.client_id = i.client_id), 0) AS spent "
    "FROM intents i WHERE state IN ('SENT','OPEN','UNKNOWN') AND seq < ?"
)
_HELD = (
    "SELECT p.symbol AS symbol, sum(CASE f.side WHEN 'BUY' THEN f.qty - CASE WHEN f.fee_asset = "
    "substr(f.symbol, 1, instr(f.symbol, '/') - 1) THEN f.fee ELSE 0 END ELSE -f.qty END) AS units "
    "FROM position_book p JOIN intents i USING (position_id) JOIN fills f USING (client_id) "
    "WHERE p.status = 'OPEN' GROUP BY p.symbol"
)
_ENTRIES_SINCE = "SELECT count(*) FROM intents WHERE purpose = 'entry' AND created_ms > ?"
_CASH = "SELECT coalesce(sum(amount), 0) FROM ledger WHERE asset = ?"
_BOUGHT = (
    "SELECT coalesce(sum(CASE WHEN i.state IN ('SENT','OPEN','UNKNOWN') THEN max(i.reserved_quote, coalesce(s.q, 0)) "
    "ELSE coalesce(s.q, 0) END), 0) FROM intents i LEFT JOIN (SELECT client_id, sum(quote) q FROM fills "
    "GROUP BY client_id) s USING (client_id) WHERE purpose = 'entry'"
)


def check_entry(watch: Watch, world: SimWorld, row: sqlite3.Row) -> None:
    """Judge one entry just committed: doubts, places, pace and every share of equity. A schedule lies in one day."""
    name = row["client_id"]
    live = watch.rows(_LIVE, row["seq"])
    doubtful = [item["client_id"] for item in live if item["state"] != "OPEN"]
    watch.demand("frozen", not doubtful, f"{name}: entry while {doubtful} are in doubt")
    held = {Symbol(item["symbol"]): item["units"] for item in watch.rows(_HELD)}
    buys = [item for item in live if item["side"] == "BUY"]
    _check_places(watch, world, row, {*held, *(Symbol(item["symbol"]) for item in buys)})
    if not any(symbol in world.market.down for symbol in held):
        _check_shares(watch, world, row, held, buys)


def _check_places(watch: Watch, world: SimWorld, row: sqlite3.Row, taken: set[Symbol]) -> None:
    name, settings = row["client_id"], world.plan.settings
    watch.demand("P4", row["symbol"] not in taken, f"{name}: {row['symbol']} is held or being bought already")
    places, most = len(taken | {Symbol(row["symbol"])}), settings.risk.max_open_positions
    watch.demand("P5", places <= most, f"{name}: {places} positions of {most}")
    in_minute = watch.number(_ENTRIES_SINCE, row["created_ms"] - MINUTE_MS)
    per_minute = settings.exchange.orders.max_orders_per_min
    watch.demand("P5", in_minute <= per_minute, f"{name}: {in_minute} entries in a minute")


def _check_shares(
    watch: Watch, world: SimWorld, row: sqlite3.Row, held: Mapping[Symbol, int], buys: Sequence[sqlite3.Row]
) -> None:
    risk, orders = world.plan.settings.risk, world.plan.settings.exchange.orders
    worth = sum((amount(units) * world.market.quote(symbol).bid for symbol, units in held.items()), ZERO)
    flight = sum((amount(max(item["reserved_quote"] - item["spent"], 0)) for item in buys), ZERO)
    cash = amount(watch.number(_CASH, "USDC"))
    equity = cash + worth
    price = amount(row["limit_px"]) if row["limit_px"] else Decimal(row["reference_px"] or 0)
    size, reserved = amount(row["qty"]) * price, amount(row["reserved_quote"])
    kept_back = equity * Decimal(str(risk.reserve_ratio + risk.cash_buffer_ratio))
    bounds = (
        ("exposure", worth + flight + size, equity * Decimal(str(risk.max_exposure_pct))),
        ("symbol exposure", size, equity * Decimal(str(risk.max_symbol_exposure_pct))),
        ("size", size, Decimal(str(risk.max_position_size_usdt))),
        ("cash", reserved + flight + kept_back, cash),
        ("day", amount(watch.number(_BOUGHT)), Decimal(str(orders.max_notional_per_day_usdt))),
    )
    for what, value, limit in bounds:
        watch.demand("P5", value <= limit * ROUNDING, f"{row['client_id']}: {what} {value}, limit {limit}")


def amount(units: int) -> Decimal:
    """Give a stored integer as an amount."""
    return Decimal(units) / UNITS
