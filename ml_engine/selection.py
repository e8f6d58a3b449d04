"""Which columns the members see: chosen on the train block alone.

Of two columns that rank rows alike one is kept; the rest are ranked by what shuffling them costs small boosters on rows
later than and purged from those they were fitted on. The costs of several such parts of the block are added up: what a
weak column is worth drowns in the noise of a single one.
"""

from __future__ import annotations

from collections.abc import Sequence

import lightgbm
import numpy as np

from data_manager.bars import FloatArray, IntArray
from ml_engine.metrics import log_loss
from ml_engine.models import Rows

TWIN_CORRELATION = 0.95
_RANK_ROWS = 4_000
_TEST_STEP = 2


def select_columns(folds: Sequence[tuple[Rows, Rows]], *, limit: int, seed: int) -> tuple[int, ...]:
    """Give the positions of at most `limit` columns in their own order.

    Each fold is a (fit, test) pair of parts of the train block, `test` later and purged from `fit`; the last `fit` is
    the longest and decides which columns are alive and distinct.
    """
    known = folds[-1][0].values
    distinct = _without_twins(known, _varying(known))
    if len(distinct) <= limit:
        return tuple(distinct)
    cost = np.zeros(len(distinct))
    for fit, test in folds:
        cost += len(test) * _shuffle_costs(fit, test, distinct, seed=seed)
    ranked = sorted(range(len(distinct)), key=lambda place: (-cost[place], place))
    return tuple(sorted(distinct[place] for place in ranked[:limit]))


def _varying(values: FloatArray) -> list[int]:
    """Give columns with at least two values, of which at least half the rows are known."""
    known = np.isfinite(values).mean(axis=0) >= 0.5
    low, high = np.nanmin(values[:, known], axis=0), np.nanmax(values[:, known], axis=0)
    return [int(column) for column in np.flatnonzero(known)[high > low]]


def _without_twins(values: FloatArray, columns: Sequence[int]) -> list[int]:
    """Keep the first of any columns whose Spearman correlation exceeds the limit, rows thinned evenly."""
    step = max(1, len(values) // _RANK_ROWS)
    ranks = np.stack([_ranks(values[::step, column]) for column in columns], axis=1)
    alike = np.abs(np.corrcoef(ranks, rowvar=False)) > TWIN_CORRELATION
    kept: list[int] = []
    for place in range(len(columns)):
        if not alike[place, kept].any():
            kept.append(place)
    return [columns[place] for place in kept]


def _ranks(column: FloatArray) -> FloatArray:
    """Give mean ranks, unknown values at the middle."""
    unknown = ~np.isfinite(column)
    _, first, inverse, counts = np.unique(column[~unknown], return_index=True, return_inverse=True, return_counts=True)
    del first
    last = np.cumsum(counts)
    ranks = np.full(len(column), (len(column) - unknown.sum() + 1) / 2.0)
    ranks[~unknown] = (last - (counts - 1) / 2.0)[inverse]
    return ranks


def _shuffle_costs(fit: Rows, test: Rows, columns: Sequence[int], *, seed: int) -> FloatArray:
    """Give the rise of log-loss on test rows when each column is shuffled; 0 for columns no tree uses."""
    model = lightgbm.LGBMClassifier(
        n_estimators=60,
        num_leaves=8,
        learning_rate=0.1,
        subsample=0.5,
        subsample_freq=1,
        colsample_bytree=0.3,
        reg_lambda=20.0,
        min_child_samples=max(60, len(fit) // 200),
        max_bin=63,
        random_state=seed,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )
    model.fit(fit.values[:, columns], fit.labels, sample_weight=fit.weights)
    values, labels = test.values[::_TEST_STEP][:, columns].copy(), test.labels[::_TEST_STEP]
    base = _loss(model, values, labels)
    order = np.random.default_rng(seed).permutation(len(values))
    costs = np.zeros(len(columns))
    for place in np.flatnonzero(model.feature_importances_ > 0):
        kept = values[:, place].copy()
        values[:, place] = kept[order]
        costs[place] = _loss(model, values, labels) - base
        values[:, place] = kept
    return costs


def _loss(model: lightgbm.LGBMClassifier, values: FloatArray, labels: IntArray) -> float:
    return log_loss(np.asarray(model.predict_proba(values), dtype=np.float64), labels)
