"""Where the next parameters to try come from: a learning sampler, or a fixed grid that needs no extra package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from ml_engine.models import Parameters
from ml_engine.tuning_space import SPACE, Choice, Span, grid, nearest

if TYPE_CHECKING:
    import optuna


class Proposals(Protocol):
    """Proposes one trial after another and learns what became of them."""

    def propose(self) -> Parameters:
        """Give the parameters of the next trial."""

    def learn(self, parameters: Parameters, running: Sequence[float], *, pruned: bool) -> None:
        """Take what the latest trial, or one nobody proposed, scored: the mean over the folds so far, fold by fold."""


def proposals(backend: str, member: str, *, trials: int, seed: int) -> Proposals:
    """Give the proposals of a backend, `optuna` or `grid`."""
    # A sampler that learns has nothing to learn from a space of one dimension that a grid covers better.
    if backend == "grid" or len(SPACE[member]) == 1:
        return _Grid(member, trials)
    return _Sampled(member, trials=trials, seed=seed)


class _Grid:
    """The points of the grid in turn, whatever they score."""

    def __init__(self, member: str, trials: int) -> None:
        self._points = iter(grid(member, trials))

    def propose(self) -> Parameters:
        return next(self._points)

    def learn(self, parameters: Parameters, running: Sequence[float], *, pruned: bool) -> None:
        """Nothing to learn."""


class _Sampled:
    """Optuna's tree-structured Parzen estimator; the package is loaded by the first search alone."""

    def __init__(self, member: str, *, trials: int, seed: int) -> None:
        self._optuna: optuna = import_module("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._member = member
        sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, trials // 4))
        self._study = self._optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: optuna.Trial | None = None
        self._space = {name: self._distribution(dimension) for name, dimension in SPACE[member].items()}

    def propose(self) -> Parameters:
        self._asked = self._study.ask(self._space)
        return nearest(self._member, dict(self._asked.params))

    def learn(self, parameters: Parameters, running: Sequence[float], *, pruned: bool) -> None:
        states = self._optuna.trial.TrialState
        fine = bool(running) and all(map(math.isfinite, running))
        state = (states.PRUNED if pruned else states.COMPLETE) if fine else states.FAIL
        asked, self._asked = self._asked, None
        if asked is None:
            self._add(parameters, running, state)
            return
        for step, value in enumerate(running if fine else ()):
            asked.report(value, step)
        self._study.tell(asked, running[-1] if state is states.COMPLETE else None, state=state)

    def _add(self, parameters: Parameters, running: Sequence[float], state: optuna.TrialState) -> None:
        """Let the sampler know a trial it did not propose, at the nearest point of its space."""
        if state is self._optuna.trial.TrialState.FAIL:
            return
        trial = self._optuna.trial.create_trial(
            state=state,
            params=nearest(self._member, parameters),
            distributions=self._space,
            intermediate_values=dict(enumerate(running)),
            value=running[-1],
        )
        self._study.add_trial(trial)

    def _distribution(self, dimension: Span | Choice) -> optuna.BaseDistribution:
        kinds = self._optuna.distributions
        if isinstance(dimension, Choice):
            return kinds.CategoricalDistribution(dimension.values)
        if dimension.whole:
            return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
