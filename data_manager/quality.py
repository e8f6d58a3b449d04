"""Whether bars are fit to decide on: enough, late by no more than allowed, without too many holes."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from bn_ml.domain.market import from_ms, iso, to_ms
from bn_ml.errors import MarketDataError
from bn_ml.settings import DataSettings
from data_manager.bars import Bars

GAP_WINDOW_BARS = 96


def require_fresh(bars: Bars, now: datetime, limits: DataSettings, *, minimum: int = 1) -> None:
    """Raise `MarketDataError` unless bars may be decided on.

    Reasons: `too_few_bars` (under `minimum`), `data_stale` (the next bar is overdue by more than `max_bar_delay_sec`),
    `data_gap` (more than `max_gap_bars` absent among the last 96).
    """
    name = f"{bars.symbol} {bars.timeframe.value}"
    if len(bars) < max(1, minimum):
        raise MarketDataError(f"{name}: {len(bars)} bars, needs {minimum}", "too_few_bars")
    overdue = overdue_s(bars, now)
    if overdue > limits.max_bar_delay_sec:
        newest = iso(from_ms(int(bars.close_time[-1])))
        limit = f"limit {limits.max_bar_delay_sec:g} s"
        raise MarketDataError(
            f"{name}: newest bar closed {newest}, the next is {overdue:.0f} s late, {limit}", "data_stale"
        )
    absent = absent_bars(bars)
    if absent > limits.max_gap_bars:
        raise MarketDataError(
            f"{name}: {absent} of the last {GAP_WINDOW_BARS} bars absent, limit {limits.max_gap_bars}", "data_gap"
        )


def overdue_s(bars: Bars, now: datetime) -> float:
    """Give by how many seconds the bar after the newest is late; negative while it is running."""
    return (to_ms(now) - int(bars.close_time[-1]) - bars.timeframe.ms) / 1000


def absent_bars(bars: Bars, window: int = GAP_WINDOW_BARS) -> int:
    """Count the bars absent among the last `window`, or since the series began if that is later."""
    start = int(bars.close_time[-1]) - window * bars.timeframe.ms
    present = len(bars) - int(np.searchsorted(bars.open_time, start))
    expected = min(window, (int(bars.close_time[-1]) - int(bars.open_time[0])) // bars.timeframe.ms)
    return expected - present
