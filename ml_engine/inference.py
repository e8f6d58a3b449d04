"""The ensemble as flat arrays: probabilities of SELL, HOLD, BUY from feature rows, with numpy alone.

The trees of all members form one forest (`forest_packing`). Every sum runs in a fixed order and no matrix product is
used, so a row alone and the same row in a batch give the same bits.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_engine.forest_packing import FOREST_ARRAYS, AnyArray, Forest, NodeArray, pack, places
from ml_engine.tree_arrays import CLASSES, FloatArray, IntArray, tree_nodes

MEMBER_NAMES = ("rf", "xgb", "lgb")
PROBABILITY_FLOOR = 1e-9

_MAGIC = b"BNMLENS2"
_ALIGN = 64
_BLOCK_ROWS = 64
_LOGIT_SPAN = 30.0
_WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class LinearMap:
    """The final calibration `softmax(W log p + b)`: `matrix` W (3, 3) by rows, `bias` b (3,); SELL, HOLD, BUY."""

    matrix: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, matrix: npt.ArrayLike, bias: npt.ArrayLike) -> LinearMap:
        """Build the map from arrays (3, 3) and (3,); raises `ValueError` on other shapes or non-finite numbers."""
        weights = np.asarray(matrix, dtype=np.float64)
        shift = np.asarray(bias, dtype=np.float64)
        if weights.shape != (CLASSES, CLASSES) or shift.shape != (CLASSES,):
            raise ValueError(f"the map needs (3, 3) and (3,), got {weights.shape} and {shift.shape}")
        if not (np.isfinite(weights).all() and np.isfinite(shift).all()):
            raise ValueError("the map must be finite")
        rows = [(float(row[0]), float(row[1]), float(row[2])) for row in weights]
        return cls(tuple(rows), (float(shift[0]), float(shift[1]), float(shift[2])))

    def apply(self, probabilities: FloatArray) -> FloatArray:
        """Map (n, 3) probabilities to (n, 3) calibrated ones that sum to 1, each class > 0."""
        logs = [_log(probabilities[:, column]) for column in range(CLASSES)]
        logits = np.empty((len(probabilities), CLASSES))
        for index, (row, shift) in enumerate(zip(self.matrix, self.bias, strict=True)):
            logits[:, index] = row[0] * logs[0] + row[1] * logs[1] + row[2] * logs[2] + shift
        return softmax(logits)


def softmax(logits: FloatArray) -> FloatArray:
    """Give (n, 3) probabilities of (n, 3) logits; each is > 0 and rows sum to 1 within rounding."""
    shifted = np.ascontiguousarray(logits - logits.max(axis=1, keepdims=True))
    np.maximum(shifted, -_LOGIT_SPAN, out=shifted)
    return _normalised(np.exp(shifted, out=shifted))


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Soften (temperature > 1) or sharpen (< 1) probabilities of shape (n, 3): `softmax(log p / temperature)`."""
    logs = [_log(probabilities[:, column]) / temperature for column in range(CLASSES)]
    return softmax(np.stack(logs, axis=1))


