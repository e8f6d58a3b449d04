"""Labels of a bar series: the class the members learn and the trade the bot would really have made.

Row t is known at the close of bar t, entry is the open of bar t+1. The class looks at bars t+1..t+h, the trade at
bars t+1..t+holding limit. A row whose class or trade window is incomplete, or crosses a hole, is absent and never HOLD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import talib

from bn_ml.domain.exit_levels import BarPath, walk_trades
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import LabelingSettings, RiskSettings, Settings, model_section, risk_section
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray

SELL, HOLD, BUY = 0, 1, 2
ABSENT = -1
ATR_BARS = 14


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What became of each row; arrays of shape (n_bars,), aligned with the bars.

    `label` is SELL 0, HOLD 1, BUY 2, or -1 where the row is absent. `width` is the barrier distance as a fraction of
    the entry. `t0` is the close of bar t, `t1_class` and `t1_trade` the last instant each outcome depends on (ms).
    `trade_gross` is the return of the position before costs, NaN where absent. `uniqueness` is the mean over
    (t0, t1_class] of one over the number of class windows open at that bar, 0 where absent.
    """

    label: IntArray
    width: FloatArray
    t0: IntArray
    t1_class: IntArray
    t1_trade: IntArray
    trade_gross: FloatArray
    uniqueness: FloatArray

    @property
    def present(self) -> BoolArray:
        """Mask of rows with both outcomes."""
        present: BoolArray = self.label != ABSENT
        return present


class DynamicLabeler:
    """Labels rows with a barrier (or threshold) as wide as costs and recent volatility ask for."""

    def __init__(
        self,
        labeling: LabelingSettings | Settings | Mapping[str, object],
        risk: RiskSettings | None = None,
        *,
        max_gap_bars: int = 3,
    ) -> None:
        """Take the label and exit settings, or all settings (a partial mapping will do) in the place of the first.

        `max_gap_bars` missing bars in a row are the largest hole allowed.
        """
        if not isinstance(labeling, LabelingSettings):
            risk, labeling = risk or risk_section(labeling), model_section(labeling).labeling
        self._labeling = labeling
        self._risk = risk or RiskSettings()
        self._max_gap_bars = max_gap_bars

    def window_bars(self, bar_ms: int) -> int:
        """Give the number of bars after t that both outcomes together need."""
        holding = exit_rules(self._risk, float).holding_bars(timedelta(milliseconds=bar_ms))
        return max(self._labeling.horizon_bars, holding)

    def label(self, bars: Bars, *, cost_multiplier: float = 1.0) -> Labels:
        """Label every row of closed bars; the cost floor scales with `cost_multiplier`."""
        width = barrier_width(bars, self._labeling, round_trip_cost(self._risk) * cost_multiplier)
        usable = self._complete(bars) & np.isfinite(width)
        label, touch = self._classes(bars, width, usable)
        gross, trade_end = self._trades(bars, usable)
        closes = bars.close_time
        return Labels(
            label=label,
            width=width,
            t0=closes,
            t1_class=closes[touch],
            t1_trade=closes[trade_end],
            trade_gross=gross,
            uniqueness=average_uniqueness(np.arange(len(bars)), touch, usable),
        )

    def _complete(self, bars: Bars) -> BoolArray:
        window = self.window_bars(bars.timeframe.ms)
        count = len(bars)
        complete = np.zeros(count, dtype=np.bool_)
        if count <= window:
            return complete
        hole = np.diff(bars.open_time) > (self._max_gap_bars + 1) * bars.timeframe.ms
        holes_before = np.concatenate(([0], np.cumsum(hole)))
        last = np.arange(count - window) + window
        complete[: count - window] = holes_before[last] == holes_before[: count - window]
        return complete

    def _classes(self, bars: Bars, width: FloatArray, usable: BoolArray) -> tuple[IntArray, IntArray]:
        rows = np.flatnonzero(usable)
        horizon = self._labeling.horizon_bars
        label = np.full(len(bars), ABSENT, dtype=np.int64)
        touch = np.arange(len(bars), dtype=np.int64)
        label[rows], touch[rows] = window_classes(
            bars, rows, width[rows], horizon=horizon, method=self._labeling.method
        )
        return label, touch

    def _trades(self, bars: Bars, usable: BoolArray) -> tuple[FloatArray, IntArray]:
        """Follow the position of each usable row through the bot's own exits."""
        rules = exit_rules(self._risk, float)
        rows = np.flatnonzero(usable)
        path = BarPath(bars.open.tolist(), bars.high.tolist(), bars.low.tolist(), bars.close.tolist())
        outcomes = walk_trades(
            path,
            (rows + 1).tolist(),
            rules,
            atr_frac=atr_fractions(bars)[rows].tolist(),
            max_bars=rules.holding_bars(bars.timeframe.length),
        )
        gross = np.full(len(bars), np.nan)
        end = np.arange(len(bars), dtype=np.int64)
        gross[rows] = [outcome.gross_return_frac for outcome in outcomes]
        end[rows] = [outcome.exit_index for outcome in outcomes]
        return gross, end


