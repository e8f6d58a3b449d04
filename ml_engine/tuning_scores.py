"""What a trial is worth on one fold: its log-loss, and the long-only trades its forecasts would have made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bn_ml.settings import HpoSettings, ModelSettings
from data_manager.bars import FloatArray, IntArray
from ml_engine.metrics import money, row_losses, without_overlap
from ml_engine.training_report import buy_rows
from ml_engine.tuning_folds import DAY_MS, Ground

# Where each part of the weighted objective has come most of the way to its bound of 1.
_RATIO_SCALE, _RETURN_SCALE, _TURNOVER_SCALE = 2.0, 0.2, 10.0


@dataclass(frozen=True, slots=True, eq=False)
class FoldScore:
    """One trial on one fold.

    `loss` is the uniqueness-weighted mean log-loss, `objective` what the search minimises, `net` the net returns of the
    trades one after another, `day_losses` the sum of weight times loss of each of the given days.
    """

    loss: float
    objective: float
    net: FloatArray
    day_losses: FloatArray


def fold_score(
    forecast: FloatArray, rows: IntArray, ground: Ground, *, settings: ModelSettings, day: IntArray
) -> FoldScore:
    """Score forecasts (n, 3) of test rows (n,); `day` are the sorted day numbers of all test rows of the search."""
    data = ground.data
    weights = data.uniqueness[rows]
    losses = row_losses(forecast, data.labels[rows])
    loss = float(np.average(losses, weights=weights))
    entries = np.flatnonzero(buy_rows(forecast, settings.ensemble))
    taken = without_overlap(entries, data.t0[rows], data.t1_trade[rows])
    weighted = settings.hpo.objective == "weighted"
    place = np.searchsorted(day, data.t0[rows] // DAY_MS)
    return FoldScore(
        loss=loss,
        objective=_trade_loss(entries, rows, ground, settings.hpo) if weighted and math.isfinite(loss) else loss,
        net=data.trade_gross[rows][taken] - ground.round_trip,
        day_losses=np.bincount(place, weights=weights * losses, minlength=len(day)).astype(np.float64),
    )


def sharpe(net: FloatArray) -> float:
    """Give the Sharpe ratio per trade; 0 under three trades or without spread."""
    if len(net) < 3:
        return 0.0
    deviation = float(net.std(ddof=1))
    return float(net.mean()) / deviation if deviation > 0.0 else 0.0


def _trade_loss(entries: IntArray, rows: IntArray, ground: Ground, hpo: HpoSettings) -> float:
    """Give minus the weighted sum of what the trades earned, each part bounded by 1; 0 without a trade."""
    data = ground.data
    spans = (data.t0[rows], data.t1_trade[rows])
    earned = money(entries, data.trade_gross[rows], spans, round_trip=ground.round_trip, seed=0)
    gain = (
        hpo.objective_weight_sharpe * math.tanh(earned.sharpe_net / _RATIO_SCALE)
        + hpo.objective_weight_sortino * math.tanh(earned.sortino_net / _RATIO_SCALE)
        + hpo.objective_weight_return * math.tanh(earned.net_total / _RETURN_SCALE)
        + hpo.objective_weight_accuracy * earned.win_rate
    )
    cost = hpo.objective_weight_drawdown * math.tanh(
        earned.max_drawdown / _RETURN_SCALE
    ) + hpo.objective_weight_turnover * math.tanh(earned.turnover / _TURNOVER_SCALE)
    return cost - gain
