"""The figures of truncation count the columns that look ahead, and none when none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.truncation import random_cuts, truncation_figures
from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars
from data_manager.feature_engineer import FeatureEngineer, FeatureFrame
from data_manager.history import HistoryStore
from data_manager.market_context import MarketContext
from data_manager.multi_timeframe import HigherTimeframeCache
from tests.fakes.feature_market import walk

NAMES = ("AAA/USDC", "BBB/USDC")


class LooksAhead(FeatureEngineer):
    """Puts the newest close of all bars given into its first column."""

    def build(
        self,
        frames: Mapping[Timeframe, Bars],
        context: MarketContext | None = None,
        *,
        since_ms: int | None = None,
        cache: HigherTimeframeCache | None = None,
    ) -> FeatureFrame:
        built = super().build(frames, context, since_ms=since_ms, cache=cache)
        values = built.values.copy()
        values[:, 0] = frames[Timeframe.M15].close[-1]
        return replace(built, values=values)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    for seed, name in enumerate(NAMES):
        HistoryStore(folder).write(walk(name, bars=2600, seed=seed))
    return folder


def test_no_declared_column_differs_when_the_future_is_taken_away(history: Path) -> None:
    figures = truncation_figures(history, NAMES, seed=1, cuts=4)

    assert figures["columns_differing"] == 0
    assert figures["columns"] == len(FeatureEngineer().columns)
    assert (figures["symbols"], figures["cut_points"]) == (2, 8)


def test_a_column_that_looks_ahead_is_counted_and_named(history: Path) -> None:
    engineer = LooksAhead()

    figures = truncation_figures(history, NAMES, seed=1, cuts=4, engineer=engineer)

    assert figures["columns_differing"] == 1
    assert figures["columns_differing_names"] == [engineer.columns[0]]


def test_cuts_lie_past_the_first_window_and_follow_the_seed() -> None:
    bars = walk(NAMES[0], bars=2300)

    every = random_cuts(bars, np.random.default_rng(1), 10_000)
    some = [random_cuts(bars, np.random.default_rng(5), 50) for _ in range(2)]

    assert every == list(range(2000, 2300))
    assert some[0] == some[1]
    assert len(set(some[0])) == 50
