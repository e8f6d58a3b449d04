"""Recorded 15m bars of liquid symbols: walk-forward trainings, mirrored twins, dealt-out labels, other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.eval_ml import pipeline, worlds
from benchmarks.eval_ml.made import auc_ratio, skill
from benchmarks.eval_ml.running import Answer
from benchmarks.eval_ml.settings import model_settings, risk_settings
from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars
from ml_engine import metrics
from ml_engine.dataset import Dataset
from ml_engine.evidence import scores
from ml_engine.trainer import EnsembleTrainer, Trained
from ml_engine.training_data import sample
from ml_engine.training_report import ENSEMBLE

LIQUID = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "MATIC", "AVAX", "ATOM", "FTM")
BENCHMARK = Symbol("BTC/USDT")
FOLD_DAYS, FOLDS = 42, 5
DAY_MS = 86_400_000


def recorded_bars(folder: str, base: str) -> Bars:
    """Read all recorded 15m bars of a base asset against USDT, 2022 to 2023."""
    table = pq.read_table(Path(folder) / "spot_2022_2023" / f"{base}_USDT-15m.parquet")
    times = table["timestamp"].cast("int64").to_numpy()
    opened, high, low, close, volume = (table[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    return Bars(Symbol(f"{base}/USDT"), Timeframe.M15, times, opened, high, low, close, volume, "recorded")


def folds(folder: str, base: str, labels: str, count: int = FOLDS) -> Answer:
    """Train a symbol before each of the last `count` six-week blocks and forecast the block."""
    setup, symbol = _setup(folder, labels), Symbol(f"{base}/USDT")
    found: dict[str, list[object]] = {}
    rows: dict[str, list[np.ndarray]] = {}
    for fold in range(count):
        start_ms, end_ms = _block(setup, fold, count)
        trained = pipeline.trained_at(setup, symbol, start_ms)
        data = pipeline.rows_ahead(setup, symbol, start_ms, end_ms).data
        for name, value in _fold_values(trained, data).items():
            found.setdefault(name, []).append(value)
        for name, array in _fold_rows(trained, data, fold).items():
            rows.setdefault(name, []).append(array)
    return Answer(dict(found), {name: np.concatenate(parts) for name, parts in rows.items()})


def mirrored_symbol(folder: str, base: str, seed: int, labels: str, count: int = FOLDS) -> Answer:
    """Mirror every bar of the market at random, train before the last block and forecast it."""
    plain, symbol = _setup(folder, labels), Symbol(f"{base}/USDT")
    turned = worlds.recorded_market(plain.bars, list(plain.bars), seed)
    setup = pipeline.Setup(turned, plain.model, plain.risk, BENCHMARK)
    start_ms, end_ms = _block(setup, count - 1, count)
    trained = pipeline.trained_at(setup, symbol, start_ms)
    return Answer(_fold_values(trained, pipeline.rows_ahead(setup, symbol, start_ms, end_ms).data))


def dealt_labels(folder: str, base: str, seed: int) -> Answer:
    """Deal the outcomes of a recorded symbol out anew, train, and judge later rows with dealt outcomes of their own."""
    setup, symbol = _setup(folder, "default"), Symbol(f"{base}/USDT")
    end_ms = _block(setup, FOLDS - 2, FOLDS)[0]
    found = sample(symbol, setup.market(end_ms), setup.model, setup.risk, max_gap_bars=pipeline.GAP_BARS)
    order = worlds.permutation(len(found.data), seed)
    trained = EnsembleTrainer(setup.model, setup.risk).train_on(pipeline.with_outcomes_of(found, order))
    ahead = pipeline.rows_ahead(setup, symbol, end_ms, int(setup.bars[symbol].close_time[-1])).data
    learnt, said = trained.sample.data.labels, pipeline.forecasts(trained, ahead)
    dealt = learnt[worlds.permutation(len(learnt), seed + 1_000_000)][: len(ahead)]
    return Answer(
        {
            "skill": skill(said, dealt, learnt),
            "report_skill": trained.figures[ENSEMBLE].skill.value,
            "auc": auc_ratio(said, dealt),
            "tradable": trained.verdict.tradable,
        }
    )


def other_seed(seed: int, random_state: int) -> Answer:
    """Train one planted world (R2 10 %) with another `random_state`; p_buy and the rule's BUY rows of later bars."""
    world = worlds.planted(seed, r2=0.1, count=28_000)
    model = model_settings("bed", random_state=random_state)
    setup = pipeline.Setup({worlds.COIN: world.bars}, model, risk_settings("horizon"))
    end_ms = int(world.bars.close_time[19_999])
    trained = pipeline.trained_at(setup, worlds.COIN, end_ms)
    data = pipeline.rows_ahead(setup, worlds.COIN, end_ms, int(world.bars.close_time[-1])).data
    said = pipeline.forecasts(trained, data)
    return Answer({}, {"p_buy": said[:, 2], "buys": pipeline.rule_buys(said, model)})


@cache
def _setup(folder: str, labels: str) -> pipeline.Setup:
    bars: Mapping[Symbol, Bars] = {part.symbol: part for part in (recorded_bars(folder, base) for base in LIQUID)}
    model = model_settings(labels, drift={"benchmark_symbol": str(BENCHMARK)})
    return pipeline.Setup(bars, model, risk_settings(), BENCHMARK)


def _block(setup: pipeline.Setup, fold: int, count: int) -> tuple[int, int]:
    """Give where a test block begins and ends, ms; the last block ends with the bars."""
    last = int(setup.bars[BENCHMARK].close_time[-1])
    return last - (count - fold) * FOLD_DAYS * DAY_MS, last - (count - fold - 1) * FOLD_DAYS * DAY_MS


def _fold_values(trained: Trained, data: Dataset) -> dict[str, object]:
    said = pipeline.forecasts(trained, data)
    soon = data.t1 <= data.t0[0] + 30 * DAY_MS
    learnt = trained.sample.data.labels
    line, score = trained.gates.line, scores(said, data.width)
    promised = line.intercept + line.slope * score
    top = np.argsort(-promised, kind="stable")[: max(1, len(score) // 20)]
    return {
        "rows": len(data),
        "start_ms": trained.sample.data_end,
        "skill": skill(said, data.labels, learnt),
        "skill_30_days": skill(said[soon], data.labels[soon], learnt),
        "twin_skill_30_days": skill(pipeline.twin_forecasts(trained, data)[soon], data.labels[soon], learnt),
        "report_skill": trained.figures[ENSEMBLE].skill.value,
        "auc": auc_ratio(said, data.labels),
        "ece": metrics.calibration_error(said, data.labels),
        "tradable": trained.verdict.tradable,
        "reasons": list(trained.verdict.reasons),
        "top_promised": float(promised[top].mean()),
        "top_realised": float(data.trade_gross[top].mean()),
        "weights": dict(trained.vote.weights),
        "map": trained.vote.final_map.method,
    }


def _fold_rows(trained: Trained, data: Dataset, fold: int) -> dict[str, np.ndarray]:
    said = pipeline.forecasts(trained, data)
    prior = metrics.prior_losses(metrics.class_shares(trained.sample.data.labels), data.labels)
    return {
        "said": said.astype(np.float32),
        "labels": data.labels.astype(np.int8),
        "losses": metrics.row_losses(said, data.labels),
        "prior_losses": prior,
        "fold": np.full(len(data), fold, dtype=np.int8),
        "day": (data.t0 // DAY_MS).astype(np.int32),
    }
