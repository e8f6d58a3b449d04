"""Higher timeframes seen from base bars: joined by close time, computed on exactly the last closed bars.

A higher bar is visible from its close. Each of its values uses the same number of bars for young and old symbols, so
the window is part of the definition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bar_view import WindowView
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feature_columns import CONFLUENCE, ColumnSpec
from data_manager.indicators import INDICATORS

CONFLUENCE_INPUTS = ("ema_9", "ema_50", "macd_hist", "rsi_14")


@dataclass(frozen=True, slots=True)
class HigherWindow:
    """How many closed bars a higher bar's values use, and how many absent ones may lie between them."""

    bars: int = 200
    absent_bars: int = 96


class HigherTimeframeCache:
    """Values of closed higher bars by (symbol, timeframe, open time); the oldest entries go first."""

    def __init__(self, entries: int = 4096) -> None:
        """Keep at most `entries` bars."""
        self._entries = entries
        self._values: OrderedDict[tuple[Symbol, Timeframe, int], FloatArray] = OrderedDict()

    def find(self, symbol: Symbol, timeframe: Timeframe, open_ms: int) -> FloatArray | None:
        """Give the values of one bar, shape (n_columns,), None when they are not known."""
        return self._values.get((symbol, timeframe, open_ms))

    def keep(self, symbol: Symbol, timeframe: Timeframe, open_ms: int, values: FloatArray) -> None:
        """Remember the values of one bar."""
        self._values[(symbol, timeframe, open_ms)] = values
        while len(self._values) > self._entries:
            self._values.popitem(last=False)


def visible(higher: Bars, close_time: IntArray) -> IntArray:
    """Give for each base close time the position of the last higher bar closed at or before it, -1 for none."""
    return np.searchsorted(higher.close_time, close_time, side="right").astype(np.int64) - 1


def project(
    higher: Bars,
    close_time: IntArray,
    specs: Sequence[ColumnSpec],
    *,
    window: HigherWindow,
    cache: HigherTimeframeCache | None = None,
) -> FloatArray:
    """Give the columns of a higher timeframe on base rows, shape (n_rows, n_specs).

    NaN where fewer than the window's bars are closed, where too many are absent, or where the last visible bar ended
    two or more of its lengths ago.
    """
    values = np.full((len(close_time), len(specs)), np.nan)
    position = visible(higher, close_time)
    usable = _usable(higher, close_time, position, window)
    if usable.any():
        wanted, row = np.unique(position[usable], return_inverse=True)
        values[usable] = _values(higher, wanted, specs, window.bars, cache)[row]
    return values


def confluence(by_timeframe: Sequence[Mapping[str, FloatArray]]) -> FloatArray:
    """Give how far the timeframes agree, shape (n_rows, 7) in the declared order.

    Each mapping holds `ema_9`, `ema_50` (distances in ATR), `macd_hist` and `rsi_14` of one timeframe, shape (n_rows,).
    Timeframes that are NaN at a row do not count there; with fewer than two left the row is NaN.
    """
    trend = np.stack([part["ema_50"] - part["ema_9"] for part in by_timeframe])
    macd = np.stack([np.sign(part["macd_hist"]) for part in by_timeframe])
    strength = np.stack([(part["rsi_14"] - 50.0) / 50.0 for part in by_timeframe])
    mean = _mean(trend)
    consensus, macd_consensus, bias = _mean(np.sign(trend)), _mean(macd), _mean(strength)
    columns = {
        "trend_strength_mean": mean,
        "trend_strength_std": np.sqrt(_mean((trend - mean) ** 2)),
        "trend_consensus": consensus,
        "trend_conflict": 1.0 - np.abs(consensus),
        "macd_consensus": macd_consensus,
        "rsi_bias": bias,
        "confluence_score": (consensus + macd_consensus + bias) / 3.0,
    }
    return np.stack([columns[name] for name in CONFLUENCE], axis=1)


def _usable(higher: Bars, close_time: IntArray, position: IntArray, window: HigherWindow) -> BoolArray:
    usable: BoolArray = position >= window.bars - 1
    last = np.where(usable, position, window.bars - 1)
    if not usable.any():
        return usable
    length = higher.timeframe.ms
    span = higher.open_time[last] - higher.open_time[last - window.bars + 1]
    fresh = close_time - higher.close_time[last] < 2 * length
    usable &= fresh & (span <= (window.bars + window.absent_bars - 1) * length)
    return usable


def _values(
    higher: Bars, wanted: IntArray, specs: Sequence[ColumnSpec], window: int, cache: HigherTimeframeCache | None
) -> FloatArray:
    if cache is None:
        return _computed(higher, wanted, specs, window)
    symbol, timeframe, opens = higher.symbol, higher.timeframe, higher.open_time
    known = {int(row): cache.find(symbol, timeframe, int(opens[row])) for row in wanted}
    missing = np.array([row for row, values in known.items() if values is None], dtype=np.int64)
    if len(missing):
        for row, values in zip(missing, _computed(higher, missing, specs, window), strict=True):
            cache.keep(symbol, timeframe, int(opens[row]), values)
            known[int(row)] = values
    return np.stack([values for values in known.values() if values is not None])


def _computed(higher: Bars, wanted: IntArray, specs: Sequence[ColumnSpec], window: int) -> FloatArray:
    start = int(wanted[0]) - window + 1
    part, rows = higher.rows(start, int(wanted[-1]) + 1), wanted - start
    view = WindowView(part, rows, window)
    columns = [INDICATORS[spec.function](view, *spec.parameters)[rows] for spec in specs]
    return np.stack(columns, axis=1)


def _mean(stacked: FloatArray) -> FloatArray:
    total, count = np.zeros(stacked.shape[1]), np.zeros(stacked.shape[1])
    for layer in stacked:
        known = np.isfinite(layer)
        total = total + np.where(known, layer, 0.0)
        count = count + known
    result = np.full(len(total), np.nan)
    np.divide(total, count, out=result, where=count >= 2)
    return result
