"""Fits of one fold, made for many trials: the binned rows are built once, only the trees are grown again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from data_manager.bars import FloatArray
from ml_engine.models import BINS, FIXED_ROUNDS, MemberParameters, Parameters, fit_member, probabilities
from ml_engine.tuning_folds import Fold

SEARCH_TREES = 60
FOREST_BINS = 31

FloatArray32 = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Forecast = Callable[[Parameters], FloatArray]


def fitter(member: str, fold: Fold, *, patience: int) -> Forecast:
    """Give a function from a member's parameters to its forecasts (n, 3) of the fold's test rows.

    `patience` is the number of rounds without gain on the fold's tail before a booster stops.
    """
    return FITTERS[member](fold, patience)


def _forest(fold: Fold, patience: int) -> Forecast:
    """A forest of at most sixty trees on binned rows: enough to rank parameters, not to ship."""
    del patience
    values, test = _binned(fold.fit.values, fold.test)

    def forecast(parameters: Parameters) -> FloatArray:
        trees = min(SEARCH_TREES, int(parameters["n_estimators"]))
        model = RandomForestClassifier(**{**parameters, "n_estimators": trees}, n_jobs=1)
        model.fit(values, fold.fit.labels, sample_weight=fold.fit.weights)
        return np.asarray(model.predict_proba(test), dtype=np.float64)

    return forecast


def _binned(fit: FloatArray, test: FloatArray) -> tuple[FloatArray32, FloatArray32]:
    """Give both with each value as the number of its bin; the bins hold equally many rows to fit on.

    Equal values are sorted fast, which is most of what a forest does. Unknown values stay unknown.
    """
    shares = np.linspace(0.0, 1.0, FOREST_BINS + 1)[1:-1]
    both = np.empty(fit.shape, dtype=np.float32), np.empty(test.shape, dtype=np.float32)
    for column in range(fit.shape[1]):
        edges = np.unique(np.nanquantile(fit[:, column], shares))
        for coded, values in zip(both, (fit, test), strict=True):
            coded[:, column] = np.searchsorted(edges, values[:, column], side="right")
            coded[np.isnan(values[:, column]), column] = np.nan
    return both


def _extreme(fold: Fold, patience: int) -> Forecast:
    grown = xgboost.QuantileDMatrix(
        fold.early.values, fold.early.labels, weight=fold.early.weights, max_bin=BINS, nthread=1
    )
    watched = []
    if fold.tail is not None:
        tail = xgboost.QuantileDMatrix(fold.tail.values, fold.tail.labels, ref=grown, max_bin=BINS, nthread=1)
        watched = [(tail, "tail")]
    test = xgboost.DMatrix(fold.test, nthread=1)

    def forecast(parameters: Parameters) -> FloatArray:
        own = {name: value for name, value in parameters.items() if name not in ("n_estimators", "random_state")}
        model = xgboost.train(
            {**own, **_EXTREME_FIXED, "seed": parameters["random_state"]},
            grown,
            num_boost_round=int(parameters["n_estimators"]) if watched else FIXED_ROUNDS,
            evals=watched,
            early_stopping_rounds=patience if watched else None,
            verbose_eval=False,
        )
        rounds = (0, model.best_iteration + 1) if watched else (0, 0)
        return np.asarray(model.predict(test, iteration_range=rounds), dtype=np.float64)

    return forecast


def _light(fold: Fold, patience: int) -> Forecast:
    # The rows are binned for every trial, so no column may be dropped for one trial's least leaf.
    shared = {"max_bin": BINS, "feature_pre_filter": False, "num_threads": 1, "verbosity": -1}
    grown = lightgbm.Dataset(fold.early.values, fold.early.labels, weight=fold.early.weights, params=shared).construct()
    tail = (
        [] if fold.tail is None else [grown.create_valid(fold.tail.values, fold.tail.labels, params=shared).construct()]
    )

    def forecast(parameters: Parameters) -> FloatArray:
        own = {name: value for name, value in parameters.items() if name != "n_estimators"}
        model = lightgbm.train(
            {**own, **shared, **_LIGHT_FIXED},
            grown,
            num_boost_round=int(parameters["n_estimators"]) if tail else FIXED_ROUNDS,
            valid_sets=tail,
            callbacks=[lightgbm.early_stopping(patience, verbose=False)] if tail else None,
        )
        rounds = model.best_iteration if tail else None
        return np.asarray(model.predict(fold.test, num_iteration=rounds, num_threads=1), dtype=np.float64)

    return forecast


def _logistic(fold: Fold, patience: int) -> Forecast:
    """The linear member as it is shipped: its fit is cheap enough."""
    del patience

    def forecast(parameters: Parameters) -> FloatArray:
        member = fit_member("logistic", MemberParameters({"logistic": parameters}), fold.fit)
        return probabilities(member, fold.test)

    return forecast


_EXTREME_FIXED = {
    "objective": "multi:softprob",
    "num_class": 3,
    "eval_metric": "mlogloss",
    "tree_method": "hist",
    "max_bin": BINS,
    "nthread": 1,
    "verbosity": 0,
}
_LIGHT_FIXED = {
    "objective": "multiclass",
    "num_class": 3,
    "metric": "multi_logloss",
    # Without it LightGBM ignores subsample.
    "subsample_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
}
FITTERS: Mapping[str, Callable[[Fold, int], Forecast]] = {
    "rf": _forest,
    "xgb": _extreme,
    "lgb": _light,
    "logistic": _logistic,
}
