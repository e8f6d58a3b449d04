"""The ensemble as flat arrays: probabilities of SELL, HOLD, BUY from feature rows, with numpy alone.

The trees of all members form one forest (`forest_packing`); the logistic and the sequence member stand beside it. Every
sum runs in a fixed order and no matrix product is used, so a row alone and the same row in a batch give the same bits.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from data_manager.windows import Windows
from ml_engine.final_maps import PROBABILITY_FLOOR as PROBABILITY_FLOOR
from ml_engine.final_maps import FinalMap, log_floored, normalised, read_map
from ml_engine.final_maps import LinearMap as LinearMap
from ml_engine.final_maps import softmax as softmax
from ml_engine.forest_packing import FOREST_ARRAYS, AnyArray, Forest, NodeArray, pack, places
from ml_engine.linear_member import LinearMember
from ml_engine.sequence_member import SequenceMember
from ml_engine.tree_arrays import CLASSES, FloatArray, IntArray, tree_nodes

TREE_NAMES = ("rf", "xgb", "lgb")
LOGISTIC, SEQUENCE = "logistic", "lstm"
MEMBER_NAMES = (*TREE_NAMES, LOGISTIC, SEQUENCE)

_MAGIC = b"BNMLENS3"
_ALIGN = 64
_BLOCK_ROWS = 64
_WEIGHT_TOLERANCE = 1e-6


@runtime_checkable
class Exportable(Protocol):
    """A fitted member that can give itself as plain numbers."""

    def exported(self) -> LinearMember | SequenceMember:
        """Give the same member as plain numbers."""


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Soften (temperature > 1) or sharpen (< 1) probabilities of shape (n, 3): `softmax(log p / temperature)`."""
    logs = [log_floored(probabilities[:, column]) / temperature for column in range(CLASSES)]
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
    return normalised(total)


