"""Charts of a bundle's outcomes and statistics of its columns: pure functions and small running sums.

Three charts trigger. Loss: log-loss minus that of the class shares. Return: what a position along the forecast would
have lost, in deviations of the window. Coverage: how often the outcome lay in the set that held 80 % of them. Values
are standardised by the report block and summed with a slack (CUSUM, *Page 1954*): `S = max(0, S + value - slack)`.
The statistics of columns inform and trigger nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_manager.bars import FloatArray, IntArray
from ml_engine.inference import PROBABILITY_FLOOR

SLACK = 0.25
LARGEST_MOVE = 3.0
LEAN_SCALE = 0.05
COVERAGE = 0.8
COVERAGE_DAYS = 14
COVERAGE_P = 0.001
LEAST_COVERAGE_OUTCOMES = 20
BINS = 10
_SHARE_FLOOR = 1e-3


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and deviation a chart's values have where nothing has changed."""

    mean: float
    deviation: float

    def of(self, value: float) -> float:
        """Give a value in deviations from the mean."""
        return (value - self.mean) / self.deviation


@dataclass(slots=True)
class Cusum:
    """One running sum; it begins anew after an alarm."""

    standard: Standard
    limit: float
    value: float = 0.0

    def follow(self, value: float) -> None:
        """Take the next value."""
        self.value = max(0.0, self.value + self.standard.of(value) - SLACK)

    def restart(self) -> None:
        """Begin anew."""
        self.value = 0.0


@dataclass(slots=True)
class Coverage:
    """How many of the newest outcomes had at least the probability `floor`, which 80 % have where nothing changed."""

    floor: float
    window: int
    hits: deque[bool]

    @classmethod
    def of(cls, floor: float, window: int) -> Coverage:
        """Begin without outcomes; `window` is how many outcomes count."""
        return cls(floor, window, deque(maxlen=max(window, 1)))

    def follow(self, probability: float) -> None:
        """Take the probability the outcome had been given."""
        self.hits.append(probability >= self.floor)

    @property
    def p_value(self) -> float:
        """How likely so few are covered by chance; 1 while too few are known."""
        count = len(self.hits)
        return binomial_tail(sum(self.hits), count) if count >= LEAST_COVERAGE_OUTCOMES else 1.0

    def restart(self) -> None:
        """Begin anew."""
        self.hits.clear()


def excess_losses(probabilities: FloatArray, labels: IntArray, prior: FloatArray) -> FloatArray:
    """Give the log-loss of (n, 3) probabilities minus that of the class shares (3,), shape (n,)."""
    said = np.maximum(probabilities[np.arange(len(labels)), labels], PROBABILITY_FLOOR)
    usual = np.maximum(prior, PROBABILITY_FLOOR)[labels]
    excess: FloatArray = np.log(usual) - np.log(said)
    return excess


def adverse_returns(probabilities: FloatArray, moves: FloatArray, volatility: FloatArray, horizon: int) -> FloatArray:
    """Give `-tanh((p_buy - p_sell) / .05) * move / (sigma * sqrt(h))`, the move clipped at 3, shape (n,)."""
    lean = np.tanh((probabilities[:, 2] - probabilities[:, 0]) / LEAN_SCALE)
    size = np.clip(moves / (volatility * math.sqrt(horizon)), -LARGEST_MOVE, LARGEST_MOVE)
    adverse: FloatArray = -lean * size
    return adverse


def coverage_floor(said: FloatArray) -> float:
    """Give the probability that 80 % of the outcomes reach, from what was said of each, shape (n,); cautious by 1/n."""
    ordered = np.sort(said)
    place = math.floor((1.0 - COVERAGE) * (len(ordered) + 1)) - 1
    return float(ordered[place]) if place >= 0 else 0.0


def running_maxima(values: FloatArray) -> FloatArray:
    """Give how far the sum of each path of standardised values has ever been, shape (n_paths, n_steps)."""
    level = np.zeros(len(values))
    highest = np.zeros_like(values)
    for step in range(values.shape[1]):
        level = np.maximum(level + values[:, step] - SLACK, 0.0)
        highest[:, step] = level
    maxima: FloatArray = np.maximum.accumulate(highest, axis=1)
    return maxima


@lru_cache(maxsize=4096)
def binomial_tail(hits: int, count: int) -> float:
    """Give the probability of at most `hits` of `count` when each has probability 80 %.

    >>> round(binomial_tail(0, 2), 6)
    0.04
    """
    return math.fsum(
        math.comb(count, place) * COVERAGE**place * (1.0 - COVERAGE) ** (count - place) for place in range(hits + 1)
    )


def bin_shares(rows: FloatArray, edges: FloatArray) -> FloatArray:
    """Give the share of each column's finite values in its ten bins, shape (n_columns, 10); NaN without any.

    `rows` (n, k); `edges` (k, 9) the inner deciles. A value equal to an edge lies above it.
    """
    above = (rows[:, :, None] >= edges[None, :, :]).sum(axis=0)
    known = np.isfinite(rows).sum(axis=0)
    counts = np.column_stack([known, above, np.zeros(len(known))]).astype(np.float64)
    within = -np.diff(counts, axis=1)
    shares: FloatArray = np.divide(within, known[:, None], out=np.full_like(within, np.nan), where=known[:, None] > 0)
    return shares


def stability_index(shares: FloatArray, usual: FloatArray) -> FloatArray:
    """Give `sum (a - b) ln(a / b)` over the last axis, shares below .001 counted as .001."""
    new, old = np.maximum(shares, _SHARE_FLOOR), np.maximum(usual, _SHARE_FLOOR)
    index: FloatArray = ((new - old) * np.log(new / old)).sum(axis=-1)
    return index


def distance(shares: FloatArray, usual: FloatArray) -> FloatArray:
    """Give the largest difference of the distribution functions at the bins' edges, over the last axis."""
    gap: FloatArray = np.abs(np.cumsum(shares - usual, axis=-1)).max(axis=-1)
    return gap


def distance_p_value(gap: float, count: int) -> float:
    """Give `2 exp(-2 n d^2)`, the chance of a distance from a known distribution *(Kolmogorov-Smirnov)*, at most 1."""
    return min(1.0, 2.0 * math.exp(-2.0 * count * gap * gap))
