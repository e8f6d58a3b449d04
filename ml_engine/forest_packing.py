"""The trees of all members as one forest whose siblings lie side by side, and the walk over it.

Nodes are numbered level by level over the whole forest; the two children of a node are neighbours, so one step down
is `node = left[node] + goes_right`. Leaves point to themselves under a threshold of +inf. Trees are sorted by depth,
deepest first, so that at each level only a leading part of them is still walking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from ml_engine.tree_arrays import LEAF, BoolArray, FloatArray, IntArray, TreeNodes

AnyArray = npt.NDArray[np.generic]
NodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """The packed trees. `order`, `roots`: (n_trees,); `level_trees`: (depth,); the others: (n_nodes,).

    `order` is the tree, counted over the members in the order given, at each place of the forest. `level_trees` counts
    the trees still walking at each level. `feature` points into a row read twice, first in float32 and then in float64.
    `slot` is a leaf's row in its member's table of leaf values.
    """

    order: NodeArray
    roots: NodeArray
    level_trees: NodeArray
    feature: npt.NDArray[np.int16]
    threshold: FloatArray
    left: NodeArray
    nan_right: BoolArray
    slot: NodeArray

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray]) -> Forest:
        """Build the forest from arrays by name, converting none that has its type already."""
        return cls(
            order=arrays["order"].astype(np.int32, copy=False),
            roots=arrays["roots"].astype(np.int32, copy=False),
            level_trees=arrays["level_trees"].astype(np.int32, copy=False),
            feature=arrays["feature"].astype(np.int16, copy=False),
            threshold=arrays["threshold"].astype(np.float64, copy=False),
            left=arrays["left"].astype(np.int32, copy=False),
            nan_right=arrays["nan_right"].astype(np.bool_, copy=False),
            slot=arrays["slot"].astype(np.int32, copy=False),
        )

    def leaves(self, rows: FloatArray) -> NodeArray:
        """Give the leaf slots (n, n_trees) that rows (n, k) fall into, trees in packed order."""
        with np.errstate(over="ignore"):
            doubled = np.concatenate([rows.astype(np.float32).astype(np.float64), rows], axis=1)
        values = doubled.reshape(-1)
        holes = bool(np.isnan(rows).any())
        nodes = np.repeat(self.roots[None, :], len(rows), axis=0)
        offsets = (np.arange(len(rows), dtype=np.int32) * doubled.shape[1])[:, None]
        for active in self.level_trees.tolist():
            here = nodes[:, :active]
            seen = values.take(self.feature.take(here) + offsets)
            goes_right: BoolArray = ~(seen <= self.threshold.take(here))
            if holes:
                goes_right = np.where(np.isnan(seen), self.nan_right.take(here), goes_right)
            nodes[:, :active] = self.left.take(here) + goes_right
        return self.slot.take(nodes)


FOREST_ARRAYS = tuple(item.name for item in fields(Forest))


def pack(members: Mapping[str, TreeNodes]) -> tuple[Forest, dict[str, AnyArray]]:
    """Give the forest of all members and each member's table of leaf values: (n_leaves,) or (n_leaves, 3)."""
    parts = list(members.values())
    width = parts[0].n_features
    sizes = [len(part.left) for part in parts]
    shifts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    left = _shifted([part.left for part in parts], shifts)
    right = _shifted([part.right for part in parts], shifts)
    roots = np.concatenate([part.roots + shift for part, shift in zip(parts, shifts, strict=True)])
    feature = np.concatenate([part.feature + (0 if part.single else width) for part in parts])
    depth = _depths(left, right, roots)
    order = np.argsort(-depth, kind="stable")
    old, new_left = _renumbered(left, right, roots[order])
    leaf = left[old] == LEAF
    slots, tables = _leaf_tables(members)
    forest = Forest(
        order=order.astype(np.int32),
        roots=np.arange(len(roots), dtype=np.int32),
        level_trees=np.array([int((depth > level).sum()) for level in range(int(depth.max()))], dtype=np.int32),
        feature=np.where(leaf, 0, feature[old]).astype(np.int16),
        threshold=np.where(leaf, np.inf, np.concatenate([part.threshold for part in parts])[old]),
        left=new_left.astype(np.int32),
        nan_right=~(np.concatenate([part.nan_left for part in parts])[old] | leaf),
        slot=slots[old].astype(np.int32),
    )
    return forest, tables


def places(order: NodeArray, trees: Mapping[str, int]) -> dict[str, IntArray]:
    """Give each member's trees' places in the forest, in the order the member adds them up."""
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    ends = np.cumsum(list(trees.values()))
    return {name: inverse[end - count : end] for (name, count), end in zip(trees.items(), ends, strict=True)}


def _shifted(children: list[IntArray], shifts: IntArray) -> IntArray:
    moved = [np.where(part == LEAF, LEAF, part + shift) for part, shift in zip(children, shifts, strict=True)]
    return np.concatenate(moved)


def _depths(left: IntArray, right: IntArray, roots: IntArray) -> IntArray:
    depth = np.zeros(len(roots), dtype=np.int64)
    frontier, tree = roots, np.arange(len(roots))
    level = 0
    while len(frontier):
        depth[tree] = level
        inner = left[frontier] != LEAF
        tree = np.repeat(tree[inner], 2)
        frontier = _children(left, right, frontier[inner])
        level += 1
    return depth


def _renumbered(left: IntArray, right: IntArray, roots: IntArray) -> tuple[IntArray, IntArray]:
    frontier = roots
    olds: list[IntArray] = []
    lefts: list[IntArray] = []
    count = 0
    while len(frontier):
        inner = left[frontier] != LEAF
        following = count + len(frontier)
        position = np.arange(count, following)
        lefts.append(np.where(inner, following + 2 * (np.cumsum(inner) - 1), position))
        olds.append(frontier)
        count = following
        frontier = _children(left, right, frontier[inner])
    return np.concatenate(olds), np.concatenate(lefts)


def _children(left: IntArray, right: IntArray, parents: IntArray) -> IntArray:
    return np.stack([left[parents], right[parents]], axis=1).reshape(-1)


def _leaf_tables(members: Mapping[str, TreeNodes]) -> tuple[IntArray, dict[str, AnyArray]]:
    slots, tables = [], {}
    for name, part in members.items():
        leaf = part.left == LEAF
        slots.append(np.where(leaf, np.cumsum(leaf) - 1, 0))
        boosted_single = part.single and part.value.ndim == 1
        tables[name] = part.value[leaf].astype(np.float32 if boosted_single else np.float64)
    return np.concatenate(slots), tables
