"""Fitting the sequence member: a small LSTM where torch is installed, else dense nets on summaries of the window.

torch is imported here alone, inside the functions that need it. What is fitted leaves as arrays (`SequenceMember`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bn_ml.errors import ConfigError, ModelError
from bn_ml.settings_model import LstmSettings
from data_manager.bars import FloatArray, IntArray
from data_manager.windows import Windows
from ml_engine.metrics import log_loss
from ml_engine.sequence_member import SequenceMember
from ml_engine.sequence_mlp import SummaryLearner, unfitted_nets
from ml_engine.sequence_networks import MLP, TORCH_LSTM, LstmLayer, LstmNetwork, Network
from ml_engine.standardising import Standardiser

if TYPE_CHECKING:
    import torch

MOST_COLUMNS = 20
# Neighbouring windows share all rows but one, so more of them teach little and cost minutes.
MOST_WINDOWS = 6_000
MOST_TAIL_WINDOWS = 2_000
SMALLEST_TAIL = 600
FIXED_EPOCHS = 4
PATIENCE_EPOCHS = 4
NETS = 3
# A larger network is grown once: three would take minutes a symbol.
UNITS_GROWN_OFTEN = 64

_BINS = 10
_QUARTERS = 4
_PRIOR_ROWS = 30.0
_BATCH = 512
_LEARNING_RATE = 1e-3
_LARGEST_GRADIENT = 1.0

Values = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a sequence member learns from: windows, labels and weights of the same n rows."""

    windows: Windows
    labels: IntArray
    weights: FloatArray

    def thinned(self, most: int) -> Lesson:
        """Give at most `most` rows evenly spread over those whose window is known; raises `ModelError` without any."""
        places = np.flatnonzero(self.windows.known)
        if not len(places):
            raise ModelError("no row has a whole window of rows before it", reason="too_few_rows")
        kept = places[:: -(-len(places) // most)]
        return Lesson(self.windows.part(kept), self.labels[kept], self.weights[kept] / self.weights[kept].mean())


class Learner(Protocol):
    """Nets taught pass by pass on rows they were given at the start."""

    def epoch(self, number: int) -> None:
        """Pass over all rows once; passes count from 0."""

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give the library's mean probabilities (n, 3) of standardised windows (n, length, m)."""

    def network(self) -> Network:
        """Give the nets as arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedSequence:
    """A fitted sequence member that still answers through its library."""

    backend: str
    length: int
    columns: IntArray
    inputs: Standardiser
    learner: Learner

    def predict_proba(self, windows: FloatArray) -> FloatArray:
        """Give the library's probabilities (n, 3) of windows (n, length, c) over `columns`."""
        return self.learner.probabilities(self.inputs.apply(windows))

    def probabilities(self, windows: Windows) -> FloatArray:
        """Give the library's probabilities (n, 3) of windows over all columns; NaN where a window is unknown."""
        own = windows.pick(self.columns)
        result = np.full((len(windows), 3), np.nan)
        places = np.flatnonzero(own.known)
        for start in range(0, len(places), _BATCH):
            block = places[start : start + _BATCH]
            result[block] = self.predict_proba(own.part(block).gather())
        return result

    def exported(self) -> SequenceMember:
        """Give the same member as plain numbers."""
        return SequenceMember(self.backend, self.length, self.columns, self.inputs, self.learner.network())


def backend_of(settings: LstmSettings) -> str:
    """Say which network is fitted; raises `ConfigError` when torch is demanded and not installed."""
    installed = find_spec("torch") is not None
    if settings.backend == "torch" and not installed:
        raise ConfigError(
            [
                "model.lstm.backend: torch is not installed; run `pip install .[lstm]`, "
                "or choose auto or mlp for a network that needs no torch"
            ]
        )
    return TORCH_LSTM if installed and settings.backend != "mlp" else MLP


def sequence_parameters(settings: LstmSettings, seed: int) -> dict[str, int | float | str]:
    """Give what the member is fitted with; raises `ConfigError` when torch is demanded and not installed."""
    backend = backend_of(settings)
    small = backend == MLP or settings.hidden_size + settings.hidden_size_2 <= UNITS_GROWN_OFTEN
    return {
        "backend": backend,
        "sequence_length": settings.sequence_length,
        "hidden_size": settings.hidden_size,
        "hidden_size_2": settings.hidden_size_2,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "dropout": settings.dropout,
        "alpha": settings.alpha,
        "nets": NETS if small else 1,
        "random_state": seed,
    }


def fit_sequence(values: Values, lesson: Lesson) -> FittedSequence:
    """Fit the member on at most 6,000 windows for exactly `epochs` passes."""
    member = _begin(values, lesson.thinned(MOST_WINDOWS))
    for number in range(int(values["epochs"])):
        member.learner.epoch(number)
    return member


def best_epochs(values: Values, fit: Lesson, tail: Lesson) -> int:
    """Give the passes with the least log-loss on the tail, which is later than and purged from `fit`.

    A tail of fewer than 600 windows is too noisy to stop by: then at most 4 passes.
    """
    most = int(values["epochs"])
    if int(tail.windows.known.sum()) < SMALLEST_TAIL:
        return min(most, FIXED_EPOCHS)
    member, judged = _begin(values, fit.thinned(MOST_WINDOWS)), tail.thinned(MOST_TAIL_WINDOWS)
    best, least = 1, np.inf
    for number in range(most):
        member.learner.epoch(number)
        loss = log_loss(member.probabilities(judged.windows), judged.labels)
        if loss < least:
            best, least = number + 1, loss
        elif number + 1 - best >= PATIENCE_EPOCHS:
            break
    return best


def telling_columns(rows: FloatArray, labels: IntArray, *, most: int = MOST_COLUMNS) -> IntArray:
    """Give the positions, rising, of the columns of rows (n, k) that tell the classes (n,) apart best.

    Rows come in time order. A column is worth the log-likelihood the class shares of its tenths, counted on three
    quarters of the time, gain on the fourth: slow columns, alike within a quarter, gain nothing there by chance.
    """
    quarter = np.arange(len(labels)) * _QUARTERS // max(1, len(labels))
    worth = np.array([_gain(_tenths(column), labels, quarter) for column in rows.T])
    best: IntArray = np.sort(np.argsort(-worth, kind="stable")[:most]).astype(np.int64)
    return best


def _tenths(column: FloatArray) -> IntArray:
    """Number the tenth of each value, unknown values apart."""
    known = np.isfinite(column)
    if not known.any():
        return np.zeros(len(column), dtype=np.int64)
    borders = np.unique(np.quantile(column[known], np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    return np.where(known, np.searchsorted(borders, column), _BINS).astype(np.int64)


def _gain(tenth: IntArray, labels: IntArray, quarter: IntArray) -> float:
    cells = (quarter * (_BINS + 1) + tenth) * 3 + labels
    counts = np.bincount(cells, minlength=_QUARTERS * (_BINS + 1) * 3).reshape(_QUARTERS, _BINS + 1, 3)
    gain = 0.0
    for tested in counts:
        learnt = counts.sum(axis=0) - tested
        shares = (learnt.sum(axis=0) + 1.0) / (learnt.sum() + 3.0)
        told = (learnt + _PRIOR_ROWS * shares) / (learnt.sum(axis=1, keepdims=True) + _PRIOR_ROWS)
        gain += float((tested * np.log(told / shares)).sum())
    return gain


def _begin(values: Values, lesson: Lesson) -> FittedSequence:
    chosen = telling_columns(lesson.windows.values[lesson.windows.ends], lesson.labels)
    windows = lesson.windows.pick(chosen)
    inputs = Standardiser.of(windows.rows_seen())
    taught = inputs.apply(windows.gather())
    learner = _learner(values, taught, lesson)
    return FittedSequence(str(values["backend"]), windows.length, chosen, inputs, learner)


def _learner(values: Values, inputs: FloatArray, lesson: Lesson) -> Learner:
    sizes = (int(values["hidden_size"]), int(values["hidden_size_2"]))
    layers = tuple(size for size in sizes if size)
    seeds = tuple(int(values["random_state"]) + net for net in range(int(values["nets"])))
    batch, alpha = int(values["batch_size"]), float(values["alpha"])
    if values["backend"] == MLP:
        nets = unfitted_nets(layers, batch_size=min(batch, len(inputs)), alpha=alpha, seeds=seeds)
        return SummaryLearner(inputs, lesson.labels, lesson.weights, nets)
    return _TorchLearner(inputs, lesson, layers, values, seeds)


class _TorchLearner:
    """LSTM nets that differ in their seed; one thread, every pass seeded by its number, so a fit repeats itself."""

    def __init__(
        self, inputs: FloatArray, lesson: Lesson, layers: tuple[int, ...], values: Values, seeds: tuple[int, ...]
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self._seeds, self._batch = seeds, int(values["batch_size"])
        self._inputs = torch.from_numpy(inputs.astype(np.float32))
        self._labels = torch.from_numpy(lesson.labels.astype(np.int64))
        self._weights = torch.from_numpy(lesson.weights.astype(np.float32))
        self._nets = [_torch_net(inputs.shape[-1], layers, float(values["dropout"]), seed) for seed in seeds]
        self._steps = [
            torch.optim.Adam(net.parameters(), lr=_LEARNING_RATE, weight_decay=float(values["alpha"]))
            for net in self._nets
        ]

    def epoch(self, number: int) -> None:
        """Pass over all rows once."""
        import torch
        from torch.nn.functional import cross_entropy

        for net, step, seed in zip(self._nets, self._steps, self._seeds, strict=True):
            order = torch.from_numpy(np.random.default_rng([seed, number]).permutation(len(self._labels)))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed * 100_003 + number)
                net.train()
                for batch in order.split(self._batch):
                    step.zero_grad()
                    losses = cross_entropy(_logits(net, self._inputs[batch]), self._labels[batch], reduction="none")
                    (losses * self._weights[batch]).mean().backward()
                    torch.nn.utils.clip_grad_norm_(net.parameters(), _LARGEST_GRADIENT)
                    step.step()

    def probabilities(self, inputs: FloatArray) -> FloatArray:
        """Give torch's mean probabilities (n, 3) in float64, in which rounding is out of the way."""
        import torch

        rows = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float64))
        with torch.no_grad():
            each = [torch.softmax(_logits(deepcopy(net).double().eval(), rows), dim=1).numpy() for net in self._nets]
        mean: FloatArray = np.mean(each, axis=0)
        return mean

    def network(self) -> Network:
        """Give the nets as arrays."""
        exported = [_exported(net) for net in self._nets]
        named = {name: np.stack([part[name] for part in exported]) for name in exported[0]}
        layers = [
            LstmLayer(named[f"layer{place}.weights"], named[f"layer{place}.bias"])
            for place in range(len(self._nets[0]["layers"]))
        ]
        return LstmNetwork(tuple(layers), named["head.weights"], named["head.bias"])


def _torch_net(width: int, sizes: tuple[int, ...], dropout: float, seed: int) -> torch.nn.ModuleDict:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = (width, *sizes[:-1])
        layers = [torch.nn.LSTM(before, size, batch_first=True) for before, size in zip(widths, sizes, strict=True)]
        return torch.nn.ModuleDict(
            {
                "layers": torch.nn.ModuleList(layers),
                "dropout": torch.nn.Dropout(dropout),
                "head": torch.nn.Linear(sizes[-1], 3),
            }
        )


def _logits(net: torch.nn.ModuleDict, rows: torch.Tensor) -> torch.Tensor:
    states = rows
    for layer in net["layers"]:
        states = net["dropout"](layer(states)[0])
    result: torch.Tensor = net["head"](states[:, -1])
    return result


def _exported(net: torch.nn.ModuleDict) -> dict[str, FloatArray]:
    """Give a net's numbers in the layout of `LstmNetwork`, without the axis of nets."""

    def numbers(tensor: torch.Tensor) -> FloatArray:
        return np.asarray(tensor.detach().numpy(), dtype=np.float64)

    named = {
        "head.weights": np.ascontiguousarray(numbers(net["head"].weight).T),
        "head.bias": numbers(net["head"].bias),
    }
    for place, layer in enumerate(net["layers"]):
        weights = np.concatenate([numbers(layer.weight_ih_l0).T, numbers(layer.weight_hh_l0).T])
        bias = numbers(layer.bias_ih_l0) + numbers(layer.bias_hh_l0)
        units = len(bias) // 4
        for part in (weights, bias):
            part[..., 2 * units : 3 * units] *= 2.0
        named |= {f"layer{place}.weights": np.ascontiguousarray(weights), f"layer{place}.bias": bias}
    return named