@dataclass(frozen=True, slots=True, eq=False)
class CompactEnsemble:
    """Members, their temperatures and weights, and the final map. Build it by `from_members` or `from_bytes`."""

    names: tuple[str, ...]
    n_features: int
    trees: Mapping[str, int]
    base: Mapping[str, tuple[float, float, float]]
    temperatures: Mapping[str, float]
    weights: Mapping[str, float]
    final_map: FinalMap
    forest: Forest
    tables: Mapping[str, AnyArray]
    positions: Mapping[str, IntArray]
    linear: LinearMember | None = None
    sequence: SequenceMember | None = None

    @classmethod
    def from_members(
        cls,
        members: Mapping[str, object],
        *,
        temperatures: Mapping[str, float],
        weights: Mapping[str, float],
        final_map: FinalMap,
    ) -> CompactEnsemble:
        """Copy the fitted members by name, at least one of trees; raises `ValueError` on what cannot be reproduced."""
        names = tuple(name for name in MEMBER_NAMES if name in members)
        if set(names) != set(members) or not set(names) & set(TREE_NAMES):
            raise ValueError(f"members must be among {MEMBER_NAMES}, one of trees, got {sorted(members)}")
        _check_numbers(names, temperatures, weights)
        nodes = {name: tree_nodes(name, members[name]) for name in names if name in TREE_NAMES}
        linear, sequence = _linear(members.get(LOGISTIC)), _sequence(members.get(SEQUENCE))
        widths = {name: part.n_features for name, part in nodes.items()}
        if linear is not None:
            widths[LOGISTIC] = linear.n_features
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
            linear=linear,
            sequence=sequence,
        )

    @property
    def window_bars(self) -> int:
        """Rows of the windows the vote needs, 0 when no voting member looks at windows."""
        return self.sequence.length if self.sequence is not None and self.weights[SEQUENCE] > 0.0 else 0

    def member_probabilities(self, rows: FloatArray, windows: Windows | None = None) -> dict[str, FloatArray]:
        """Give what each library's `predict_proba` gives: (n, 3) per member for rows (n, k), before any calibration.

        `windows` end with the rows, over the k columns or over those of the sequence member; it answers NaN where a
        window is unknown. Without windows a sequence member that has a vote raises `ValueError`, another is left out.
        """
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_features:
            raise ValueError(f"rows must be (n, {self.n_features}), got {values.shape}")
        if len(values) <= _BLOCK_ROWS:
            result = self._block(values)
        else:
            parts = [self._block(values[start : start + _BLOCK_ROWS]) for start in range(0, len(values), _BLOCK_ROWS)]
            result = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if self.sequence is not None and (windows is not None or self.window_bars):
            result[SEQUENCE] = self._windows_judged(self.sequence, windows, len(values))
        return result

    def combine(self, raw: Mapping[str, FloatArray]) -> FloatArray:
        """Turn member probabilities as `member_probabilities` gives them into the final (n, 3)."""
        used = {name: part for name, part in raw.items() if self.weights[name] > 0.0}
        soft = {name: tempered(part, self.temperatures[name]) for name, part in used.items()}
        return self.final_map.apply(mixture(soft, self.weights))

    def probabilities(self, rows: FloatArray, windows: Windows | None = None) -> FloatArray:
        """Give calibrated probabilities (n, 3), columns SELL, HOLD, BUY, for rows (n, k) of float64."""
        return self.combine(self.member_probabilities(rows, windows))

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
            "final_map": self.final_map.header(),
            "sequence": None if self.sequence is None else [self.sequence.backend, self.sequence.length],
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
        grown = tuple(name for name in names if name in TREE_NAMES)
        linear, sequence = _read_beside(arrays, header.get("sequence"))
        beside = {name for name, own in ((LOGISTIC, linear), (SEQUENCE, sequence)) if own is not None}
        flat = {name for name in arrays if "." not in name}
        if flat != {*FOREST_ARRAYS, *grown} or set(names) != {*grown, *beside}:
            raise ValueError(f"a compact ensemble of {names} has other arrays, got {sorted(arrays)}")
        trees = {name: int(header["trees"][name]) for name in grown}
        forest = Forest.of(arrays)
        return cls(
            names=names,
            n_features=int(header["n_features"]),
            trees=trees,
            base={name: _triple(header["base"][name]) for name in grown},
            temperatures=header["temperatures"],
            weights=header["weights"],
            final_map=read_map(header["final_map"]),
            forest=forest,
            tables={name: arrays[name] for name in grown},
            positions=places(forest.order, trees),
            linear=linear,
            sequence=sequence,
        )

    def _arrays(self) -> dict[str, AnyArray]:
        beside = {LOGISTIC: self.linear, SEQUENCE: self.sequence}
        return {
            **{name: getattr(self.forest, name) for name in FOREST_ARRAYS},
            **self.tables,
            **{f"{name}.{key}": part for name, own in beside.items() if own for key, part in own.arrays().items()},
        }

    def _block(self, rows: FloatArray) -> dict[str, FloatArray]:
        leaves = self.forest.leaves(rows)
        result = {}
        for name in self.tables:
            own = leaves[:, self.positions[name]]
            result[name] = self._forest(own) if name == "rf" else self._boosted(name, own)
        if self.linear is not None:
            result[LOGISTIC] = self.linear.predict_proba(rows)
        return result

    def _windows_judged(self, member: SequenceMember, windows: Windows | None, count: int) -> FloatArray:
        if windows is None or len(windows) != count:
            raise ValueError(f"the sequence member needs a window of {member.length} rows for each of {count} rows")
        whole = windows.values.shape[1] == self.n_features
        return member.probabilities(windows.pick(member.columns) if whole else windows)

    def _forest(self, leaves: NodeArray) -> FloatArray:
        shares = self.tables["rf"][leaves]
        total = np.add.accumulate(shares, axis=1, dtype=np.float64)[:, -1]
        return np.ascontiguousarray(total, dtype=np.float64) / self.trees["rf"]

    def _boosted(self, name: str, leaves: NodeArray) -> FloatArray:
        values = self.tables[name]
        margins = values[leaves].reshape(len(leaves), leaves.shape[1] // CLASSES, CLASSES)
        margins[:, 0] = np.add(margins[:, 0], np.array(self.base[name], dtype=values.dtype))
        total = np.add.accumulate(margins, axis=1)[:, -1]
        return softmax(np.ascontiguousarray(total, dtype=np.float64))


def _linear(member: object) -> LinearMember | None:
    found = member.exported() if isinstance(member, Exportable) else member
    if found is None or isinstance(found, LinearMember):
        return found
    raise ValueError(f"{LOGISTIC}: not a logistic member, got {type(member).__name__}")


def _sequence(member: object) -> SequenceMember | None:
    found = member.exported() if isinstance(member, Exportable) else member
    if found is None or isinstance(found, SequenceMember):
        return found
    raise ValueError(f"{SEQUENCE}: not a sequence member, got {type(member).__name__}")


def _read_beside(
    arrays: Mapping[str, AnyArray], told: Sequence[str | int] | None
) -> tuple[LinearMember | None, SequenceMember | None]:
    """Give the logistic and the sequence member; `told` is the latter's backend and length."""
    own = {
        member: {
            name.removeprefix(f"{member}."): part.astype(np.float64, copy=False)
            for name, part in arrays.items()
            if name.startswith(f"{member}.")
        }
        for member in (LOGISTIC, SEQUENCE)
    }
    linear = LinearMember.of(own[LOGISTIC]) if own[LOGISTIC] else None
    return linear, SequenceMember.of(str(told[0]), int(told[1]), own[SEQUENCE]) if told else None


def _read(data: bytes, body: int, spec: tuple[str, list[int], int]) -> AnyArray:
    dtype, shape, offset = spec
    count = int(np.prod(shape, dtype=np.int64))
    array: AnyArray = np.frombuffer(data, np.dtype(dtype), count, body + offset).reshape(shape)
    return array


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
