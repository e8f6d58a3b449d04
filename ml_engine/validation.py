"""Time splits without leaks: the four blocks of one training, purged walk-forward folds, and combined test groups.

A row is its interval (t0, t1]: t0 the instant it is known, t1 the last instant its outcomes depend on. A row belongs to
a block only when its whole interval does and the embargo after it has passed before the next block begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from bn_ml.errors import ModelError
from data_manager.bars import BoolArray, FloatArray, IntArray

# The part after the train block, divided as calibrate, select, report.
HELD_OUT_SHARES = (14 / 30, 8 / 30, 8 / 30)
BLOCK_NAMES = ("train", "calibrate", "select", "report")


@dataclass(frozen=True, slots=True)
class Purge:
    """How far apart blocks are kept, in ms: the outcome window of a row, and the embargo after it."""

    window_ms: int
    embargo_ms: int

    @property
    def total_ms(self) -> int:
        """Smallest distance from the t0 of a kept row to the next block's first t0."""
        return self.window_ms + self.embargo_ms


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of one block: sorted positions in the dataset and the span they depend on (ms)."""

    name: str
    rows: IntArray
    first_t0: int
    last_t0: int
    last_t1: int

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The four blocks in time order."""

    train: Block
    calibrate: Block
    select: Block
    report: Block

    def __iter__(self) -> Iterator[Block]:
        """Give the blocks in time order."""
        return iter((self.train, self.calibrate, self.select, self.report))


def split_blocks(t0: IntArray, t1: IntArray, *, train_ratio: float, purge: Purge) -> Blocks:
    """Cut rows (sorted by t0) into train, calibrate, select and report with gaps between them.

    Raises `ModelError` when a block would be empty.
    """
    held_out = 1.0 - train_ratio
    shares = np.cumsum([train_ratio, *(held_out * share for share in HELD_OUT_SHARES)])
    edges = [0, *(round(share * len(t0)) for share in shares[:-1]), len(t0)]
    blocks = [
        block_of(name, _kept(t0, t1, slice(edges[index], edges[index + 1]), purge=purge), t0, t1)
        for index, name in enumerate(BLOCK_NAMES)
    ]
    return Blocks(*blocks)


def block_of(name: str, rows: IntArray, t0: IntArray, t1: IntArray) -> Block:
    """Make a block of rows; raises `ModelError` when there are none."""
    if len(rows) == 0:
        raise ModelError(f"no rows left in the {name} block after purging", reason="too_few_rows")
    return Block(name, rows, int(t0[rows[0]]), int(t0[rows[-1]]), int(t1[rows].max()))


def purged_tail(t0: IntArray, t1: IntArray, rows: IntArray, *, share: float, purge: Purge) -> tuple[IntArray, IntArray]:
    """Divide a block's rows into an earlier part and its last `share`, purged from each other."""
    cut = len(rows) - round(share * len(rows))
    if cut >= len(rows):
        return rows, rows[:0]
    earlier = rows[:cut]
    return earlier[_before(t0, t1, earlier, t0[rows[cut]], purge)], rows[cut:]


@dataclass(frozen=True, slots=True, eq=False)
class GroupSplit:
    """One split of `cpcv`: the test groups' numbers, rows to fit on, and the test rows, all in time order."""

    groups: tuple[int, ...]
    fit: IntArray
    test: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class GroupSplits:
    """All splits of `cpcv`, and its paths: for each path the split that tests each group, in the order of groups."""

    parts: tuple[IntArray, ...]
    splits: tuple[GroupSplit, ...]
    paths: tuple[tuple[int, ...], ...]


def cpcv(
    t0: IntArray, t1: IntArray, rows: IntArray, *, groups: int = 6, test_groups: int = 2, purge: Purge
) -> GroupSplits:
    """Cut rows into `groups` parts of time and give every way to test `test_groups` of them and fit on the rest.

    A row to fit on ends an embargo before each test part and begins an embargo after the last outcome of it. Each row
    is tested equally often; a path tests every row once *(combinatorial purged cross-validation, Lopez de Prado 2018)*.
    """
    parts = tuple(np.array_split(rows, groups))
    chosen = tuple(combinations(range(groups), test_groups))
    splits = tuple(_group_split(t0, t1, parts, tested, purge=purge) for tested in chosen)
    tested_in = [[number for number, tested in enumerate(chosen) if group in tested] for group in range(groups)]
    return GroupSplits(parts, splits, tuple(zip(*tested_in, strict=True)))


def walk_forward(
    t0: IntArray, t1: IntArray, rows: IntArray, *, folds: int, purge: Purge, first_share: float | None = None
) -> Iterator[tuple[IntArray, IntArray]]:
    """Give `folds` pairs (fit rows, test rows): expanding past, purged and embargoed from the test part after it.

    The first fold is fitted on `first_share` of the rows, by default on as many as one test part has.
    """
    first = len(rows) / (folds + 1) if first_share is None else first_share * len(rows)
    edges = np.linspace(first, len(rows), folds + 1).round().astype(np.int64)
    for begin, end in pairwise(edges):
        test, earlier = rows[begin:end], rows[:begin]
        if len(test):
            yield earlier[_before(t0, t1, earlier, t0[test[0]], purge)], test


def row_hash(symbol: str, t0: IntArray) -> str:
    """Give the sha256 of the ids (symbol, t0) of rows."""
    digest = hashlib.sha256(symbol.encode())
    digest.update(np.ascontiguousarray(t0, dtype="<i8").tobytes())
    return digest.hexdigest()


def days(t0: IntArray, length_days: int = 1) -> IntArray:
    """Give the number of the day block each instant falls in."""
    blocks: IntArray = t0 // (86_400_000 * length_days)
    return blocks


def effective_rows(uniqueness: FloatArray) -> float:
    """Give the number of independent rows: the sum of uniqueness."""
    return float(uniqueness.sum())


def _group_split(
    t0: IntArray, t1: IntArray, parts: tuple[IntArray, ...], tested: tuple[int, ...], *, purge: Purge
) -> GroupSplit:
    fit = np.concatenate([part for number, part in enumerate(parts) if number not in tested])
    for part in (parts[number] for number in tested):
        if len(part):
            before = _before(t0, t1, fit, t0[part[0]], purge)
            fit = fit[before | (t0[fit] > t1[part].max() + purge.embargo_ms)]
    return GroupSplit(tested, fit, np.concatenate([parts[number] for number in tested]))


def _kept(t0: IntArray, t1: IntArray, part: slice, *, purge: Purge) -> IntArray:
    rows = np.arange(len(t0), dtype=np.int64)[part]
    if part.stop >= len(t0) or len(rows) == 0:
        return rows
    return rows[_before(t0, t1, rows, t0[part.stop], purge)]


def _before(t0: IntArray, t1: IntArray, rows: IntArray, border: int, purge: Purge) -> BoolArray:
    """Mask rows whose outcome and embargo end before `border`, the first t0 of the next block."""
    inside: BoolArray = (t0[rows] + purge.total_ms <= border) & (t1[rows] + purge.embargo_ms < border)
    return inside
