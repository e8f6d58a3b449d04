"""Stage B for one member: the defaults against the best trials on combinatorial purged folds.

The defaults are the champion: they yield only to a gain larger than one standard error, so that a small or lucky one
changes nothing. All challengers start; after two rounds the one that leads goes on alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data_manager.bars import FloatArray
from ml_engine.models import Parameters
from ml_engine.tuning_fits import fitter
from ml_engine.tuning_folds import CPCV_GROUPS, DAY_MS, Fold, Split, group_splits
from ml_engine.tuning_records import COMPLETE, Decision, Trial
from ml_engine.tuning_scores import fold_score
from ml_engine.tuning_study import TRIAL_FAILURES, Task
from ml_engine.tuning_watch import Watch

FINALISTS = 3
SMALLEST_FINALS = 6
# Two rounds, in which each part of time is tested twice: then the leader goes on alone against the defaults.
SPLITS_BEFORE_LEAVING = 6


def finalists(trials: Sequence[Trial]) -> list[Parameters]:
    """Give the changes of the best three trials among those that beat the defaults, which are the first trial."""
    champion = trials[0].score if math.isfinite(trials[0].score) else math.inf
    better = [trial for trial in trials[1:] if trial.state == COMPLETE and trial.score < champion]
    distinct: list[Parameters] = []
    for trial in sorted(better, key=lambda trial: (trial.score, trial.number)):
        if trial.parameters not in distinct:
            distinct.append(trial.parameters)
    return distinct[:FINALISTS]


def finals(member: str, challengers: Sequence[Parameters], task: Task, watch: Watch) -> tuple[Decision, Parameters]:
    """Give the decision and the winner's changes of the configured values, none when the defaults stay."""
    if not challengers:
        return Decision(member, False, "no trial scored better than the defaults"), {}
    splits = group_splits(task.ground, task.settings)
    if len(splits) < SMALLEST_FINALS:
        return Decision(member, False, f"{len(splits)} splits are too few for finals", splits=len(splits)), {}
    scores: list[FloatArray] = []
    running = list(challengers)
    for split in splits:
        if watch.is_over(f"finals {len(scores) + 1}/{len(splits)}"):
            return Decision(member, False, "out of time before the finals ended", splits=len(scores)), {}
        scores.append(_scores(member, [{}, *running], split, task))
        if len(scores) == SPLITS_BEFORE_LEAVING:
            gains = _gains(savings(np.array(scores)))
            leader = int(gains.argmax())
            if not gains[leader] > 0.0:
                return Decision(member, False, "no challenger was ahead of the defaults", splits=len(scores)), {}
            running, scores = [running[leader]], [found[[0, leader + 1]] for found in scores]
    saved = savings(np.array(scores))
    if not np.isfinite(saved[0]).all():
        return Decision(member, False, "a fit failed in the finals", splits=len(splits)), {}
    decision = decide(member, saved[0], splits=len(splits))
    return decision, running[0] if decision.changed else {}


def decide(member: str, saved: FloatArray, *, splits: int) -> Decision:
    """Judge what a challenger saves in each part of time, (n_parts,): more than one standard error, or nothing."""
    gain, error = float(saved.mean()), float(saved.std(ddof=1)) / math.sqrt(len(saved))
    changed = gain > error
    reason = f"better by {'more' if changed else 'no more'} than one standard error"
    return Decision(member, changed, reason, gain, error, splits)


def savings(scores: FloatArray) -> FloatArray:
    """Give by how much each challenger is better in each part of time, (n_challengers, n_parts).

    `scores` (n_splits, 1 + n_challengers, n_parts), NaN where a split does not test a part. A part is tested by several
    splits; they are averaged first, because tests of the same rows are no independent evidence.
    """
    tested = ~np.isnan(scores[:, 0, :])
    with np.errstate(invalid="ignore"):
        differences = scores[:, :1, :] - scores[:, 1:, :]
        sums = np.where(tested[:, None, :], differences, 0.0).sum(axis=0)
    counts = tested.sum(axis=0)
    saved: FloatArray = sums[:, counts > 0] / counts[counts > 0]
    return saved


def _gains(saved: FloatArray) -> FloatArray:
    """Give the mean saving of each challenger, minus infinity for one whose fit failed."""
    with np.errstate(invalid="ignore"):
        gains: FloatArray = np.where(np.isfinite(saved).all(axis=1), saved.mean(axis=1), -np.inf)
    return gains


def _scores(member: str, entries: Sequence[Parameters], split: Split, task: Task) -> FloatArray:
    """Score every entry on the parts a split tests, (n_entries, n_parts); infinite where a fit failed."""
    forecast = fitter(member, Fold(task.ground, split), patience=task.patience(member))
    scores = np.full((len(entries), CPCV_GROUPS), np.nan)
    for place, changes in enumerate(entries):
        try:
            found = forecast(task.parameters(member, changes, rows=len(split.fit)))
        except TRIAL_FAILURES:
            scores[place, list(split.parts)] = np.inf
            continue
        for part, rows, own in zip(split.parts, split.parts.values(), _divided(found, split), strict=True):
            day = np.unique(task.ground.data.t0[rows] // DAY_MS)
            score = fold_score(own, rows, task.ground, settings=task.settings, day=day).objective
            scores[place, part] = score if math.isfinite(score) else np.inf
    return scores


def _divided(found: FloatArray, split: Split) -> list[FloatArray]:
    """Divide forecasts of all test rows into those of each part."""
    return np.split(found, np.cumsum([len(rows) for rows in split.parts.values()])[:-1])
