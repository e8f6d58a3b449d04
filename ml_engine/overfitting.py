"""How much of a good figure the search for it explains: deflated Sharpe ratio and probability of overfitting."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np

from data_manager.bars import BoolArray, FloatArray

_EULER = 0.5772156649015329
_NORMAL = NormalDist()


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Give the largest Sharpe ratio expected of `trials` worthless strategies whose ratios have `variance`."""
    if trials <= 1:
        return 0.0
    first = (1.0 - _EULER) * _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    second = _EULER * _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * (first + second)


def deflated_sharpe(
    sharpe: float, periods: int, *, skew: float, kurtosis: float, trials: int = 1, variance: float = 0.0
) -> float:
    """Give the probability that the true Sharpe ratio exceeds what the best of `trials` would show by luck.

    All ratios per period; `kurtosis` is 3 for a normal; `variance` that of the trials' ratios *(Bailey, Lopez de Prado
    2014)*. 0 where there are too few periods.
    """
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if periods < 2 or spread <= 0.0:
        return 0.0
    excess = sharpe - expected_best_sharpe(trials, variance)
    return _NORMAL.cdf(excess * math.sqrt(periods - 1) / math.sqrt(spread))


def sharpe_probability(returns: FloatArray) -> float:
    """Give the deflated Sharpe ratio of one untuned series of returns; 0 under three returns or without spread."""
    if len(returns) < 3 or returns.std(ddof=1) <= 0.0:
        return 0.0
    centred = returns - returns.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    skew = float((centred**3).mean()) / deviation**3
    kurtosis = float((centred**4).mean()) / deviation**4
    sharpe = float(returns.mean() / returns.std(ddof=1))
    return deflated_sharpe(sharpe, len(returns), skew=skew, kurtosis=kurtosis)


def overfitting_probability(returns: FloatArray, *, blocks: int = 16) -> float:
    """Give how often the best trial in one half of time is below the median in the other half.

    `returns` (n_periods, n_trials); all ways to choose half of `blocks` time blocks *(combinatorially symmetric
    cross-validation)*.
    """
    parts = np.array_split(returns, blocks)
    sums = np.array([part.sum(axis=0) for part in parts])
    squares = np.array([(part**2).sum(axis=0) for part in parts])
    counts = np.array([len(part) for part in parts], dtype=np.float64)
    losses, total = 0.0, 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.zeros(blocks, dtype=np.bool_)
        inside[list(chosen)] = True
        best = int(_sharpes(sums, squares, counts, inside).argmax())
        outside = _sharpes(sums, squares, counts, ~inside)
        rank = float((outside < outside[best]).sum() + 0.5 * ((outside == outside[best]).sum() - 1))
        losses += float(rank < (len(outside) - 1) / 2.0)
        total += 1
    return losses / total


def _sharpes(sums: FloatArray, squares: FloatArray, counts: FloatArray, chosen: BoolArray) -> FloatArray:
    count = counts[chosen].sum()
    mean = sums[chosen].sum(axis=0) / count
    variance = np.maximum(squares[chosen].sum(axis=0) / count - mean**2, 1e-18)
    ratios: FloatArray = mean / np.sqrt(variance)
    return ratios
