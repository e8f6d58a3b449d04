"""What a training leaves for the watch on drift: how charts and columns behave where nothing has changed.

Charts are measured on every h-th row of the select and report blocks, which no fit has seen, so that outcomes hardly
overlap; columns on the train block. All of it lies in the bundle's `reference.npz`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_manager.bars import Bars, FloatArray, IntArray
from ml_engine.drift_charts import (
    Standard,
    adverse_returns,
    bin_shares,
    coverage_floor,
    distance,
    excess_losses,
    running_maxima,
    stability_index,
)

DECILES = "feature_deciles"
PATHS_PER_TARGET = 4.0
CAUTION = 1.0
PATHS = 400
BLOCK = 10
LIMIT_DAYS = np.geomspace(2.0, 400.0, 24)
LEAST_OUTCOMES = 40
VOLATILITY_BARS = 96
WINDOW_QUANTILE = 0.99
MOST_WINDOWS = 1500
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What was said of some rows and what came of them, oldest first.

    `probabilities` (n, 3), `labels` (n,), `prior` (3,) the class shares to beat. `moves` (n,) are returns over the
    window, `volatility` (n,) deviations of one bar's log return; both NaN where unknown.
    """

    probabilities: FloatArray
    labels: IntArray
    prior: FloatArray
    moves: FloatArray
    volatility: FloatArray
    horizon: int


@dataclass(frozen=True, slots=True, eq=False)
class ChartReference:
    """A chart's usual values, and the limit of its sum by the length of path it is the median maximum of (days)."""

    standard: Standard
    limits: FloatArray

    def limit(self, false_alarm_days: float) -> float:
        """Give the limit at which the charts together raise a false alarm every `false_alarm_days` or less often.

        Beyond 100 days the limit rises no further.
        """
        path_days = PATHS_PER_TARGET * false_alarm_days
        return float(np.interp(math.log(path_days), np.log(LIMIT_DAYS), self.limits))


