"""Features: the product's arrays against pandas, and a scan without new bars against the first."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.bench_base import Result, cpu_seconds, faster
from benchmarks.bench_market import BEGIN_MS, BENCHMARK, symbols, walk
from benchmarks.features_reference import AGREEING, naive_columns, tuned_columns
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from data_manager.bars import Bars, FloatArray
from data_manager.feature_columns import BASE_SPECS
from data_manager.feature_engineer import FeatureEngineer, base_columns
from data_manager.feature_feed import LiveFeatureFeed, MarketBasket
from data_manager.indicators import INDICATORS
from data_manager.resampling import resample

if TYPE_CHECKING:
    import pandas as pd

BARS = 500
TIMEFRAMES = (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
SPECS = [spec for spec in BASE_SPECS if spec.function in INDICATORS]
NAMES = [spec.name for spec in SPECS]
WARM = 200
CLOSE_ENOUGH = 1e-9
HISTORY_BARS = 21_000


def measure() -> list[Result]:
    """P1, P2, P3 and the live row."""
    frames = [walk(BENCHMARK, BARS, seed=number, timeframe=tf) for number, tf in enumerate(TIMEFRAMES)]
    ours = cpu_seconds(lambda: [base_columns(bars, SPECS) for bars in frames], runs=15)
    tables = [bars.to_frame() for bars in frames]
    naive = cpu_seconds(lambda: [naive_columns(table) for table in tables], runs=5)
    tuned = cpu_seconds(lambda: [tuned_columns(table) for table in tables], runs=7)
    worst = max(disagreement(bars, reference) for bars in frames for reference in (naive_columns, tuned_columns))
    shape = f"4 timeframes x {BARS} bars x {len(SPECS)} columns"
    return [
        faster("P1_features_vs_naive_pandas", ours * 1e3, naive * 1e3, bar=80.0, runs=5, unit="ms CPU", note=shape),
        faster("P2_features_vs_tuned_pandas", ours * 1e3, tuned * 1e3, bar=15.0, runs=7, unit="ms CPU", note=shape),
        Result(
            "P2_features_disagreement", worst, CLOSE_ENOUGH, worst / CLOSE_ENOUGH, CLOSE_ENOUGH, "ours <=",
            "max relative difference", 1, f"{len(AGREEING)} columns whose definitions agree",
        ),
        *live_rows(naive),
    ]  # fmt: skip


def disagreement(bars: Bars, reference: Callable[[pd.DataFrame], pd.DataFrame]) -> float:
    """Give the largest difference to a reference, relative to max(1, |value|), over the columns defined alike."""
    theirs, ours = reference(bars.to_frame()), base_columns(bars, SPECS)
    gaps = []
    for name in AGREEING:
        left, right = ours[WARM:, NAMES.index(name)], theirs[name].to_numpy()[WARM:]
        if not np.array_equal(np.isnan(left), np.isnan(right)):
            return float("inf")
        gaps.append(_gap(left, right))
    return max(gaps)


def _gap(left: FloatArray, right: FloatArray) -> float:
    return float(np.nanmax(np.abs(left - right) / np.maximum(1.0, np.abs(right))))


class Memory:
    """Bars held in memory, longer timeframes resampled once; counts nothing, knows no clock."""

    def __init__(self, held: dict[Symbol, Bars]) -> None:
        """Resample each symbol once."""
        self._bars = {(name, tf): resample(bars, tf) for name, bars in held.items() for tf in TIMEFRAMES[1:]}
        self._bars |= {(name, Timeframe.M15): bars for name, bars in held.items()}

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give the bars opened in a span."""
        return self._bars[symbol, timeframe].between(start_ms, end_ms)


def live_rows(naive: float) -> list[Result]:
    """The rows a live scan needs: all bars new, then again with none new."""
    names = symbols(20)
    provider = Memory({name: walk(name, HISTORY_BARS, seed=seed) for seed, name in enumerate(names)})
    feed = LiveFeatureFeed(FeatureEngineer(), provider, basket=MarketBasket(names, BENCHMARK))
    now = from_ms(BEGIN_MS + (HISTORY_BARS // 96 - 6) * 96 * Timeframe.M15.ms)
    first, second, computed, again = [], [], 0, 0
    for _ in range(6):
        before = feed.computed_rows
        first.append(_scan(feed, names, now))
        computed, between = feed.computed_rows - before, feed.computed_rows
        now += timedelta(minutes=5)
        second.append(_scan(feed, names, now))
        again += feed.computed_rows - between
        now += timedelta(hours=24) - timedelta(minutes=5)
    new, kept = median(first[1:]), median(second[1:])
    note = f"{len(names)} symbols, all four timeframes new at first: {computed} rows computed, then {again}"
    per_row = new / len(names) * 1e3
    return [
        faster("P3_scan_without_new_bar", kept * 1e3, new * 1e3, bar=20.0, runs=5, unit="ms CPU", note=note),
        Result("P3_features_recomputed", again, computed, again / computed, 0.0, "ours ==", "rows", 5),
        faster(
            "live_row_vs_naive_pandas", per_row, naive * 1e3, bar=None, runs=5, unit="ms CPU",
            note="the whole row as declared, market columns and long windows included, vs 4 naive frames",
        ),
    ]  # fmt: skip


def _scan(feed: LiveFeatureFeed, names: tuple[Symbol, ...], now: datetime) -> float:
    started = time.process_time()
    for name in names:
        feed.row(name, now)
    return time.process_time() - started
