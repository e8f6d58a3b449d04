"""Spans from the cache are the source's own bars, and only what is new is asked for again."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars

STEP = Timeframe.M15.ms
STORED = 2_000


class Watched(ReplaySource):
    """A stored market that is asked several things at once and remembers how many bars it gave."""

    concurrency = 4

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        found = super().bars(symbol, timeframe, start_ms, end_ms)
        self.given = [*getattr(self, "given", []), len(found)]
        return found


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(from_ms(START_MS + 1_500 * STEP))


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, clock: SimulatedClock) -> Watched:
    root = tmp_path_factory.mktemp("history")
    HistoryStore(root).write(some_bars(STORED))
    return Watched(root, clock)


@pytest.fixture
def cached(source: Watched, clock: SimulatedClock) -> CachedBars:
    return CachedBars(BinanceDataManager({}, source, clock=clock))


@pytest.mark.parametrize("timeframe", [Timeframe.M15, Timeframe.H1, Timeframe.H4])
@pytest.mark.parametrize(("first", "last"), [(0, 1_500), (700, 1_500), (1_499, 1_500), (900, 1_200)])
def test_a_span_is_what_the_source_holds(
    timeframe: Timeframe, first: int, last: int, cached: CachedBars, source: Watched
) -> None:
    start, end = START_MS + first * STEP, START_MS + last * STEP
    assert same_bars(cached.bars(BTC, timeframe, start, end), source.bars(BTC, timeframe, start, end))


def test_a_span_never_holds_a_bar_that_has_not_closed(cached: CachedBars) -> None:
    found = cached.bars(BTC, Timeframe.M15, START_MS, START_MS + STORED * STEP)
    assert int(found.close_time[-1]) == START_MS + 1_500 * STEP


def test_a_span_that_lies_ahead_is_empty(cached: CachedBars) -> None:
    assert not len(cached.bars(BTC, Timeframe.M15, START_MS + 1_600 * STEP, START_MS + 1_700 * STEP))


def test_the_next_bar_costs_the_next_bar(cached: CachedBars, source: Watched, clock: SimulatedClock) -> None:
    cached.bars(BTC, Timeframe.M15, START_MS + 500 * STEP, START_MS + 1_500 * STEP)
    source.given.clear()
    clock.sleep_until(clock.now() + timedelta(minutes=15))
    found = cached.bars(BTC, Timeframe.M15, START_MS + 500 * STEP, START_MS + 1_501 * STEP)
    assert source.given == [2]
    assert np.array_equal(found.open_time, START_MS + STEP * np.arange(500, 1_501))


def test_the_same_bar_costs_nothing(cached: CachedBars, source: Watched) -> None:
    cached.bars(BTC, Timeframe.M15, START_MS + 500 * STEP, START_MS + 1_500 * STEP)
    source.given.clear()
    cached.bars(BTC, Timeframe.M15, START_MS + 600 * STEP, START_MS + 1_500 * STEP)
    assert source.given == []


def test_what_is_not_stored_is_told(cached: CachedBars) -> None:
    with pytest.raises(MarketDataError, match="NOPE/USDC"):
        cached.bars(Symbol("NOPE/USDC"), Timeframe.M15, START_MS, START_MS + STEP)
