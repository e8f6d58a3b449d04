"""The market around a symbol: a benchmark and a fixed, named basket on one grid of base bars.

Sums over symbols run in sorted symbol order and leave the symbol itself out, so neither the order of the input nor the
symbol's own move enters. Every value at t uses bars closed at or before t, and its own short window alone. A bar that
is absent counts as one without a move for up to two hours where it is looked back at, never as a present one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from data_manager.bar_view import VOLATILITY_WINDOW
from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.feature_columns import BASE_TIMEFRAME, MARKET_COLUMNS
from data_manager.rolling import lagged, ratio, rolling_correlation, rolling_deviation

CONTEXT_BARS = 224
MIN_PRESENT = 0.8
CARRIED_BARS = 8
_STEP_MS = BASE_TIMEFRAME.ms
_LOST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class MarketContext:
    """Log closes of the basket on a gapless grid of base bars.

    `open_time` (n,) ms; `log_close` (n_symbols, n), NaN where a bar is absent; `basket` sorted; `benchmark` one of it.
    """

    basket: tuple[Symbol, ...]
    benchmark: Symbol
    open_time: IntArray
    log_close: FloatArray
    _horizons: dict[int, _Horizon] = field(default_factory=dict)

    @classmethod
    def of(
        cls, bars: Mapping[Symbol, Bars], benchmark: Symbol, basket: Iterable[Symbol] | None = None
    ) -> MarketContext:
        """Lay the closed base bars of a basket (the symbols of `bars` when None) on one grid.

        A symbol of the basket without bars counts as absent. Raises `MarketDataError` without the benchmark's bars.
        """
        if benchmark not in bars or not len(bars[benchmark]):
            raise MarketDataError(f"no bars of the benchmark {benchmark}", "data_unavailable")
        names = tuple(sorted(basket if basket is not None else bars))
        filled = [bars[symbol].open_time for symbol in names if symbol in bars and len(bars[symbol])]
        start, end = min(int(times[0]) for times in filled), max(int(times[-1]) for times in filled)
        grid = np.arange(start // _STEP_MS * _STEP_MS, end + 1, _STEP_MS, dtype=np.int64)
        absent = np.full(len(grid), np.nan)
        closes = np.stack([_laid(grid, bars[symbol]) if symbol in bars else absent for symbol in names])
        return cls(names, benchmark, grid, closes)

    def closed_by(self, now_ms: int) -> MarketContext:
        """Give the context as it was known at an instant."""
        count = int(np.searchsorted(self.open_time + _STEP_MS, now_ms, side="right"))
        return self._part(0, count)

    def since(self, open_ms: int) -> MarketContext:
        """Give the context from the bar opened at `open_ms` on, less what came before."""
        return self._part(int(np.searchsorted(self.open_time, open_ms)), len(self.open_time))

    def present_share(self, open_ms: int) -> float:
        """Give the share of the basket that has the bar opened at `open_ms`."""
        place = (open_ms - int(self.open_time[0])) // _STEP_MS if len(self.open_time) else -1
        if not 0 <= place < len(self.open_time):
            return 0.0
        return float(np.isfinite(self.log_close[:, place]).sum() / len(self.basket))

    def require(self, close_ms: int) -> None:
        """Raise `MarketDataError` (`data_stale`) unless enough of the basket closed a bar at `close_ms`."""
        share = self.present_share(close_ms - _STEP_MS)
        if share < MIN_PRESENT:
            raise MarketDataError(f"basket: {share:.0%} of bars present, {MIN_PRESENT:.0%} needed", "data_stale")

    def columns(self, bars: Bars, first: int = 0) -> FloatArray:
        """Give the market columns on a symbol's own bars from row `first` on, the symbol itself left out of the others.

        Shape (n_bars - first, n_market_columns). Rows off the grid, and values for which fewer than four fifths of the
        others are known, are NaN.
        """
        opens = bars.open_time[first:]
        values = np.full((len(opens), len(MARKET_COLUMNS)), np.nan)
        if not len(opens) or not len(self.open_time):
            return values
        first_step = int(self.open_time[0])
        low = max(0, (int(opens[0]) - first_step) // _STEP_MS - CONTEXT_BARS)
        high = min(len(self.open_time), (int(opens[-1]) - first_step) // _STEP_MS + 1)
        if high <= low:
            return values
        table = _table(self, bars, slice(low, high))
        place = (opens - first_step) // _STEP_MS - low
        known = (place >= 0) & (place < len(table))
        values[known] = table[place[known]]
        return values

    def horizon(self, bars: int) -> _Horizon:
        """Give the basket's returns over `bars` grid steps, made once."""
        found = self._horizons.get(bars)
        if found is None:
            found = self._horizons[bars] = _horizon(self.log_close, bars, self.basket.index(self.benchmark))
        return found

    def row_without(self, symbol: Symbol) -> int:
        """Give the row of a horizon that leaves a symbol out; the last one for a symbol outside the basket."""
        place = bisect_left(self.basket, symbol)
        inside = place < len(self.basket) and self.basket[place] == symbol
        return place if inside else len(self.basket)

    def _part(self, start: int, stop: int) -> MarketContext:
        return MarketContext(self.basket, self.benchmark, self.open_time[start:stop], self.log_close[:, start:stop])