def mixture(members: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """Give the weighted mean of (n, 3) member probabilities, members in the order of `MEMBER_NAMES`."""
    total: FloatArray | None = None
    for name in MEMBER_NAMES:
        if name in members and weights.get(name, 0.0) > 0.0:
            part = weights[name] * members[name]
            total = part if total is None else total + part
    if total is None:
        raise ValueError("no member has a positive weight")
    return _normalised(total)


@dataclass(frozen=True, slots=True, eq=False)
class CompactEnsemble:
    """Members, their temperatures and weights, and the final map. Build it by `from_members` or `from_bytes`."""

    names: tuple[str, ...]
    n_features: int
    trees: Mapping[str, int]
    base: Mapping[str, tuple[float, float, float]]
    temperatures: Mapping[str, float]
    weights: Mapping[str, float]
    final_map: LinearMap
    forest: Forest
    tables: Mapping[str, AnyArray]
    positions: Mapping[str, IntArray]

    @classmethod
    def from_members(
        cls,
        members: Mapping[str, object],
        *,
        temperatures: Mapping[str, float],
        weights: Mapping[str, float],
        final_map: LinearMap,
    ) -> CompactEnsemble:
        """Copy the fitted members keyed `rf`, `xgb`, `lgb`; raises `ValueError` on what cannot be reproduced."""
        names = tuple(name for name in MEMBER_NAMES if name in members)
        if set(names) != set(members) or not names:
            raise ValueError(f"members must be among {MEMBER_NAMES}, got {sorted(members)}")
        _check_numbers(names, temperatures, weights)
        nodes = {name: tree_nodes(name, members[name]) for name in names}
        widths = {name: part.n_features for name, part in nodes.items()}
        if len(set(widths.values())) != 1:
            raise ValueError(f"members disagree about the number of columns: {widths}")
        trees = {name: len(part.roots) for name, part in nodes.items()}
        forest, tables = pack(nodes)
        return cls(
            names=names,
            n_features=next(iter(widths.values())),
            trees=trees,
            base={name: _triple(part.base) for name, part in nodes.items()},
            temperatures={name: float(temperatures.get(name, 1.0)) for name in names},
            weights={name: float(weights.get(name, 0.0)) for name in names},
            final_map=final_map,
            forest=forest,
            tables=tables,
            positions=places(forest.order, trees),
        )

    def member_probabilities(self, rows: FloatArray) -> dict[str, FloatArray]:
        """Give what each library's `predict_proba` gives: (n, 3) per member for rows (n, k), before any calibration."""
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_features:
            raise ValueError(f"rows must be (n, {self.n_features}), got {values.shape}")
        if len(values) <= _BLOCK_ROWS:
            return self._block(values)
        parts = [self._block(values[start : start + _BLOCK_ROWS]) for start in range(0, len(values), _BLOCK_ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names}

    def combine(self, raw: Mapping[str, FloatArray]) -> FloatArray:
        """Turn member probabilities as `member_probabilities` gives them into the final (n, 3)."""
        used = {name: part for name, part in raw.items() if self.weights[name] > 0.0}
        soft = {name: tempered(part, self.temperatures[name]) for name, part in used.items()}
        return self.final_map.apply(mixture(soft, self.weights))

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Give calibrated probabilities (n, 3), columns SELL, HOLD, BUY, for rows (n, k) of float64."""
        return self.combine(self.member_probabilities(rows))

    def to_bytes(self) -> bytes:
        """Write everything as one block: magic, header length, JSON header, 64-byte aligned little-endian arrays."""
        specs, chunks, offset = {}, [], 0
        for name, array in self._arrays().items():
            data = np.ascontiguousarray(array).tobytes()
            specs[name] = [array.dtype.str, list(array.shape), offset]
            padding = -len(data) % _ALIGN
            chunks += [data, b"\0" * padding]
            offset += len(data) + padding
        header = {
            "names": list(self.names),
            "n_features": self.n_features,
            "trees": dict(self.trees),
            "base": {name: list(base) for name, base in self.base.items()},
            "temperatures": dict(self.temperatures),
            "weights": dict(self.weights),
            "matrix": [list(row) for row in self.final_map.matrix],
            "bias": list(self.final_map.bias),
            "arrays": specs,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-(len(text) + len(_MAGIC) + 8) % _ALIGN)
        return b"".join([_MAGIC, struct.pack("<Q", len(text)), text, *chunks])

    @classmethod
    def from_bytes(cls, data: bytes) -> CompactEnsemble:
        """Read what `to_bytes` wrote, sharing its memory; raises `ValueError` when it is not such a block."""
        start = len(_MAGIC) + 8
        if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
            raise ValueError("not a compact ensemble")
        (length,) = struct.unpack("<Q", data[len(_MAGIC) : start])
        header = json.loads(data[start : start + length])
        arrays = {name: _read(data, start + length, spec) for name, spec in header["arrays"].items()}
        names = tuple(header["names"])
        if set(arrays) != {*FOREST_ARRAYS, *names}:
            raise ValueError(f"a compact ensemble of {names} has other arrays, got {sorted(arrays)}")
        trees = {name: int(header["trees"][name]) for name in names}
        forest = Forest.of(arrays)
        return cls(
            names=names,
            n_features=int(header["n_features"]),
            trees=trees,
            base={name: _triple(header["base"][name]) for name in names},
            temperatures=header["temperatures"],
            weights=header["weights"],
            final_map=LinearMap.of(header["matrix"], header["bias"]),
            forest=forest,
            tables={name: arrays[name] for name in names},
            positions=places(forest.order, trees),
        )

    def _arrays(self) -> dict[str, AnyArray]:
        return {**{name: getattr(self.forest, name) for name in FOREST_ARRAYS}, **self.tables}

    def _block(self, rows: FloatArray) -> dict[str, FloatArray]:
        leaves = self.forest.leaves(rows)
        result = {}
        for name in self.names:
            own = leaves[:, self.positions[name]]
            result[name] = self._forest(own) if name == "rf" else self._boosted(name, own)
        return result

    def _forest(self, leaves: NodeArray) -> FloatArray:
        shares = self.tables["rf"][leaves]
        total = np.add.accumulate(shares, axis=1, dtype=np.float64)[:, -1]
        return np.ascontiguousarray(total, dtype=np.float64) / self.trees["rf"]

    def _boosted(self, name: str, leaves: NodeArray) -> FloatArray:
        values = self.tables[name]
        margins = values[leaves].reshape(len(leaves), -1, CLASSES)
        margins[:, 0] = np.add(margins[:, 0], np.array(self.base[name], dtype=values.dtype))
        total = np.add.accumulate(margins, axis=1)[:, -1]
        return softmax(np.ascontiguousarray(total, dtype=np.float64))


def _read(data: bytes, body: int, spec: tuple[str, list[int], int]) -> AnyArray:
    dtype, shape, offset = spec
    count = int(np.prod(shape, dtype=np.int64))
    array: AnyArray = np.frombuffer(data, np.dtype(dtype), count, body + offset).reshape(shape)
    return array


def _log(column: FloatArray) -> FloatArray:
    return np.log(np.maximum(np.ascontiguousarray(column), PROBABILITY_FLOOR))


def _normalised(weights: FloatArray) -> FloatArray:
    return weights / (weights[:, 0] + weights[:, 1] + weights[:, 2])[:, None]


def _triple(numbers: Sequence[float] | FloatArray) -> tuple[float, float, float]:
    first, second, third = (float(number) for number in numbers)
    return first, second, third


def _check_numbers(names: Sequence[str], temperatures: Mapping[str, float], weights: Mapping[str, float]) -> None:
    for name in names:
        temperature, weight = temperatures.get(name, 1.0), weights.get(name, 0.0)
        if not (np.isfinite(temperature) and temperature > 0.0):
            raise ValueError(f"{name}: temperature must be positive, got {temperature}")
        if not (np.isfinite(weight) and weight >= 0.0):
            raise ValueError(f"{name}: weight must be >= 0, got {weight}")
    total = sum(weights.get(name, 0.0) for name in names)
    if abs(total - 1.0) > _WEIGHT_TOLERANCE:
        raise ValueError(f"weights must sum to 1, got {total}")
