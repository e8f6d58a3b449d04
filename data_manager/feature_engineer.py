"""The one road from bars to a feature matrix, for training, backtest and live alike.

A base row at bar t is defined on the bars from `window_start(t)` to t: the window opens 2,000 bars before the Monday
(UTC) of t's week. All rows of a week share one computation, and because every function is causal a single live row
equals its row of the batch to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bar_view import BarView
from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.feature_columns import (
    BASE_SPECS,
    BASE_TIMEFRAME,
    BASE_WINDOW_BARS,
    ColumnSpec,
    confluence_specs,
    feature_hash,
    higher_timeframe_specs,
    market_specs,
)
from data_manager.feature_options import FeatureOptions
from data_manager.indicators import INDICATORS
from data_manager.liquidity import turnover_against_month
from data_manager.market_context import MarketContext
from data_manager.multi_timeframe import CONFLUENCE_INPUTS, HigherTimeframeCache, confluence, project
from data_manager.resampling import resample
from data_manager.time_features import day_of_week, time_of_day

if TYPE_CHECKING:
    from bn_ml.settings import ModelSettings

WEEK_MS = 7 * 24 * 3_600_000
_FIRST_MONDAY_MS = 4 * 24 * 3_600_000


def week_start(open_ms: int) -> int:
    """Give the Monday 00:00 UTC of the week of an instant, ms since 1970."""
    return (open_ms - _FIRST_MONDAY_MS) // WEEK_MS * WEEK_MS + _FIRST_MONDAY_MS


def window_start(open_ms: int) -> int:
    """Give the instant from which the base columns of the bar opened at `open_ms` are computed."""
    return week_start(open_ms) - BASE_WINDOW_BARS * BASE_TIMEFRAME.ms


@dataclass(frozen=True, slots=True, eq=False)
class FeatureFrame:
    """Features of one symbol: row t holds what was known at `close_time[t]`.

    `close_time` (n,) int64 ms since 1970; `values` (n, n_columns) float64, NaN where a value cannot be told.
    """

    symbol: Symbol
    close_time: IntArray
    values: FloatArray
    columns: tuple[str, ...]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.close_time)

    def column(self, name: str) -> FloatArray:
        """Give one column by name, shape (n,)."""
        return self.values[:, self.columns.index(name)]


class FeatureEngineer:
    """Computes the declared columns from bars."""

    def __init__(self, settings: ModelSettings | Mapping[str, object] | None = None) -> None:
        """Choose the columns from the model settings; None means the defaults."""
        self.options = FeatureOptions.of(settings)
        self.specs: tuple[ColumnSpec, ...] = tuple(_declared(self.options))
        self.columns: tuple[str, ...] = tuple(spec.name for spec in self.specs)
        self.required: tuple[bool, ...] = tuple(spec.required for spec in self.specs)

    @property
    def uses_market(self) -> bool:
        """Whether any column needs a market context."""
        return any(spec.family == "market" for spec in self.specs)

    @property
    def higher_timeframes(self) -> tuple[Timeframe, ...]:
        """The longer timeframes whose bars the columns use, in rising order."""
        used = {Timeframe(spec.timeframe) for spec in self.specs}
        return tuple(timeframe for timeframe in Timeframe if timeframe in used and timeframe is not BASE_TIMEFRAME)

    @cached_property
    def feature_hash(self) -> str:
        """The sha256 of the ordered declaration."""
        return feature_hash(self.specs, (self.options.window.bars, self.options.window.absent_bars))

    def build(
        self,
        frames: Mapping[Timeframe, Bars],
        context: MarketContext | None = None,
        *,
        since_ms: int | None = None,
        cache: HigherTimeframeCache | None = None,
    ) -> FeatureFrame:
        """Give one row per usable base bar opened at or after `since_ms` (all when None).

        `frames` needs the base timeframe; higher ones are resampled from it when absent. Bars with a non-finite or
        impossible number count as absent. Without `context` the market columns are NaN.
        """
        base = usable_bars(frames[BASE_TIMEFRAME])
        first = 0 if since_ms is None else int(np.searchsorted(base.open_time, since_ms))
        close_time = base.close_time[first:]
        values = np.full((len(close_time), len(self.specs)), np.nan)
        if len(close_time):
            self._fill_base(values, base, first)
            self._fill_time(values, close_time)
            self._fill_higher(values, base, frames, close_time, cache)
            self._fill_market(values, base, first, context)
        return FeatureFrame(base.symbol, close_time, values, self.columns)

    def row(
        self,
        frames: Mapping[Timeframe, Bars],
        context: MarketContext | None = None,
        *,
        cache: HigherTimeframeCache | None = None,
    ) -> FloatArray:
        """Give the row of the last usable base bar, shape (n_columns,).

        Raises `MarketDataError` (`too_few_bars`) when there is none.
        """
        base = usable_bars(frames[BASE_TIMEFRAME])
        if not len(base):
            raise MarketDataError(f"{base.symbol}: no usable bar", "too_few_bars")
        last_open = int(base.open_time[-1])
        values: FloatArray = self.build(frames, context, since_ms=last_open, cache=cache).values[-1]
        return values

    @cached_property
    def _base_places(self) -> tuple[tuple[int, ColumnSpec], ...]:
        return tuple((place, spec) for place, spec in enumerate(self.specs) if _is_base(spec))

    def _places(self, *, function: str | None = None, timeframe: Timeframe | None = None) -> list[int]:
        wanted = timeframe.value if timeframe else None
        return [
            place
            for place, spec in enumerate(self.specs)
            if (function and spec.function.startswith(function))
            or (wanted and spec.family == "mtf" and spec.timeframe == wanted)
        ]

    def _fill_base(self, values: FloatArray, base: Bars, first: int) -> None:
        start = first
        while start < len(base):
            monday = week_start(int(base.open_time[start]))
            opens = [window_start(int(base.open_time[start])), monday + WEEK_MS]
            low, stop = (int(edge) for edge in np.searchsorted(base.open_time, opens))
            block = base.rows(low, stop)
            values[start - first : stop - first, [place for place, _ in self._base_places]] = base_columns(
                block, [spec for _, spec in self._base_places], start - low
            )
            start = stop

    def _fill_time(self, values: FloatArray, close_time: IntArray) -> None:
        for place, spec in enumerate(self.specs):
            if spec.family == "time":
                column = time_of_day if spec.function == "time_of_day" else day_of_week
                values[:, place] = column(close_time, str(spec.parameters[0]))

    def _fill_higher(
        self,
        values: FloatArray,
        base: Bars,
        frames: Mapping[Timeframe, Bars],
        close_time: IntArray,
        cache: HigherTimeframeCache | None,
    ) -> None:
        names = self.options.repeated
        layers: list[dict[str, FloatArray]] = []
        for timeframe in self.options.timeframes:
            places = self._places(timeframe=timeframe)
            specs = [self.specs[place] for place in places]
            higher = _higher(base, frames, timeframe)
            part = project(higher, close_time, specs, window=self.options.window, cache=cache)
            values[:, places] = part
            layers.append({name: part[:, place] for place, name in enumerate(names)})
        agreement = self._places(function="confluence_")
        if agreement:
            if set(CONFLUENCE_INPUTS) <= set(self.columns):
                layers.append({name: values[:, self.columns.index(name)] for name in CONFLUENCE_INPUTS})
            values[:, agreement] = confluence(layers)
        for place in self._places(function="turnover_against_month"):
            daily = _higher(base, frames, Timeframe.D1)
            values[:, place] = turnover_against_month(base, daily, close_time, self.specs[place].parameters)

    def _fill_market(self, values: FloatArray, base: Bars, first: int, context: MarketContext | None) -> None:
        places = self._places(function="market_context")
        if places and context is not None:
            values[:, places] = context.columns(base, first)


def usable_bars(bars: Bars) -> Bars:
    """Give the bars whose numbers can be computed with: finite, prices above zero, high >= low, volume >= 0."""
    good = np.isfinite(bars.volume) & (bars.volume >= 0) & (bars.high >= bars.low) & (bars.low > 0)
    for prices in (bars.open, bars.high, bars.low, bars.close):
        good &= np.isfinite(prices) & (prices > 0)
    return bars if good.all() else bars.take(good)


def base_columns(block: Bars, specs: Sequence[ColumnSpec], first: int = 0) -> FloatArray:
    """Give indicator columns over one stretch of bars from row `first` on, shape (n_bars - first, n_specs).

    A value is NaN until the stretch holds the column's declared warm-up, counted in time since its first bar.
    """
    view = BarView(block)
    age = (block.open_time[first:] - block.open_time[0]) // block.timeframe.ms + 1
    values = np.full((len(specs), len(age)), np.nan)
    warm = np.searchsorted(age, [spec.warmup_bars for spec in specs]).tolist()
    for column, start, spec in zip(values, warm, specs, strict=True):
        column[start:] = INDICATORS[spec.function](view, *spec.parameters)[first + start :]
    return values.T


def _is_base(spec: ColumnSpec) -> bool:
    return spec.timeframe == BASE_TIMEFRAME.value and spec.function in INDICATORS


def _higher(base: Bars, frames: Mapping[Timeframe, Bars], timeframe: Timeframe) -> Bars:
    given = frames.get(timeframe)
    return usable_bars(given) if given is not None else resample(base, timeframe)


def _declared(options: FeatureOptions) -> list[ColumnSpec]:
    specs = list(BASE_SPECS)
    for timeframe in options.timeframes:
        specs += higher_timeframe_specs(options.repeated, timeframe, options.prefix, options.window.bars)
    if options.timeframes and set(CONFLUENCE_INPUTS) <= set(options.repeated):
        specs += confluence_specs(options.prefix)
    specs += market_specs()
    return [spec for spec in specs if spec.family in options.families]
