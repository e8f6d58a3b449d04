"""Stage A for one member: the defaults, the last winner, then proposals, hopeless trials given up after a fold."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from lightgbm.basic import LightGBMError
from xgboost.core import XGBoostError

from bn_ml.settings import ModelSettings
from data_manager.bars import FloatArray, IntArray
from ml_engine import models
from ml_engine.fitting import PATIENCE
from ml_engine.models import Parameters, Recipe
from ml_engine.tuning_fits import fitter
from ml_engine.tuning_folds import Fold, Ground
from ml_engine.tuning_proposals import Proposals, proposals
from ml_engine.tuning_records import COMPLETE, FAILED, PRUNED, Trial
from ml_engine.tuning_scores import FoldScore, fold_score, sharpe
from ml_engine.tuning_watch import Watch

# As many finished trials must have seen a fold before their median may end another.
TRIALS_BEFORE_PRUNING = 4
LOGISTIC_TRIALS = 8
TRIAL_FAILURES = (LightGBMError, XGBoostError, ValueError, ArithmeticError)


@dataclass(frozen=True, slots=True, eq=False)
class Studied:
    """A trial with its mean objective after each fold, and its weighted losses by day (NaN-free when complete)."""

    trial: Trial
    running: tuple[float, ...]
    day_losses: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What all members of one search share: the folds of stage A and the sorted numbers of their test days among it."""

    ground: Ground
    settings: ModelSettings
    plan: Recipe
    previous: Mapping[str, Parameters]
    folds: tuple[Fold, ...]
    day: IntArray

    def parameters(self, member: str, changes: Parameters, *, rows: int) -> Parameters:
        """Give the full parameters of a member for a fit on `rows` rows, with changes of the configured values."""
        plan = replace(self.plan, tuned={member: changes})
        return dict(models.parameters(self.settings, plan, rows=rows).values[member])

    def patience(self, member: str) -> int:
        """Give the rounds without gain after which a booster stops."""
        return self.settings.xgb.early_stopping_rounds if member == "xgb" else PATIENCE

    def budget(self, member: str) -> int:
        """Give the number of trials of a member."""
        hpo = self.settings.hpo
        known = {"rf": hpo.rf_trials, "xgb": hpo.xgb_trials, "lgb": hpo.lgb_trials}
        return known.get(member, LOGISTIC_TRIALS)


def study(member: str, task: Task, watch: Watch) -> list[Studied]:
    """Run a member's trials one after another; the first is the defaults and always runs to its end."""
    budget = task.budget(member)
    source = proposals(task.settings.hpo.backend, member, trials=budget, seed=_seed(member, task))
    forecasts = [fitter(member, fold, patience=task.patience(member)) for fold in task.folds]
    known = [Parameters(), *([dict(task.previous[member])] if task.previous.get(member) else [])]
    done: list[Studied] = []
    for number in range(budget):
        if watch.is_over(f"{number + 1}/{budget}") and number:
            break
        changes = known[number] if number < len(known) else source.propose()
        studied = _run(member, number, changes, task, forecasts=forecasts, done=done)
        _teach(source, member, studied, task)
        done.append(studied)
    return done


def _teach(source: Proposals, member: str, studied: Studied, task: Task) -> None:
    """Let the proposals learn a trial, the defaults by the values they stand for."""
    trial = studied.trial
    rows = len(task.folds[-1].split.fit)
    values = trial.parameters or task.parameters(member, {}, rows=rows)
    source.learn(values, studied.running, pruned=trial.state == PRUNED)


def _run(
    member: str,
    number: int,
    changes: Parameters,
    task: Task,
    *,
    forecasts: Sequence[Callable[[Parameters], FloatArray]],
    done: Sequence[Studied],
) -> Studied:
    scores: list[FoldScore] = []
    running: list[float] = []
    state, reason = COMPLETE, ""
    for fold, forecast in zip(task.folds, forecasts, strict=True):
        try:
            values = task.parameters(member, changes, rows=len(fold.split.fit))
            score = fold_score(forecast(values), fold.split.test, task.ground, settings=task.settings, day=task.day)
        except TRIAL_FAILURES as error:
            state, reason = FAILED, f"{type(error).__name__}: {error}"
            break
        if not math.isfinite(score.objective):
            state, reason = FAILED, "the score is not a number"
            break
        scores.append(score)
        running.append(statistics.fmean(each.objective for each in scores))
        if number and task.settings.hpo.pruning and len(scores) < len(task.folds) and _hopeless(running, done):
            state = PRUNED
            break
    return _summed(Trial(member, number, changes, state, math.nan, 0.0, len(scores), reason=reason), scores, running)


def _summed(trial: Trial, scores: Sequence[FoldScore], running: Sequence[float]) -> Studied:
    net = np.concatenate([score.net for score in scores]) if scores else np.empty(0)
    return Studied(
        replace(
            trial,
            score=running[-1] if running and trial.state != FAILED else math.nan,
            variance=statistics.pvariance(score.objective for score in scores) if scores else 0.0,
            sharpe=sharpe(net),
            trades=len(net),
        ),
        tuple(running),
        np.sum([score.day_losses for score in scores], axis=0) if scores else np.empty(0),
    )


def _hopeless(running: Sequence[float], done: Sequence[Studied]) -> bool:
    """Whether the mean so far is worse than the median of the finished trials' after as many folds."""
    place = len(running) - 1
    others = [studied.running[place] for studied in done if studied.trial.state == COMPLETE]
    return len(others) >= TRIALS_BEFORE_PRUNING and running[place] > statistics.median(others)


def _seed(member: str, task: Task) -> int:
    return zlib.crc32(f"{task.settings.random_state}|{task.ground.data.symbol}|{member}".encode())
