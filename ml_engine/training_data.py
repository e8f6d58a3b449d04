"""The rows a training sees: bars of the symbol and of the market around it, features, labels, all up to one instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars
from data_manager.feature_engineer import FeatureEngineer, FeatureFrame
from data_manager.market_context import MarketContext
from ml_engine.dataset import Dataset, join, last_continuous
from ml_engine.labeling import DynamicLabeler, round_trip_cost
from ml_engine.unknown_columns import worst_column

BASE = Timeframe.M15
WARMUP_DAYS = 210
DAY_MS = 86_400_000
_UNTRAINABLE = ("synthetic_fallback",)
# With more rows than this lacking a window the bot would mostly hold where a vote depends on one.
_LEAST_WINDOWS = 0.8


class History(Protocol):
    """Where closed bars come from."""

    def history(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError` when there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingMarket:
    """Base bars by symbol up to `end_ms`, why others are missing, and the basket every bundle of this run names."""

    bars: Mapping[Symbol, Bars]
    missing: Mapping[Symbol, str]
    basket: tuple[Symbol, ...]
    benchmark: Symbol
    end_ms: int

    def context(self) -> MarketContext | None:
        """Give the market columns' source, None without the benchmark."""
        if self.benchmark not in self.basket:
            return None
        return MarketContext.of({symbol: self.bars[symbol] for symbol in self.basket}, self.benchmark)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Everything known about the rows of one training; `data_end` is the close of its newest bar (ms).

    `windows_note` says why no member may look at windows although it is configured.
    """

    data: Dataset
    source: str
    feature_hash: str
    data_start: int
    data_end: int
    bars_count: int
    holes: tuple[tuple[int, int], ...]
    bars: Bars
    windows_note: str = ""


def load_market(
    history: History, symbols: Sequence[Symbol], basket: Iterable[Symbol], model: ModelSettings, *, end_ms: int
) -> TrainingMarket:
    """Read base bars of the symbols and the basket, with the warm-up the slowest columns need."""
    start_ms = window_start_ms(model, end_ms) - WARMUP_DAYS * DAY_MS
    bars: dict[Symbol, Bars] = {}
    missing: dict[Symbol, str] = {}
    around = sorted(set(basket))
    for symbol in sorted({*symbols, *around}):
        try:
            found = history.history(symbol, BASE, start_ms, end_ms).closed_by(end_ms)
        except MarketDataError as error:
            missing[symbol] = str(error)
            continue
        if len(found):
            bars[symbol] = found
        else:
            missing[symbol] = f"{symbol}: no bars before the end of the training window"
    benchmark = Symbol(model.drift.benchmark_symbol)
    return TrainingMarket(bars, missing, tuple(symbol for symbol in around if symbol in bars), benchmark, end_ms)


def window_start_ms(model: ModelSettings, end_ms: int) -> int:
    """Give where the rows of a training begin."""
    length = model.training_window_days * DAY_MS
    if model.train_ohlcv_limit:
        length = min(length, model.train_ohlcv_limit * BASE.ms)
    return end_ms - length


def sample(
    symbol: Symbol, market: TrainingMarket, model: ModelSettings, risk: RiskSettings, *, max_gap_bars: int
) -> Sample:
    """Make the rows of one symbol.

    Raises `MarketDataError` without bars and `ModelError` for bars nobody may learn from. The newest bar is left out of
    every outcome, so nothing a fit sees reaches `data_end`.
    """
    if symbol not in market.bars:
        raise MarketDataError(market.missing.get(symbol, f"{symbol}: no bars"))
    bars = last_continuous(market.bars[symbol])
    if any(name in bars.source for name in _UNTRAINABLE):
        raise ModelError(f"{symbol}: {bars.source} bars never train a bundle", reason="data_unavailable")
    if len(bars) < 2:
        raise MarketDataError(f"{symbol}: {len(bars)} bars after the last break of its history", "too_few_bars")
    engineer = FeatureEngineer(model)
    start = window_start_ms(model, market.end_ms)
    frame = engineer.build({BASE: bars}, market.context(), since_ms=start)
    labeler = DynamicLabeler(model.labeling, risk, max_gap_bars=max_gap_bars)
    labels = labeler.label(bars.rows(0, len(bars) - 1), cost_multiplier=model.execution.cost_multiplier)
    window_bars = model.lstm.sequence_length if model.lstm.enabled else 0
    demanded = _demanded(frame, engineer)
    data = join(frame, labels, symbol, demanded, window_bars=window_bars)
    culprit = worst_column(frame, demanded)
    if len(data) < model.min_train_rows and culprit:
        raise ModelError(
            f"{len(data)} labelled rows, at least {model.min_train_rows} are needed: {culprit}", reason="too_few_rows"
        )
    note = _too_few_windows(data)
    return Sample(
        data=replace(data, windows=None) if note else data,
        source=bars.source,
        feature_hash=engineer.feature_hash,
        data_start=int(bars.between(start, market.end_ms).open_time[0]),
        data_end=int(bars.close_time[-1]),
        bars_count=len(bars),
        holes=_holes(bars, max_gap_bars),
        bars=bars,
        windows_note=note,
    )


def _too_few_windows(data: Dataset) -> str:
    if data.windows is None or not len(data):
        return ""
    share = float(data.windows.known.mean())
    if share >= _LEAST_WINDOWS:
        return ""
    return f"only {share:.0%} of the rows have a gapless window, {_LEAST_WINDOWS:.0%} are needed"


def assumed_round_trip(model: ModelSettings, risk: RiskSettings) -> float:
    """Give the round trip assumed in validation as a fraction of the notional."""
    return round_trip_cost(risk) * model.execution.cost_multiplier


def _demanded(frame: FeatureFrame, engineer: FeatureEngineer) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mask columns a row must know: the required ones, less those this market cannot give at all."""
    ever_known = np.isfinite(frame.values).any(axis=0)
    demanded: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.array(engineer.required) & ever_known
    return demanded


def _holes(bars: Bars, max_gap_bars: int) -> tuple[tuple[int, int], ...]:
    """Give [last close before, next open) of each hole longer than allowed, in ms."""
    step = bars.timeframe.ms
    places = np.flatnonzero(np.diff(bars.open_time) > (max_gap_bars + 1) * step)
    return tuple((int(bars.open_time[place]) + step, int(bars.open_time[place + 1])) for place in places)
