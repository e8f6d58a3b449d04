"""The region of feature space the members were trained in, as a shrunk Mahalanobis distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

from data_manager.bars import FloatArray

QUANTILE = 0.995


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRegion:
    """Centre (k,), scale (k,) and precision (k, k) of the train rows, and the median (k,) that stands for unknowns.

    The precision belongs to columns divided by their scale.
    """

    median: FloatArray
    center: FloatArray
    scale: FloatArray
    precision: FloatArray

    def distances(self, rows: FloatArray) -> FloatArray:
        """Give the Mahalanobis distance of rows (n, k), shape (n,)."""
        standard = (np.where(np.isfinite(rows), rows, self.median) - self.center) / self.scale
        squared = np.einsum("ni,ij,nj->n", standard, self.precision, standard, optimize=True)
        distances: FloatArray = np.sqrt(np.maximum(squared, 0.0))
        return distances


def training_region(rows: FloatArray) -> TrainingRegion:
    """Fit the region on train rows (n, k); columns without spread keep scale 1."""
    median = np.nanmedian(rows, axis=0)
    filled = np.where(np.isfinite(rows), rows, median)
    center, scale = filled.mean(axis=0), filled.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    covariance, _ = ledoit_wolf((filled - center) / scale)
    return TrainingRegion(median, center, scale, np.linalg.inv(covariance))


def distance_limit(region: TrainingRegion, rows: FloatArray) -> float:
    """Give the distance that 99.5 % of the calibrate rows stay within."""
    return float(np.quantile(region.distances(rows), QUANTILE))
