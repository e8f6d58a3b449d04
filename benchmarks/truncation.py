"""Cuts recorded histories at random bars and counts the feature columns that change when the future is taken away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bn_ml.domain.market import Symbol
from data_manager.bars import Bars
from data_manager.feature_audit import truncation_differences
from data_manager.feature_columns import BASE_TIMEFRAME, BASE_WINDOW_BARS
from data_manager.feature_engineer import FeatureEngineer, usable_bars
from data_manager.history import HistoryStore
from data_manager.market_context import MarketContext

CUTS_PER_SYMBOL = 50


def truncation_figures(
    history: Path,
    symbols: Sequence[str],
    *,
    seed: int,
    cuts: int = CUTS_PER_SYMBOL,
    engineer: FeatureEngineer | None = None,
) -> dict[str, object]:
    """Compare, per symbol and cut, the last row known then with the same row built from all bars, bit for bit.

    All columns of `engineer` (default: all declared) take part. Higher timeframes are made anew from the cut bars, and
    the market columns from the bars of all `symbols` cut at the same instant; the first symbol is the benchmark. Raises
    `MarketDataError` when a history is absent.
    """
    started = time.perf_counter()
    store, engineer = HistoryStore(history), engineer or FeatureEngineer()
    names = tuple(Symbol(name) for name in symbols)
    bars = {name: store.read(name, BASE_TIMEFRAME) for name in names}
    context = MarketContext.of(bars, names[0], names)
    dice = np.random.default_rng(seed)
    differing: set[str] = set()
    cut_points = 0
    for name in names:
        places = random_cuts(bars[name], dice, cuts)
        cut_points += len(places)
        found = truncation_differences(engineer, {BASE_TIMEFRAME: bars[name]}, context, places)
        differing.update(difference.column for difference in found)
    return {
        "columns": len(engineer.columns),
        "columns_differing": len(differing),
        "columns_differing_names": sorted(differing),
        "symbols": len(names),
        "cut_points": cut_points,
        "seconds": round(time.perf_counter() - started, 1),
    }


def random_cuts(bars: Bars, dice: np.random.Generator, count: int) -> list[int]:
    """Draw positions among the usable bars, past the first window of history."""
    usable = len(usable_bars(bars))
    pool = np.arange(min(BASE_WINDOW_BARS, usable), usable)
    chosen = dice.choice(pool, size=min(count, len(pool)), replace=False)
    return sorted(int(place) for place in chosen)