@dataclass(frozen=True, slots=True, eq=False)
class _Horizon:
    """Log returns over some steps: the benchmark's (n,), and what the others did for each symbol left out.

    `expected` is how far the benchmark may be expected to move by its present deviation, `moved` its return in that.
    Row i of (n_symbols + 1, n) leaves symbol i out, the last row nobody; NaN where too few others are known. `rising`
    and `spread` have no rows where no column asks for them.
    """

    benchmark: FloatArray
    expected: FloatArray
    moved: FloatArray
    mean: FloatArray
    rising: FloatArray
    spread: FloatArray


def _table(market: MarketContext, bars: Bars, steps: slice) -> FloatArray:
    row = market.row_without(bars.symbol)
    own = _carried(_laid(market.open_time[steps], bars))
    single, own_return = market.horizon(1), own - lagged(own, 1)
    own_sigma = rolling_deviation(own_return, VOLATILITY_WINDOW)
    columns = {"market_benchmark_return_1": single.moved[steps]}
    for length in (4, 16, 96):
        horizon = market.horizon(length)
        mean, expected = horizon.mean[row, steps], horizon.expected[steps]
        columns[f"market_benchmark_return_{length}"] = horizon.moved[steps]
        columns[f"market_equal_return_{length}"] = ratio(mean, expected)
        columns[f"market_relative_return_{length}"] = ratio(
            own - lagged(own, length) - mean, own_sigma * np.sqrt(length)
        )
        if len(horizon.rising):
            columns[f"market_breadth_{length}"] = horizon.rising[row, steps]
        if len(horizon.spread):
            columns[f"market_dispersion_{length}"] = ratio(horizon.spread[row, steps], expected)
    columns["market_correlation_96"] = rolling_correlation(own_return, single.benchmark[steps], VOLATILITY_WINDOW)
    return np.stack([columns[name] for name in MARKET_COLUMNS], axis=1)


def _horizon(log_close: FloatArray, bars: int, benchmark: int) -> _Horizon:
    carried = np.stack([_carried(row) for row in log_close])
    returns = np.stack([row - lagged(row, bars) for row in carried])
    nobody = np.empty((0, log_close.shape[1]))
    mean = rising = spread = nobody
    if f"market_equal_return_{bars}" in MARKET_COLUMNS:
        known = np.isfinite(returns) & np.isfinite(log_close)
        filled = np.where(known, returns, 0.0)
        count = _enough(_without(known.astype(np.float64)))
        mean = _without(filled) / count
        if f"market_breadth_{bars}" in MARKET_COLUMNS:
            rising = _without((filled > 0).astype(np.float64)) / count
        if f"market_dispersion_{bars}" in MARKET_COLUMNS:
            spread = _deviation(mean, _without(filled * filled) / count)
    expected = rolling_deviation(carried[benchmark] - lagged(carried[benchmark], 1), VOLATILITY_WINDOW) * np.sqrt(bars)
    moved = ratio(returns[benchmark], expected)
    return _Horizon(returns[benchmark].copy(), expected, moved, mean, rising, spread)


def _without(values: FloatArray) -> FloatArray:
    """Give the sum over all symbols but one, for each in turn, and over all: (n_symbols, n) -> (n_symbols + 1, n).

    What stands before the one left out is added up downwards, what stands behind it upwards, so its own value never
    enters, not even as a rounding.
    """
    result = np.zeros((len(values) + 1, values.shape[1]))
    np.add.accumulate(values, axis=0, out=result[1:])
    behind = np.zeros(values.shape[1])
    for row in range(len(values) - 1, -1, -1):
        result[row] += behind
        behind += values[row]
    return result


def _enough(count: FloatArray) -> FloatArray:
    """Give the counts of known others, NaN where they are none or fewer than four fifths of all others."""
    others = np.full((len(count), 1), len(count) - 2)
    others[-1] += 1
    return np.where((count > 0) & (count >= MIN_PRESENT * others), count, np.nan)


def _deviation(mean: FloatArray, square: FloatArray) -> FloatArray:
    """Give the population standard deviation; a variance lost in the rounding of the mean square is exactly zero."""
    variance = square - mean * mean
    return np.sqrt(np.where(variance > _LOST * square, variance, variance * 0.0))


def _laid(grid: IntArray, bars: Bars) -> FloatArray:
    """Give log closes on the grid, shape (n_grid,), NaN where there is no usable bar."""
    laid = np.full(len(grid), np.nan)
    place = (bars.open_time - grid[0]) // _STEP_MS
    good = (place >= 0) & (place < len(grid)) & np.isfinite(bars.close) & (bars.close > 0)
    laid[place[good]] = np.log(bars.close[good])
    return laid


def _carried(values: FloatArray) -> FloatArray:
    """Fill absent values with the last one known, for at most `CARRIED_BARS` steps."""
    carried = values
    for back in range(1, CARRIED_BARS + 1):
        absent = np.isnan(carried)
        if not absent.any():
            break
        carried = np.where(absent, lagged(values, back), carried)
    return carried
