"""The members: random forest, XGBoost and LightGBM with small, strongly regularised parameters, a logistic anchor, and
where it is enabled a network that looks at windows of rows.

Every fit uses one thread and a fixed seed, so the same rows give the same trees. Rows enter with uniqueness weights
scaled to mean 1; classes carry no weight.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from bn_ml.settings import ModelSettings
from data_manager.bars import FloatArray, IntArray
from data_manager.windows import Windows
from ml_engine.acceleration import CPU, choose_device
from ml_engine.balancing import smote
from ml_engine.inference import LOGISTIC, SEQUENCE
from ml_engine.linear_fitting import fit_anchor
from ml_engine.sequence_model import FittedSequence, Lesson, best_epochs, fit_sequence, sequence_parameters

log = logging.getLogger(__name__)

BINS = 63
FIXED_ROUNDS = 100
EARLY_STOP_ROWS = 3_000
FOREST_SAMPLE_ROWS = 6_000
ANCHOR_C = 0.003
ANCHOR_ITERATIONS = 1_000

Parameters = dict[str, int | float | str]

# Without subsample_freq LightGBM ignores subsample.
_LIGHT_FIXED: Parameters = {
    "objective": "multiclass",
    "subsample_freq": 1,
    "max_bin": BINS,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class Member(Protocol):
    """A fitted classifier of three classes in the order SELL, HOLD, BUY."""

    def predict_proba(self, rows: FloatArray) -> FloatArray:
        """Give probabilities (n, 3)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the members are grown; `quick` is a smaller set for a first start, `tuned` wins over configured values.

    Without `sequence` no member looks at windows, whatever is configured.
    """

    name: str
    forest_trees: int
    forest_depth: int
    rounds: int
    learning_rate: float | None
    early_stopping: bool
    row_step: int
    tuned: Mapping[str, Parameters] = field(default_factory=dict)
    sequence: bool = True
    device: str = CPU


def recipe(settings: ModelSettings, *, quick: bool) -> Recipe:
    """Give the full recipe of the settings, or the quick one: fewer trees, fixed rounds, every fourth row."""
    device = choose_device(settings.acceleration)
    if device.fallback:
        log.warning("XGBoost is fitted on the processor: %s", device.reason)
    if quick:
        return Recipe("quick", 60, 6, 60, 0.1, early_stopping=False, row_step=4, sequence=False, device=device.name)
    rounds = max(settings.xgb.n_estimators, settings.lgb.n_estimators)
    return Recipe(
        "full",
        settings.rf.n_estimators,
        settings.rf.max_depth,
        rounds,
        None,
        early_stopping=True,
        row_step=1,
        device=device.name,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows to fit on: `values` (n, k), `labels` (n,), `weights` (n,) of mean 1; `windows` ending with them, if any."""

    values: FloatArray
    labels: IntArray
    weights: FloatArray
    windows: Windows | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class MemberParameters:
    """The parameters of each member, frozen so that a later fit repeats them.

    With `balance` smote each fit is given synthetic rows of the rare classes. `falls_back` lets a fit whose graphics
    card fails go on with the processor.
    """

    values: Mapping[str, Parameters] = field(default_factory=dict)
    balance: str = "none"
    falls_back: bool = True

    def with_rounds(self, name: str, rounds: int) -> MemberParameters:
        """Give the same parameters with other boosting rounds, or passes over the windows, for one member."""
        key = "epochs" if name == SEQUENCE else "n_estimators"
        return replace(self, values={**self.values, name: {**self.values[name], key: rounds}})

    def without(self, name: str) -> MemberParameters:
        """Give the parameters of the other members."""
        return replace(self, values={other: values for other, values in self.values.items() if other != name})


def make_rows(values: FloatArray, labels: IntArray, uniqueness: FloatArray, windows: Windows | None = None) -> Rows:
    """Scale uniqueness to weights of mean 1."""
    return Rows(values, labels, uniqueness / uniqueness.mean(), windows)


