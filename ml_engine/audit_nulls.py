"""Worlds that teach nothing about direction: shuffled labels, and real bars each mirrored by the toss of a coin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars, BoolArray
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.audit_findings import Check, Notes
from ml_engine.dataset import join
from ml_engine.labeling import DynamicLabeler
from ml_engine.trainer import EnsembleTrainer
from ml_engine.training_data import BASE, Sample
from ml_engine.training_report import ENSEMBLE

LARGEST_SHUFFLED_SKILL = 0.003
LARGEST_DIRECTION_AUC = 0.54


def null_checks(
    found: Sample, trainer: EnsembleTrainer, model: ModelSettings, risk: RiskSettings, *, seed: int
) -> list[Check]:
    """Train on both null worlds: neither may show skill about direction, nor open the skill gate."""
    return [_shuffled(found, trainer, seed), _mirrored(found, trainer, model, risk, seed)]


def mirrored(bars: Bars, flips: BoolArray) -> Bars:
    """Give the bars with the moves of the flipped ones turned upside down; ranges, gaps in time and volume stay."""
    logs = np.stack([np.log(part) for part in (bars.open, bars.high, bars.low, bars.close)])
    before = np.concatenate((logs[0, :1], logs[3, :-1]))
    move = logs - before
    turned = np.where(flips, -move[[0, 2, 1, 3]], move)
    level = before[0] + np.concatenate(([0.0], np.cumsum(turned[3])[:-1]))
    opened, high, low, close = np.exp(level + turned)
    return replace(bars, open=opened, high=high, low=low, close=close, source="mirrored")


def _shuffled(found: Sample, trainer: EnsembleTrainer, seed: int) -> Check:
    notes = Notes("shuffled labels")
    order = np.random.default_rng(seed).permutation(len(found.data))
    data = replace(found.data, labels=found.data.labels[order], trade_gross=found.data.trade_gross[order])
    trained = trainer.train_on(replace(found, data=data))
    skill = trained.figures[ENSEMBLE].skill
    if skill.value > LARGEST_SHUFFLED_SKILL and skill.lower > 0.0:
        notes.add(f"skill {skill.value:+.2%} on shuffled labels, surely above 0 and {LARGEST_SHUFFLED_SKILL:.1%}")
    if trained.verdict.tradable:
        notes.add("the skill gate opened on shuffled labels")
    return notes.close(1, 1, f"skill {skill.value:+.2%}")


def _mirrored(found: Sample, trainer: EnsembleTrainer, model: ModelSettings, risk: RiskSettings, seed: int) -> Check:
    notes = Notes("mirrored bars")
    bars = mirrored(found.bars, np.random.default_rng(seed).random(len(found.bars)) < 0.5)
    engineer = FeatureEngineer(model)
    frame = engineer.build({BASE: bars}, None, since_ms=found.data_start)
    labels = DynamicLabeler(model.labeling, risk).label(
        bars.rows(0, len(bars) - 1), cost_multiplier=model.execution.cost_multiplier
    )
    demanded = np.array(engineer.required) & np.isfinite(frame.values).any(axis=0)
    trained = trainer.train_on(replace(found, data=join(frame, labels, bars.symbol, demanded), bars=bars))
    auc = trained.figures[ENSEMBLE].auc_direction
    if auc > LARGEST_DIRECTION_AUC:
        notes.add(f"direction AUC {auc:.3f} on mirrored bars, at most {LARGEST_DIRECTION_AUC} is chance")
    if trained.verdict.tradable:
        notes.add("the skill gate opened on mirrored bars")
    return notes.close(1, 1, f"direction AUC {auc:.3f}")
