"""Small worlds to train on: rows with a planted signal, a lesson in volatility only, or nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.settings import LabelingSettings, ModelSettings, RiskSettings
from ml_engine.dataset import Dataset
from ml_engine.trainer import EnsembleTrainer
from ml_engine.training_data import BASE, Sample
from tests.fakes.bar_builders import START_MS, some_bars

COIN = Symbol("COIN/USDC")
COLUMN_COUNT = 8


def planted_rows(count: int = 9_000, *, strength: float = 1.0, seed: int = 1) -> Dataset:
    """Rows whose first column leans the class, and with it the trade's return, by `strength`."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(count, COLUMN_COUNT))
    lean = strength * values[:, 0]
    logits = np.stack([-lean, np.full(count, 0.4), lean], axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((count, 1)) > np.cumsum(shares, axis=1)[:, :2]).sum(axis=1).astype(np.int64)
    t0 = START_MS + np.arange(count, dtype=np.int64) * BASE.ms
    gross = 0.01 * (labels - 1) + generator.normal(0, 0.01, count)
    return Dataset(
        symbol=COIN,
        columns=tuple(f"column_{place}" for place in range(COLUMN_COUNT)),
        values=values,
        labels=labels,
        width=np.full(count, 0.0081),
        t0=t0,
        t1=t0 + 10 * BASE.ms,
        t1_trade=t0 + 8 * BASE.ms,
        trade_gross=gross,
        uniqueness=np.full(count, 0.2),
    )


def shuffled(data: Dataset, *, seed: int = 3) -> Dataset:
    """The same rows with their outcomes dealt out anew."""
    order = np.random.default_rng(seed).permutation(len(data))
    return replace(data, labels=data.labels[order], trade_gross=data.trade_gross[order])


def a_sample(data: Dataset) -> Sample:
    """Rows as a training receives them."""
    end = int(data.t1.max()) + BASE.ms
    return Sample(data, "test", "f" * 64, int(data.t0[0]), end, len(data), (), some_bars(50, symbol=data.symbol))


def a_model(**changes: object) -> ModelSettings:
    """Model settings for small samples."""
    return ModelSettings.model_validate({"min_train_rows": 500, "training_window_days": 60, **changes})


def a_trainer(model: ModelSettings | None = None) -> EnsembleTrainer:
    """A quick trainer."""
    return EnsembleTrainer(model or a_model(), RiskSettings(), quick=True)


def narrow_labels(horizon: int = 10) -> LabelingSettings:
    """Labels with the default widths."""
    return LabelingSettings(horizon_bars=horizon)
