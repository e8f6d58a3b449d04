"""Training one symbol: nine steps from bars to a calibrated vote with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.settings import ModelSettings, RiskSettings, Settings, model_section, risk_section
from data_manager.bars import FloatArray, IntArray
from ml_engine import fitting, models
from ml_engine.bundle_metadata import ChallengePart
from ml_engine.dataset import Dataset, require_enough
from ml_engine.fitting import Grown, Vote
from ml_engine.inference import CompactEnsemble
from ml_engine.labeling import DynamicLabeler
from ml_engine.metrics import MoneyFigures, class_shares
from ml_engine.overfitting import Luck
from ml_engine.pooling import Lessons, is_young, own_lessons, pooled_lessons
from ml_engine.sequence_model import backend_of
from ml_engine.training_data import BASE, Sample, TrainingMarket, assumed_round_trip, sample
from ml_engine.training_report import (
    ENSEMBLE,
    Candidate,
    Figures,
    Gates,
    Verdict,
    drift_arrays,
    judge,
    measure_gates,
    report,
)
from ml_engine.tuning import search
from ml_engine.tuning_folds import Ground
from ml_engine.tuning_memory import is_reusable, luck_of, reused, search_key
from ml_engine.tuning_records import Tuned
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
    drift: Mapping[str, FloatArray]
    recipe: str
    tuned: Tuned | None = None
    search_note: str = ""
    challenge: ChallengePart | None = None
    lessons: Lessons | None = None

    @property
    def label_end(self) -> int:
        """The last instant any outcome used by this training depends on, ms."""
        own = int(self.sample.data.t1.max())
        return own if self.lessons is None else max(own, int(self.lessons.data.t1.max()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns the members read, in order."""
        return tuple(self.sample.data.columns[place] for place in self.shipped.columns)


