"""Fitted tree ensembles as plain node arrays, read from the attributes of the library objects.

Nothing here imports a training library: the objects are given, and what they decide is copied. One comparison rules
every node: a row goes left when `value <= threshold`; a NaN goes left when `nan_left`. Libraries differ in the
precision in which they compare; `single` marks the families whose values are rounded to float32 first.

- scikit-learn: float32 value `<=` float64 threshold.
- XGBoost: float32 value `<` float32 threshold, which equals `<=` the next smaller float32.
- LightGBM: float64 value `<=` float64 threshold; where training saw no NaN, a NaN is compared as 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CLASSES = 3
LEAF = -1

_CATEGORICAL_BIT = 1
_DEFAULT_LEFT_BIT = 2
_MISSING_SHIFT = 2
_MISSING_ZERO = 1
_MISSING_NAN = 2


@dataclass(frozen=True, slots=True, eq=False)
class TreeNodes:
    """All trees of one member laid end to end. Node arrays have shape (n_nodes,).

    `left` and `right` are positions in these arrays, `LEAF` at leaves. `roots` has shape (n_trees,), in the order the
    library adds them up; boosted trees come round by round, class by class. `value` holds (n_nodes, 3) class shares for
    a forest and (n_nodes,) margins for boosted trees; `base` the (3,) margins boosting starts from.
    """

    roots: IntArray
    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    nan_left: BoolArray
    value: FloatArray
    base: FloatArray
    n_features: int
    single: bool


class _SklearnTree(Protocol):
    children_left: IntArray
    children_right: IntArray
    feature: IntArray
    threshold: FloatArray
    value: FloatArray
    missing_go_to_left: npt.NDArray[np.uint8]


class _SklearnEstimator(Protocol):
    tree_: _SklearnTree


class _Forest(Protocol):
    classes_: Sequence[int]
    n_features_in_: int
    estimators_: Sequence[_SklearnEstimator]


class _XgbBooster(Protocol):
    def save_raw(self, raw_format: str) -> bytearray: ...


class _XgbClassifier(Protocol):
    classes_: Sequence[int]

    def get_booster(self) -> _XgbBooster: ...


class _LgbBooster(Protocol):
    def model_to_string(self, num_iteration: int | None = None) -> str: ...


class _LgbClassifier(Protocol):
    classes_: Sequence[int]
    booster_: _LgbBooster


def tree_nodes(name: str, model: object) -> TreeNodes:
    """Read the fitted member `rf`, `xgb` or `lgb`; raises `ValueError` on anything it cannot reproduce exactly."""
    classes = [int(label) for label in getattr(model, "classes_", [])]
    if classes != [0, 1, 2]:
        raise ValueError(f"{name}: classes must be 0, 1, 2 (SELL, HOLD, BUY), got {classes}")
    if name == "rf":
        return _forest_nodes(cast("_Forest", model))
    if name == "xgb":
        return _xgb_nodes(cast("_XgbClassifier", model))
    if name == "lgb":
        return _lgb_nodes(cast("_LgbClassifier", model))
    raise ValueError(f"unknown member {name!r}, known are rf, xgb and lgb")


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    nan_left: BoolArray
    value: FloatArray


def _join(trees: Sequence[_Tree], *, base: FloatArray, n_features: int, single: bool) -> TreeNodes:
    sizes = np.array([len(tree.left) for tree in trees], dtype=np.int64)
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    shift = np.repeat(roots, sizes)
    left = np.concatenate([tree.left for tree in trees])
    right = np.concatenate([tree.right for tree in trees])
    internal = left != LEAF
    return TreeNodes(
        roots=roots,
        feature=np.where(internal, np.concatenate([tree.feature for tree in trees]), 0),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=np.where(internal, left + shift, LEAF),
        right=np.where(internal, right + shift, LEAF),
        nan_left=np.concatenate([tree.nan_left for tree in trees]),
        value=np.concatenate([tree.value for tree in trees]),
        base=base,
        n_features=n_features,
        single=single,
    )


def _forest_nodes(model: _Forest) -> TreeNodes:
    trees = [
        _Tree(
            feature=np.asarray(tree.feature, dtype=np.int64),
            threshold=np.asarray(tree.threshold, dtype=np.float64),
            left=np.asarray(tree.children_left, dtype=np.int64),
            right=np.asarray(tree.children_right, dtype=np.int64),
            nan_left=np.asarray(tree.missing_go_to_left, dtype=np.bool_),
            value=np.asarray(tree.value, dtype=np.float64)[:, 0, :],
        )
        for tree in (estimator.tree_ for estimator in model.estimators_)
    ]
    return _join(trees, base=np.zeros(CLASSES), n_features=int(model.n_features_in_), single=True)


def _xgb_nodes(model: _XgbClassifier) -> TreeNodes:
    document = json.loads(bytes(model.get_booster().save_raw("json")))
    learner = document["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree" or learner["objective"]["name"] != "multi:softprob":
        raise ValueError(f"xgb: only gbtree with multi:softprob, got {booster['name']}, {learner['objective']['name']}")
    content = booster["model"]
    if "weight_drop" in content:
        raise ValueError("xgb: only gbtree without dropout")
    if int(content["gbtree_model_param"]["num_parallel_tree"]) != 1:
        raise ValueError("xgb: num_parallel_tree must be 1")
    trees = content["trees"]
    best = getattr(model, "best_iteration", None)
    count = len(trees) if best is None else (int(best) + 1) * CLASSES
    if list(content["tree_info"]) != [index % CLASSES for index in range(len(trees))]:
        raise ValueError("xgb: trees must come round by round, one per class")
    param = learner["learner_model_param"]
    base = np.array(json.loads(param["base_score"]), dtype=np.float32).reshape(-1)
    return _join(
        [_xgb_tree(tree) for tree in trees[:count]],
        base=np.broadcast_to(base, (CLASSES,)).astype(np.float64),
        n_features=int(param["num_feature"]),
        single=True,
    )


def _xgb_tree(tree: dict[str, list[float]]) -> _Tree:
    if tree["categories"]:
        raise ValueError("xgb: categorical splits are not supported")
    left = np.array(tree["left_children"], dtype=np.int64)
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    return _Tree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        threshold=np.where(np.isneginf(conditions), np.nan, below),
        left=left,
        right=np.array(tree["right_children"], dtype=np.int64),
        nan_left=np.array(tree["default_left"], dtype=np.bool_),
        value=np.where(left == LEAF, conditions, 0.0).astype(np.float64),
    )


def _lgb_nodes(model: _LgbClassifier) -> TreeNodes:
    header, *blocks = model.booster_.model_to_string().split("\n\n\nend of trees")[0].split("\nTree=")
    head = _lgb_fields(header)
    objective = head["objective"].split()
    if objective[0] != "multiclass" or int(head["num_tree_per_iteration"]) != CLASSES or "average_output" in head:
        raise ValueError(f"lgb: only boosted multiclass with 3 classes, got {head['objective']}")
    return _join(
        [_lgb_tree(_lgb_fields(block)) for block in blocks],
        base=np.zeros(CLASSES),
        n_features=int(head["max_feature_idx"]) + 1,
        single=False,
    )


def _lgb_fields(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, _, value in pairs if key}


def _lgb_tree(fields: dict[str, str]) -> _Tree:
    if fields.get("is_linear", "0") != "0" or fields.get("num_cat", "0") != "0":
        raise ValueError("lgb: linear and categorical trees are not supported")
    leaves = int(fields["num_leaves"])
    inner = leaves - 1
    values = np.array(fields["leaf_value"].split(), dtype=np.float64)
    decision = _numbers(fields, "decision_type", inner).astype(np.int64)
    missing = (decision >> _MISSING_SHIFT) & 3
    if np.any(decision & _CATEGORICAL_BIT) or np.any(missing == _MISSING_ZERO):
        raise ValueError("lgb: categorical splits and zero_as_missing are not supported")
    threshold = _numbers(fields, "threshold", inner)
    nan_left = np.where(missing == _MISSING_NAN, (decision & _DEFAULT_LEFT_BIT) != 0, threshold >= 0.0)
    leaf = np.full(leaves, LEAF, dtype=np.int64)
    children = [_numbers(fields, key, inner).astype(np.int64) for key in ("left_child", "right_child")]
    left, right = (np.where(child < 0, inner + ~child, child) for child in children)
    nothing = np.zeros(leaves)
    return _Tree(
        feature=np.concatenate([_numbers(fields, "split_feature", inner), nothing]).astype(np.int64),
        threshold=np.concatenate([threshold, nothing]),
        left=np.concatenate([left, leaf]),
        right=np.concatenate([right, leaf]),
        nan_left=np.concatenate([nan_left, nothing]).astype(np.bool_),
        value=np.concatenate([np.zeros(inner), values]),
    )


def _numbers(fields: dict[str, str], key: str, count: int) -> FloatArray:
    numbers = np.array(fields.get(key, "").split(), dtype=np.float64)
    if len(numbers) != count:
        raise ValueError(f"lgb: {key} has {len(numbers)} entries, {count} expected")
    return numbers