def window_classes(
    bars: Bars, rows: IntArray, width: FloatArray, *, horizon: int, method: str
) -> tuple[IntArray, IntArray]:
    """Give class and last bar position of the given rows, shape (n,) each; `width` (n,).

    Each row needs `horizon` bars after it.
    """
    if method == "threshold":
        return _threshold_classes(bars, rows, width, horizon)
    return _first_touches(bars, rows, width, horizon)


def round_trip_cost(risk: RiskSettings) -> float:
    """Give fees and slippage of one entry and one exit as a fraction of the notional."""
    return 2.0 * (float(risk.fees_pct) + float(risk.slippage_pct))


def atr_fractions(bars: Bars) -> FloatArray:
    """Give ATR(14) over the close of each bar, shape (n_bars,); NaN until warmed up."""
    fractions: FloatArray = talib.ATR(bars.high, bars.low, bars.close, timeperiod=ATR_BARS) / bars.close
    return fractions


def barrier_width(bars: Bars, labeling: LabelingSettings, round_trip: float) -> FloatArray:
    """Give the barrier distance of each row as a fraction of price, shape (n_bars,); NaN until warmed up.

    width = clip(max(cost floor, a * sigma * sqrt(h) + b * ATR14 / close), min move, max move), where sigma is the
    deviation of log returns over the volatility window and the floor a multiple of the round trip. Row t uses bars
    closed at or before t's close.
    """
    count = len(bars)
    if count <= max(labeling.volatility_window, ATR_BARS) + 1:
        return np.full(count, np.nan)
    log_return = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))
    sigma = talib.STDDEV(log_return[1:], timeperiod=labeling.volatility_window)
    sigma = np.concatenate(([np.nan], sigma))
    spread = labeling.volatility_multiplier * sigma * math.sqrt(labeling.horizon_bars)
    wanted = spread + labeling.atr_multiplier * atr_fractions(bars)
    floor = labeling.round_trip_cost_multiplier * labeling.cost_safety_multiplier * round_trip
    width: FloatArray = np.clip(np.maximum(wanted, floor), labeling.min_move_pct, labeling.max_move_pct)
    return width


def average_uniqueness(start: IntArray, end: IntArray, usable: BoolArray) -> FloatArray:
    """Give the mean of 1/concurrency over bars start+1..end of each usable row (positions, inclusive end).

    Concurrency of a bar = number of usable rows whose window covers it *(Lopez de Prado 2018)*. Shape (n_rows,).
    """
    length = int(end.max(initial=0)) + 2
    steps = np.zeros(length + 1)
    np.add.at(steps, start[usable] + 1, 1.0)
    np.add.at(steps, end[usable] + 1, -1.0)
    concurrency = np.cumsum(steps)
    share = np.divide(1.0, concurrency, out=np.zeros_like(concurrency), where=concurrency > 0.5)
    total = np.concatenate(([0.0], np.cumsum(share)))
    spans = np.maximum(end - start, 1)
    mean = (total[end + 1] - total[start + 1]) / spans
    return np.where(usable, mean, 0.0)


def _first_touches(bars: Bars, rows: IntArray, width: FloatArray, horizon: int) -> tuple[IntArray, IntArray]:
    """Give class and last bar position of each row; both barriers in one bar count as SELL."""
    entry = bars.open[rows + 1]
    upper, lower = entry * (1.0 + width), entry * (1.0 - width)
    label = np.full(len(rows), HOLD, dtype=np.int64)
    touch = rows + horizon
    for step in range(1, horizon + 1):
        open_still = label == HOLD
        down = open_still & (bars.low[rows + step] <= lower)
        up = open_still & ~down & (bars.high[rows + step] >= upper)
        label[down], label[up] = SELL, BUY
        touch = np.where(down | up, rows + step, touch)
    return label, touch


def _threshold_classes(bars: Bars, rows: IntArray, width: FloatArray, horizon: int) -> tuple[IntArray, IntArray]:
    forward = bars.close[rows + horizon] / bars.open[rows + 1] - 1.0
    label = np.where(forward <= -width, SELL, np.where(forward >= width, BUY, HOLD))
    return label, rows + horizon
