"""Rolling sums whose value at t depends on the bars of its window alone, to the last bit.

A running sum (add the new value, take away the old) carries rounding errors of everything it has ever seen. Here a
window is put together from windows of half its length, so element t is always the same additions in the same order
wherever the array starts or ends. All arrays have shape (n,); results are NaN until a window is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from data_manager.bars import FloatArray

_LOST = 1e-12


def lagged(values: FloatArray, bars: int) -> FloatArray:
    """Give the value `bars` rows earlier, NaN where there is none."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    if bars < len(values):
        result[bars:] = values[: len(values) - bars]
    return result


def rolling_sum(values: FloatArray, bars: int) -> FloatArray:
    """Give the sum of the last `bars` values, this row included; several series at once as rows of (n_series, n)."""
    if bars > values.shape[-1]:
        return np.full(values.shape, np.nan)
    return rolling_sums(values, {bars: slice(None)})[bars]


def rolling_sums(values: FloatArray, windows: Mapping[int, slice]) -> dict[int, FloatArray]:
    """Give the sums over several windows, each of some rows of (n_series, n); what windows share is added up once."""
    sums: dict[int, FloatArray] = {}
    block, length = values, 1
    while True:
        for bars, rows in windows.items():
            if bars in sums and bars & length:
                sums[bars] = _plus_lagged(sums[bars], block[rows], bars & (length - 1))
            elif bars & length:
                sums[bars] = block[rows].copy()
        if 2 * length > max(windows):
            return sums
        block = _plus_lagged(block, block, length)
        length *= 2


def rolling_deviation(values: FloatArray, bars: int) -> FloatArray:
    """Give the population standard deviation of the last `bars` values, for values that scatter around zero."""
    return deviation_of_sums(rolling_sum(values, bars), rolling_sum(values * values, bars), bars)


def deviation_of_sums(total: FloatArray, squares: FloatArray, bars: int) -> FloatArray:
    """Give the population standard deviation from sums of values and of their squares.

    A variance lost in the rounding of the mean square counts as exactly zero.
    """
    mean, square = total / bars, squares / bars
    variance = square - mean * mean
    return np.sqrt(np.where(variance > _LOST * square, variance, variance * 0.0))


def rolling_centred_deviation(values: FloatArray, bars: int) -> tuple[FloatArray, FloatArray]:
    """Give mean and population standard deviation of values far from zero, such as log prices.

    Differences from each window's own mean are squared, which a difference of mean squares cannot do precisely.
    """
    mean, deviation = rolling_sum(values, bars) / bars, np.full(len(values), np.nan)
    if len(values) >= bars:
        step = values.strides[0]
        windows = as_strided(values, (len(values) - bars + 1, bars), (step, step), writeable=False)
        distance = windows - mean[bars - 1 :, None]
        np.multiply(distance, distance, out=distance)
        deviation[bars - 1 :] = np.sqrt(distance.sum(axis=1) / bars)
    return mean, deviation


def rolling_correlation(left: FloatArray, right: FloatArray, bars: int) -> FloatArray:
    """Give Pearson's correlation over the last `bars` pairs, NaN where either side does not move."""
    return correlation_of_sums(
        rolling_sum(np.stack([left, right, left * left, right * right, left * right]), bars), bars
    )


def correlation_of_sums(sums: Sequence[FloatArray] | FloatArray, bars: int) -> FloatArray:
    """Give Pearson's correlation from sums of x, y, x squared, y squared and x times y."""
    mean_left, mean_right, square_left, square_right, both = (total / bars for total in sums)
    variance_left, variance_right = square_left - mean_left * mean_left, square_right - mean_right * mean_right
    moves = (variance_left > _LOST * square_left) & (variance_right > _LOST * square_right)
    spread = np.sqrt(np.where(moves, variance_left * variance_right, 0.0))
    correlation = ratio(both - mean_left * mean_right, spread)
    return np.minimum(np.maximum(correlation, -1.0), 1.0)


def above_zero(values: FloatArray) -> FloatArray:
    """Give the values above zero, NaN for the others: a divisor that makes a ratio NaN where there is no whole."""
    return np.where(values > 0, values, np.nan)


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Give `part / whole` where `whole` is above zero, NaN elsewhere; never infinite."""
    result = np.empty(len(part))
    result.fill(np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _plus_lagged(values: FloatArray, earlier: FloatArray, bars: int) -> FloatArray:
    # One run over all series is faster than one each; what it adds across two of them is overwritten.
    result = np.empty(values.shape)
    np.add(values.reshape(-1)[bars:], earlier.reshape(-1)[:-bars], out=result.reshape(-1)[bars:])
    result[..., :bars] = np.nan
    return result
