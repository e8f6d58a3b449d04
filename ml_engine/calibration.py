"""Maps that make probabilities mean what they say, fitted on rows no member was fitted on.

Every final map is softmax(W log p + b) over (SELL, HOLD, BUY): temperature has W = I / T and b = 0, vector a diagonal
W, Dirichlet a full one *(Kull et al. 2019)*. A map that cannot be fitted refuses the bundle; nothing falls back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from bn_ml.errors import ConfigError, ModelError
from data_manager.bars import FloatArray, IntArray
from ml_engine.inference import PROBABILITY_FLOOR, LinearMap, softmax, tempered
from ml_engine.metrics import log_loss

RIDGE = 1e-2
DIRICHLET_ROWS = 3_000
TEMPERATURE_ROWS = 1_500
SMALLEST_ROWS = 500
_HOT, _COLD = 0.2, 10.0
_UNAVAILABLE = ("isotonic", "sigmoid")


@dataclass(frozen=True, slots=True)
class FittedMap:
    """The final map, the method that was used, its rows, and why it was chosen."""

    method: str
    map: LinearMap
    rows: int
    reason: str


def check_method(method: str) -> None:
    """Raise `ConfigError` for a method the inference file cannot carry."""
    if method in _UNAVAILABLE:
        raise ConfigError(
            [
                f"model.ensemble.calibration: {method} cannot be represented in the inference file; "
                "use auto, dirichlet, vector, temperature or none"
            ]
        )


def fit_temperature(probabilities: FloatArray, labels: IntArray) -> float:
    """Give the T in [0.2, 10] for which softmax(log p / T) has the least log-loss; raises `ModelError` on nonsense."""
    found = minimize_scalar(
        lambda inverse: log_loss(tempered(probabilities, 1.0 / inverse), labels),
        bounds=(1.0 / _COLD, 1.0 / _HOT),
        method="bounded",
    )
    if not (found.success and np.isfinite(found.fun)):
        raise ModelError(f"temperature could not be fitted on {len(labels)} rows", reason="calibration_failed")
    return float(1.0 / found.x)


def fit_map(probabilities: FloatArray, labels: IntArray, *, method: str, gap_rows: int = 0) -> FittedMap:
    """Fit the final map on the mixture of the calibrate block, rows in time order.

    `auto`: none under 500 rows, temperature under 1,500, Dirichlet from 3,000; in between Dirichlet when it beats
    temperature on both halves in turn, `gap_rows` apart. Raises `ModelError` when the result is worse than no map or is
    no distribution, `ConfigError` for a method that is not available.
    """
    check_method(method)
    if not np.isfinite(probabilities).all():
        raise ModelError("calibration got probabilities that are not finite", reason="calibration_failed")
    chosen, reason = _choose(probabilities, labels, gap_rows) if method == "auto" else (method, "configured")
    fitted = _fit(probabilities, labels, chosen, reason)
    _verify(fitted, probabilities, labels)
    return fitted


def _choose(probabilities: FloatArray, labels: IntArray, gap_rows: int) -> tuple[str, str]:
    rows = len(labels)
    if rows < SMALLEST_ROWS:
        return "none", f"{rows} rows, fewer than {SMALLEST_ROWS}"
    if rows < TEMPERATURE_ROWS:
        return "temperature", f"{rows} rows, fewer than {TEMPERATURE_ROWS}"
    if rows >= DIRICHLET_ROWS:
        return "dirichlet", f"{rows} rows"
    middle = rows // 2
    first, second = slice(0, middle - gap_rows // 2), slice(middle + gap_rows // 2, rows)
    gains = []
    for fit, test in ((first, second), (second, first)):
        losses = [
            log_loss(_fit(probabilities[fit], labels[fit], name, "").map.apply(probabilities[test]), labels[test])
            for name in ("temperature", "dirichlet")
        ]
        gains.append(losses[0] - losses[1])
    if sum(gains) > 0:
        return "dirichlet", f"won the split-half test on {rows} rows by {sum(gains) / 2:.5f}"
    return "temperature", f"dirichlet lost the split-half test on {rows} rows by {-sum(gains) / 2:.5f}"


def _fit(probabilities: FloatArray, labels: IntArray, method: str, reason: str) -> FittedMap:
    if method == "none":
        matrix, bias = np.eye(3), np.zeros(3)
    elif method == "temperature":
        matrix, bias = np.eye(3) / fit_temperature(probabilities, labels), np.zeros(3)
    else:
        matrix, bias = _ridge_map(_log_of(probabilities), labels, diagonal=method == "vector")
    return FittedMap(method, LinearMap.of(matrix, bias), len(labels), reason)


def _ridge_map(logs: FloatArray, labels: IntArray, *, diagonal: bool) -> tuple[FloatArray, FloatArray]:
    """Minimise mean log-loss + ridge * (|W - I|^2 + |b|^2); the problem is convex."""
    free = np.eye(3, dtype=np.bool_) if diagonal else np.ones((3, 3), dtype=np.bool_)
    truth = np.eye(3)[labels]
    start = np.concatenate((np.eye(3)[free], np.zeros(3)))

    def loss(packed: FloatArray) -> tuple[float, FloatArray]:
        matrix, bias = np.zeros((3, 3)), packed[-3:]
        matrix[free] = packed[:-3]
        mapped = softmax(logs @ matrix.T + bias)
        error = (mapped - truth) / len(truth)
        distance = packed - start
        slope = np.concatenate(((error.T @ logs)[free], error.sum(axis=0)))
        return log_loss(mapped, labels) + RIDGE * float(distance @ distance), slope + 2.0 * RIDGE * distance

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    if not (found.success and np.isfinite(found.x).all()):
        raise ModelError(f"the final map could not be fitted: {found.message}", reason="calibration_failed")
    matrix = np.zeros((3, 3))
    matrix[free] = found.x[:-3]
    return matrix, found.x[-3:]


def _log_of(probabilities: FloatArray) -> FloatArray:
    logs: FloatArray = np.log(np.maximum(probabilities, PROBABILITY_FLOOR))
    return logs


def _verify(fitted: FittedMap, probabilities: FloatArray, labels: IntArray) -> None:
    mapped = fitted.map.apply(probabilities)
    sound = np.isfinite(mapped).all() and (mapped > 0.0).all() and np.abs(mapped.sum(axis=1) - 1.0).max() < 1e-9
    if not sound:
        raise ModelError(f"the {fitted.method} map gives rows that are no distribution", reason="calibration_failed")
    before, after = log_loss(probabilities, labels), log_loss(mapped, labels)
    if after > before + 1e-6:
        raise ModelError(
            f"the {fitted.method} map worsens its own rows: log-loss {before:.5f} to {after:.5f}",
            reason="calibration_failed",
        )
