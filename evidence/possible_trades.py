"""What a trade entered at any bar of a period would have brought by the bot's own exits: the stuff of a control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bn_ml.domain.exit_levels import BarPath, walk_trades
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray, IntArray
from ml_engine.labeling import DynamicLabeler, atr_fractions

Span = tuple[int, int]


def possible_rows(bars: Bars, settings: Settings, span: Span) -> IntArray:
    """Give the rows t after which a trade is possible: known within `span` (ms, end exclusive), entered a bar later.

    A row without ATR yet, or whose window of outcomes is incomplete or crosses a hole, is left out, as in labels.
    """
    window = _labeler(settings).window_bars(bars.timeframe.ms)
    rows = np.arange(max(0, len(bars) - window), dtype=np.int64)
    gap = (settings.data.max_gap_bars + 1) * bars.timeframe.ms
    holes = np.concatenate(([0], np.cumsum(np.diff(bars.open_time) > gap))) if len(bars) else np.zeros(0)
    known = bars.close_time[rows]
    inside = (known >= span[0]) & (known < span[1])
    found: IntArray = rows[inside & (holes[rows + window] == holes[rows])]
    return found[np.isfinite(atr_fractions(bars)[found])] if len(found) else found


def gross_returns(bars: Bars, settings: Settings, rows: IntArray | Sequence[int]) -> FloatArray:
    """Give the return before costs of the trade entered at the open after each row, as labels have it, shape (n,).

    `rows` come from `possible_rows`.
    """
    places = np.asarray(rows, dtype=np.int64)
    rules = exit_rules(settings.risk, float)
    path = BarPath(bars.open.tolist(), bars.high.tolist(), bars.low.tolist(), bars.close.tolist())
    outcomes = walk_trades(
        path,
        (places + 1).tolist(),
        rules,
        atr_frac=atr_fractions(bars)[places].tolist() if len(places) else [],
        max_bars=rules.holding_bars(bars.timeframe.length),
    )
    return np.array([outcome.gross_return_frac for outcome in outcomes], dtype=np.float64)


def _labeler(settings: Settings) -> DynamicLabeler:
    return DynamicLabeler(settings, max_gap_bars=settings.data.max_gap_bars)
