"""What the scanner asks for a symbol: its newest feature row and the few numbers risk needs beside it.

Two ways to the same row, bit for bit: `LiveFeatureFeed` computes it when asked, `BatchFeatureFeed` computes a week of a
replay ahead and hands out single rows, never one that closes after `now`. Both raise `MarketDataError` with the reason
codes `data_unavailable`, `data_stale`, `too_few_bars` and `data_gap`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, FloatArray
from data_manager.feature_columns import BASE_SPECS, BASE_TIMEFRAME
from data_manager.feature_engineer import (
    WEEK_MS,
    FeatureEngineer,
    FeatureFrame,
    base_columns,
    usable_bars,
    week_start,
    window_start,
)
from data_manager.feed_checks import (
    CORRELATION_BARS,
    STEP_MS,
    FeatureRow,
    FeedLimits,
    newest_close,
    require_higher,
    require_usable,
)
from data_manager.market_context import CONTEXT_BARS, MarketContext
from data_manager.multi_timeframe import HigherTimeframeCache

_MEASURES = tuple(spec for spec in BASE_SPECS if spec.name in ("atr_ratio", "volatility_96"))


class BarProvider(Protocol):
    """Where closed bars come from."""

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError`."""


class Preparer(Protocol):
    """Who can bring the bars of many symbols up to date at once."""

    def prepare(self, symbols: Iterable[Symbol], starts: Mapping[Timeframe, int]) -> None:
        """Bring the spans from `starts` (ms) on up to date; never raises for a failing symbol."""


class FeatureFeed(Protocol):
    """Gives the newest row of a symbol."""

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        """Give the row of the newest bar closed by `now`; raises `MarketDataError` with a reason code."""


@dataclass(frozen=True, slots=True)
class MarketBasket:
    """The fixed symbols whose bars make the market context, and the benchmark among them."""

    symbols: tuple[Symbol, ...]
    benchmark: Symbol


