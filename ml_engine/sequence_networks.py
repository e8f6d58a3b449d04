"""The two networks a sequence member can be, as arrays: a stack of LSTM layers, or dense layers on window summaries.

A network holds several nets of one shape along its first axis and averages their answers. Every sum runs in a fixed
order and `exp` sees contiguous arrays only, so a window alone and the same window in a batch give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ml_engine.final_maps import softmax
from ml_engine.standardising import sigmoid, weighted_sums
from ml_engine.tree_arrays import CLASSES, FloatArray

TORCH_LSTM = "torch-lstm"
MLP = "mlp"
SUMMARY_SPANS = (4, 16, 64)
SUMMARIES = len(SUMMARY_SPANS) + 3
_GATES = 4


class Network(Protocol):
    """A network of three outputs."""

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give probabilities (n, 3) of standardised windows (n, length, m)."""

    def arrays(self) -> dict[str, FloatArray]:
        """Give every number by name."""


@dataclass(frozen=True, slots=True, eq=False)
class LstmLayer:
    """`weights` (nets, m + h, 4 h) from inputs and state to the gates i, f, g, o; `bias` (nets, 4 h).

    The part of g is doubled, for tanh(x) = 2 sigmoid(2 x) - 1 lets one function serve all four gates.
    """

    weights: FloatArray
    bias: FloatArray

    @property
    def units(self) -> int:
        """Units h of the layer."""
        return int(self.bias.shape[-1]) // _GATES

    def run(self, inputs: FloatArray) -> FloatArray:
        """Give the states (n, length, nets, h) after each row of inputs (n, length, nets or 1, m)."""
        count, length, _, width = inputs.shape
        nets, units = len(self.bias), self.units
        states = np.empty((count, length, nets, units))
        joined = np.zeros((count, nets, width + units))
        products = np.empty((count, *self.weights.shape))
        cell = np.zeros((count, nets, units))
        for row in range(length):
            joined[..., :width] = inputs[:, row]
            np.multiply(joined[..., None], self.weights, out=products)
            gates = np.add.reduce(products, axis=-2)
            gates += self.bias
            gates = sigmoid(gates)
            entering, kept, fresh, shown = (gates[..., part * units : (part + 1) * units] for part in range(_GATES))
            cell = kept * cell + entering * (2.0 * fresh - 1.0)
            state = shown * (2.0 * sigmoid(2.0 * cell) - 1.0)
            joined[..., width:] = state
            states[:, row] = state
        return states


@dataclass(frozen=True, slots=True, eq=False)
class LstmNetwork:
    """LSTM layers, the state after the last row, and a linear layer `head` (nets, h, 3) with `bias` (nets, 3)."""

    layers: tuple[LstmLayer, ...]
    head: FloatArray
    bias: FloatArray

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> LstmNetwork:
        """Build the network from what `arrays` gave."""
        count = sum(name.startswith("layer") and name.endswith("weights") for name in arrays)
        layers = [LstmLayer(arrays[f"layer{place}.weights"], arrays[f"layer{place}.bias"]) for place in range(count)]
        return cls(tuple(layers), arrays["head.weights"], arrays["head.bias"])

    def arrays(self) -> dict[str, FloatArray]:
        """Give every number by name."""
        named = {"head.weights": self.head, "head.bias": self.bias}
        for place, layer in enumerate(self.layers):
            named |= {f"layer{place}.weights": layer.weights, f"layer{place}.bias": layer.bias}
        return named

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give probabilities (n, 3) of standardised windows (n, length, m)."""
        states = inputs[:, :, None, :]
        for layer in self.layers:
            states = layer.run(states)
        return mean_over_nets(weighted_sums(states[:, -1], self.head) + self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class SummaryNetwork:
    """Dense layers with ReLU between them on standardised summaries of a window.

    `centre` and `scale` (6 m,) belong to the summaries; layer weights are (nets, in, out), biases (nets, out).
    """

    centre: FloatArray
    scale: FloatArray
    layers: tuple[tuple[FloatArray, FloatArray], ...]

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> SummaryNetwork:
        """Build the network from what `arrays` gave."""
        count = sum(name.startswith("dense") and name.endswith("weights") for name in arrays)
        layers = [(arrays[f"dense{place}.weights"], arrays[f"dense{place}.bias"]) for place in range(count)]
        return cls(arrays["summary.centre"], arrays["summary.scale"], tuple(layers))

    def arrays(self) -> dict[str, FloatArray]:
        """Give every number by name."""
        named = {"summary.centre": self.centre, "summary.scale": self.scale}
        for place, (weights, bias) in enumerate(self.layers):
            named |= {f"dense{place}.weights": weights, f"dense{place}.bias": bias}
        return named

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give probabilities (n, 3) of standardised windows (n, length, m)."""
        values = ((summaries(inputs) - self.centre) / self.scale)[:, None, :]
        for place, (weights, bias) in enumerate(self.layers):
            values = weighted_sums(values if place == 0 else np.maximum(values, 0.0), weights) + bias
        return mean_over_nets(values)


def summaries(windows: FloatArray) -> FloatArray:
    """Give six numbers per column of windows (n, length, m), shape (n, 6 m).

    The last value, the means of the last 4, 16 and 64 rows (or as many as there are), the deviation and the slope over
    the window; each block of m numbers in this order.
    """
    count, length, width = windows.shape
    parts = np.empty((count, SUMMARIES, width))
    parts[:, 0] = windows[:, -1]
    for place, span in enumerate(SUMMARY_SPANS, start=1):
        used = min(span, length)
        parts[:, place] = np.add.reduce(np.ascontiguousarray(windows[:, length - used :]), axis=1) / used
    mean = np.add.reduce(windows, axis=1) / length
    apart = windows - mean[:, None, :]
    parts[:, -2] = np.sqrt(np.add.reduce(apart * apart, axis=1) / length)
    time = np.linspace(-1.0, 1.0, length)[:, None]
    parts[:, -1] = np.add.reduce(apart * time, axis=1) / float((time * time).sum())
    return parts.reshape(count, -1)


def network_of(backend: str, arrays: Mapping[str, FloatArray]) -> Network:
    """Build a network from its arrays; raises `ValueError` or `KeyError` on what is none."""
    if backend == TORCH_LSTM:
        return LstmNetwork.of(arrays)
    if backend == MLP:
        return SummaryNetwork.of(arrays)
    raise ValueError(f"unknown sequence backend {backend!r}, known are {TORCH_LSTM} and {MLP}")


def mean_over_nets(logits: FloatArray) -> FloatArray:
    """Give the mean probabilities (n, 3) of logits (n, nets, 3)."""
    count, nets, _ = logits.shape
    each = softmax(np.ascontiguousarray(logits).reshape(count * nets, CLASSES)).reshape(count, nets, CLASSES)
    mean: FloatArray = np.add.reduce(each, axis=1) / nets
    return mean
