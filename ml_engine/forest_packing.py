"""The trees of all members as one forest of inner nodes, and the walk over it.

A tree position is a code: an inner node's number, or below zero the complement of a leaf's row in its member's table.
Leaves take no node. Trees are sorted by depth, deepest first, so that at each level only a leading part of them is
still walking. Every comparison is `value <= threshold` in float32, exact for each library:

- members that compare in float32 see the rounded value, and their thresholds rounded down to float32 split alike;
- members that compare in float64 see the value's rank among their own thresholds of that column, a small whole number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from ml_engine.tree_arrays import LEAF, BoolArray, FloatArray, IntArray, TreeNodes

AnyArray = npt.NDArray[np.generic]
NodeArray = npt.NDArray[np.int32]
SingleArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """The packed trees. `order`, `roots`: (n_trees,); `level_trees`: (depth,).

    `order` is the tree, counted over the members in the order given, at each place of the forest; `roots` its first
    code. `level_trees` counts the trees still walking at each level. `feature`, `threshold` and `nan_right` are
    (n_inner,), `children` (2 * n_inner,) the codes to the left and right of each node. `edges` holds the float64
    thresholds ranked, ascending within each column; column c has those from `edge_starts[c]` to `edge_starts[c + 1]`.
    """

    order: NodeArray
    roots: NodeArray
    level_trees: NodeArray
    feature: npt.NDArray[np.int16]
    threshold: SingleArray
    children: NodeArray
    nan_right: BoolArray
    edges: FloatArray
    edge_starts: NodeArray

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray]) -> Forest:
        """Build the forest from arrays by name, converting none that has its type already."""
        return cls(
            order=arrays["order"].astype(np.int32, copy=False),
            roots=arrays["roots"].astype(np.int32, copy=False),
            level_trees=arrays["level_trees"].astype(np.int32, copy=False),
            feature=arrays["feature"].astype(np.int16, copy=False),
            threshold=arrays["threshold"].astype(np.float32, copy=False),
            children=arrays["children"].astype(np.int32, copy=False),
            nan_right=arrays["nan_right"].astype(np.bool_, copy=False),
            edges=arrays["edges"].astype(np.float64, copy=False),
            edge_starts=arrays["edge_starts"].astype(np.int32, copy=False),
        )

    def leaves(self, rows: FloatArray) -> NodeArray:
        """Give the leaf rows (n, n_trees) that rows (n, k) fall into, trees in packed order."""
        seen_rows = self._seen(rows)
        values = seen_rows.reshape(-1)
        holes = bool(np.isnan(rows).any())
        codes = np.repeat(self.roots[None, :], len(rows), axis=0)
        offsets = (np.arange(len(rows), dtype=np.int32) * seen_rows.shape[1])[:, None]
        for active in self.level_trees.tolist():
            here = codes[:, :active]
            seen = values.take(self.feature.take(here, mode="clip") + offsets)
            goes_right: BoolArray = ~(seen <= self.threshold.take(here, mode="clip"))
            if holes:
                goes_right = np.where(np.isnan(seen), self.nan_right.take(here, mode="clip"), goes_right)
            below = self.children.take(2 * here + goes_right, mode="clip")
            codes[:, :active] = np.where(here < 0, here, below)
        return ~codes

    def _seen(self, rows: FloatArray) -> SingleArray:
        """Give each row twice (n, 2k): rounded to float32, and as ranks among the edges; NaN stays NaN in both."""
        count, width = rows.shape
        seen = np.zeros((count, 2 * width), dtype=np.float32)
        with np.errstate(over="ignore"):
            seen[:, :width] = rows
        starts = self.edge_starts.tolist()
        for column in range(width):
            first, stop = starts[column], starts[column + 1]
            if first < stop:
                seen[:, width + column] = self.edges[first:stop].searchsorted(rows[:, column])
        np.copyto(seen[:, width:], np.nan, where=np.isnan(rows))
        return seen


FOREST_ARRAYS = tuple(item.name for item in fields(Forest))


def pack(members: Mapping[str, TreeNodes]) -> tuple[Forest, dict[str, AnyArray]]:
    """Give the forest of all members and each member's table of leaf values: (n_leaves,) or (n_leaves, 3)."""
    parts = list(members.values())
    width = parts[0].n_features
    shifts = np.concatenate([[0], np.cumsum([len(part.left) for part in parts])[:-1]]).astype(np.int64)
    left = _shifted([part.left for part in parts], shifts)
    right = _shifted([part.right for part in parts], shifts)
    roots = np.concatenate([part.roots + shift for part, shift in zip(parts, shifts, strict=True)])
    edges, edge_starts = _edges(parts, width)
    slots, tables = _leaf_tables(members)
    depth = _depths(left, right, roots)
    order = np.argsort(-depth, kind="stable")
    inner = _inner_by_level(left, right, roots[order])
    codes = ~slots
    codes[inner] = np.arange(len(inner))
    forest = Forest(
        order=order.astype(np.int32),
        roots=codes[roots[order]].astype(np.int32),
        level_trees=np.array([int((depth > level).sum()) for level in range(int(depth.max()))], dtype=np.int32),
        feature=np.concatenate([part.feature + (0 if part.single else width) for part in parts])[inner].astype(
            np.int16
        ),
        threshold=np.concatenate([_single_thresholds(part, edges, edge_starts) for part in parts])[inner],
        children=np.stack([codes[left[inner]], codes[right[inner]]], axis=1).reshape(-1).astype(np.int32),
        nan_right=~np.concatenate([part.nan_left for part in parts])[inner],
        edges=edges,
        edge_starts=edge_starts,
    )
    return forest, tables


