"""How much of a Sharpe ratio the search for it explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_manager.bars import FloatArray
from ml_engine.overfitting import Luck, overfitting_probability, sharpe_probability

FEWEST_DAYS = 10
PBO_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class SelectionLuck:
    """Deflated Sharpe ratio of daily returns, and the probability of backtest overfitting of what was tried.

    `deflated_sharpe` is the probability that the true Sharpe ratio exceeds what the best of `trials` worthless ones
    would have shown over as many days. `overfitting` is the share of splits of time in which the best of the trials
    in one half is below the median in the other. `why` and `why_no_overfitting` tell why one of them is None.
    """

    trials: int
    days: int
    deflated_sharpe: float | None = None
    overfitting: float | None = None
    why: str | None = None
    why_no_overfitting: str | None = None


def selection_luck(
    daily: Sequence[float], *, trials: int = 1, trial_returns: FloatArray | None = None
) -> SelectionLuck:
    """Judge daily returns chosen from `trials` configurations; `trial_returns` (n_periods, n_trials), one of them ours.

    Raises `ValueError` for fewer than one trial.
    """
    if trials < 1:
        raise ValueError(f"at least one trial was made, got {trials}")
    returns = np.asarray(daily, dtype=np.float64)
    why = _why_not(returns)
    why_no_overfitting = _why_no_overfitting(trial_returns)
    known = trial_returns if trial_returns is not None and why_no_overfitting is None else None
    return SelectionLuck(
        trials=trials,
        days=len(returns),
        deflated_sharpe=sharpe_probability(returns, Luck(trials)) if why is None else None,
        overfitting=None if known is None else overfitting_probability(known, blocks=PBO_BLOCKS),
        why=why,
        why_no_overfitting=why_no_overfitting,
    )


def _why_not(returns: FloatArray) -> str | None:
    if len(returns) < FEWEST_DAYS:
        return f"{len(returns)} days are too few, {FEWEST_DAYS} are needed"
    return "equity never moved" if float(returns.std(ddof=1)) <= 0.0 else None


def _why_no_overfitting(trial_returns: FloatArray | None) -> str | None:
    if trial_returns is None:
        return "returns of several trials are needed"
    periods, trials = trial_returns.shape
    if trials < 2 or periods < PBO_BLOCKS:
        return f"two trials over {PBO_BLOCKS} periods are needed, got {trials} over {periods}"
    return None
