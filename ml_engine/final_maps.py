"""The last step of a forecast: maps from the vote's probabilities to calibrated ones, with numpy alone.

Every map takes (n, 3) probabilities in the order SELL, HOLD, BUY and gives rows that sum to 1 with each class > 0. Sums
run in a fixed order, so a row alone and the same row in a batch give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_engine.tree_arrays import CLASSES, FloatArray

PROBABILITY_FLOOR = 1e-9

Triple = tuple[float, float, float]
Curve = tuple[tuple[float, ...], tuple[float, ...]]

_LOGIT_SPAN = 30.0


class FinalMap(Protocol):
    """A calibration of the vote."""

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Map (n, 3) probabilities to (n, 3) calibrated ones that sum to 1, each class > 0."""

    def header(self) -> dict[str, object]:
        """Give the map as JSON values, `kind` first; `read_map` reads it back."""


@dataclass(frozen=True, slots=True)
class LinearMap:
    """`softmax(W log p + b)`: `matrix` W (3, 3) by rows, `bias` b (3,); temperature, vector and Dirichlet maps."""

    matrix: tuple[Triple, Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    bias: Triple = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, matrix: npt.ArrayLike, bias: npt.ArrayLike) -> LinearMap:
        """Build the map from arrays (3, 3) and (3,); raises `ValueError` on other shapes or non-finite numbers."""
        first, second, third = _finite(matrix, (CLASSES, CLASSES))
        return cls((_triple(first), _triple(second), _triple(third)), _triple(_finite(bias, (CLASSES,))))

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Map (n, 3) probabilities to (n, 3) calibrated ones that sum to 1, each class > 0."""
        logs = [log_floored(probabilities[:, column]) for column in range(CLASSES)]
        logits = np.empty((len(probabilities), CLASSES))
        for index, (row, shift) in enumerate(zip(self.matrix, self.bias, strict=True)):
            logits[:, index] = row[0] * logs[0] + row[1] * logs[1] + row[2] * logs[2] + shift
        return softmax(logits)

    def header(self) -> dict[str, object]:
        """Give the map as JSON values."""
        return {"kind": "linear", "matrix": [list(row) for row in self.matrix], "bias": list(self.bias)}


@dataclass(frozen=True, slots=True)
class SigmoidMap:
    """`1 / (1 + exp(a p + b))` of each class on its own, then normalised *(Platt 1999)*; a <= 0, so no class falls."""

    slopes: Triple
    intercepts: Triple

    @classmethod
    def of(cls, slopes: npt.ArrayLike, intercepts: npt.ArrayLike) -> SigmoidMap:
        """Build the map from two arrays (3,); raises `ValueError` on non-finite numbers or a class that would fall."""
        steepness = _finite(slopes, (CLASSES,))
        if not (steepness <= 0.0).all():
            raise ValueError(f"no class may fall as its probability rises, got slopes {steepness.tolist()}")
        return cls(_triple(steepness), _triple(_finite(intercepts, (CLASSES,))))

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Map (n, 3) probabilities to (n, 3) calibrated ones that sum to 1, each class > 0."""
        result = np.empty((len(probabilities), CLASSES))
        for column, (slope, shift) in enumerate(zip(self.slopes, self.intercepts, strict=True)):
            exponent = np.clip(slope * probabilities[:, column] + shift, -_LOGIT_SPAN, _LOGIT_SPAN)
            result[:, column] = 1.0 / (1.0 + np.exp(exponent))
        return normalised(result)

    def header(self) -> dict[str, object]:
        """Give the map as JSON values."""
        return {"kind": "sigmoid", "slopes": list(self.slopes), "intercepts": list(self.intercepts)}


@dataclass(frozen=True, slots=True)
class PiecewiseMap:
    """Straight lines between knots of each class on its own, flat beyond the ends, then normalised (isotonic).

    `curves`: per class the knots, rising strictly, and the levels there, never falling and within [0, 1].
    """

    curves: tuple[Curve, Curve, Curve]

    @classmethod
    def of(cls, curves: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]) -> PiecewiseMap:
        """Build the map from (knots, levels) of each class; raises `ValueError` when a curve is none."""
        if len(curves) != CLASSES:
            raise ValueError(f"the map needs {CLASSES} curves, got {len(curves)}")
        first, second, third = (_curve(knots, levels) for knots, levels in curves)
        return cls((first, second, third))

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Map (n, 3) probabilities to (n, 3) calibrated ones that sum to 1, each class > 0."""
        result = np.empty((len(probabilities), CLASSES))
        for column, (knots, levels) in enumerate(self.curves):
            result[:, column] = np.interp(probabilities[:, column], knots, levels)
        return normalised(np.maximum(result, PROBABILITY_FLOOR))

    def header(self) -> dict[str, object]:
        """Give the map as JSON values."""
        return {
            "kind": "piecewise",
            "knots": [list(knots) for knots, _ in self.curves],
            "levels": [list(levels) for _, levels in self.curves],
        }


def read_map(header: Mapping[str, npt.ArrayLike]) -> LinearMap | SigmoidMap | PiecewiseMap:
    """Give the map of a header; raises `ValueError` when it describes none."""
    kind = header.get("kind")
    try:
        if kind == "linear":
            return LinearMap.of(header["matrix"], header["bias"])
        if kind == "sigmoid":
            return SigmoidMap.of(header["slopes"], header["intercepts"])
        if kind == "piecewise":
            return PiecewiseMap.of(list(zip(_rows(header["knots"]), _rows(header["levels"]), strict=True)))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the {kind} map is incomplete: {error}") from error
    raise ValueError(f"unknown kind of final map: {kind!r}")


def softmax(logits: FloatArray) -> FloatArray:
    """Give (n, 3) probabilities of (n, 3) logits; each is > 0 and rows sum to 1 within rounding."""
    shifted = np.ascontiguousarray(logits - logits.max(axis=1, keepdims=True))
    np.maximum(shifted, -_LOGIT_SPAN, out=shifted)
    return normalised(np.exp(shifted, out=shifted))


def log_floored(column: FloatArray) -> FloatArray:
    """Give log p of (n,) probabilities, none below the log of `PROBABILITY_FLOOR`."""
    logs: FloatArray = np.log(np.maximum(np.ascontiguousarray(column), PROBABILITY_FLOOR))
    return logs


def normalised(weights: FloatArray) -> FloatArray:
    """Divide each row (n, 3) by its sum, added from left to right."""
    return weights / (weights[:, 0] + weights[:, 1] + weights[:, 2])[:, None]


def _rows(value: npt.ArrayLike) -> list[npt.ArrayLike]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a list of curves is needed, got {value!r}")
    return list(value)


def _curve(knots: npt.ArrayLike, levels: npt.ArrayLike) -> Curve:
    places = np.asarray(knots, dtype=np.float64)
    heights = _finite(levels, places.shape)
    if places.ndim != 1 or not len(places) or not np.isfinite(places).all() or not (np.diff(places) > 0.0).all():
        raise ValueError("knots must be finite and rise strictly")
    if not (np.diff(heights) >= 0.0).all() or heights[0] < 0.0 or heights[-1] > 1.0:
        raise ValueError("levels must never fall and lie within [0, 1]")
    return tuple(places.tolist()), tuple(heights.tolist())


def _finite(values: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != shape:
        raise ValueError(f"the map needs shape {shape}, got {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError("the map must be finite")
    return numbers


def _triple(numbers: FloatArray) -> Triple:
    first, second, third = (float(number) for number in numbers)
    return first, second, third
