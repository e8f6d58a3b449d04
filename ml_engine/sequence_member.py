"""The sequence member as plain numbers: probabilities of SELL, HOLD, BUY from windows of rows, with numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_manager.windows import Windows
from ml_engine.linear_member import LINEAR_ARRAYS
from ml_engine.sequence_networks import TORCH_LSTM, Network, network_of
from ml_engine.standardising import Standardiser
from ml_engine.tree_arrays import CLASSES, FloatArray, IntArray

_BLOCK_NUMBERS = 400_000
_INPUTS = LINEAR_ARRAYS[:4]


@dataclass(frozen=True, slots=True, eq=False)
class SequenceMember:
    """A network over windows of `length` rows of some columns; loadable where no training library is.

    `columns` (c,) are the positions of its columns among those of the ensemble; `backend` says what the network is.
    """

    backend: str
    length: int
    columns: IntArray
    inputs: Standardiser
    network: Network

    @classmethod
    def of(cls, backend: str, length: int, arrays: Mapping[str, FloatArray]) -> SequenceMember:
        """Build the member from what `arrays` gave; raises `ValueError` or `KeyError` on what is none."""
        inputs = Standardiser(
            median=arrays["median"],
            flagged=arrays["flagged"].astype(np.int64),
            centre=arrays["centre"],
            scale=arrays["scale"],
        )
        rest = {name: part for name, part in arrays.items() if name not in {*_INPUTS, "columns"}}
        columns = arrays["columns"].astype(np.int64)
        if length < 1 or len(columns) != len(inputs.median):
            raise ValueError(f"sequence: {len(columns)} columns, inputs know {len(inputs.median)}; length {length}")
        return cls(backend, length, columns, inputs, network_of(backend, rest))

    def arrays(self) -> dict[str, FloatArray]:
        """Give every number by name, float64."""
        return {
            "columns": self.columns.astype(np.float64),
            "median": self.inputs.median,
            "flagged": self.inputs.flagged.astype(np.float64),
            "centre": self.inputs.centre,
            "scale": self.inputs.scale,
            **self.network.arrays(),
        }

    def predict_proba(self, windows: FloatArray) -> FloatArray:
        """Give probabilities (n, 3) of windows (n, length, c), oldest row first, columns as in `columns`."""
        if windows.ndim != 3 or windows.shape[1:] != (self.length, len(self.columns)):
            raise ValueError(f"windows must be (n, {self.length}, {len(self.columns)}), got {windows.shape}")
        return self.network.probabilities(self.inputs.apply(np.asarray(windows, dtype=np.float64)))

    def probabilities(self, windows: Windows) -> FloatArray:
        """Give probabilities (n, 3) of windows over this member's columns; NaN where a window is unknown."""
        if windows.length != self.length or windows.values.shape[1] != len(self.columns):
            raise ValueError(f"windows of {windows.length} rows, this member looks at {self.length}")
        result = np.full((len(windows), CLASSES), np.nan)
        places = np.flatnonzero(windows.known)
        for start in range(0, len(places), self._block_rows):
            block = places[start : start + self._block_rows]
            result[block] = self.predict_proba(windows.part(block).gather())
        return result

    @property
    def is_recurrent(self) -> bool:
        """Whether this is an LSTM, not dense layers on summaries."""
        return self.backend == TORCH_LSTM

    @property
    def _block_rows(self) -> int:
        """Windows judged at one go: what keeps the products of one step in the processor's cache."""
        largest = max(array.size for array in self.network.arrays().values())
        return max(1, min(256, _BLOCK_NUMBERS // largest))
