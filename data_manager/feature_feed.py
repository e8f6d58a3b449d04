"""What the scanner asks for a symbol: its newest feature row and the few numbers risk needs beside it.

Two ways to the same row, bit for bit: `LiveFeatureFeed` computes it when asked, `BatchFeatureFeed` computes a week of a
replay ahead and hands out single rows, never one that closes after `now`. Earlier rows are kept only for who says how
many bars of a symbol he looks at (`WindowBars`). Both raise `MarketDataError` with the reason codes `data_unavailable`,
`data_stale`, `too_few_bars` and `data_gap`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, BoolArray, FloatArray
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
    stale_higher,
    stale_rows,
)
from data_manager.market_context import CONTEXT_BARS, MarketContext
from data_manager.multi_timeframe import HigherTimeframeCache
from data_manager.windows import Windows, cut_windows

WEEK_BARS = WEEK_MS // STEP_MS
_MEASURES = tuple(spec for spec in BASE_SPECS if spec.name in ("atr_ratio", "volatility_96"))


WindowBars = Callable[[Symbol, datetime], int]


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
        windows: WindowBars | None = None,
    ) -> None:
        """Wire the feed; without a basket the market columns are NaN, without `windows` rows come alone.

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
        self._windows = windows or _rows_alone
        self._trails: dict[Symbol, FeatureFrame] = {}
        self._context: tuple[int, int, MarketContext] | None = None
        self.computed_rows = 0

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        """Give the row of the newest bar closed by `now`, computed once per bar."""
        now_ms, length = to_ms(now), self._windows(symbol, now)
        known = self._rows.get(symbol)
        if known is not None and known.close_time_ms == newest_close(now_ms) and _reaches(known, length):
            return known
        self._prepare(newest_close(now_ms))
        base = self._base(symbol, now_ms)
        if known is None or known.close_time_ms != int(base.close_time[-1]) or not _reaches(known, length):
            known = self._rows[symbol] = self._computed(base, length)
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

    def _computed(self, base: Bars, length: int) -> FeatureRow:
        """Compute the newest row and, for a window of `length` rows, those of it that are not known yet."""
        close_ms, trail = int(base.close_time[-1]), self._trails.get(base.symbol)
        first_open = _first_unknown(base, trail, length)
        context = self._market(close_ms, first_open + STEP_MS)
        frames = {BASE_TIMEFRAME: self._reaching(base, first_open)}
        for timeframe in self._engineer.higher_timeframes:
            start_ms = _higher_start(self._engineer, timeframe, first_open + STEP_MS)
            higher = self._provider.bars(base.symbol, timeframe, start_ms, close_ms).closed_by(close_ms)
            require_higher(higher, base)
            frames[timeframe] = higher
        built = self._engineer.build(frames, context, since_ms=first_open, cache=self._cache)
        self.computed_rows += len(built)
        newest = _rows_of(built, slice(-1, None))
        row = _row(base, newest.values[-1], _measures(newest, frames[BASE_TIMEFRAME])[-1], built.columns)
        if not length:
            self._trails.pop(base.symbol, None)
            return row
        trail = self._trails[base.symbol] = _extended(trail, built, length)
        ends = np.array([len(trail) - 1], dtype=np.int64)
        window = cut_windows(trail.close_time, trail.values, ends, length=length, step_ms=STEP_MS)
        return replace(row, window=window)

    def _reaching(self, base: Bars, first_open: int) -> Bars:
        """Give the bars from the start of the window of the bar opened at `first_open`."""
        start_ms, end_ms = window_start(first_open), int(base.close_time[-1])
        if start_ms >= self._base_start(end_ms):
            return base
        return usable_bars(self._provider.bars(base.symbol, BASE_TIMEFRAME, start_ms, end_ms).closed_by(end_ms))

    def _market(self, close_ms: int, first_close_ms: int) -> MarketContext | None:
        if self._basket is None:
            return None
        start_ms = first_close_ms - (CONTEXT_BARS + 1) * STEP_MS
        if self._context is None or self._context[0] != close_ms or self._context[1] > start_ms:
            self._context = (close_ms, start_ms, _context(self._provider, self._basket, start_ms, close_ms))
        self._context[2].require(close_ms)
        return self._context[2]


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """One symbol's week: bars from the window's start on, features of the week's bars, (ATR, sigma) beside them.

    `stale` marks, for each longer timeframe, the rows whose last closed longer bar is too old. `windows` holds the
    windows that end with the week's rows, by their length, once they were asked for.
    """

    base: Bars
    features: FeatureFrame
    measures: FloatArray
    stale: tuple[tuple[Bars, BoolArray], ...]
    windows: dict[int, Windows] = field(default_factory=dict)


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
        windows: WindowBars | None = None,
    ) -> None:
        """Wire the feed; without a basket the market columns are NaN, without `windows` rows come alone."""
        self._engineer = engineer
        self._provider = provider
        self._basket = basket if engineer.uses_market else None
        self._limits = limits or FeedLimits()
        self._kept = blocks
        self._windows = windows or _rows_alone
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
        for higher, rows in block.stale:
            if rows[place]:
                raise stale_higher(higher, symbol)
        row = _row(base, features.values, block.measures[place], features.columns, place=place)
        length = self._windows(symbol, now)
        return replace(row, window=self._windows_of(symbol, week, length)) if length else row

    def _windows_of(self, symbol: Symbol, monday: int, length: int) -> Windows:
        """Give the windows that end with the rows of a week; they may begin in the week before."""
        block = self._block(symbol, monday)
        if length not in block.windows:
            earlier = self._week_before(symbol, monday)
            rows = block.features if earlier is None else _extended(earlier, block.features, length + WEEK_BARS - 1)
            ends = np.arange(len(rows) - len(block.features), len(rows))
            block.windows[length] = cut_windows(rows.close_time, rows.values, ends, length=length, step_ms=STEP_MS)
        return block.windows[length]

    def _week_before(self, symbol: Symbol, monday: int) -> FeatureFrame | None:
        try:
            return self._block(symbol, monday - WEEK_MS).features
        except MarketDataError:
            return None

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
        longer = [frames[timeframe] for timeframe in self._engineer.higher_timeframes]
        stale = tuple((bars, rows) for bars in longer if (rows := stale_rows(bars, features.close_time)).any())
        return _Block(base, features, _measures(features, base), stale)

    def _market(self, basket: MarketBasket, monday: int) -> MarketContext:
        if monday not in self._contexts:
            start_ms = monday - (CONTEXT_BARS + 1) * STEP_MS
            self._contexts[monday] = _context(self._provider, basket, start_ms, monday + WEEK_MS)
            while len(self._contexts) > 2:
                self._contexts.popitem(last=False)
        return self._contexts[monday]


