"""The pieces of work of the scoreboard: one training or one small check each, with a plain answer that can be kept."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.eval_ml import bayes, pipeline, worlds
from benchmarks.eval_ml.running import Answer
from benchmarks.eval_ml.settings import model_settings, risk_settings
from data_manager.bars import FloatArray, IntArray
from ml_engine import metrics
from ml_engine.dataset import Dataset
from ml_engine.trainer import Trained
from ml_engine.training_report import ENSEMBLE

Values = dict[str, object]
TRAIN_BARS, TEST_BARS = 20_000, 8_000
COST = 0.003


def null_world(kind: str, seed: int, trades: str = "default", labels: str = "default") -> Answer:
    """Train on a martingale and ask the predictor about the 8,000 bars after it."""
    world = worlds.NULLS[kind](seed, count=TRAIN_BARS + TEST_BARS)
    return Answer(_judged(world, labels, trades, r2=None))


def planted_world(r2: float, seed: int, trades: str = "horizon", labels: str = "bed") -> Answer:
    """Train on a planted drift and compare with the best forecaster on the 8,000 bars after it."""
    world = worlds.planted(seed, r2=r2, count=TRAIN_BARS + TEST_BARS)
    return Answer(_judged(world, labels, trades, r2=r2))


def _judged(world: worlds.World, labels: str, trades: str, *, r2: float | None) -> Values:
    started = time.process_time()
    model, risk = model_settings(labels), risk_settings(trades)
    setup = pipeline.Setup({worlds.COIN: world.bars}, model, risk)
    end_ms = int(world.bars.close_time[TRAIN_BARS - 1])
    trained = pipeline.trained_at(setup, worlds.COIN, end_ms)
    fitted = time.process_time() - started
    ahead = pipeline.rows_ahead(setup, worlds.COIN, end_ms, int(world.bars.close_time[-1]))
    data = ahead.data
    said = pipeline.forecasts(trained, data)
    answers = pipeline.signals(trained, setup, ahead)
    entered = pipeline.apart(pipeline.bought(answers, data), data)
    figures: Values = {
        "tradable": trained.verdict.tradable,
        "reasons": list(trained.verdict.reasons),
        "hold_share": float(np.mean([str(signal.action.value) == "HOLD" for signal in answers])),
        "trades": len(entered),
        "gross": data.trade_gross[entered].tolist(),
        "days": (data.t0[entered] // 86_400_000).tolist(),
        "auc": auc_ratio(said, data.labels),
        "auc_difference": metrics.direction_auc(said[:, 2] - said[:, 0], data.labels),
        "skill": skill(said, data.labels, trained.sample.data.labels),
        "report_skill": trained.figures[ENSEMBLE].skill.value,
        "ece": metrics.calibration_error(said, data.labels),
        "slope": [trained.gates.slope.value, trained.gates.slope.lower, trained.gates.slope.upper],
        "line": trained.gates.line.slope,
        "weights": dict(trained.vote.weights),
        "map": trained.vote.final_map.method,
        "shares": (np.bincount(data.labels, minlength=3) / len(data)).tolist(),
        "refit_shipped": trained.refit.shipped,
        "member_auc": {name: auc_ratio(raw, data.labels) for name, raw in trained.shipped.raw(data.values).items()},
        "fit_seconds": fitted,
    }
    if r2 is not None:
        figures |= _against_truth(world, trained, (data, said, entered), r2=r2)
    return figures


def _against_truth(
    world: worlds.World, trained: Trained, ahead: tuple[Dataset, FloatArray, IntArray], *, r2: float
) -> Values:
    data, said, entered = ahead
    place = np.searchsorted(world.bars.close_time, data.t0)
    best = bayes.truth(world.z[place], world.vol[place], data.width, r2=r2, horizon=8)
    prior = metrics.class_shares(trained.sample.data.labels)
    base = metrics.prior_losses(prior, data.labels).mean()
    own, ideal = metrics.log_loss(said, data.labels), metrics.log_loss(best.probabilities, data.labels)
    taken = pipeline.apart(best.expected > COST, data)
    buys = np.array(entered)
    return {
        "bayes_auc": auc_ratio(best.probabilities, data.labels),
        "bayes_auc_difference": metrics.direction_auc(best.probabilities[:, 2] - best.probabilities[:, 0], data.labels),
        "bayes_gain": float(base - ideal),
        "gain": float(base - own),
        "bayes_net": float((data.trade_gross[taken] - COST).sum()),
        "bayes_trades": len(taken),
        "net": float((data.trade_gross[entered] - COST).sum()),
        "precision": float((data.labels[buys] == 2).mean()) if len(buys) else None,
        "predicted": float(said[buys, 2].mean()) if len(buys) else None,
    }


def auc_ratio(said: FloatArray, labels: IntArray) -> float:
    """Give the chance that a BUY row has higher odds of BUY against SELL than a SELL row."""
    return metrics.direction_auc(np.log(np.maximum(said[:, 2], 1e-12) / np.maximum(said[:, 0], 1e-12)), labels)


def skill(said: FloatArray, labels: IntArray, trained_on: IntArray) -> float:
    """Give 1 - loss / loss of the training's class shares."""
    prior = metrics.prior_losses(metrics.class_shares(trained_on), labels)
    return float(1.0 - metrics.log_loss(said, labels) / prior.mean())
