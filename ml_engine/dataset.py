"""Rows to learn from: features joined to labels by the instant they are known, incomplete rows left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureFrame
from data_manager.windows import Windows, cut_windows
from ml_engine.labeling import Labels
from ml_engine.validation import effective_rows

SMALLEST_CLASS_SHARE = 0.03
SMALLEST_EFFECTIVE_ROWS = 300.0
LONGEST_HOLE_BARS = 192
LARGEST_JUMP = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Rows of one symbol in time order; all arrays of n rows.

    `values` (n, k) holds every column before selection, named by `columns`; `labels` SELL 0, HOLD 1, BUY 2; `t0` the
    instant a row is known, `t1` the last instant any of its outcomes depends on (ms); `trade_gross` the trade's return
    before costs, `t1_trade` its end; `width` the barrier distance. `windows`, where a member looks at them, end with
    the n rows, over the same columns; a window some required column of which is not known throughout is unknown.
    """

    symbol: Symbol
    columns: tuple[str, ...]
    values: FloatArray
    labels: IntArray
    width: FloatArray
    t0: IntArray
    t1: IntArray
    t1_trade: IntArray
    trade_gross: FloatArray
    uniqueness: FloatArray
    windows: Windows | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.t0)


def join(frame: FeatureFrame, labels: Labels, symbol: Symbol, required: BoolArray, *, window_bars: int = 0) -> Dataset:
    """Give the rows that have features and both outcomes; `required` (k,) marks columns that may not be unknown.

    With `window_bars` the rows' windows of that many rows come along.
    """
    times = labels.t0[labels.present]
    common, place, row = np.intersect1d(frame.close_time, times, assume_unique=True, return_indices=True)
    values = frame.values[place]
    known = np.isfinite(values[:, required]).all(axis=1)
    kept = np.flatnonzero(labels.present)[row[known]]
    return Dataset(
        symbol=symbol,
        columns=tuple(frame.columns),
        values=values[known],
        labels=labels.label[kept],
        width=labels.width[kept],
        t0=common[known],
        t1=np.maximum(labels.t1_class, labels.t1_trade)[kept],
        t1_trade=labels.t1_trade[kept],
        trade_gross=labels.trade_gross[kept],
        uniqueness=labels.uniqueness[kept],
        windows=_windows(frame, place[known], required, window_bars) if window_bars else None,
    )


def _windows(frame: FeatureFrame, ends: IntArray, required: BoolArray, length: int) -> Windows:
    cut = cut_windows(frame.close_time, frame.values, ends, length=length, step_ms=BASE_TIMEFRAME.ms)
    return cut.complete(required)


def last_continuous(bars: Bars) -> Bars:
    """Give the bars after the last long hole or jump: a halt, relisting or redenomination splits the history."""
    if len(bars) < 2:
        return bars
    hole = np.diff(bars.open_time) > LONGEST_HOLE_BARS * bars.timeframe.ms
    jump = np.abs(np.log(bars.open[1:] / bars.close[:-1])) > np.log(LARGEST_JUMP)
    breaks = np.flatnonzero(hole | jump)
    return bars.rows(int(breaks[-1]) + 1, len(bars)) if len(breaks) else bars


def require_enough(data: Dataset, *, min_rows: int) -> None:
    """Raise `ModelError` when rows, independent rows or a class are too few to learn from."""
    if len(data) < min_rows:
        raise ModelError(f"{len(data)} labelled rows, at least {min_rows} are needed", reason="too_few_rows")
    effective = effective_rows(data.uniqueness)
    if effective < SMALLEST_EFFECTIVE_ROWS:
        raise ModelError(
            f"{effective:.0f} independent rows, at least {SMALLEST_EFFECTIVE_ROWS:.0f} are needed",
            reason="too_few_rows",
        )
    shares = np.bincount(data.labels, minlength=3) / len(data)
    if shares.min() < SMALLEST_CLASS_SHARE:
        text = "/".join(f"{share:.3f}" for share in shares)
        raise ModelError(
            f"class shares SELL/HOLD/BUY {text}, each must be at least {SMALLEST_CLASS_SHARE}", reason="rare_class"
        )
