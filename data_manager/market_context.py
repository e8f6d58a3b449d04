"""The market around a symbol: a benchmark and a fixed, named basket on one grid of base bars.

Sums over symbols run in sorted symbol order and leave the symbol itself out, so neither the order of the input nor the
symbol's own move enters. Every value at t uses bars closed at or before t, and its own short window alone. A bar that
is absent counts as one without a move for up to two hours where it is looked back at, never as a present one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from data_manager.bar_view import VOLATILITY_WINDOW
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feature_columns import BASE_TIMEFRAME, MARKET_COLUMNS
from data_manager.rolling import lagged, ratio, rolling_correlation, rolling_deviation

CONTEXT_BARS = 224
MIN_PRESENT = 0.8
CARRIED_BARS = 8
_STEP_MS = BASE_TIMEFRAME.ms


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

    def for_symbol(self, symbol: Symbol) -> SymbolContext:
        """Give the context seen from one symbol."""
        return SymbolContext(self, tuple(row for row, name in enumerate(self.basket) if name != symbol))

    def columns(self, bars: Bars, first: int = 0) -> FloatArray:
        """Give the market columns for `bars` from row `first` on, shape (n_bars - first, n_market_columns)."""
        return self.for_symbol(bars.symbol).columns(bars, first)

    def horizon(self, bars: int) -> _Horizon:
        """Give the basket's returns over `bars` grid steps, made once."""
        found = self._horizons.get(bars)
        if found is None:
            found = self._horizons[bars] = _horizon(self.log_close, bars)
        return found

    def _part(self, start: int, stop: int) -> MarketContext:
        return MarketContext(self.basket, self.benchmark, self.open_time[start:stop], self.log_close[:, start:stop])


@dataclass(frozen=True, slots=True, eq=False)
class _Horizon:
    """Log returns of the basket over some steps: `returns` (n_symbols, n), `known` where a present bar has one."""

    returns: FloatArray
    known: BoolArray
    filled: FloatArray
    count: IntArray
    rising: IntArray


@dataclass(frozen=True, slots=True)
class SymbolContext:
    """The market without one symbol; `others` are the rows of the basket that are not it."""

    market: MarketContext
    others: tuple[int, ...]

    def columns(self, bars: Bars, first: int = 0) -> FloatArray:
        """Give the market columns on the symbol's own bars from row `first` on.

        Rows off the grid, and values for which fewer than four fifths of the basket are known, are NaN.
        """
        opens = bars.open_time[first:]
        values = np.full((len(opens), len(MARKET_COLUMNS)), np.nan)
        if not len(opens) or not len(self.market.open_time):
            return values
        first_step = int(self.market.open_time[0])
        low = max(0, (int(opens[0]) - first_step) // _STEP_MS - CONTEXT_BARS)
        high = min(len(self.market.open_time), (int(opens[-1]) - first_step) // _STEP_MS + 1)
        if high <= low:
            return values
        table = _table(self, bars, slice(low, high))
        place = (opens - first_step) // _STEP_MS - low
        known = (place >= 0) & (place < len(table))
        values[known] = table[place[known]]
        return values


def _table(view: SymbolContext, bars: Bars, steps: slice) -> FloatArray:
    market = view.market
    benchmark = market.basket.index(market.benchmark)
    own = _carried(_laid(market.open_time[steps], bars))
    own_return, bench_return = own - lagged(own, 1), market.horizon(1).returns[benchmark, steps]
    own_sigma = rolling_deviation(own_return, VOLATILITY_WINDOW)
    bench_sigma = rolling_deviation(bench_return, VOLATILITY_WINDOW)
    columns = {"market_benchmark_return_1": ratio(bench_return, bench_sigma)}
    for length in (4, 16, 96):
        scale = np.sqrt(length)
        returns = market.horizon(length)
        mean = _mean_of_others(returns, view.others, steps)
        columns[f"market_benchmark_return_{length}"] = ratio(returns.returns[benchmark, steps], bench_sigma * scale)
        columns[f"market_equal_return_{length}"] = ratio(mean, bench_sigma * scale)
        columns[f"market_relative_return_{length}"] = ratio(own - lagged(own, length) - mean, own_sigma * scale)
        if length > 4:
            columns[f"market_breadth_{length}"] = _breadth_of_others(returns, view.others, steps)
        if length == 16:
            spread = _dispersion_of_others(returns, view.others, steps, mean)
            columns["market_dispersion_16"] = ratio(spread, bench_sigma * scale)
    columns["market_correlation_96"] = rolling_correlation(own_return, bench_return, VOLATILITY_WINDOW)
    return np.stack([columns[name] for name in MARKET_COLUMNS], axis=1)


def _horizon(log_close: FloatArray, bars: int) -> _Horizon:
    carried = np.stack([_carried(row) for row in log_close])
    returns = np.stack([row - lagged(row, bars) for row in carried])
    known = np.isfinite(returns) & np.isfinite(log_close)
    filled = np.where(known, returns, 0.0)
    return _Horizon(returns, known, filled, known.sum(axis=0), (filled > 0).sum(axis=0))


def _count(horizon: _Horizon, others: tuple[int, ...], steps: slice) -> FloatArray:
    """Count the known others, NaN where they are fewer than four fifths of all of them."""
    count = horizon.count[steps] - _own(horizon.known, others, steps)
    enough = (count > 0) & (count >= MIN_PRESENT * len(others))
    return np.where(enough, count, np.nan)


def _own(flags: BoolArray, others: tuple[int, ...], steps: slice) -> IntArray:
    own = sorted(set(range(len(flags))) - set(others))
    count: IntArray = flags[own, steps].sum(axis=0)
    return count


def _mean_of_others(horizon: _Horizon, others: tuple[int, ...], steps: slice) -> FloatArray:
    total = np.zeros(horizon.filled[0, steps].shape)
    for row in others:
        total += horizon.filled[row, steps]
    return total / _count(horizon, others, steps)


def _dispersion_of_others(horizon: _Horizon, others: tuple[int, ...], steps: slice, mean: FloatArray) -> FloatArray:
    total = np.zeros(len(mean))
    for row in others:
        distance = (horizon.filled[row, steps] - mean) * horizon.known[row, steps]
        total += distance * distance
    return np.sqrt(total / _count(horizon, others, steps))


def _breadth_of_others(horizon: _Horizon, others: tuple[int, ...], steps: slice) -> FloatArray:
    rising = horizon.rising[steps] - _own(horizon.filled > 0, others, steps)
    return rising / _count(horizon, others, steps)


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
