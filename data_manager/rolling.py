"""Rolling sums and extremes whose value at t depends on the bars of its window alone, to the last bit.

A running sum (add the new value, take away the old) carries rounding errors of everything it has ever seen. Here a
window is put together from windows of half its length, so element t is always the same additions in the same order
wherever the array starts or ends. All arrays have shape (n,); results are NaN until a window is full.
"""

from __future__ import annotations

import numpy as np

from data_manager.bars import BoolArray, FloatArray


def lagged(values: FloatArray, bars: int) -> FloatArray:
    """Give the value `bars` rows earlier, NaN where there is none."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    if bars < len(values):
        result[bars:] = values[: len(values) - bars]
    return result


def rolling_sum(values: FloatArray, bars: int) -> FloatArray:
    """Give the sum of the last `bars` values, this row included."""
    result: FloatArray | None = None
    block, length, covered = values, 1, 0
    while True:
        if bars & length:
            result = block if result is None else _with_lagged(result, block, covered, np.add)
            covered += length
        if 2 * length > bars:
            break
        block = _with_lagged(block, block, length, np.add)
        length *= 2
    return values.copy() if result is None else result


def rolling_max(values: FloatArray, bars: int) -> FloatArray:
    """Give the largest of the last `bars` values."""
    return _rolling_extreme(values, bars, np.maximum)


def rolling_min(values: FloatArray, bars: int) -> FloatArray:
    """Give the smallest of the last `bars` values."""
    return _rolling_extreme(values, bars, np.minimum)


def rolling_deviation(values: FloatArray, bars: int) -> FloatArray:
    """Give the population standard deviation of the last `bars` values, for values that scatter around zero.

    A variance lost in the rounding of the mean square counts as exactly zero.
    """
    mean = rolling_sum(values, bars) / bars
    square = rolling_sum(values * values, bars) / bars
    variance = square - mean * mean
    return np.sqrt(np.where(variance > 1e-12 * square, variance, variance * 0.0))


def rolling_centred_deviation(values: FloatArray, bars: int) -> tuple[FloatArray, FloatArray]:
    """Give mean and population standard deviation of values far from zero, such as log prices.

    Differences from each window's own mean are squared, which a difference of mean squares cannot do precisely.
    """
    mean = rolling_sum(values, bars) / bars
    total = np.zeros(len(values))
    for back in range(bars):
        distance = lagged(values, back) - mean
        total += distance * distance
    return mean, np.sqrt(total / bars)


def rolling_autocorrelation(values: FloatArray, bars: int) -> FloatArray:
    """Give the correlation of each value with the one before it over the last `bars` pairs (lag-1 autocorrelation)."""
    return rolling_correlation(values, lagged(values, 1), bars)


def rolling_correlation(left: FloatArray, right: FloatArray, bars: int) -> FloatArray:
    """Give Pearson's correlation over the last `bars` pairs, NaN where either side does not move."""
    mean_left, mean_right = rolling_sum(left, bars) / bars, rolling_sum(right, bars) / bars
    square_left, square_right = rolling_sum(left * left, bars) / bars, rolling_sum(right * right, bars) / bars
    covariance = rolling_sum(left * right, bars) / bars - mean_left * mean_right
    variance_left, variance_right = square_left - mean_left**2, square_right - mean_right**2
    moves = (variance_left > 1e-12 * square_left) & (variance_right > 1e-12 * square_right)
    spread = np.sqrt(np.where(moves, variance_left * variance_right, 0.0))
    return np.clip(ratio(covariance, spread), -1.0, 1.0)


def ratio(part: FloatArray, whole: FloatArray, keep: BoolArray | None = None) -> FloatArray:
    """Give `part / whole` where `whole` is above zero (and `keep` holds), NaN elsewhere; never infinite."""
    usable = whole > 0 if keep is None else (whole > 0) & keep
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=usable)
    return result


def _rolling_extreme(values: FloatArray, bars: int, combine: np.ufunc) -> FloatArray:
    block, length = values, 1
    while 2 * length <= bars:
        block = _with_lagged(block, block, length, combine)
        length *= 2
    return _with_lagged(block, block, bars - length, combine)


def _with_lagged(values: FloatArray, earlier: FloatArray, bars: int, combine: np.ufunc) -> FloatArray:
    result = np.empty(len(values))
    result[:bars] = np.nan
    if bars < len(values):
        combine(values[bars:], earlier[: len(values) - bars], out=result[bars:])
    return result
