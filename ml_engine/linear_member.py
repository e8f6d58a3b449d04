"""The logistic anchor as plain numbers: probabilities of SELL, HOLD, BUY from feature rows, with numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml_engine.final_maps import softmax
from ml_engine.standardising import Standardiser, weighted_sums
from ml_engine.tree_arrays import CLASSES, FloatArray

LINEAR_ARRAYS = ("median", "flagged", "centre", "scale", "coefficients", "intercept")


@dataclass(frozen=True, slots=True, eq=False)
class LinearMember:
    """A multinomial logistic regression on standardised columns: `coefficients` (k + f, 3), `intercept` (3,)."""

    inputs: Standardiser
    coefficients: FloatArray
    intercept: FloatArray

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> LinearMember:
        """Build the member from what `arrays` gave; raises `ValueError` or `KeyError` on anything else."""
        inputs = Standardiser(
            median=arrays["median"],
            flagged=arrays["flagged"].astype(np.int64),
            centre=arrays["centre"],
            scale=arrays["scale"],
        )
        member = cls(inputs, arrays["coefficients"], arrays["intercept"])
        width = len(inputs.median) + len(inputs.flagged)
        if member.coefficients.shape != (width, CLASSES) or inputs.centre.shape != (width,):
            raise ValueError(f"logistic: {width} inputs, coefficients are {member.coefficients.shape}")
        return member

    @property
    def n_features(self) -> int:
        """Columns a row needs."""
        return len(self.inputs.median)

    def arrays(self) -> dict[str, FloatArray]:
        """Give every number by name, float64."""
        return {
            "median": self.inputs.median,
            "flagged": self.inputs.flagged.astype(np.float64),
            "centre": self.inputs.centre,
            "scale": self.inputs.scale,
            "coefficients": self.coefficients,
            "intercept": self.intercept,
        }

    def predict_proba(self, rows: FloatArray) -> FloatArray:
        """Give probabilities (n, 3) of rows (n, k)."""
        return softmax(weighted_sums(self.inputs.apply(rows), self.coefficients) + self.intercept)
