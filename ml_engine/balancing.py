"""Synthetic rows for rare classes (SMOTE) inside the rows a member is fitted on, for those who ask for them.

A new row lies between a row of its class and one of that row's five nearest of the same class *(Chawla et al. 2002)*.
Probabilities learned so overstate rare classes: the calibration map has to undo it.
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from data_manager.bars import FloatArray, IntArray

NEIGHBOURS = 5


def smote(
    values: FloatArray, labels: IntArray, weights: FloatArray, *, seed: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Give rows with every class as frequent as the most frequent one; the given rows come first, unchanged.

    `values` (n, k) may hold NaN, which a new row inherits; `weights` (n,): a new row weighs what its first parent does.
    A class with fewer than two rows is left as it is.
    """
    counts = np.bincount(labels, minlength=3)
    filled = _standard(values)
    generator = np.random.default_rng(seed)
    parts: list[tuple[FloatArray, IntArray, FloatArray]] = [(values, labels, weights)]
    for label in np.flatnonzero((counts > 1) & (counts < counts.max())).tolist():
        own = np.flatnonzero(labels == label)
        first, second = _pairs(filled[own], int(counts.max() - counts[label]), generator)
        share = generator.random((len(first), 1))
        new = values[own[first]] + share * (values[own[second]] - values[own[first]])
        parts.append((new, np.full(len(first), label, dtype=np.int64), weights[own[first]]))
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


def _pairs(rows: FloatArray, count: int, generator: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Draw rows and for each one of its nearest neighbours."""
    near = min(NEIGHBOURS, len(rows) - 1)
    search = NearestNeighbors(n_neighbors=near + 1, n_jobs=1).fit(rows)
    others = search.kneighbors(rows, return_distance=False)
    first: IntArray = generator.integers(0, len(rows), count)
    # The first neighbour of a row is the row itself, or its exact double.
    second: IntArray = others[first, generator.integers(1, near + 1, count)]
    return first, second


def _standard(values: FloatArray) -> FloatArray:
    """Give columns of deviation 1 with unknown values in the middle."""
    known = np.isfinite(values)
    middle = np.nanmedian(np.where(known, values, np.nan), axis=0)
    filled = np.where(known, values, middle)
    spread = filled.std(axis=0)
    standard: FloatArray = (filled - middle) / np.where(spread > 1e-12, spread, 1.0)
    return standard
