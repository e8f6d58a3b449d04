"""The product's own road from bars to signals, walked up to one instant and judged on the bars after it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import talib

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.domain.signals import Action, Signal
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feature_engineer import FeatureEngineer, FeatureFrame
from data_manager.feed_checks import FeatureRow
from data_manager.market_context import MarketContext
from ml_engine.bundle_store import BundleStore
from ml_engine.dataset import Dataset, join, last_continuous
from ml_engine.decision import leaning
from ml_engine.labeling import DynamicLabeler, atr_fractions
from ml_engine.predictor import MLEnsemblePredictor
from ml_engine.trainer import EnsembleTrainer, Trained, compact
from ml_engine.training_bundle import publish_trained
from ml_engine.training_data import BASE, Sample, TrainingMarket, sample
from ml_engine.training_report import Candidate, buy_rows

GAP_BARS = 3
NO_BENCHMARK = Symbol("NONE/USDC")
_RULE = ("proba_below_min", "not_top_class", "margin_too_small", "hold_bias")


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """Bars by symbol, the benchmark if any, the settings of a figure, and whether fits are the quick ones."""

    bars: Mapping[Symbol, Bars]
    model: ModelSettings
    risk: RiskSettings
    benchmark: Symbol = NO_BENCHMARK
    quick: bool = False

    def market(self, end_ms: int) -> TrainingMarket:
        """Give the market as it was known at an instant."""
        known = {symbol: bars.closed_by(end_ms) for symbol, bars in self.bars.items()}
        basket = tuple(sorted(known)) if self.benchmark in known else ()
        return TrainingMarket(known, {}, basket, self.benchmark, end_ms)

    def context(self) -> MarketContext | None:
        """Give the market around the symbols over all bars."""
        return MarketContext.of(self.bars, self.benchmark) if self.benchmark in self.bars else None


def trained_at(setup: Setup, symbol: Symbol, end_ms: int) -> Trained:
    """Train a symbol on everything known at `end_ms`."""
    market = setup.market(end_ms)
    found = sample(symbol, market, setup.model, setup.risk, max_gap_bars=GAP_BARS)
    return EnsembleTrainer(setup.model, setup.risk, quick=setup.quick).train_on(found, market.basket)


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """Labelled rows after a training, and the frame they come from."""

    data: Dataset
    frame: FeatureFrame


def rows_ahead(setup: Setup, symbol: Symbol, since_ms: int, until_ms: int) -> Ahead:
    """Give the rows known after `since_ms` and, with their outcomes, at or before `until_ms`."""
    bars = last_continuous(setup.bars[symbol]).closed_by(until_ms)
    engineer = FeatureEngineer(setup.model)
    frame = engineer.build({BASE: bars}, setup.context(), since_ms=since_ms)
    labels = DynamicLabeler(setup.model.labeling, setup.risk, max_gap_bars=GAP_BARS).label(
        bars, cost_multiplier=setup.model.execution.cost_multiplier
    )
    known = np.isfinite(frame.values).any(axis=0)
    required = np.array(engineer.required) & known
    return Ahead(join(frame, labels, symbol, required), frame)


def forecasts(trained: Trained, data: Dataset) -> FloatArray:
    """Give what the shipped ensemble says of labelled rows, (n, 3)."""
    return trained.ensemble.probabilities(data.values[:, _places(trained, data.columns)])


def twin_forecasts(trained: Trained, data: Dataset) -> FloatArray:
    """Give what the members fitted on the train block alone say, (n, 3)."""
    return Candidate(data, trained.blocks, trained.twin, trained.vote).forecast(np.arange(len(data)))


def as_twin(trained: Trained) -> Trained:
    """Give the training as if it shipped the members fitted on the train block alone."""
    return replace(trained, shipped=trained.twin, ensemble=compact(trained.twin, trained.vote))


def passes_rule(signal: Signal) -> bool:
    """Tell whether a signal leans to BUY and passes the four probability gates."""
    judged = [gate.passed for gate in signal.gates if gate.reason in _RULE]
    return len(judged) == len(_RULE) and all(judged) and leaning(signal.probabilities) is Action.BUY


def rule_buys(said: FloatArray, model: ModelSettings) -> BoolArray:
    """Mask the rows on which the probability rule says BUY."""
    return buy_rows(said, model.ensemble)


def with_outcomes_of(found: Sample, order: IntArray) -> Sample:
    """Give the rows with class and trade of other rows of the same sample."""
    data = found.data
    return replace(found, data=replace(data, labels=data.labels[order], trade_gross=data.trade_gross[order]))


def signals(trained: Trained, setup: Setup, ahead: Ahead) -> list[Signal]:
    """Publish the bundle into a folder of its own and ask the predictor about every row of the frame."""
    with tempfile.TemporaryDirectory() as folder:
        store = BundleStore(Path(folder) / "models", keep_versions=None)
        moment = from_ms(trained.sample.data_end)
        publish_trained(store, trained, setup.model, setup.risk, trained_at=moment, trained_by="scoreboard")
        free = setup.model.model_copy(update={"max_bundle_age_hours": 1e9})
        asked = MLEnsemblePredictor(free, store, as_of=True, fees_frac=setup.risk.fees_pct)
        return [asked.signal(row, from_ms(row.close_time_ms)) for row in _rows(setup, ahead.frame)]


def bought(answers: list[Signal], data: Dataset) -> BoolArray:
    """Mask the labelled rows on which the predictor said BUY."""
    said = {int(signal.at.timestamp() * 1000) for signal in answers if signal.action is Action.BUY}
    return np.array([int(t0) in said for t0 in data.t0], dtype=np.bool_)


def apart(enter: BoolArray, data: Dataset) -> IntArray:
    """Give the rows entered when only one position is held at a time."""
    taken, free_at = [], -1
    for row in np.flatnonzero(enter):
        if data.t0[row] >= free_at:
            taken.append(int(row))
            free_at = int(data.t1_trade[row])
    return np.array(taken, dtype=np.int64)


def _places(trained: Trained, columns: tuple[str, ...]) -> IntArray:
    known = {name: place for place, name in enumerate(columns)}
    return np.array([known[name] for name in trained.columns], dtype=np.int64)


def _rows(setup: Setup, frame: FeatureFrame) -> list[FeatureRow]:
    bars = last_continuous(setup.bars[frame.symbol])
    first = int(np.searchsorted(bars.close_time, frame.close_time[0]))
    steps = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))
    spread, reach = talib.STDDEV(steps, timeperiod=96), atr_fractions(bars)
    return [
        FeatureRow(
            symbol=frame.symbol,
            close_time_ms=int(frame.close_time[place]),
            values=frame.values[place],
            columns=frame.columns,
            closes=bars.close[first + place - 192 : first + place + 1],
            atr_frac=float(reach[first + place]),
            volatility_frac=float(spread[first + place]),
            source="scoreboard",
            block=frame.values,
            place=place,
        )
        for place in range(len(frame))
    ]