def parameters(settings: ModelSettings, plan: Recipe, *, rows: int) -> MemberParameters:
    """Give the parameters of all enabled members for a fit on `rows` rows."""
    seed = settings.random_state
    values: dict[str, Parameters] = {
        "rf": {
            "n_estimators": plan.forest_trees,
            "max_depth": plan.forest_depth,
            "min_samples_leaf": settings.rf.min_samples_leaf,
            "max_features": settings.rf.max_features,
            "max_samples": round(min(0.5, FOREST_SAMPLE_ROWS / rows), 6),
            "random_state": seed,
        },
        "xgb": {
            "n_estimators": min(plan.rounds, settings.xgb.n_estimators),
            "max_depth": settings.xgb.max_depth,
            "learning_rate": plan.learning_rate or settings.xgb.learning_rate,
            "subsample": settings.xgb.subsample,
            "colsample_bytree": settings.xgb.colsample_bytree,
            "reg_alpha": settings.xgb.reg_alpha,
            "reg_lambda": settings.xgb.reg_lambda,
            "min_child_weight": max(30, rows // 400),
            "random_state": seed,
        },
    }
    if plan.device != CPU:
        values["xgb"]["device"] = plan.device
    if settings.lgb.enabled:
        values["lgb"] = {
            "n_estimators": min(plan.rounds, settings.lgb.n_estimators),
            "max_depth": settings.lgb.max_depth,
            "num_leaves": settings.lgb.num_leaves,
            "learning_rate": plan.learning_rate or settings.lgb.learning_rate,
            "subsample": settings.lgb.subsample,
            "colsample_bytree": settings.lgb.colsample_bytree,
            "reg_alpha": settings.lgb.reg_alpha,
            "reg_lambda": settings.lgb.reg_lambda,
            "min_child_samples": max(settings.lgb.min_child_samples, rows // 200),
            "random_state": seed,
        }
    values[LOGISTIC] = {"C": ANCHOR_C, "max_iter": ANCHOR_ITERATIONS, "random_state": seed}
    if settings.lstm.enabled and plan.sequence:
        values[SEQUENCE] = sequence_parameters(settings.lstm, seed)
    found = {name: {**own, **plan.tuned.get(name, {})} for name, own in values.items()}
    return MemberParameters(found, settings.labeling.balance, settings.acceleration.allow_cuda_fallback)


def fit_member(name: str, chosen: MemberParameters, rows: Rows) -> Member:
    """Fit one member on all given rows; the sequence member on those whose window is known."""
    values, rows = chosen.values[name], _balanced(rows, chosen)
    if name == LOGISTIC:
        return fit_anchor(
            rows.values, rows.labels, rows.weights, c=float(values["C"]), max_iter=int(values["max_iter"])
        )
    if name == SEQUENCE:
        return fit_sequence(values, _lesson(rows))
    model = _make(name, values)
    try:
        model.fit(rows.values, rows.labels, sample_weight=rows.weights)
    except xgboost.core.XGBoostError as error:
        if values.get("device", CPU) == CPU or not chosen.falls_back:
            raise
        log.warning("the graphics card failed, XGBoost is fitted on the processor: %s", error)
        model = _make(name, {**values, "device": CPU})
        model.fit(rows.values, rows.labels, sample_weight=rows.weights)
    fitted: Member = model
    return fitted


def best_rounds(name: str, chosen: MemberParameters, fit: Rows, tail: Rows, *, patience: int) -> int:
    """Give the boosting rounds with the least log-loss on the tail, which is later than and purged from `fit`.

    For the sequence member these are passes over its windows.
    """
    fit = _balanced(fit, chosen)
    if name == SEQUENCE:
        return best_epochs(chosen.values[name], _lesson(fit), _lesson(tail))
    if name == "xgb":
        model = _make(name, {**chosen.values[name], "early_stopping_rounds": patience})
        model.fit(
            fit.values, fit.labels, sample_weight=fit.weights, eval_set=[(tail.values, tail.labels)], verbose=False
        )
        return int(model.best_iteration) + 1
    values = {key: value for key, value in chosen.values[name].items() if key != "n_estimators"}
    train = lightgbm.Dataset(fit.values, fit.labels, weight=fit.weights, params={"max_bin": BINS, "verbosity": -1})
    model = lightgbm.train(
        {**values, **_LIGHT_FIXED, "num_class": 3, "metric": "multi_logloss", "num_threads": 1},
        train,
        num_boost_round=int(chosen.values[name]["n_estimators"]),
        valid_sets=[train.create_valid(tail.values, tail.labels)],
        callbacks=[lightgbm.early_stopping(patience, verbose=False)],
    )
    return max(1, int(model.best_iteration))


def probabilities(model: Member, values: FloatArray, windows: Windows | None = None) -> FloatArray:
    """Give a member's raw probabilities (n, 3) in float64, for a sequence member from the rows' windows."""
    if isinstance(model, FittedSequence):
        if windows is None:
            raise ValueError("the sequence member needs the rows' windows")
        return model.probabilities(windows)
    return np.asarray(model.predict_proba(values), dtype=np.float64)


def _balanced(rows: Rows, chosen: MemberParameters) -> Rows:
    """Add synthetic rows of the rare classes when asked for; windows stay those of the real rows, which come first."""
    if chosen.balance != "smote":
        return rows
    seed = int(next(iter(chosen.values.values()))["random_state"])
    values, labels, weights = smote(rows.values, rows.labels, rows.weights, seed=seed)
    return Rows(values, labels, weights, rows.windows)


def _lesson(rows: Rows) -> Lesson:
    if rows.windows is None:
        raise ValueError("the sequence member needs the rows' windows")
    # Rows made up to balance the classes stand after the real ones and have no past.
    real = len(rows.windows)
    return Lesson(rows.windows, rows.labels[:real], rows.weights[:real])


def _make(name: str, values: Parameters) -> RandomForestClassifier | xgboost.XGBClassifier | lightgbm.LGBMClassifier:
    if name == "rf":
        return RandomForestClassifier(**values, n_jobs=1)
    if name == "xgb":
        return xgboost.XGBClassifier(
            **values,
            objective="multi:softprob",
            eval_metric="mlogloss",
            tree_method="hist",
            max_bin=BINS,
            n_jobs=1,
            verbosity=0,
        )
    return lightgbm.LGBMClassifier(**values, **_LIGHT_FIXED, n_jobs=1)
