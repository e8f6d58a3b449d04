"""P7: what a search for parameters costs, and how good its winner is, against a search as it is often written.

The naive loop draws parameters at random from the same spaces, bins and fits anew on every fold with all its rounds and
trees, gives nothing up, and keeps the best mean. It is measured on a few trials of each member and scaled to the whole
budget; both winners are then judged the same way, as each search would fit them, on the same purged folds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from benchmarks.bench_base import ONE_THREAD, Result, faster, say
from bn_ml.domain.market import Symbol
from bn_ml.settings import ModelSettings
from data_manager.bars import FloatArray, IntArray
from ml_engine import models
from ml_engine.dataset import Dataset
from ml_engine.metrics import row_losses
from ml_engine.models import Parameters
from ml_engine.tuning import search
from ml_engine.tuning_folds import Ground, forward_splits
from ml_engine.tuning_space import SPACE
from ml_engine.validation import Purge

ROWS, COLUMNS = 5_000, 50
NAIVE_TRIALS = 3
BAR_MS = 900_000
HORIZON = 10
ALLOWED_LOSS = 0.002

Fit = Callable[[str, Parameters, FloatArray, IntArray], models.Member]


@dataclass(frozen=True)
class Outcome:
    """CPU seconds of the whole budget and the winner's mean log-loss over members."""

    cpu_s: float
    losses: Mapping[str, float]

    @property
    def loss(self) -> float:
        """Mean over the members."""
        return float(np.mean(list(self.losses.values())))


def measure() -> list[Result]:
    """Compare CPU seconds of the two searches, and the log-loss of what they found."""
    settings = ModelSettings()
    ground = a_ground(planted_market(ROWS, COLUMNS, seed=7))
    say("search, ours")
    ours = _ours(ground, settings)
    say(f"  {ours.cpu_s:.0f} CPU s; the naive loop, {NAIVE_TRIALS} trials of each member")
    naive = _naive(ground, settings)
    note = f"naive loop: {NAIVE_TRIALS} trials of each member, scaled to its budget; finals on 15 splits are in ours"
    gap = ours.loss - naive.loss
    parts = ", ".join(f"{name} {ours.losses[name]:.4f} / {naive.losses[name]:.4f}" for name in ours.losses)
    return [
        faster("P7 search, CPU per symbol", ours.cpu_s, naive.cpu_s, bar=10.0, runs=1, unit="CPU s", note=note),
        Result(
            "P7 log-loss of the winner less naive's", gap, naive.loss, gap, ALLOWED_LOSS, "ours <=", "nats", 1, parts
        ),
    ]


def planted_market(rows: int, columns: int, *, seed: int) -> Dataset:
    """Rows in which a slow volatility shows in several columns and a weak, persistent drift in one."""
    generator = np.random.default_rng(seed)
    shocks = generator.normal(size=(rows, 2))
    states = np.zeros((rows, 2))
    for row in range(1, rows):
        states[row] = 0.97 * states[row - 1] + 0.24 * shocks[row]
    heat, lean = states.T
    values = generator.normal(size=(rows, columns))
    values[:, :10] += heat[:, None]
    values[:, 10] += lean
    moving = 0.6 * heat - 0.4
    logits = np.stack([moving - 0.25 * lean, np.zeros(rows), moving + 0.25 * lean], axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((rows, 1)) > np.cumsum(shares, axis=1)[:, :2]).sum(axis=1).astype(np.int64)
    t0 = 1_650_000_000_000 + np.arange(rows, dtype=np.int64) * BAR_MS
    return Dataset(
        symbol=Symbol("COIN/USDC"),
        columns=tuple(f"column_{place}" for place in range(columns)),
        values=values,
        labels=labels,
        width=np.full(rows, 0.0081),
        t0=t0,
        t1=t0 + HORIZON * BAR_MS,
        t1_trade=t0 + HORIZON * BAR_MS,
        trade_gross=0.0081 * (labels - 1) + generator.normal(0, 0.003, rows),
        uniqueness=np.full(rows, 0.2),
    )


