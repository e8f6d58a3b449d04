"""The search for parameters: many cheap trials on purged folds, then finals in which the defaults are the champion.

Each member has a study with a seed of its own, so studies may run side by side and find the same. Most of the quality
is in the defaults; what the search adds must be proven against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from bn_ml.clock import SystemClock
from bn_ml.errors import ModelError
from bn_ml.settings import ModelSettings
from ml_engine import models
from ml_engine.models import Parameters, Recipe
from ml_engine.overfitting import overfitting_probability
from ml_engine.tuning_finals import finalists, finals
from ml_engine.tuning_fits import FITTERS
from ml_engine.tuning_folds import Fold, Ground, days_tested, forward_splits
from ml_engine.tuning_memory import search_key
from ml_engine.tuning_records import COMPLETE, Decision, Tuned, sharpe_variance, variance_of
from ml_engine.tuning_study import Studied, Task, study
from ml_engine.tuning_watch import Watch

SMALLEST_FOLDS = 2
SMALLEST_PBO_TRIALS, PBO_BLOCKS = 4, 16

Tell = Callable[[str], None]
Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What became of one member."""

    studied: list[Studied]
    decision: Decision
    parameters: Parameters


def search(
    ground: Ground,
    *,
    settings: ModelSettings,
    plan: Recipe,
    previous: Mapping[str, Parameters] | None = None,
    tell: Tell = lambda phase: None,
    monotonic: Monotonic | None = None,
) -> Tuned:
    """Search the parameters of every enabled member that has a space.

    `previous` are the last winners by member, tried right after the defaults. The same rows, settings and seed give the
    same result, however many studies run side by side; only `timeout_sec` can break that. A trial that fails is
    recorded and forgotten. Raises `ModelError` when the train block is too short for two folds.
    """
    clock = monotonic or SystemClock().monotonic
    splits = forward_splits(ground, settings)
    if len(splits) < SMALLEST_FOLDS:
        raise ModelError(f"{len(ground.rows)} rows to fit on leave no folds to search on", reason="too_few_rows")
    folds = tuple(Fold(ground, split) for split in splits)
    task = Task(ground, settings, plan, previous or {}, folds, days_tested(ground, splits))
    enabled = models.parameters(settings, plan, rows=len(ground.rows)).values
    names = [name for name in enabled if name in FITTERS]
    told = _one_at_a_time(tell)

    def one(member: str) -> _Found:
        return _member(member, task, Watch(member, told, clock, timeout_s=settings.hpo.timeout_sec))

    workers = min(settings.hpo.parallel, len(names))
    if workers <= 1:
        found = [one(name) for name in names]
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="search") as pool:
            found = list(pool.map(one, names))
    return _tuned(dict(zip(names, found, strict=True)), task)


def _member(member: str, task: Task, watch: Watch) -> _Found:
    studied = study(member, task, watch)
    decision, winner = finals(member, finalists([each.trial for each in studied]), task, watch)
    return _Found(studied, decision, winner)


def _tuned(found: Mapping[str, _Found], task: Task) -> Tuned:
    trials = tuple(each.trial for one in found.values() for each in one.studied)
    finished = [trial for trial in trials if trial.state == COMPLETE]
    luck = {name: _overfitting(one.studied) for name, one in found.items()}
    return Tuned(
        backend=task.settings.hpo.backend,
        objective=task.settings.hpo.objective,
        parameters={name: one.parameters for name, one in found.items() if one.parameters},
        decisions={name: one.decision for name, one in found.items()},
        count=len(trials),
        score_variance=variance_of([trial.score for trial in finished]),
        sharpe_variance=sharpe_variance(finished),
        best_score=min((trial.score for trial in finished), default=math.nan),
        pbo={name: value for name, value in luck.items() if math.isfinite(value)},
        searched_at=task.ground.at,
        key=search_key(task.settings, task.plan),
        trials=trials,
    )


def _overfitting(studied: Sequence[Studied]) -> float:
    """Give the probability that the best finished trial of a member was luck; NaN where trials or days are too few."""
    finished = [each.day_losses for each in studied if each.trial.state == COMPLETE]
    if len(finished) < SMALLEST_PBO_TRIALS or len(finished[0]) < PBO_BLOCKS:
        return math.nan
    return overfitting_probability(-np.stack(finished, axis=1), blocks=PBO_BLOCKS, by_mean=True)


def _one_at_a_time(tell: Tell) -> Tell:
    lock = Lock()

    def told(phase: str) -> None:
        with lock:
            tell(phase)

    return told
