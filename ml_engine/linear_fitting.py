"""Fitting the logistic anchor: a strongly regularised multinomial regression on standardised columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from data_manager.bars import FloatArray, IntArray
from ml_engine.linear_member import LinearMember
from ml_engine.standardising import Standardiser


@dataclass(frozen=True, slots=True, eq=False)
class FittedAnchor:
    """The regression with the standardiser it was fitted behind."""

    inputs: Standardiser
    regression: LogisticRegression

    def predict_proba(self, rows: FloatArray) -> FloatArray:
        """Give scikit-learn's probabilities (n, 3) of rows (n, k)."""
        return np.asarray(self.regression.predict_proba(self.inputs.apply(rows)), dtype=np.float64)

    def exported(self) -> LinearMember:
        """Give the same member as plain numbers; raises `ValueError` unless it knows all three classes."""
        classes = [int(label) for label in self.regression.classes_]
        if classes != [0, 1, 2]:
            raise ValueError(f"logistic: classes must be 0, 1, 2 (SELL, HOLD, BUY), got {classes}")
        coefficients = np.ascontiguousarray(self.regression.coef_.T, dtype=np.float64)
        return LinearMember(self.inputs, coefficients, np.asarray(self.regression.intercept_, dtype=np.float64))


def fit_anchor(rows: FloatArray, labels: IntArray, weights: FloatArray, *, c: float, max_iter: int) -> FittedAnchor:
    """Fit on rows (n, k) with labels and weights (n,); `c` is the inverse strength of the L2 penalty."""
    inputs = Standardiser.of(rows)
    regression = LogisticRegression(C=c, solver="lbfgs", max_iter=max_iter, tol=1e-5)
    with threadpool_limits(limits=1):
        regression.fit(inputs.apply(rows), labels, sample_weight=weights)
    return FittedAnchor(inputs, regression)
