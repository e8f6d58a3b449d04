"""Whether a symbol's closed bars may be acted on, and the values a feed hands out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.windows import Windows

STEP_MS = BASE_TIMEFRAME.ms
CORRELATION_BARS = 192
GAP_WINDOW_BARS = 96


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """How late, gapped and short the bars of a symbol may be before it is left alone."""

    max_delay_s: float = 90.0
    max_gap_bars: int = 3
    min_bars: int = 300


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRow:
    """Features of one symbol at the close of one bar.

    `values` (n_columns,) in the order of `columns`; `closes` the closes of the last 193 bars, oldest first;
    `atr_frac` ATR(14) over the close; `volatility_frac` the deviation of one-bar log returns over 96 bars.
    `block` (n_rows, n_columns), where set, are the rows computed at one go, of which this is the one at `place`: rows
    after it lie in its future, so whoever judges them together must not use their answers before their time.
    `window`, where asked for, are the windows that end with the rows of the block, or with this row alone.
    """

    symbol: Symbol
    close_time_ms: int
    values: FloatArray
    columns: tuple[str, ...]
    closes: FloatArray
    atr_frac: float
    volatility_frac: float
    source: str
    block: FloatArray | None = None
    place: int = 0
    window: Windows | None = None

    @property
    def log_returns(self) -> FloatArray:
        """The log returns of the last 192 bars, oldest first."""
        returns: FloatArray = np.diff(np.log(self.closes))
        return returns


def newest_close(now_ms: int) -> int:
    """Give the last instant at or before `now_ms` at which a base bar closes."""
    return now_ms // STEP_MS * STEP_MS


def require_usable(bars: Bars, now_ms: int, limits: FeedLimits) -> None:
    """Raise `MarketDataError` when base bars closed by `now_ms` are missing, few, late or gapped.

    Reasons in this order: `data_unavailable`, `data_stale`, `too_few_bars`, `data_gap`.
    """
    if not len(bars):
        raise MarketDataError(f"{bars.symbol}: no closed bars", "data_unavailable")
    late_ms = now_ms - bars.newest_close_ms
    if late_ms >= STEP_MS + limits.max_delay_s * 1000:
        raise MarketDataError(f"{bars.symbol}: newest bar closed {late_ms / 1000:.0f} s ago", "data_stale")
    if len(bars) < limits.min_bars:
        raise MarketDataError(f"{bars.symbol}: {len(bars)} bars, {limits.min_bars} needed", "too_few_bars")
    absent = absent_bars(bars)
    if absent > limits.max_gap_bars:
        raise MarketDataError(
            f"{bars.symbol}: {absent} of the last {GAP_WINDOW_BARS} bars absent, {limits.max_gap_bars} allowed",
            "data_gap",
        )


def absent_bars(bars: Bars) -> int:
    """Count the bars missing among the last 96 that end with the newest one."""
    first = int(bars.open_time[-1]) - (GAP_WINDOW_BARS - 1) * STEP_MS
    return GAP_WINDOW_BARS - (len(bars) - int(np.searchsorted(bars.open_time, first)))


def require_higher(higher: Bars, base: Bars) -> None:
    """Raise `MarketDataError` (`data_stale`) when a longer bar that has ended is not there though its base bars are."""
    length, close_ms = higher.timeframe.ms, int(base.close_time[-1])
    ended = close_ms // length * length
    inside = base.between(ended - length, ended)
    if len(inside) and len(higher) and int(higher.close_time[-1]) < ended:
        raise MarketDataError(f"{base.symbol}: {higher.timeframe.value} bar closed but not delivered", "data_stale")
    if stale_rows(higher, base.close_time[-1:]).any():
        raise stale_higher(higher, base.symbol)


def stale_rows(higher: Bars, close_time: IntArray) -> BoolArray:
    """Mask base rows (n,) whose last closed longer bar ended two or more of its lengths before them."""
    if not len(higher):
        return np.zeros(len(close_time), dtype=np.bool_)
    place = np.searchsorted(higher.close_time, close_time, side="right") - 1
    age_ms = close_time - higher.close_time[np.maximum(place, 0)]
    stale: BoolArray = (place >= 0) & (age_ms >= 2 * higher.timeframe.ms)
    return stale


def stale_higher(higher: Bars, symbol: Symbol) -> MarketDataError:
    """Give the refusal of a row whose longer bar is too old."""
    name = higher.timeframe.value
    return MarketDataError(f"{symbol}: the last closed {name} bar is two or more times {name} old", "data_stale")