def _rows_alone(symbol: Symbol, now: datetime) -> int:
    del symbol, now
    return 0


def _reaches(row: FeatureRow, length: int) -> bool:
    return not length or (row.window is not None and row.window.length == length)


def _first_unknown(base: Bars, trail: FeatureFrame | None, length: int) -> int:
    """Give the open time of the first bar among the last `length` steps whose row is not in the trail."""
    opens = base.open_time[base.open_time > int(base.open_time[-1]) - max(1, length) * STEP_MS]
    known = np.empty(0, dtype=np.int64) if trail is None else trail.close_time - STEP_MS
    unknown = opens[:-1][~np.isin(opens[:-1], known)]
    return int(unknown[0]) if len(unknown) else int(opens[-1])


def _extended(trail: FeatureFrame | None, built: FeatureFrame, steps: int) -> FeatureFrame:
    """Give the rows of the last `steps` steps: those of the trail, then those built."""
    first = int(built.close_time[-1]) - (steps - 1) * STEP_MS
    fresh = _rows_of(built, built.close_time >= first)
    if trail is None:
        return fresh
    kept = _rows_of(trail, (trail.close_time >= first) & (trail.close_time < int(built.close_time[0])))
    return FeatureFrame(
        symbol=built.symbol,
        close_time=np.concatenate([kept.close_time, fresh.close_time]),
        values=np.concatenate([kept.values, fresh.values]),
        columns=built.columns,
    )


def _rows_of(frame: FeatureFrame, rows: BoolArray | slice) -> FeatureFrame:
    return FeatureFrame(frame.symbol, frame.close_time[rows], frame.values[rows], frame.columns)


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
