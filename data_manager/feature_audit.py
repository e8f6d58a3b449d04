"""Checks that a feature matrix knows nothing of the future and nothing of where history happened to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars, BoolArray, FloatArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer, usable_bars, window_start
from data_manager.market_context import CONTEXT_BARS, MarketContext

Frames = Mapping[Timeframe, Bars]


@dataclass(frozen=True, slots=True)
class Difference:
    """A column whose value at a row (position among the base bars) changes when later bars are taken away."""

    column: str
    row: int


def truncation_differences(
    engineer: FeatureEngineer, frames: Frames, context: MarketContext | None, cut_points: Sequence[int]
) -> list[Difference]:
    """Compare the last row built from bars up to each cut point with the same row built with all bars, bit for bit.

    `cut_points` are positions among the usable base bars. Higher timeframes and the market context are cut at the same
    instant. An empty list means that no column looks ahead.
    """
    base = usable_bars(frames[BASE_TIMEFRAME])
    ordered = sorted(set(cut_points))
    if not ordered:
        return []
    full = engineer.build(_from(frames, base, ordered[0]), context, since_ms=int(base.open_time[ordered[0]]))
    rows = np.searchsorted(full.close_time, base.close_time[ordered])
    found: list[Difference] = []
    for cut, row in zip(ordered, rows, strict=True):
        known = truncated_row(engineer, frames, context, int(base.close_time[cut]))
        differs = ~same_bits(known, full.values[row])
        found += [Difference(engineer.columns[place], cut) for place in np.flatnonzero(differs)]
    return found


def truncated_row(
    engineer: FeatureEngineer, frames: Frames, context: MarketContext | None, close_ms: int
) -> FloatArray:
    """Give the row of the bar that closes at `close_ms`, built as if nothing after it existed, shape (n_columns,)."""
    known = {timeframe: bars.closed_by(close_ms) for timeframe, bars in frames.items()}
    market = None
    if context is not None:
        market = context.since(close_ms - (CONTEXT_BARS + 2) * BASE_TIMEFRAME.ms).closed_by(close_ms)
    return engineer.row(known, market)


def same_bits(left: FloatArray, right: FloatArray) -> BoolArray:
    """Tell where two arrays hold the same value, NaN equal to NaN."""
    same: BoolArray = (left == right) | (np.isnan(left) & np.isnan(right))
    return same


def _from(frames: Frames, base: Bars, first: int) -> dict[Timeframe, Bars]:
    """Leave out base history no row from `first` on can see; without higher frames they are made from all of it."""
    if any(timeframe is not BASE_TIMEFRAME for timeframe in frames):
        start_ms = window_start(int(base.open_time[first]))
        return {**frames, BASE_TIMEFRAME: base.between(start_ms, int(base.close_time[-1]))}
    return dict(frames)
