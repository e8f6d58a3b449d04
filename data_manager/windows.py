"""Windows of consecutive rows ending at a row, for whoever looks at more than the newest one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_manager.bars import BoolArray, FloatArray, IntArray

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of `length` rows cut from one stretch of rows, so that overlapping windows share memory.

    `values` (m, k) are the rows of one symbol in time order; window i is `values[ends[i] - length + 1 : ends[i] + 1]`.
    `ends` (n,) holds `UNKNOWN` where there are not `length` consecutive rows.
    """

    values: FloatArray
    ends: IntArray
    length: int

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.ends)

    @property
    def known(self) -> BoolArray:
        """Mask the windows that are there, shape (n,)."""
        known: BoolArray = self.ends >= 0
        return known

    def part(self, places: IntArray | BoolArray | slice) -> Windows:
        """Give some of the windows, in the order asked for."""
        return Windows(self.values, self.ends[places], self.length)

    def pick(self, columns: IntArray) -> Windows:
        """Give the same windows with some of the columns."""
        return Windows(np.ascontiguousarray(self.values[:, columns]), self.ends, self.length)

    def complete(self, required: BoolArray) -> Windows:
        """Give the windows of which every row knows the required columns, mask (k,); the others become unknown."""
        holes = np.concatenate([[0], np.cumsum(~np.isfinite(self.values[:, required]).all(axis=1))])
        start = np.maximum(self.ends - self.length + 1, 0)
        whole = self.known & (holes[self.ends + 1] == holes[start])
        return Windows(self.values, np.where(whole, self.ends, UNKNOWN), self.length)

    def rows_seen(self) -> FloatArray:
        """Give the rows that lie in any known window, each once, shape (m', k)."""
        ends = self.ends[self.known]
        edges = np.zeros(len(self.values) + 1, dtype=np.int64)
        np.add.at(edges, ends - self.length + 1, 1)
        np.add.at(edges, ends + 1, -1)
        seen: FloatArray = self.values[np.cumsum(edges[:-1]) > 0]
        return seen

    def gather(self) -> FloatArray:
        """Give the windows themselves, shape (n, length, k), oldest row first; NaN where a window is unknown."""
        rows = np.maximum(self.ends, self.length - 1)[:, None] + np.arange(1 - self.length, 1)
        known = self.known
        if known.all():
            return np.ascontiguousarray(self.values[rows])
        gathered = np.full((len(self), self.length, self.values.shape[1]), np.nan)
        gathered[known] = self.values[rows[known]]
        return gathered


def cut_windows(close_time: IntArray, values: FloatArray, ends: IntArray, *, length: int, step_ms: int) -> Windows:
    """Cut windows from rows (m, k) closing at `close_time` (m,), ms; a window never spans an absent row."""
    start = ends - length + 1
    inside = start >= 0
    span = close_time[ends] - close_time[np.maximum(start, 0)]
    whole = inside & (span == (length - 1) * step_ms)
    return Windows(values, np.where(whole, ends, UNKNOWN).astype(np.int64), length)
