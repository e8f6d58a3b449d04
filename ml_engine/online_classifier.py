"""Logistic regression learned one sample at a time by averaged stochastic gradient descent, with numpy alone.

One binary model per class (one against the rest), L2 penalty, step 1 / (alpha * (t0 + t - 1)) with
t0 = alpha^(-3/4) *(Bottou 2012)*, weights averaged over all steps. The numbers are those of one ordered pass of
scikit-learn's `SGDClassifier(loss="log_loss", penalty="l2", alpha=alpha, average=True)` over the same samples, which
the trading process does not load. (Its `partial_fit` loses the intercept's own path once averaging begins.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(slots=True, eq=False)
class OnlineLogistic:
    """Classes 0..n_classes-1 over vectors of `n_inputs`; `samples` counts what it has learned from."""

    n_classes: int
    n_inputs: int
    alpha: float
    samples: int = 0
    weights: FloatArray = field(default_factory=lambda: np.empty(0))
    intercepts: FloatArray = field(default_factory=lambda: np.empty(0))
    mean_weights: FloatArray = field(default_factory=lambda: np.empty(0))
    mean_intercepts: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Begin at zero unless weights are given; raises `ValueError` when alpha is not positive or shapes disagree."""
        if not self.alpha > 0.0:
            raise ValueError(f"alpha must be above 0, got {self.alpha}")
        shape = (self.n_classes, self.n_inputs)
        if not self.samples and not self.weights.size:
            self.weights, self.mean_weights = np.zeros(shape), np.zeros(shape)
            self.intercepts, self.mean_intercepts = np.zeros(self.n_classes), np.zeros(self.n_classes)
        arrays = (self.weights, self.mean_weights, self.intercepts, self.mean_intercepts)
        if [part.shape for part in arrays] != [shape, shape, shape[:1], shape[:1]]:
            raise ValueError(f"weights of {shape} expected, got {[part.shape for part in arrays]}")

    def probabilities(self, vector: FloatArray) -> FloatArray:
        """Give the probability of each class, shape (n_classes,): the binary ones, normalised."""
        margins = (self.mean_weights * vector).sum(axis=1) + self.mean_intercepts
        shares = 1.0 / (1.0 + np.exp(-np.clip(margins, -500.0, 500.0)))
        total = float(shares.sum())
        return shares / total if total > 0.0 else np.full(self.n_classes, 1.0 / self.n_classes)

    def learn(self, vector: FloatArray, label: int) -> None:
        """Take one step on a vector (n_inputs,) of finite numbers whose class is `label`."""
        self.samples += 1
        first = 1.0 / (math.sqrt(1.0 / math.sqrt(self.alpha)) * self.alpha)
        step = 1.0 / (self.alpha * (first + self.samples - 1))
        margins = (self.weights * vector).sum(axis=1) + self.intercepts
        shares = 1.0 / (1.0 + np.exp(-np.clip(margins, -500.0, 500.0)))
        truth = np.zeros(self.n_classes)
        truth[label] = 1.0
        update = step * (truth - shares)
        self.weights = self.weights * max(0.0, 1.0 - step * self.alpha) + update[:, None] * vector
        self.intercepts = self.intercepts + update
        self.mean_weights = self.mean_weights + (self.weights - self.mean_weights) / self.samples
        self.mean_intercepts = self.mean_intercepts + (self.intercepts - self.mean_intercepts) / self.samples

    def as_dict(self) -> dict[str, object]:
        """Give everything as plain numbers and lists, exactly."""
        return {
            "n_classes": self.n_classes,
            "n_inputs": self.n_inputs,
            "alpha": self.alpha,
            "samples": self.samples,
            "weights": self.weights.tolist(),
            "intercepts": self.intercepts.tolist(),
            "mean_weights": self.mean_weights.tolist(),
            "mean_intercepts": self.mean_intercepts.tolist(),
        }

    @classmethod
    def of(cls, content: Mapping[str, object]) -> OnlineLogistic:
        """Read what `as_dict` gave; raises `ValueError`, `KeyError` or `TypeError` on anything else."""
        arrays = {
            name: np.array(content[name], dtype=np.float64)
            for name in ("weights", "intercepts", "mean_weights", "mean_intercepts")
        }
        if not all(np.isfinite(part).all() for part in arrays.values()):
            raise ValueError("weights must be finite")
        counts = [_whole(content[name]) for name in ("n_classes", "n_inputs", "samples")]
        alpha = content["alpha"]
        if not isinstance(alpha, float):
            raise TypeError(f"alpha must be a number, got {alpha!r}")
        return cls(counts[0], counts[1], alpha, counts[2], **arrays)


@dataclass(slots=True, eq=False)
class FirstScaler:
    """Standardises vectors by the mean and deviation of the first `needed` ones, and never learns again.

    `mean` and `squares` (sum of squared distances from the mean) are kept as vectors arrive *(Welford 1962)*.
    """

    n_inputs: int
    needed: int = 200
    count: int = 0
    mean: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether enough vectors were seen."""
        return self.count >= self.needed

    def see(self, vector: Sequence[float]) -> None:
        """Take a vector into account as long as they are too few."""
        if self.ready:
            return
        self.count += 1
        before = self.mean or [0.0] * self.n_inputs
        self.mean = [old + (value - old) / self.count for old, value in zip(before, vector, strict=True)]
        spread = self.squares or [0.0] * self.n_inputs
        self.squares = [
            sum_ + (value - old) * (value - new)
            for sum_, value, old, new in zip(spread, vector, before, self.mean, strict=True)
        ]

    def scaled(self, vector: Sequence[float]) -> FloatArray:
        """Give a vector in deviations from the mean, clipped at 8; raises `ValueError` before it is ready."""
        if not self.ready:
            raise ValueError(f"{self.count} of {self.needed} vectors seen")
        deviation = np.sqrt(np.array(self.squares) / self.count)
        standard = (np.array(vector) - np.array(self.mean)) / np.where(deviation > 1e-12, deviation, 1.0)
        clipped: FloatArray = np.clip(standard, -8.0, 8.0)
        return clipped


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"a count was expected, got {value!r}")
    return value
