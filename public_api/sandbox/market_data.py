"""What the sandbox must know of the market to answer for it: klines, day statistics and public trades.

The book, the last price and the filters are not here: they are the venue's own, so that what a client sees is what it
trades against. Instants are ms since 1970; prices and quantities are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from bn_ml.domain.market import Symbol

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
INTERVAL_MS = {
    "1s": 1000,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
    "1M": 30 * _DAY,
}
"""The venue's interval names; a month counts 30 days here and is for limits only."""


@dataclass(frozen=True, slots=True)
class Kline:
    """One interval; `close_ms` is its last millisecond. `taker_*` is what buyers took."""

    open_ms: int
    close_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_base: Decimal
    taker_quote: Decimal


@dataclass(frozen=True, slots=True)
class Span:
    """Which klines: open times in `start_ms`..`end_ms` (None: unbounded), at most `limit`.

    With a start the oldest are given, without one the newest.
    """

    start_ms: int | None
    end_ms: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class DayTicker:
    """Statistics of the 24 h before `close_ms`."""

    open_ms: int
    close_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    last: Decimal
    last_quantity: Decimal
    volume: Decimal
    quote_volume: Decimal
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One trade on the tape; `buyer_is_maker` when a seller took."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    at_ms: int
    buyer_is_maker: bool


class MarketData(Protocol):
    """The market as of an instant. Asked only for symbols the venue lists; an unknown one gives empty answers."""

    def klines(self, symbol: Symbol, interval: str, span: Span, now_ms: int) -> Sequence[Kline]:
        """Give klines oldest first, the running one included; `interval` is one of `INTERVAL_MS`."""

    def day(self, symbol: Symbol, now_ms: int) -> DayTicker | None:
        """Give the 24 h statistics; None when nothing was traded yet."""

    def trades(self, symbol: Symbol, limit: int, now_ms: int) -> Sequence[PublicTrade]:
        """Give the newest public trades, oldest first."""
