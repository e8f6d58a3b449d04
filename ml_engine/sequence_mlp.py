"""The sequence member without torch: dense nets on six summaries of each column of a window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from data_manager.bars import FloatArray, IntArray
from ml_engine.sequence_networks import Network, SummaryNetwork, summaries

_LEAST_SCALE = 1e-12


class SummaryLearner:
    """Several scikit-learn nets that differ in their seed, taught pass by pass."""

    def __init__(
        self, inputs: FloatArray, labels: IntArray, weights: FloatArray, nets: Sequence[MLPClassifier]
    ) -> None:
        """Take standardised windows (n, length, m) with labels and weights (n,), and unfitted nets."""
        table = summaries(inputs)
        scale = table.std(axis=0)
        self._centre, self._scale = table.mean(axis=0), np.where(scale > _LEAST_SCALE, scale, 1.0)
        self._table = (table - self._centre) / self._scale
        self._labels, self._weights, self._nets = labels, weights, nets

    def epoch(self, number: int) -> None:
        """Pass over all rows once."""
        classes = [0, 1, 2] if number == 0 else None
        with threadpool_limits(limits=1):
            for net in self._nets:
                net.partial_fit(self._table, self._labels, classes=classes, sample_weight=self._weights)

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give scikit-learn's mean probabilities (n, 3) of standardised windows."""
        table = (summaries(inputs) - self._centre) / self._scale
        with threadpool_limits(limits=1):
            mean: FloatArray = np.mean([net.predict_proba(table) for net in self._nets], axis=0)
        return mean

    def network(self) -> Network:
        """Give the nets as arrays."""
        depth = len(self._nets[0].coefs_)
        layers = [
            (
                np.stack([np.asarray(net.coefs_[place], dtype=np.float64) for net in self._nets]),
                np.stack([np.asarray(net.intercepts_[place], dtype=np.float64) for net in self._nets]),
            )
            for place in range(depth)
        ]
        return SummaryNetwork(self._centre, self._scale, tuple(layers))


def unfitted_nets(
    layers: tuple[int, ...], *, batch_size: int, alpha: float, seeds: tuple[int, ...]
) -> list[MLPClassifier]:
    """Give one net per seed; `alpha` is the L2 penalty."""
    # A shared stream, not a number: each pass goes on shuffling where the last one ended.
    streams = [np.random.RandomState(seed) for seed in seeds]
    return [
        MLPClassifier(layers, alpha=alpha, batch_size=batch_size, learning_rate_init=1e-3, random_state=stream)
        for stream in streams
    ]
