"""Builders of small books: trades of 100 quote units, one equity point a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, Side
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus
from evidence.book import Book
from trader.performance import EquityPoint

BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
DAY = timedelta(days=1)
START = datetime(2024, 3, 4, tzinfo=timezone.utc)


def a_trade(
    pnl: str = "1", *, symbol: Symbol = BTC, at: datetime = START, fees: str = "0.2", name: str = "p-1", dust: str = "0"
) -> Position:
    """One unit bought at 100 and sold an hour later, with a result of `pnl` after `fees`."""
    result, later = Decimal(pnl), at + timedelta(hours=1)
    price = Decimal(100) + result + Decimal(fees)
    return Position(
        position_id=name,
        symbol=symbol,
        status=PositionStatus.CLOSED,
        opened_at=at,
        entry_price=Decimal(100),
        initial_quantity=Decimal(1),
        remaining_quantity=Decimal(0),
        cost_quote=Decimal(100),
        stop=Decimal(98),
        target_1=Decimal(102),
        target_2=Decimal(104),
        max_price_seen=Decimal(100),
        fees_quote=Decimal(fees),
        realized_quote=result,
        legs=(Leg(ExitReason.TP1, Decimal(1) - Decimal(dust), price, result, later),),
        dust_quantity=Decimal(dust),
        closed_at=later,
        close_reason=ExitReason.TP1,
    )


def a_fill(side: Side = Side.BUY, *, price: str = "100", client_id: str = "c-1", **more: object) -> Fill:
    """One unit of `symbol` at `price`; a fee of 0.1 in `fee_asset`, the quote asset where none is named."""
    symbol, at = more.get("symbol", BTC), more.get("at", START)
    assert isinstance(symbol, Symbol)
    assert isinstance(at, datetime)
    amounts = (Decimal(price), Decimal(1), Decimal(price), Decimal(str(more.get("fee", "0.1"))))
    return Fill("1", client_id, symbol, side, *amounts, str(more.get("fee_asset", symbol.quote)), at)


def a_book(
    equities: Sequence[str] = ("1000", "1001"),
    *,
    closed: Sequence[Position] = (),
    held: Sequence[Position] = (),
    fills: Sequence[Fill] = (),
    exposure: Sequence[float] = (),
    step: timedelta = DAY,
) -> Book:
    """A book that starts with the first of `equities` and has one more of them every `step`."""
    return Book(
        mode="paper",
        data_source="test",
        quote_asset="USDC",
        capital=Decimal(equities[0]),
        closed=tuple(closed),
        held=tuple(held),
        fills=tuple(fills),
        curve=tuple(EquityPoint(START + place * step, Decimal(value)) for place, value in enumerate(equities)),
        exposure_frac=tuple(exposure),
    )


def a_random_book(seed: int = 5, days: int = 60) -> Book:
    generator = np.random.default_rng(seed)
    steps = generator.normal(0.0005, 0.004, days * 24)
    equities = [f"{value:.8f}" for value in 1000 * np.cumprod(np.concatenate(([1.0], 1 + steps)))]
    trades = [a_trade(f"{generator.normal(0.1, 1.5):.6f}", name=f"p-{place}") for place in range(80)]
    sides = (Side.BUY, Side.SELL)
    fills = [a_fill(sides[place % 2], price=f"{90 + generator.random() * 20:.4f}") for place in range(160)]
    exposure = [float(value) for value in generator.random(days * 24)]
    return a_book(equities, closed=trades, fills=fills, exposure=exposure, step=timedelta(hours=1))
