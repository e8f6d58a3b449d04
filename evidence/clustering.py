"""Means of results that come in bunches: trades of one day share that day's market."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from data_manager.bars import FloatArray, IntArray

FEWEST_CLUSTERS = 5


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """A mean, with its standard error from sums per cluster and the test that the true mean is above 0.

    `error = sqrt(G / (G - 1) * sum_g (sum_i (x_i - mean))**2) / n` over G clusters; `t = mean / error` with G - 1
    degrees of freedom; `p_value` is one-sided. The three are None under five clusters or without variation.
    """

    mean: float
    error: float | None
    t: float | None
    p_value: float | None
    clusters: int


def clustered_mean(values: FloatArray, cluster: IntArray) -> ClusteredMean:
    """Give the mean of `values` (n,), n >= 1, whose clusters are named by the integers `cluster` (n,)."""
    mean = float(values.mean())
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, weights=values - mean)
    count = len(sums)
    if count < FEWEST_CLUSTERS:
        return ClusteredMean(mean, None, None, None, count)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(values)
    if error <= 1e-15 * max(1.0, abs(mean)):
        return ClusteredMean(mean, None, None, None, count)
    t = mean / error
    return ClusteredMean(mean, error, t, float(stats.t.sf(t, count - 1)), count)