def places(order: NodeArray, trees: Mapping[str, int]) -> dict[str, IntArray]:
    """Give each member's trees' places in the forest, in the order the member adds them up."""
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    ends = np.cumsum(list(trees.values()))
    return {name: inverse[end - count : end] for (name, count), end in zip(trees.items(), ends, strict=True)}


def _edges(parts: list[TreeNodes], width: int) -> tuple[FloatArray, NodeArray]:
    """Collect the distinct thresholds of the float64 members by column."""
    columns: list[FloatArray] = []
    for column in range(width):
        own = [part.threshold[(part.left != LEAF) & (part.feature == column)] for part in parts if not part.single]
        columns.append(np.unique(np.concatenate(own)) if own else np.empty(0))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in columns])]).astype(np.int32)
    return np.concatenate(columns), starts


def _single_thresholds(part: TreeNodes, edges: FloatArray, edge_starts: NodeArray) -> SingleArray:
    """Give float32 thresholds that split alike: rounded down, or the rank of a float64 threshold."""
    if part.single:
        rounded = part.threshold.astype(np.float32)
        above = rounded.astype(np.float64) > part.threshold
        return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    ranks = np.zeros(len(part.threshold), dtype=np.float32)
    for column in range(part.n_features):
        own = (part.left != LEAF) & (part.feature == column)
        ranks[own] = edges[edge_starts[column] : edge_starts[column + 1]].searchsorted(part.threshold[own])
    return ranks


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


def _inner_by_level(left: IntArray, right: IntArray, roots: IntArray) -> IntArray:
    levels: list[IntArray] = []
    frontier = roots[left[roots] != LEAF]
    while len(frontier):
        levels.append(frontier)
        below = _children(left, right, frontier)
        frontier = below[left[below] != LEAF]
    return np.concatenate(levels) if levels else np.empty(0, dtype=np.int64)


def _children(left: IntArray, right: IntArray, parents: IntArray) -> IntArray:
    return np.stack([left[parents], right[parents]], axis=1).reshape(-1)


def _leaf_tables(members: Mapping[str, TreeNodes]) -> tuple[IntArray, dict[str, AnyArray]]:
    slots, tables = [], {}
    for name, part in members.items():
        leaf = part.left == LEAF
        slots.append(np.where(leaf, np.cumsum(leaf) - 1, 0))
        tables[name] = part.value[leaf].astype(np.float32 if part.single else np.float64)
    return np.concatenate(slots), tables
