"""How symbols move together, and how wild the benchmark is against its own past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from data_manager import ta
from data_manager.bars import Bars, FloatArray
from data_manager.feed_checks import FeatureRow

ATR_BARS = 14
_ATR_WARMUP_BARS = 100
_LEAST_BARS = 30


def volatility_bars(baseline_window: int) -> int:
    """Give how many bars `volatility_ratio` wants."""
    return baseline_window + ATR_BARS + _ATR_WARMUP_BARS


def volatility_ratio(bars: Bars, baseline_window: int) -> float:
    """Give ATR(14) over the close of the newest bar, over its mean of the last `baseline_window` bars.

    1.0 when prices do not move. Raises `MarketDataError` when there are too few bars or odd ones.
    """
    if len(bars) < baseline_window + ATR_BARS:
        raise MarketDataError(f"{bars.symbol}: {len(bars)} bars, {baseline_window + ATR_BARS} needed", "too_few_bars")
    columns = (np.ascontiguousarray(column) for column in (bars.high, bars.low, bars.close))
    ranges = np.asarray(ta.function("ATR")(*columns, ATR_BARS))
    shares: FloatArray = (ranges / bars.close)[-baseline_window:]
    mean = float(np.mean(shares))
    if not np.isfinite(mean):
        raise MarketDataError(f"{bars.symbol}: ranges that are no numbers", "data_unavailable")
    return float(shares[-1]) / mean if mean > 0.0 else 1.0


class Movements:
    """Standardised log returns of the symbols of one scan, for correlations on demand."""

    def __init__(self, rows: Mapping[Symbol, FeatureRow], window_bars: int) -> None:
        """Take the rows; only rows of the newest bar with a whole window of finite returns take part."""
        newest = max((row.close_time_ms for row in rows.values()), default=0)
        self._rows = {symbol: row for symbol, row in rows.items() if row.close_time_ms == newest}
        self._window = window_bars
        self._kept: dict[Symbol, FloatArray | None] = {}

    def correlation(self, left: Symbol, right: Symbol) -> float | None:
        """Give the correlation of two symbols' returns, None when it cannot be measured."""
        if left == right:
            return 1.0
        first, second = self._standard(left), self._standard(right)
        if first is None or second is None or len(first) != len(second):
            return None
        return min(max(float((first * second).sum()), -1.0), 1.0)

    def pairs(self, chosen: Iterable[Symbol], everyone: Iterable[Symbol]) -> dict[tuple[Symbol, Symbol], float]:
        """Give the correlations between the chosen symbols and everyone, keyed `(a, b)` with `a < b`."""
        others = tuple(everyone)
        found: dict[tuple[Symbol, Symbol], float] = {}
        for one in chosen:
            for other in others:
                pair = (one, other) if one < other else (other, one)
                if one == other or pair in found:
                    continue
                value = self.correlation(*pair)
                if value is not None:
                    found[pair] = value
        return found

    def _standard(self, symbol: Symbol) -> FloatArray | None:
        if symbol not in self._kept:
            row = self._rows.get(symbol)
            self._kept[symbol] = None if row is None else _standardised(row.log_returns[-self._window :], self._window)
        return self._kept[symbol]


def _standardised(returns: FloatArray, window: int) -> FloatArray | None:
    if len(returns) < max(_LEAST_BARS, min(window, len(returns))) or not np.isfinite(returns).all():
        return None
    centred = returns - returns.mean()
    length = float(np.sqrt(np.sum(centred * centred)))
    if length <= 0.0:
        return None
    unit: FloatArray = centred / length
    return unit
