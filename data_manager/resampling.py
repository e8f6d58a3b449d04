"""Longer bars made from shorter ones, aligned to UTC; a period counts only when it has ended."""

from __future__ import annotations

import numpy as np

from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars, FloatArray, IntArray, empty_bars

_SURE_DIGITS = 15
_LEAST = 1e-7


def floor_ms(instant_ms: int, timeframe: Timeframe) -> int:
    """Give the open time of the bar that contains an instant.

    >>> floor_ms(90_000, Timeframe.M1)
    60000
    """
    return instant_ms // timeframe.ms * timeframe.ms


def resample(bars: Bars, timeframe: Timeframe) -> Bars:
    """Give the closed bars of a longer timeframe, built from the shorter bars that are present.

    A period appears when it holds at least one bar and its end is at or before the last close given. A leading period
    whose first bar is not given is left out, so that a cut history never yields half a bar. Opens are multiples of the
    timeframe since 1970 UTC. The result equals the venue's own longer bars to the last bit: bars without a trade only
    repeat the close before them and do not count beside traded ones, and volumes are the decimals their sums stand for.
    Raises `ValueError` when the timeframe is no multiple of the one given.
    """
    if timeframe.ms % bars.timeframe.ms:
        raise ValueError(f"cannot make {timeframe.value} bars from {bars.timeframe.value} bars")
    if timeframe is bars.timeframe:
        return bars
    whole = bars.rows(*_whole_periods(bars, timeframe))
    if not len(whole):
        return empty_bars(bars.symbol, timeframe, bars.source)
    period = whole.open_time // timeframe.ms
    first = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
    return _merged(whole, timeframe, first, period[first] * timeframe.ms)


def _whole_periods(bars: Bars, timeframe: Timeframe) -> tuple[int, int]:
    if not len(bars):
        return 0, 0
    start_ms = -floor_ms(-int(bars.open_time[0]), timeframe)
    end_ms = floor_ms(int(bars.close_time[-1]), timeframe)
    start, stop = np.searchsorted(bars.open_time, [start_ms, end_ms], side="left")
    return int(start), max(int(start), int(stop))


def _merged(bars: Bars, timeframe: Timeframe, first: IntArray, open_time: IntArray) -> Bars:
    last = np.append(first[1:], len(bars)) - 1
    traded = bars.volume > 0
    opened = np.minimum.reduceat(np.where(traded, np.arange(len(bars)), len(bars)), first)
    silent = opened == len(bars)
    high = np.maximum.reduceat(np.where(traded, bars.high, -np.inf), first)
    low = np.minimum.reduceat(np.where(traded, bars.low, np.inf), first)
    return Bars(
        symbol=bars.symbol,
        timeframe=timeframe,
        open_time=open_time.astype(np.int64),
        open=bars.open[np.where(silent, first, opened)],
        high=np.where(silent, np.maximum.reduceat(bars.high, first), high),
        low=np.where(silent, np.minimum.reduceat(bars.low, first), low),
        close=bars.close[last],
        volume=_on_grid(np.add.reduceat(bars.volume, first)),
        source=bars.source,
        quote_volume=np.add.reduceat(bars.quote_volume, first),
        trades=np.add.reduceat(bars.trades, first),
    )


def _on_grid(volume: FloatArray) -> FloatArray:
    """Give the decimals the sums stand for, as many digits as a float surely holds; NaN stays NaN."""
    whole_digits = np.ceil(np.log10(np.fmax(volume, _LEAST)))
    scale = 10.0 ** np.maximum(_SURE_DIGITS - whole_digits, 0)
    on_grid: FloatArray = np.rint(volume * scale) / scale
    return on_grid
