"""Columns made fit for members that multiply: unknown values filled and flagged, centred, scaled, clipped.

Everything comes from the rows a member is fitted on. Sums over columns run in a fixed order (`weighted_sums`), so a row
alone and the same row in a batch give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_engine.tree_arrays import FloatArray, IntArray

WIDEST = 5.0
_LEAST_SCALE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Standardiser:
    """`clip((filled - centre) / scale)` of k columns and of f flags that say which values are unknown.

    `median` (k,) stands for an unknown value; `flagged` (f,) are the columns some fitted row did not know, each with a
    flag column after the k columns; `centre` and `scale` are (k + f,).
    """

    median: FloatArray
    flagged: IntArray
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, rows: FloatArray) -> Standardiser:
        """Fit on rows (n, k); a column without spread keeps scale 1, one never known has median 0."""
        unknown = ~np.isfinite(rows)
        flagged = np.flatnonzero(unknown.any(axis=0)).astype(np.int64)
        median = np.zeros(rows.shape[1])
        for column in np.flatnonzero(~unknown.all(axis=0)):
            median[column] = np.median(rows[~unknown[:, column], column])
        filled = np.concatenate([np.where(unknown, median, rows), unknown[:, flagged]], axis=1)
        scale = filled.std(axis=0)
        return cls(median, flagged, filled.mean(axis=0), np.where(scale > _LEAST_SCALE, scale, 1.0))

    @property
    def width(self) -> int:
        """Columns given out: k + f."""
        return len(self.centre)

    def apply(self, rows: FloatArray) -> FloatArray:
        """Give (..., k + f) for rows (..., k), each within +-5."""
        unknown = ~np.isfinite(rows)
        width = rows.shape[-1]
        filled = np.empty((*rows.shape[:-1], self.width))
        filled[..., :width] = np.where(unknown, self.median, rows)
        filled[..., width:] = unknown[..., self.flagged]
        filled -= self.centre
        filled /= self.scale
        clipped: FloatArray = np.clip(filled, -WIDEST, WIDEST, out=filled)
        return clipped


def weighted_sums(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Give `values @ weights`, (..., k) times (..., k, h) to (..., h), each sum in the order of the k columns."""
    sums: FloatArray = np.add.reduce(values[..., None] * weights, axis=-2)
    return sums


def sigmoid(values: FloatArray) -> FloatArray:
    """Give 1 / (1 + exp(-x)) of a contiguous array."""
    result = np.negative(np.clip(values, -40.0, 40.0))
    np.exp(result, out=result)
    result += 1.0
    reciprocal: FloatArray = np.reciprocal(result, out=result)
    return reciprocal