def a_ground(data: Dataset) -> Ground:
    """All rows and columns as the ground of a search."""
    everything = np.arange(len(data), dtype=np.int64)
    purge = Purge(97 * BAR_MS, 96 * BAR_MS)
    return Ground(data, everything, tuple(range(len(data.columns))), purge, 0.003, int(data.t1.max()) + 1)


def _ours(ground: Ground, settings: ModelSettings) -> Outcome:
    plan = models.recipe(settings, quick=False)
    started = time.process_time()
    found = search(ground, settings=settings, plan=plan)
    spent = time.process_time() - started
    losses = {}
    for member in _members():
        changes = found.parameters.get(member, {})
        losses[member] = _folds_loss(member, ground, settings, changes, _as_shipped)
    return Outcome(spent, losses)


def _naive(ground: Ground, settings: ModelSettings) -> Outcome:
    budgets = {"rf": settings.hpo.rf_trials, "xgb": settings.hpo.xgb_trials, "lgb": settings.hpo.lgb_trials}
    generator = np.random.default_rng(3)
    spent, losses = 0.0, {}
    for member, budget in budgets.items():
        started = time.process_time()
        scores = [
            _folds_loss(member, ground, settings, _drawn(member, generator), _as_often_written)
            for _ in range(NAIVE_TRIALS)
        ]
        spent += (time.process_time() - started) / NAIVE_TRIALS * budget
        losses[member] = min(scores)
    return Outcome(spent, losses)


def _drawn(member: str, generator: np.random.Generator) -> Parameters:
    """Give a random point of a member's space."""
    return {name: dimension.at(float(generator.random())) for name, dimension in SPACE[member].items()}


def _folds_loss(member: str, ground: Ground, settings: ModelSettings, changes: Parameters, fit: Fit) -> float:
    """Fit on each fold and give the mean log-loss of the test rows."""
    data, columns = ground.data, np.array(ground.columns)
    plan = models.recipe(settings, quick=False)
    losses = []
    for split in forward_splits(ground, settings):
        chosen = dict(models.parameters(settings, plan, rows=len(split.fit)).values[member]) | changes
        fitted = fit(member, chosen, data.values[np.ix_(split.fit, columns)], data.labels[split.fit])
        forecast = models.probabilities(fitted, data.values[np.ix_(split.test, columns)])
        losses.append(float(row_losses(forecast, data.labels[split.test]).mean()))
    return float(np.mean(losses))


def _as_shipped(member: str, chosen: Parameters, values: FloatArray, labels: IntArray) -> models.Member:
    """Fit as a training does that has too few rows to stop early."""
    if member != "rf":
        chosen = {**chosen, "n_estimators": models.FIXED_ROUNDS}
    rows = models.make_rows(values, labels, np.ones(len(labels)))
    return models.fit_member(member, models.MemberParameters({member: chosen}), rows)


def _as_often_written(member: str, chosen: Parameters, values: FloatArray, labels: IntArray) -> models.Member:
    """Fit with every configured tree or round, all rows for each tree of the forest, and the libraries' own bins."""
    fitted: models.Member
    if member == "rf":
        own = {name: value for name, value in chosen.items() if name != "max_samples"}
        fitted = RandomForestClassifier(**own, n_jobs=1).fit(values, labels)
    elif member == "xgb":
        fitted = xgboost.XGBClassifier(**chosen, tree_method="hist", n_jobs=1).fit(values, labels)
    else:
        fitted = lightgbm.LGBMClassifier(**chosen, subsample_freq=1, n_jobs=1, verbosity=-1).fit(values, labels)
    return fitted


def _members() -> tuple[str, ...]:
    return ("rf", "xgb", "lgb")


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    from benchmarks.run import line

    for result in measure():
        print(line(result))
        print(f"        {result.note}")
