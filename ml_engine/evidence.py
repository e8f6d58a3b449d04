"""What held-out trades say about the score: the slope test of the skill gate and the line of expected value.

The score of a row is s = (p_buy - p_sell) * width. Trades of neighbouring rows overlap, so every bound resamples or
clusters whole days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from data_manager.bars import FloatArray, IntArray
from ml_engine.metrics import Estimate, day_draws

EV_QUANTILE = 0.1


@dataclass(frozen=True, slots=True)
class ExpectedValueLine:
    """Trade return expected at score s: intercept + slope * s, slope >= 0, with its day-block resamples.

    `intercepts` and `slopes` hold one line per resample; the lower value at s is a quantile over them.
    """

    intercept: float
    slope: float
    intercepts: tuple[float, ...]
    slopes: tuple[float, ...]

    def lower(self, score: float, *, quantile: float = EV_QUANTILE) -> float:
        """Give the `quantile` of the resampled lines at a score."""
        lines = np.array(self.intercepts) + np.array(self.slopes) * score
        return float(np.quantile(lines, quantile))


@dataclass(frozen=True, slots=True)
class SlopeTest:
    """The slope of trade return on score, and the one-sided p-value: how often chance alone gives such a t or more."""

    slope: Estimate
    p_value: float


def scores(probabilities: FloatArray, width: FloatArray) -> FloatArray:
    """Give (p_buy - p_sell) * width of each row; `probabilities` (n, 3)."""
    values: FloatArray = (probabilities[:, 2] - probabilities[:, 0]) * width
    return values


def return_slope(score: FloatArray, trade_gross: FloatArray, day: IntArray) -> Estimate:
    """Give the least-squares slope of trade return on score with its two-sided 95 % interval."""
    return slope_test(score, trade_gross, day).slope


def slope_test(score: FloatArray, trade_gross: FloatArray, day: IntArray) -> SlopeTest:
    """Test the least-squares slope of trade return on score; arrays (n,), `day` counts days.

    The variance is the largest of three: days, and pairs of days, left out in turn, so that one wild day cannot prove a
    slope; and clusters of days with the covariance of neighbours, because a trade may outlast its day. t quantile with
    the pairs of days less one as degrees of freedom. Without variation in the score the slope is 0 and unbounded.
    """
    centred = score - score.mean()
    power = float(centred @ centred)
    pairs = (day - day.min()) // 2
    count = len(np.unique(pairs))
    if power <= 1e-18 * max(len(score), 1) or count < 3:
        return SlopeTest(Estimate(0.0, float("-inf"), float("inf")), 1.0)
    slope = float(centred @ trade_gross) / power
    residual = trade_gross - trade_gross.mean() - slope * centred
    variances = (
        _clustered_variance(centred * residual, day) / power**2,
        _left_out_variance(score, trade_gross, day),
        _left_out_variance(score, trade_gross, pairs),
    )
    error = math.sqrt(max(variances))
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    ratio = slope / error if error > 0.0 else math.copysign(math.inf, slope)
    return SlopeTest(Estimate(slope, slope - reach, slope + reach), float(stats.t.sf(ratio, count - 1)))


def expected_value_line(
    score: FloatArray, trade_gross: FloatArray, day: IntArray, *, seed: int, draws: int = 200
) -> ExpectedValueLine:
    """Fit the line on all rows and on `draws` day-block resamples."""
    sums = _day_sums(score, trade_gross, day)
    intercept, slope = _lines(sums.sum(axis=0, keepdims=True))
    intercepts, slopes = _lines(day_draws(day, seed=seed, draws=draws) @ sums)
    return ExpectedValueLine(
        float(intercept[0]), float(slope[0]), tuple(map(float, intercepts)), tuple(map(float, slopes))
    )


def _day_sums(score: FloatArray, trade_gross: FloatArray, day: IntArray) -> FloatArray:
    """Give per day (n, sum s, sum r, sum s*s, sum s*r), shape (n_days, 5)."""
    _, index = np.unique(day, return_inverse=True)
    columns = (np.ones_like(score), score, trade_gross, score * score, score * trade_gross)
    return np.stack([np.bincount(index, weights=column) for column in columns], axis=1)


def _lines(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve intercept and slope >= 0 from rows of day sums."""
    slope = np.maximum(_slopes(sums), 0.0)
    return (sums[:, 2] - slope * sums[:, 1]) / sums[:, 0], slope


def _slopes(sums: FloatArray) -> FloatArray:
    """Solve the least-squares slope from rows of day sums; 0 where the score does not vary."""
    count, score, gain, square, product = sums.T
    spread = square - score * score / count
    slopes: FloatArray = np.divide(
        product - score * gain / count, spread, out=np.zeros_like(spread), where=spread > 1e-18 * count
    )
    return slopes


def _left_out_variance(score: FloatArray, trade_gross: FloatArray, day: IntArray) -> float:
    """Give the jackknife variance of the slope over days."""
    sums = _day_sums(score, trade_gross, day)
    total = sums.sum(axis=0, keepdims=True)
    without = _slopes(total - sums)
    groups = len(sums)
    return float(((without - _slopes(total)) ** 2).sum()) * (groups - 1) / groups


def _clustered_variance(terms: FloatArray, day: IntArray) -> float:
    unique, index = np.unique(day, return_inverse=True)
    sums = np.bincount(index, weights=terms)
    adjacent = np.diff(unique) == 1
    own = float(sums @ sums)
    neighbours = float((sums[:-1] * sums[1:])[adjacent].sum())
    groups = len(unique)
    return max(own, own + neighbours) * groups / (groups - 1)
