"""How much of a symbol is traded, against its own past month."""

from __future__ import annotations

import numpy as np

from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.feature_columns import Parameter
from data_manager.multi_timeframe import visible
from data_manager.rolling import lagged, ratio, rolling_sum


def turnover(bars: Bars) -> FloatArray:
    """Give what each bar traded in the quote asset: typical price times volume, the same for every source."""
    return (bars.high + bars.low + bars.close) / 3.0 * bars.volume


def turnover_against_month(
    base: Bars, daily: Bars, close_time: IntArray, parameters: tuple[Parameter, ...]
) -> FloatArray:
    """Log of the turnover of the last base bars over the mean closed day; parameters are how many bars and days.

    Shape (n,) on the base rows that end at `close_time`, which are the last ones of `base`; NaN with fewer days.
    """
    bars, days = (int(parameter) for parameter in parameters)
    recent = rolling_sum(turnover(base), bars)[len(base) - len(close_time) :]
    month = rolling_sum(turnover(daily), days) / days
    span = daily.open_time - lagged(daily.open_time.astype(np.float64), days - 1)
    month = np.where(span <= (2 * days) * daily.timeframe.ms, month, np.nan)
    position = visible(daily, close_time)
    age = close_time - np.append(daily.close_time, 0)[position]
    known = np.where(age < 2 * daily.timeframe.ms, np.append(month, np.nan)[position], np.nan)
    share = ratio(recent, known)
    result = np.full(len(share), np.nan)
    np.log(share, out=result, where=share > 0)
    return result