class EnsembleTrainer:
    """Trains symbols; the same bars, settings, seed and last search give the same ensemble bytes."""

    def __init__(
        self,
        model: ModelSettings | Settings | Mapping[str, object],
        risk: RiskSettings | None = None,
        *,
        quick: bool = False,
        max_gap_bars: int = 3,
        hpo: bool = True,
    ) -> None:
        """Take model and risk settings, or all settings (a partial mapping will do) in the place of the first.

        `quick` grows a smaller ensemble for a first start. Then, and without `hpo`, no parameters are searched. Raises
        `ConfigError` when a network of torch is demanded and torch is not installed.
        """
        if not isinstance(model, ModelSettings):
            risk, model = risk or risk_section(model), model_section(model)
        self._model = model
        self._risk = risk = risk or RiskSettings()
        self._max_gap_bars = max_gap_bars
        self._plan = models.recipe(model, quick=quick)
        if model.lstm.enabled and self._plan.sequence:
            backend_of(model.lstm)
        self._searches = hpo and model.hpo.enabled and not quick
        self._seed = model.random_state
        self._window_bars = DynamicLabeler(model.labeling, risk).window_bars(BASE.ms) + 1

    def train(
        self,
        symbol: Symbol,
        market: TrainingMarket,
        tell: Tell = lambda phase: None,
        previous: Tuned | None = None,
    ) -> Trained:
        """Train one symbol; raises `MarketDataError` or `ModelError` with the reason when it cannot be.

        `previous` is the search the last bundle remembers: reused while young, else where the next one starts.
        """
        tell("features and labels")
        found = sample(symbol, market, self._model, self._risk, max_gap_bars=self._max_gap_bars)
        basket = market.basket if market.benchmark in market.basket else ()
        others = self._others(symbol, market) if self._model.pooled_warm_start and is_young(found.data) else ()
        return self.train_on(found, basket, tell, previous, others=others)

    def train_on(
        self,
        found: Sample,
        basket: tuple[Symbol, ...] = (),
        tell: Tell = lambda phase: None,
        previous: Tuned | None = None,
        *,
        others: Sequence[Dataset] = (),
    ) -> Trained:
        """Train on rows already made; raises `ModelError` when they are too few or cannot be calibrated.

        `others` are rows of other symbols, which a young one learns from beside its own.
        """
        require_enough(found.data, min_rows=self._model.min_train_rows)
        tell("split")
        blocks = self._split(found)
        lessons = self._lessons(found, blocks, others)
        learned = replace(found, data=lessons.data)
        tell("columns")
        columns = fitting.choose_columns(lessons.data, lessons.train, self._model, self._plan, self.purge)
        tuned, note = self._tune(learned, lessons.train, columns, previous, tell)
        tell("fit")
        twin = self._grow(learned, lessons.train, columns, tuned)
        tell("calibrate")
        vote = self._settle(learned, lessons.vote_blocks, twin)
        candidate = Candidate(found.data, blocks, twin, vote)
        tell("gates")
        gates = measure_gates(candidate, seed=self._seed)
        tell("report")
        figures, money = self._report(candidate, luck_of(tuned))
        tell("refit")
        shipped, refit = self._refit(candidate, lessons)
        return Trained(
            symbol=found.data.symbol,
            sample=found,
            purge=self.purge,
            blocks=blocks,
            twin=twin,
            shipped=shipped,
            refit=refit,
            vote=vote,
            gates=gates,
            figures=figures,
            money=money,
            verdict=judge(figures[ENSEMBLE].skill, gates, vote, calibrate_rows=len(lessons.vote_blocks.calibrate)),
            ensemble=compact(shipped, vote),
            basket=basket,
            drift=drift_arrays(candidate, found.bars, self._model),
            recipe=self._plan.name,
            tuned=tuned,
            search_note=note,
            lessons=lessons,
        )

    @property
    def purge(self) -> Purge:
        """How far apart the blocks of a training are kept."""
        configured = self._model.validation.purge_bars
        bars = self._window_bars if configured == "auto" else max(configured, self._window_bars)
        return Purge(bars * BASE.ms, self._model.validation.embargo_bars * BASE.ms)

    def _split(self, found: Sample) -> Blocks:
        ratio = self._model.validation.train_ratio
        blocks = split_blocks(found.data.t0, found.data.t1, train_ratio=ratio, purge=self.purge)
        return fitting.with_windows(found.data, blocks, self._model, self._plan)

    def _tune(
        self, found: Sample, rows: IntArray, columns: tuple[int, ...], previous: Tuned | None, tell: Tell
    ) -> tuple[Tuned | None, str]:
        """Give what the search found on the train block, or None and why nothing was searched."""
        if not self._searches:
            return None, "fixed parameters"
        if previous is not None and is_reusable(previous, at=found.data_end, key=search_key(self._model, self._plan)):
            return reused(previous), ""
        round_trip = assumed_round_trip(self._model, self._risk)
        ground = Ground(found.data, rows, columns, self.purge, round_trip, found.data_end)
        last = None if previous is None else previous.parameters
        try:
            return search(ground, settings=self._model, plan=self._plan, previous=last, tell=tell), ""
        except ModelError as error:
            return None, f"fixed parameters: {error}"

    def _grow(self, found: Sample, rows: IntArray, columns: tuple[int, ...], tuned: Tuned | None) -> Grown:
        plan = self._plan if tuned is None else replace(self._plan, tuned=tuned.parameters)
        return fitting.grow(found.data, rows, columns, settings=self._model, plan=plan, purge=self.purge)

    def _settle(self, found: Sample, blocks: Blocks, twin: Grown) -> Vote:
        return fitting.settle_vote(found.data, blocks, twin, self._model, gap_rows=self._window_bars)

    def _report(self, candidate: Candidate, luck: Luck) -> tuple[Mapping[str, Figures], MoneyFigures]:
        round_trip = assumed_round_trip(self._model, self._risk)
        return report(candidate, settings=self._model.ensemble, round_trip=round_trip, seed=self._seed, luck=luck)

    def _others(self, symbol: Symbol, market: TrainingMarket) -> list[Dataset]:
        """Give the rows of the other symbols; one that has none teaches nothing."""
        found: list[Dataset] = []
        for other in sorted(market.bars):
            if other == symbol:
                continue
            try:
                rows = sample(other, market, self._model, self._risk, max_gap_bars=self._max_gap_bars)
            except (MarketDataError, ModelError):
                continue
            found.append(rows.data)
        return found

    def _lessons(self, found: Sample, blocks: Blocks, others: Sequence[Dataset]) -> Lessons:
        if not others:
            return own_lessons(found.data, blocks)
        horizon = self._model.labeling.horizon_bars
        return pooled_lessons(found.data, blocks, others, purge=self.purge, horizon=horizon, known_ms=found.data_end)

    def _refit(self, candidate: Candidate, lessons: Lessons) -> tuple[Grown, Refit]:
        """Fit on all rows with everything frozen; keep the twin when that moves the forecast too far."""
        data, twin, judged = candidate.data, candidate.grown, candidate.blocks.report.rows
        rows = np.arange(len(lessons.data), dtype=np.int64)[:: self._plan.row_step]
        again = fitting.regrow(lessons.data, rows, twin.columns, twin.parameters)
        after = Candidate(data, candidate.blocks, again, candidate.vote).forecast(judged)
        change = float(np.abs(after - candidate.forecast(judged)).max(axis=1).mean())
        if change <= LARGEST_REFIT_CHANGE:
            return again, Refit(True, change, len(rows))
        return twin, Refit(False, change, len(lessons.train))


def compact(grown: Grown, vote: Vote) -> CompactEnsemble:
    """Give the flat ensemble the predictor reads."""
    return CompactEnsemble.from_members(
        grown.members, temperatures=vote.temperatures, weights=vote.weights, final_map=vote.final_map.map
    )


def train_shares(trained: Trained) -> tuple[float, float, float]:
    """Give the shares of SELL, HOLD, BUY in the train block."""
    sell, hold, buy = class_shares(trained.sample.data.labels[trained.blocks.train.rows])
    return float(sell), float(hold), float(buy)
