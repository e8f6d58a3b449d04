"""Klines as aligned arrays on the tick grid, cut, joined and merged into longer ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from public_api.sandbox.market_data import INTERVAL_MS, Kline

MONTH = "1M"
_MONDAY_MS = 4 * INTERVAL_MS["1d"]


@dataclass(frozen=True, slots=True, eq=False)
class KlineRows:
    """Intervals in time order; all arrays have shape (n_rows,). Prices count ticks, volumes are amounts."""

    open_ms: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    volume: FloatArray
    quote_volume: FloatArray
    trades: IntArray

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.open_ms)

    def take(self, rows: slice | BoolArray) -> KlineRows:
        """Give the rows selected by a slice or a mask."""
        return KlineRows(
            open_ms=self.open_ms[rows],
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
            quote_volume=self.quote_volume[rows],
            trades=self.trades[rows],
        )


def rows_of(bars: Bars, tick: Decimal) -> KlineRows:
    """Put bars on the tick grid."""
    open_, high, low, close = (_ticks(prices, tick) for prices in (bars.open, bars.high, bars.low, bars.close))
    quote = np.where(np.isnan(bars.quote_volume), bars.volume * bars.close, bars.quote_volume)
    seconds = np.where(bars.volume > 0, bars.timeframe.ms // 1000, 0)
    trades = np.where(bars.trades > 0, bars.trades, seconds)
    return KlineRows(bars.open_time, open_, high, low, close, bars.volume, quote, trades)


def no_rows() -> KlineRows:
    """Give no rows."""
    whole, real = np.empty(0, dtype=np.int64), np.empty(0)
    return KlineRows(whole, whole, whole, whole, whole, real, real, whole)


def join(parts: Sequence[KlineRows]) -> KlineRows:
    """Join rows given in time order."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return no_rows()
    return KlineRows(
        open_ms=np.concatenate([part.open_ms for part in filled]),
        open=np.concatenate([part.open for part in filled]),
        high=np.concatenate([part.high for part in filled]),
        low=np.concatenate([part.low for part in filled]),
        close=np.concatenate([part.close for part in filled]),
        volume=np.concatenate([part.volume for part in filled]),
        quote_volume=np.concatenate([part.quote_volume for part in filled]),
        trades=np.concatenate([part.trades for part in filled]),
    )


def merge(rows: KlineRows, interval: str) -> KlineRows:
    """Make longer intervals of what is given; the first and the last may be unfinished."""
    if not len(rows):
        return rows
    opened = opens(rows.open_ms, interval)
    first = np.flatnonzero(np.diff(opened, prepend=opened[0] - 1))
    last = np.append(first[1:], len(rows)) - 1
    return KlineRows(
        open_ms=opened[first],
        open=rows.open[first],
        high=np.maximum.reduceat(rows.high, first),
        low=np.minimum.reduceat(rows.low, first),
        close=rows.close[last],
        volume=np.add.reduceat(rows.volume, first),
        quote_volume=np.add.reduceat(rows.quote_volume, first),
        trades=np.add.reduceat(rows.trades, first),
    )


def opens(at_ms: IntArray, interval: str) -> IntArray:
    """Give the open times of the intervals that hold some instants; weeks open on Mondays, months on the first."""
    if interval == MONTH:
        months = at_ms.astype("datetime64[ms]").astype("datetime64[M]")
        begun: IntArray = months.astype("datetime64[ms]").astype(np.int64)
        return begun
    length = INTERVAL_MS[interval]
    shift = _MONDAY_MS if interval == "1w" else 0
    return (at_ms - shift) // length * length + shift


def open_of(at_ms: int, interval: str) -> int:
    """Give the open time of the interval that holds an instant.

    >>> open_of(90_000, "1m")
    60000
    """
    return int(opens(np.array([at_ms], dtype=np.int64), interval)[0])


def close_of(open_ms: int, interval: str) -> int:
    """Give the first instant after an interval."""
    if interval != MONTH:
        return open_ms + INTERVAL_MS[interval]
    month = np.datetime64(open_ms, "ms").astype("datetime64[M]") + 1
    return int(month.astype("datetime64[ms]").astype(np.int64))


def klines_of(rows: KlineRows, interval: str, tick: Decimal) -> list[Kline]:
    """Write rows as klines; buyers are taken to have taken half."""
    return [_kline(rows, row, interval, tick) for row in range(len(rows))]


def amount(value: float) -> Decimal:
    """Give an amount on the venue's 8 decimals.

    >>> amount(0.1 + 0.2)
    Decimal('0.30000000')
    """
    return Decimal(f"{value:.8f}")


def _kline(rows: KlineRows, row: int, interval: str, tick: Decimal) -> Kline:
    open_ms = int(rows.open_ms[row])
    volume, quote = float(rows.volume[row]), float(rows.quote_volume[row])
    return Kline(
        open_ms=open_ms,
        close_ms=close_of(open_ms, interval) - 1,
        open=int(rows.open[row]) * tick,
        high=int(rows.high[row]) * tick,
        low=int(rows.low[row]) * tick,
        close=int(rows.close[row]) * tick,
        volume=amount(volume),
        quote_volume=amount(quote),
        trades=int(rows.trades[row]),
        taker_base=amount(volume / 2),
        taker_quote=amount(quote / 2),
    )


def _ticks(prices: FloatArray, tick: Decimal) -> IntArray:
    counted: IntArray = np.maximum(np.rint(prices / float(tick)), 1).astype(np.int64)
    return counted
