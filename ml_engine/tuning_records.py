"""What a search leaves behind: every trial, what was decided, and the figures that later answer for its luck."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ml_engine.models import Parameters

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
SHARPE_TRADES = 10


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: what it changes of the configured values (nothing: the defaults), and what it scored.

    `score` is the mean over the folds it reached, `variance` that of those folds, `sharpe` the ratio per trade of its
    entries; `score` is NaN for a trial that failed, with the `reason`.
    """

    member: str
    number: int
    parameters: Parameters
    state: str
    score: float
    variance: float
    folds: int
    sharpe: float = 0.0
    trades: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a member leaves its defaults: `gain` is what the challenger saves on the finals' test parts.

    `standard_error` is that of the mean of the paired differences by part of time. Both are 0 where no finals were run.
    """

    member: str
    changed: bool
    reason: str
    gain: float = 0.0
    standard_error: float = 0.0
    splits: int = 0

    @property
    def errors(self) -> float:
        """By how many standard errors the challenger is better."""
        return self.gain / self.standard_error if self.standard_error > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found. `parameters` by member, only those that replace configured values.

    `count` trials in all; `score_variance` of the scores and `sharpe_variance` of the ratios per trade of the finished
    ones; `pbo` by member, the probability that its choice was luck. `searched_at` is the instant (ms) the rows end at,
    `key` names what was searched: another key makes the result unfit for reuse. `trials` are empty after a reuse.
    """

    backend: str
    objective: str
    parameters: Mapping[str, Parameters]
    decisions: Mapping[str, Decision]
    count: int
    score_variance: float
    sharpe_variance: float
    best_score: float
    pbo: Mapping[str, float]
    searched_at: int
    key: str
    reused: bool = False
    trials: tuple[Trial, ...] = field(default=())

    @property
    def mean_pbo(self) -> float | None:
        """The members' mean probability that the choice was luck, None where none is known."""
        return float(np.mean(list(self.pbo.values()))) if self.pbo else None


def sharpe_variance(trials: Iterable[Trial]) -> float:
    """Give the variance of the ratios per trade of the finished trials that traded often enough to have one."""
    return variance_of([trial.sharpe for trial in trials if trial.state == COMPLETE and trial.trades >= SHARPE_TRADES])


def variance_of(values: list[float]) -> float:
    """Give the variance of the finite values, 0 under two.

    >>> variance_of([1.0, 3.0, float("nan")])
    2.0
    """
    finite = [value for value in values if math.isfinite(value)]
    return float(np.var(finite, ddof=1)) if len(finite) > 1 else 0.0