class LiveFeatureFeed:
    """Computes a symbol's row when its bar has closed, and answers from memory until the next one."""

    def __init__(
        self,
        engineer: FeatureEngineer,
        provider: BarProvider,
        *,
        basket: MarketBasket | None = None,
        limits: FeedLimits | None = None,
        preparer: Preparer | None = None,
    ) -> None:
        """Wire the feed; without a basket the market columns are NaN.

        With a preparer the bars of the basket and of every symbol seen are brought up to date once after each close.
        """
        self._engineer = engineer
        self._provider = provider
        self._basket = basket if engineer.uses_market else None
        self._limits = limits or FeedLimits()
        self._preparer = preparer
        self._prepared_ms = 0
        self._cache = HigherTimeframeCache()
        self._rows: dict[Symbol, FeatureRow] = {}
        self._context: tuple[int, MarketContext] | None = None
        self.computed_rows = 0

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        """Give the row of the newest bar closed by `now`, computed once per bar."""
        now_ms = to_ms(now)
        known = self._rows.get(symbol)
        if known is not None and known.close_time_ms == newest_close(now_ms):
            return known
        self._prepare(newest_close(now_ms))
        base = self._base(symbol, now_ms)
        if known is None or known.close_time_ms != int(base.close_time[-1]):
            known = self._rows[symbol] = self._computed(base)
        return known

    def _prepare(self, close_ms: int) -> None:
        if self._preparer is None or self._prepared_ms == close_ms:
            return
        self._prepared_ms = close_ms
        symbols = (*(self._basket.symbols if self._basket else ()), *self._rows)
        higher = {step: _higher_start(self._engineer, step, close_ms) for step in self._engineer.higher_timeframes}
        self._preparer.prepare(dict.fromkeys(symbols), {BASE_TIMEFRAME: self._base_start(close_ms), **higher})

    def _base_start(self, close_ms: int) -> int:
        return window_start(close_ms - 2 * STEP_MS - int(self._limits.max_delay_s * 1000))

    def _base(self, symbol: Symbol, now_ms: int) -> Bars:
        end_ms = newest_close(now_ms)
        bars = self._provider.bars(symbol, BASE_TIMEFRAME, self._base_start(end_ms), end_ms)
        base = usable_bars(bars.closed_by(now_ms))
        require_usable(base, now_ms, self._limits)
        return base

    def _computed(self, base: Bars) -> FeatureRow:
        close_ms = int(base.close_time[-1])
        context = self._market(close_ms)
        frames = {BASE_TIMEFRAME: base}
        for timeframe in self._engineer.higher_timeframes:
            start_ms = _higher_start(self._engineer, timeframe, close_ms)
            higher = self._provider.bars(base.symbol, timeframe, start_ms, close_ms).closed_by(close_ms)
            require_higher(higher, base)
            frames[timeframe] = higher
        last_open = int(base.open_time[-1])
        built = self._engineer.build(frames, context, since_ms=last_open, cache=self._cache)
        self.computed_rows += 1
        return _row(base, built.values[-1], _measures(built, base)[-1], built.columns)

    def _market(self, close_ms: int) -> MarketContext | None:
        if self._basket is None:
            return None
        if self._context is None or self._context[0] != close_ms:
            context = _context(self._provider, self._basket, close_ms - (CONTEXT_BARS + 1) * STEP_MS, close_ms)
            self._context = (close_ms, context)
        self._context[1].require(close_ms)
        return self._context[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """One symbol's week: bars from the window's start on, features of the week's bars, (ATR, sigma) beside them."""

    base: Bars
    features: FeatureFrame
    measures: FloatArray


class BatchFeatureFeed:
    """Computes a symbol's week at its first row; for replays, whose provider already holds the whole week.

    The provider must give every bar of a span asked for, also those after `now`; rows that close later are not handed
    out. At most `blocks` weeks are kept.
    """

    def __init__(
        self,
        engineer: FeatureEngineer,
        provider: BarProvider,
        *,
        basket: MarketBasket | None = None,
        limits: FeedLimits | None = None,
        blocks: int = 400,
    ) -> None:
        """Wire the feed; without a basket the market columns are NaN."""
        self._engineer = engineer
        self._provider = provider
        self._basket = basket if engineer.uses_market else None
        self._limits = limits or FeedLimits()
        self._kept = blocks
        self._blocks: OrderedDict[tuple[Symbol, int], _Block] = OrderedDict()
        self._contexts: OrderedDict[int, MarketContext] = OrderedDict()
        self.computed_rows = 0

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        """Give the row of the newest bar closed by `now`."""
        now_ms = to_ms(now)
        monday = week_start(newest_close(now_ms) - STEP_MS)
        base = self._block(symbol, monday).base.closed_by(now_ms)
        require_usable(base, now_ms, self._limits)
        close_ms = base.newest_close_ms
        week = week_start(close_ms - STEP_MS)
        if self._basket is not None:
            self._market(self._basket, week).require(close_ms)
        block = self._block(symbol, week)
        features = block.features
        place = int(np.searchsorted(features.close_time, close_ms))
        return _row(base, features.values, block.measures[place], features.columns, place=place)

    def _block(self, symbol: Symbol, monday: int) -> _Block:
        key = (symbol, monday)
        if key not in self._blocks:
            self._blocks[key] = self._computed(symbol, monday)
            while len(self._blocks) > self._kept:
                self._blocks.popitem(last=False)
        return self._blocks[key]

    def _computed(self, symbol: Symbol, monday: int) -> _Block:
        end_ms = monday + WEEK_MS
        base = usable_bars(self._provider.bars(symbol, BASE_TIMEFRAME, window_start(monday), end_ms))
        frames = {BASE_TIMEFRAME: base}
        for timeframe in self._engineer.higher_timeframes:
            start_ms = _higher_start(self._engineer, timeframe, monday)
            frames[timeframe] = self._provider.bars(symbol, timeframe, start_ms, end_ms).closed_by(end_ms)
        context = None if self._basket is None else self._market(self._basket, monday)
        features = self._engineer.build(frames, context, since_ms=monday)
        self.computed_rows += len(features)
        return _Block(base, features, _measures(features, base))

    def _market(self, basket: MarketBasket, monday: int) -> MarketContext:
        if monday not in self._contexts:
            start_ms = monday - (CONTEXT_BARS + 1) * STEP_MS
            self._contexts[monday] = _context(self._provider, basket, start_ms, monday + WEEK_MS)
            while len(self._contexts) > 2:
                self._contexts.popitem(last=False)
        return self._contexts[monday]


def _context(provider: BarProvider, basket: MarketBasket, start_ms: int, end_ms: int) -> MarketContext:
    bars: dict[Symbol, Bars] = {}
    for symbol in basket.symbols:
        try:
            bars[symbol] = provider.bars(symbol, BASE_TIMEFRAME, start_ms, end_ms).closed_by(end_ms)
        except MarketDataError:
            # An absent member lowers the share present; the 80 % rule judges it.
            continue
    return MarketContext.of(bars, basket.benchmark, basket.symbols)


def _higher_start(engineer: FeatureEngineer, timeframe: Timeframe, first_ms: int) -> int:
    window = engineer.options.window
    return (first_ms // timeframe.ms - window.bars - window.absent_bars - 2) * timeframe.ms


def _measures(features: FeatureFrame, base: Bars) -> FloatArray:
    """Give ATR fraction and sigma of each feature row, shape (n_rows, 2)."""
    names = [spec.name for spec in _MEASURES]
    if set(names) <= set(features.columns):
        return np.stack([features.column(name) for name in names], axis=1)
    if not len(features):
        return np.empty((0, 2))
    first = int(features.close_time[0]) - STEP_MS
    block = base.between(window_start(first), int(base.close_time[-1]))
    return base_columns(block, _MEASURES, len(block) - len(features))


def _row(
    base: Bars, values: FloatArray, measures: FloatArray, columns: tuple[str, ...], *, place: int | None = None
) -> FeatureRow:
    """Give the row of the last bar: `values` (n_columns,), or the one at `place` of a block (n_rows, n_columns)."""
    return FeatureRow(
        symbol=base.symbol,
        close_time_ms=base.newest_close_ms,
        values=values if place is None else values[place],
        columns=columns,
        closes=base.close[-(CORRELATION_BARS + 1) :],
        atr_frac=float(measures[0]),
        volatility_frac=float(measures[1]),
        source=base.source,
        block=None if place is None else values,
        place=place or 0,
    )
