"""Training one symbol: nine steps from bars to a calibrated vote with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.settings import ModelSettings, RiskSettings, Settings, model_section, risk_section
from data_manager.bars import FloatArray
from ml_engine import fitting, models
from ml_engine.dataset import require_enough
from ml_engine.fitting import Grown, Vote
from ml_engine.inference import CompactEnsemble
from ml_engine.labeling import DynamicLabeler
from ml_engine.metrics import MoneyFigures, class_shares
from ml_engine.training_data import BASE, Sample, TrainingMarket, assumed_round_trip, sample
from ml_engine.training_report import (
    ENSEMBLE,
    Candidate,
    Figures,
    Gates,
    Verdict,
    excess_loss,
    judge,
    measure_gates,
    report,
)
from ml_engine.validation import Blocks, Purge, split_blocks

LARGEST_REFIT_CHANGE = 0.05

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Refit:
    """Whether the members shipped were fitted again on all rows, and how far that moved the report block's p."""

    shipped: bool
    mean_change: float
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished training. `figures` belong to `twin`, the members fitted on the train block alone."""

    symbol: Symbol
    sample: Sample
    purge: Purge
    blocks: Blocks
    twin: Grown
    shipped: Grown
    refit: Refit
    vote: Vote
    gates: Gates
    figures: Mapping[str, Figures]
    money: MoneyFigures
    verdict: Verdict
    ensemble: CompactEnsemble
    basket: tuple[Symbol, ...]
    excess_loss: FloatArray
    recipe: str

    @property
    def label_end(self) -> int:
        """The last instant any outcome used by this training depends on, ms."""
        return int(self.sample.data.t1.max())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns the members read, in order."""
        return tuple(self.sample.data.columns[place] for place in self.shipped.columns)


class EnsembleTrainer:
    """Trains symbols with fixed parameters; the same bars, settings and seed give the same ensemble bytes."""

    def __init__(
        self,
        model: ModelSettings | Settings | Mapping[str, object],
        risk: RiskSettings | None = None,
        *,
        quick: bool = False,
        max_gap_bars: int = 3,
    ) -> None:
        """Take model and risk settings, or all settings (a partial mapping will do) in the place of the first.

        `quick` grows a smaller ensemble for a first start.
        """
        if not isinstance(model, ModelSettings):
            risk, model = risk or risk_section(model), model_section(model)
        self._model = model
        self._risk = risk = risk or RiskSettings()
        self._max_gap_bars = max_gap_bars
        self._plan = models.recipe(model, quick=quick)
        self._seed = model.random_state
        self._window_bars = DynamicLabeler(model.labeling, risk).window_bars(BASE.ms) + 1

    def train(self, symbol: Symbol, market: TrainingMarket, tell: Tell = lambda phase: None) -> Trained:
        """Train one symbol; raises `MarketDataError` or `ModelError` with the reason when it cannot be."""
        tell("features and labels")
        found = sample(symbol, market, self._model, self._risk, max_gap_bars=self._max_gap_bars)
        basket = market.basket if market.benchmark in market.basket else ()
        return self.train_on(found, basket, tell)

    def train_on(self, found: Sample, basket: tuple[Symbol, ...] = (), tell: Tell = lambda phase: None) -> Trained:
        """Train on rows already made; raises `ModelError` when they are too few or cannot be calibrated."""
        require_enough(found.data, min_rows=self._model.min_train_rows)
        tell("split")
        blocks = self._split(found)
        tell("columns")
        columns = fitting.choose_columns(found.data, blocks.train.rows, self._model, self._plan, self._purge)
        tell("fit")
        twin = self._grow(found, blocks, columns)
        tell("calibrate")
        vote = fitting.settle_vote(found.data, blocks, twin, self._model, gap_rows=self._window_bars)
        candidate = Candidate(found.data, blocks, twin, vote)
        tell("gates")
        gates = measure_gates(candidate, seed=self._seed)
        tell("report")
        figures, money = self._report(candidate)
        tell("refit")
        shipped, refit = self._refit(candidate)
        return Trained(
            symbol=found.data.symbol,
            sample=found,
            purge=self._purge,
            blocks=blocks,
            twin=twin,
            shipped=shipped,
            refit=refit,
            vote=vote,
            gates=gates,
            figures=figures,
            money=money,
            verdict=judge(figures[ENSEMBLE].skill, gates, vote, calibrate_rows=len(blocks.calibrate)),
            ensemble=compact(shipped, vote),
            basket=basket,
            excess_loss=excess_loss(candidate, step=self._model.labeling.horizon_bars),
            recipe=self._plan.name,
        )

    @property
    def _purge(self) -> Purge:
        configured = self._model.validation.purge_bars
        bars = self._window_bars if configured == "auto" else max(configured, self._window_bars)
        return Purge(bars * BASE.ms, self._model.validation.embargo_bars * BASE.ms)

    def _split(self, found: Sample) -> Blocks:
        ratio = self._model.validation.train_ratio
        return split_blocks(found.data.t0, found.data.t1, train_ratio=ratio, purge=self._purge)

    def _grow(self, found: Sample, blocks: Blocks, columns: tuple[int, ...]) -> Grown:
        return fitting.grow(
            found.data, blocks.train.rows, columns, settings=self._model, plan=self._plan, purge=self._purge
        )

    def _report(self, candidate: Candidate) -> tuple[Mapping[str, Figures], MoneyFigures]:
        round_trip = assumed_round_trip(self._model, self._risk)
        return report(candidate, settings=self._model.ensemble, round_trip=round_trip, seed=self._seed)

    def _refit(self, candidate: Candidate) -> tuple[Grown, Refit]:
        """Fit on all rows with everything frozen; keep the twin when that moves the forecast too far."""
        data, twin, judged = candidate.data, candidate.grown, candidate.blocks.report.rows
        rows = np.arange(len(data), dtype=np.int64)[:: self._plan.row_step]
        again = fitting.regrow(data, rows, twin.columns, twin.parameters)
        after = Candidate(data, candidate.blocks, again, candidate.vote).forecast(judged)
        change = float(np.abs(after - candidate.forecast(judged)).max(axis=1).mean())
        if change <= LARGEST_REFIT_CHANGE:
            return again, Refit(True, change, len(rows))
        return twin, Refit(False, change, len(candidate.blocks.train))


def compact(grown: Grown, vote: Vote) -> CompactEnsemble:
    """Give the flat ensemble the predictor reads."""
    return CompactEnsemble.from_members(
        grown.members, temperatures=vote.temperatures, weights=vote.weights, final_map=vote.final_map.map
    )


def train_shares(trained: Trained) -> tuple[float, float, float]:
    """Give the shares of SELL, HOLD, BUY in the train block."""
    sell, hold, buy = class_shares(trained.sample.data.labels[trained.blocks.train.rows])
    return float(sell), float(hold), float(buy)
