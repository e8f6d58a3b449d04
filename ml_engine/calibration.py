"""Maps that make probabilities mean what they say, fitted on rows no member was fitted on.

Temperature, vector and Dirichlet *(Kull et al. 2019)* are softmax(W log p + b) with W = I / T and b = 0, a diagonal W,
a full one. Sigmoid *(Platt 1999)* and isotonic map each class against the rest and normalise, as scikit-learn's
`CalibratedClassifierCV` does around a `FrozenEstimator`. A map that cannot be fitted refuses the bundle; nothing falls
back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from bn_ml.errors import ModelError
from data_manager.bars import BoolArray, FloatArray, IntArray
from ml_engine.final_maps import FinalMap, LinearMap, PiecewiseMap, SigmoidMap, log_floored, softmax
from ml_engine.inference import tempered
from ml_engine.metrics import CLASS_NAMES, log_loss

# How far from no map W and b are expected to lie, and the sharpness of the two contrasts: which way, how far.
PRIOR_DEVIATION, SHARPNESS_DEVIATION = 0.05, 0.5
_CONTRASTS = (np.array([-1.0, 0.0, 1.0]) / np.sqrt(2.0), np.array([1.0, -2.0, 1.0]) / np.sqrt(6.0))
ISOTONIC_ROWS = 20_000
DIRICHLET_ROWS = 3_000
TEMPERATURE_ROWS = 1_500
SMALLEST_ROWS = 500
_HOT, _COLD = 0.2, 10.0
_STEEPEST_END = 1e-6
# Every method but sigmoid can leave probabilities as they are; what sigmoid may cost for that, in log-loss.
_ALLOWED_LOSS = {"sigmoid": 0.02}
_LEAST_LOSS = 1e-6


@dataclass(frozen=True, slots=True)
class FittedMap:
    """The final map, the method that was used, its rows, and why it was chosen."""

    method: str
    map: FinalMap
    rows: int
    reason: str


def fit_temperature(probabilities: FloatArray, labels: IntArray) -> float:
    """Give the T in [0.2, 10] for which softmax(log p / T) has the least log-loss; raises `ModelError` on nonsense."""
    found = minimize_scalar(
        lambda inverse: log_loss(tempered(probabilities, 1.0 / inverse), labels),
        bounds=(1.0 / _COLD, 1.0 / _HOT),
        method="bounded",
    )
    if not (found.success and np.isfinite(found.fun)):
        raise _failed(f"temperature could not be fitted on {len(labels)} rows")
    return float(1.0 / found.x)


def fit_map(
    probabilities: FloatArray, labels: IntArray, *, method: str, gap_rows: int = 0, independent: float | None = None
) -> FittedMap:
    """Fit the final map on the mixture of the calibrate block, rows in time order.

    `independent` is how many rows they are worth (all when None): vector and Dirichlet stay the nearer to no map the
    fewer they are.

    `auto`: none under 500 rows, temperature under 1,500, Dirichlet from 3,000; in between Dirichlet when it beats
    temperature on both halves in turn, `gap_rows` apart. Raises `ModelError` (`calibration_failed`) when the rows are
    too few for the method, the fit fails, or the result is worse than no map or is no distribution.
    """
    if not np.isfinite(probabilities).all():
        raise _failed("calibration got probabilities that are not finite")
    worth = 1.0 if independent is None else independent / len(labels)
    chosen, reason = _choose(probabilities, labels, gap_rows, worth) if method == "auto" else (method, "configured")
    fitted = _fit(probabilities, labels, chosen, reason, worth=worth)
    change = _verified_change(fitted, probabilities, labels)
    if change > _LEAST_LOSS:
        return replace(fitted, reason=f"{reason}; costs {change:.5f} of log-loss against no map on its own rows")
    return fitted


def _choose(probabilities: FloatArray, labels: IntArray, gap_rows: int, worth: float) -> tuple[str, str]:
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
            log_loss(_map_of(probabilities[fit], labels[fit], name, worth).apply(probabilities[test]), labels[test])
            for name in ("temperature", "dirichlet")
        ]
        gains.append(losses[0] - losses[1])
    if sum(gains) > 0:
        return "dirichlet", f"won the split-half test on {rows} rows by {sum(gains) / 2:.5f}"
    return "temperature", f"dirichlet lost the split-half test on {rows} rows by {-sum(gains) / 2:.5f}"


def _fit(probabilities: FloatArray, labels: IntArray, method: str, reason: str, *, worth: float) -> FittedMap:
    return FittedMap(method, _map_of(probabilities, labels, method, worth), len(labels), reason)


def _map_of(probabilities: FloatArray, labels: IntArray, method: str, worth: float) -> FinalMap:
    match method:
        case "none":
            return LinearMap()
        case "temperature":
            return LinearMap.of(np.eye(3) / fit_temperature(probabilities, labels), np.zeros(3))
        case "sigmoid":
            return _sigmoid_map(probabilities, labels)
        case "isotonic":
            return _isotonic_map(probabilities, labels)
        case _:
            diagonal = method == "vector"
            return LinearMap.of(*_ridge_map(_log_of(probabilities), labels, diagonal=diagonal, worth=worth))


def _sigmoid_map(probabilities: FloatArray, labels: IntArray) -> SigmoidMap:
    pairs = [_platt(probabilities[:, place], hit, name) for place, (name, hit) in enumerate(_against_rest(labels))]
    try:
        return SigmoidMap.of([slope for slope, _ in pairs], [shift for _, shift in pairs])
    except ValueError as error:
        raise _failed(f"the sigmoid map could not be fitted: {error}") from error


def _platt(column: FloatArray, hit: BoolArray, name: str) -> tuple[float, float]:
    """Give a, b of 1 / (1 + exp(a p + b)) against Platt's smoothed targets; `column` (n,), `hit` (n,).

    A class that grows rarer as its probability rises gets the best level that does not fall: its share, with a = 0.
    """
    rows, hits = len(hit), int(hit.sum())
    targets = np.where(hit, (hits + 1.0) / (hits + 2.0), 1.0 / (rows - hits + 2.0))

    def loss(pair: FloatArray) -> tuple[float, FloatArray]:
        odds = -(pair[0] * column + pair[1])
        error = (targets - expit(odds)) / rows
        return float((np.logaddexp(0.0, odds) - targets * odds).mean()), np.array([error @ column, error.sum()])

    start = np.array([0.0, np.log((rows - hits + 1.0) / (hits + 1.0))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-16})
    # At this precision a line search may give up at the minimum, so the slope there decides.
    if found.x.shape != start.shape or not np.abs(loss(found.x)[1]).max() <= _STEEPEST_END:
        raise _failed(f"the sigmoid of {name} could not be fitted: {found.message}")
    if found.x[0] > 0.0:
        level = float(targets.mean())
        return 0.0, float(np.log((1.0 - level) / level))
    return float(found.x[0]), float(found.x[1])


def _isotonic_map(probabilities: FloatArray, labels: IntArray) -> PiecewiseMap:
    if len(labels) < ISOTONIC_ROWS:
        raise _failed(
            f"isotonic needs at least {ISOTONIC_ROWS} calibrate rows, got {len(labels)}; "
            "use auto, or a longer history (model.ensemble.calibration)"
        )
    curves = []
    for place, (_, hit) in enumerate(_against_rest(labels)):
        fitted = IsotonicRegression(out_of_bounds="clip").fit(probabilities[:, place], hit.astype(np.float64))
        curves.append((fitted.X_thresholds_, fitted.y_thresholds_))
    try:
        return PiecewiseMap.of(curves)
    except ValueError as error:
        raise _failed(f"the isotonic map could not be fitted: {error}") from error


def _against_rest(labels: IntArray) -> list[tuple[str, BoolArray]]:
    """Give name and rows of each class; raises `ModelError` when one never occurs."""
    hits = [(name, labels == place) for place, name in enumerate(CLASS_NAMES)]
    absent = [name for name, hit in hits if not hit.any()]
    if absent:
        raise _failed(f"no row is {' or '.join(absent)} among {len(labels)} calibrate rows")
    return hits


def _ridge_map(logs: FloatArray, labels: IntArray, *, diagonal: bool, worth: float) -> tuple[FloatArray, FloatArray]:
    """Minimise mean log-loss + the distance of (W, b) from (I, 0) under a normal prior; the problem is convex.

    Each row counts as `worth` independent ones. BUY against SELL and both against HOLD may each be sharpened freely;
    the rest of the map moves only for strong evidence.
    """
    free = np.eye(3, dtype=np.bool_) if diagonal else np.ones((3, 3), dtype=np.bool_)
    prior = _prior_precision(free) / (2.0 * worth * len(labels))
    truth = np.eye(3)[labels]
    start = np.concatenate((np.eye(3)[free], np.zeros(3)))

    def loss(packed: FloatArray) -> tuple[float, FloatArray]:
        matrix, bias = np.zeros((3, 3)), packed[-3:]
        matrix[free] = packed[:-3]
        mapped = softmax(logs @ matrix.T + bias)
        error = (mapped - truth) / len(truth)
        distance = packed - start
        slope = np.concatenate(((error.T @ logs)[free], error.sum(axis=0)))
        pull = prior @ distance
        return log_loss(mapped, labels) + float(distance @ pull), slope + 2.0 * pull

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    if not (found.success and np.isfinite(found.x).all()):
        raise _failed(f"the final map could not be fitted: {found.message}")
    matrix = np.zeros((3, 3))
    matrix[free] = found.x[:-3]
    return matrix, found.x[-3:]


def _prior_precision(free: BoolArray) -> FloatArray:
    """Give the inverse covariance of the free entries of W, then b, shape (n + 3, n + 3)."""
    precision = np.eye(12) / PRIOR_DEVIATION**2
    for contrast in _CONTRASTS:
        along = np.outer(contrast, contrast).ravel()
        precision[:9, :9] += np.outer(along, along) * (1.0 / SHARPNESS_DEVIATION**2 - 1.0 / PRIOR_DEVIATION**2)
    kept = np.flatnonzero(np.concatenate((free.ravel(), np.ones(3, dtype=np.bool_))))
    chosen: FloatArray = precision[np.ix_(kept, kept)]
    return chosen


def _log_of(probabilities: FloatArray) -> FloatArray:
    return np.stack([log_floored(probabilities[:, column]) for column in range(3)], axis=1)


def _verified_change(fitted: FittedMap, probabilities: FloatArray, labels: IntArray) -> float:
    """Give the map's log-loss less that of no map on its own rows; raises `ModelError` when it is unsound or worse."""
    mapped = fitted.map.apply(probabilities)
    sound = np.isfinite(mapped).all() and (mapped > 0.0).all() and np.abs(mapped.sum(axis=1) - 1.0).max() < 1e-9
    if not sound:
        raise _failed(f"the {fitted.method} map gives rows that are no distribution")
    before, after = log_loss(probabilities, labels), log_loss(mapped, labels)
    if after > before + _ALLOWED_LOSS.get(fitted.method, _LEAST_LOSS):
        raise _failed(f"the {fitted.method} map worsens its own rows: log-loss {before:.5f} to {after:.5f}")
    return after - before


def _failed(message: str) -> ModelError:
    return ModelError(message, reason="calibration_failed")
