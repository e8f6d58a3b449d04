"""How much of a good figure the search for it explains: deflated Sharpe ratio and probability of overfitting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from data_manager.bars import FloatArray

_EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Luck:
    """How many trials something was chosen from, and the variance of their Sharpe ratios per period.

    Without a variance it is what chance alone gives over as many periods.
    """

    trials: int = 1
    variance: float | None = None


UNTUNED = Luck()


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


def sharpe_probability(returns: FloatArray, luck: Luck = UNTUNED) -> float:
    """Give the deflated Sharpe ratio of a series of returns; 0 under three returns or without spread."""
    if len(returns) < 3 or returns.std(ddof=1) <= 0.0:
        return 0.0
    centred = returns - returns.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    skew = float((centred**3).mean()) / deviation**3
    kurtosis = float((centred**4).mean()) / deviation**4
    sharpe = float(returns.mean() / returns.std(ddof=1))
    variance = 1.0 / (len(returns) - 1) if luck.variance is None else luck.variance
    return deflated_sharpe(sharpe, len(returns), skew=skew, kurtosis=kurtosis, trials=luck.trials, variance=variance)


def overfitting_probability(returns: FloatArray, *, blocks: int = 16, by_mean: bool = False) -> float:
    """Give how often the best trial in one half of time is below the median in the other half.

    `returns` (n_periods, n_trials); all ways to choose half of `blocks` time blocks *(combinatorially symmetric
    cross-validation)*. Trials are ranked by Sharpe ratio, or by mean, which suits gains that are no returns.
    """
    parts = np.array_split(returns, blocks)
    sums = np.array([part.sum(axis=0) for part in parts])
    squares = np.array([(part**2).sum(axis=0) for part in parts])
    counts = np.array([[float(len(part))] for part in parts])
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for row, picked in enumerate(combinations(range(blocks), blocks // 2)):
        chosen[row, list(picked)] = 1.0

    def ranked_by(weights: FloatArray) -> FloatArray:
        means: FloatArray = (weights @ sums) / (weights @ counts)
        if by_mean:
            return means
        variance = np.maximum((weights @ squares) / (weights @ counts) - means**2, 1e-18)
        return np.asarray(means / np.sqrt(variance))

    inside, outside = ranked_by(chosen), ranked_by(1.0 - chosen)
    winner = np.take_along_axis(outside, inside.argmax(axis=1)[:, None], axis=1)
    rank = (outside < winner).sum(axis=1) + 0.5 * ((outside == winner).sum(axis=1) - 1)
    return float((rank < (returns.shape[1] - 1) / 2.0).mean())