@dataclass(frozen=True, slots=True, eq=False)
class ColumnReference:
    """Usual distribution of each column and how far a window of `window` rows strays from it by itself.

    `edges` (k, 9), `shares` (k, 10); `psi_limits` and `ks_limits` (k,) are each column's own 99 % quantiles, `psi_all`
    and `ks_all` those of the worst column's ratio to its limit.
    """

    edges: FloatArray
    shares: FloatArray
    window: int
    psi_limits: FloatArray
    ks_limits: FloatArray
    psi_all: float
    ks_all: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a bundle says about drift; a part it lacks is None."""

    loss: ChartReference | None
    adverse: ChartReference | None
    coverage_floor: float | None
    columns: ColumnReference | None

    @classmethod
    def of(cls, arrays: Mapping[str, FloatArray]) -> Reference:
        """Read the reference arrays of a bundle."""
        floor = arrays.get("drift_coverage_floor")
        return cls(
            loss=_chart(arrays, "loss"),
            adverse=_chart(arrays, "return"),
            coverage_floor=None if floor is None else float(floor[0]),
            columns=_columns(arrays),
        )


def chart_arrays(outcomes: Outcomes, *, steps_per_day: float, seed: int) -> dict[str, FloatArray]:
    """Give the arrays of the three charts; none with fewer than 40 outcomes.

    A few hundred outcomes know their mean so badly that every fifth bundle would raise false alarms for its whole life;
    so a chart measures from one standard error above it.
    """
    said, labels = outcomes.probabilities, outcomes.labels
    answered = np.isfinite(said).all(axis=1)
    known = answered & np.isfinite(outcomes.moves) & (outcomes.volatility > 0.0)
    losses = excess_losses(said[answered], labels[answered], outcomes.prior)
    adverse = adverse_returns(said[known], outcomes.moves[known], outcomes.volatility[known], outcomes.horizon)
    arrays: dict[str, FloatArray] = {}
    for name, values in (("loss", losses), ("return", adverse)):
        if len(values) >= LEAST_OUTCOMES:
            mean, deviation = float(values.mean()), max(float(values.std()), _TINY)
            scaled = (values - mean) / deviation
            arrays[f"drift_{name}"] = np.array([mean + CAUTION * deviation * _error(scaled), deviation])
            arrays[f"drift_{name}_limits"] = limits_by_length(scaled, steps_per_day=steps_per_day, seed=seed)
    if len(losses) >= LEAST_OUTCOMES:
        of_outcome = said[answered, labels[answered]]
        arrays["drift_coverage_floor"] = np.array([coverage_floor(of_outcome)])
    return arrays


def limits_by_length(values: FloatArray, *, steps_per_day: float, seed: int) -> FloatArray:
    """Give the median over resampled paths of the highest sum reached within each of `LIMIT_DAYS`.

    Paths are blocks of ten consecutive standardised values. Each path carries its own error of the mean, as the mean
    the live values are measured by has one.
    """
    generator = np.random.default_rng(seed)
    steps = max(math.ceil(LIMIT_DAYS[-1] * steps_per_day), 1)
    blocks = math.ceil(steps / BLOCK)
    starts = generator.integers(0, max(len(values) - BLOCK + 1, 1), (PATHS, blocks))
    places = (starts[:, :, None] + np.arange(BLOCK)).reshape(PATHS, -1)[:, :steps] % len(values)
    errors = generator.normal(0.0, _error(values), (PATHS, 1))
    maxima = np.median(running_maxima(values[places] + errors), axis=0)
    ends = np.clip(np.round(LIMIT_DAYS * steps_per_day).astype(np.int64), 1, steps)
    limits: FloatArray = maxima[ends - 1]
    return limits


def column_arrays(rows: FloatArray, *, window: int) -> dict[str, FloatArray]:
    """Give the arrays of the columns of the train block, (n, k) in time order, for windows of `window` rows."""
    deciles = np.nanquantile(rows, np.linspace(0.0, 1.0, 11), axis=0).T
    edges = np.ascontiguousarray(deciles[:, 1:-1])
    usual = bin_shares(rows, edges)
    strays = [_window_shares(rows[:, place], edges[place], window) for place in range(rows.shape[1])]
    shares = np.stack(strays, axis=1)
    psi, gaps = stability_index(shares, usual), distance(shares, usual)
    psi_limits, ks_limits = np.quantile(psi, WINDOW_QUANTILE, axis=0), np.quantile(gaps, WINDOW_QUANTILE, axis=0)
    psi_all, ks_all = (
        float(np.quantile((found / np.maximum(limits, _TINY)).max(axis=1), WINDOW_QUANTILE))
        for found, limits in ((psi, psi_limits), (gaps, ks_limits))
    )
    return {
        DECILES: deciles,
        "drift_shares": usual,
        "drift_psi_limits": psi_limits,
        "drift_ks_limits": ks_limits,
        "drift_windows": np.array([float(window), psi_all, ks_all]),
    }


def window_moves(bars: Bars, t0: IntArray, horizon: int) -> tuple[FloatArray, FloatArray]:
    """Give return over the window and deviation of one-bar log returns for rows known at `t0` (ms), shape (n,) each.

    The window runs from the open of the next bar to the close of the `horizon`-th; NaN where the bars do not tell.
    """
    place = np.searchsorted(bars.close_time, t0)
    inside = (place < len(bars) - horizon) & (place >= VOLATILITY_BARS)
    place = np.where(inside, place, 0)
    inside &= bars.close_time[place] == t0
    moves = np.full(len(t0), np.nan)
    volatility = np.full(len(t0), np.nan)
    rows = place[inside]
    moves[inside] = bars.close[rows + horizon] / bars.open[rows + 1] - 1.0
    returns = np.diff(np.log(bars.close))
    if len(rows):
        spans = np.lib.stride_tricks.sliding_window_view(returns, VOLATILITY_BARS)
        volatility[inside] = spans[rows - VOLATILITY_BARS].std(axis=1)
    return moves, volatility


def _error(values: FloatArray) -> float:
    """Give the standard error of the mean of values in time order, from the means of their blocks."""
    means = values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1)
    return float(means.std() / math.sqrt(len(means)))


def _window_shares(column: FloatArray, edges: FloatArray, window: int) -> FloatArray:
    """Give the bin shares of windows of consecutive rows of one column, shape (n_windows, 10)."""
    count = len(column)
    size = min(window, count)
    starts = np.unique(np.linspace(0, count - size, min(MOST_WINDOWS, count - size + 1)).astype(np.int64))
    bins = (column[:, None] >= edges[None, :]).sum(axis=1)
    inside = np.eye(len(edges) + 1)[bins] * np.isfinite(column)[:, None]
    sums = np.concatenate([np.zeros((1, len(edges) + 1)), np.cumsum(inside, axis=0)])
    counts = sums[starts + size] - sums[starts]
    known = counts.sum(axis=1, keepdims=True)
    usual = inside.sum(axis=0) / max(float(inside.sum()), 1.0)
    shares: FloatArray = np.where(known > 0.0, counts / np.maximum(known, 1.0), usual)
    return shares


def _chart(arrays: Mapping[str, FloatArray], name: str) -> ChartReference | None:
    values, limits = arrays.get(f"drift_{name}"), arrays.get(f"drift_{name}_limits")
    if values is None or limits is None or len(limits) != len(LIMIT_DAYS):
        return None
    return ChartReference(Standard(float(values[0]), float(values[1])), limits)


def _columns(arrays: Mapping[str, FloatArray]) -> ColumnReference | None:
    if "drift_shares" not in arrays or DECILES not in arrays:
        return None
    window, psi_all, ks_all = arrays["drift_windows"].tolist()
    return ColumnReference(
        edges=np.ascontiguousarray(arrays[DECILES][:, 1:-1]),
        shares=arrays["drift_shares"],
        window=int(window),
        psi_limits=arrays["drift_psi_limits"],
        ks_limits=arrays["drift_ks_limits"],
        psi_all=psi_all,
        ks_all=ks_all,
    )
