"""Windows are the same bits live, in a replay and in a training, and only who asks for them pays for them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars
from data_manager.feature_audit import same_bits
from data_manager.feature_engineer import WEEK_MS, FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, LiveFeatureFeed, MarketBasket
from data_manager.feed_checks import FeatureRow
from ml_engine.training_data import TrainingMarket, sample
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, MemoryProvider, UntilProvider, walk, without

LENGTH = 24
AAA, BBB = Symbol("AAA/USDC"), Symbol("BBB/USDC")
ENGINEER = FeatureEngineer()
BASKET = MarketBasket((AAA, BBB), BBB)
START_MS = MONDAY_MS - 20_200 * STEP_MS
HOLE_MS = MONDAY_MS + 300 * STEP_MS


def a_market() -> dict[Symbol, Bars]:
    """Two walks of half a year and a week; the first lacks one bar on the fourth day of the last week."""
    bars = {
        symbol: walk(str(symbol), bars=21_000, seed=seed, start_ms=START_MS)
        for seed, symbol in enumerate(BASKET.symbols)
    }
    hole = int(np.searchsorted(bars[AAA].open_time, HOLE_MS))
    return {**bars, AAA: without(bars[AAA], [hole])}


MARKET = a_market()


def asked(symbol: Symbol, now: datetime) -> int:
    del now
    return LENGTH if symbol == AAA else 0


def live(provider: MemoryProvider | None = None) -> LiveFeatureFeed:
    return LiveFeatureFeed(ENGINEER, provider or MemoryProvider(MARKET), basket=BASKET, windows=asked)


@pytest.fixture(scope="module")
def batch() -> BatchFeatureFeed:
    return BatchFeatureFeed(ENGINEER, MemoryProvider(MARKET), basket=BASKET, windows=asked)


def window_of(row: FeatureRow) -> np.ndarray:
    assert row.window is not None
    place = 0 if row.block is None else row.place
    return row.window.part(slice(place, place + 1)).gather()[0]


@pytest.mark.parametrize("bar", [0, 1, 2, LENGTH - 1, LENGTH, 200, 299, 301 + LENGTH, 671])
def test_a_live_window_has_the_bits_of_the_replay(batch: BatchFeatureFeed, bar: int) -> None:
    now_ms = MONDAY_MS + bar * STEP_MS + 1500
    feed = live(UntilProvider(MARKET, now_ms))
    one, other = window_of(feed.row(AAA, from_ms(now_ms))), window_of(batch.row(AAA, from_ms(now_ms)))
    assert one.shape == (LENGTH, len(ENGINEER.columns))
    assert np.isfinite(one).all(axis=0).sum() > 100
    assert same_bits(one, other).all()


def test_rows_carried_along_have_the_bits_of_rows_computed_at_once(batch: BatchFeatureFeed) -> None:
    feed = live()
    for bar in range(-6, 7):
        now = from_ms(MONDAY_MS + bar * STEP_MS + 1500)
        carried = window_of(feed.row(AAA, now))
        assert same_bits(carried, window_of(batch.row(AAA, now))).all()
    assert feed.computed_rows == LENGTH + 12


def test_a_row_is_the_last_of_its_window(batch: BatchFeatureFeed) -> None:
    now = from_ms(MONDAY_MS + 100 * STEP_MS)
    for feed in (live(), batch):
        row = feed.row(AAA, now)
        assert same_bits(window_of(row)[-1], row.values).all()


@pytest.mark.parametrize(("after", "known"), [(0, True), (1, False), (LENGTH - 1, False), (LENGTH, True)])
def test_no_window_reaches_over_an_absent_bar(batch: BatchFeatureFeed, after: int, known: bool) -> None:
    now = from_ms(HOLE_MS + (after + 1) * STEP_MS)
    for feed in (live(), batch):
        row = feed.row(AAA, now)
        assert row.window is not None
        assert bool(row.window.known[row.place]) is known


def test_bars_missed_while_nobody_asked_are_caught_up(batch: BatchFeatureFeed) -> None:
    feed = live()
    feed.row(AAA, from_ms(MONDAY_MS + 100 * STEP_MS))
    later = from_ms(MONDAY_MS + 107 * STEP_MS)
    assert same_bits(window_of(feed.row(AAA, later)), window_of(batch.row(AAA, later))).all()
    assert feed.computed_rows == LENGTH + 7


def test_only_who_asks_pays(batch: BatchFeatureFeed) -> None:
    feed = live()
    now = from_ms(MONDAY_MS + 50 * STEP_MS)
    assert feed.row(BBB, now).window is None
    assert feed.computed_rows == 1
    assert batch.row(BBB, now).window is None


def test_a_bundle_that_begins_to_look_back_gets_its_rows_within_the_bar() -> None:
    need = [0]
    feed = LiveFeatureFeed(ENGINEER, MemoryProvider(MARKET), basket=BASKET, windows=lambda symbol, now: need[0])
    now = from_ms(MONDAY_MS + 60 * STEP_MS)
    alone = feed.row(AAA, now)
    need[0] = LENGTH
    followed = feed.row(AAA, now)
    assert followed is feed.row(AAA, now)
    assert same_bits(followed.values, alone.values).all()
    assert window_of(followed).shape[0] == LENGTH
    need[0] = LENGTH + 5
    assert window_of(feed.row(AAA, now)).shape[0] == LENGTH + 5
    need[0] = 0
    assert feed.row(AAA, from_ms(MONDAY_MS + 61 * STEP_MS)).window is None


def test_a_symbol_without_the_week_before_has_windows_once_it_is_old_enough() -> None:
    young = MARKET[AAA].take(MARKET[AAA].open_time >= MONDAY_MS - 310 * STEP_MS)
    provider = MemoryProvider({AAA: young, BBB: MARKET[BBB]})
    for feed in (live(provider), BatchFeatureFeed(ENGINEER, provider, basket=BASKET, windows=asked)):
        row = feed.row(AAA, from_ms(MONDAY_MS + 2 * STEP_MS))
        assert row.window is not None
        assert row.window.known[row.place]


def test_windows_of_a_training_have_the_bits_of_the_replay(batch: BatchFeatureFeed) -> None:
    end_ms = MONDAY_MS + WEEK_MS
    settings = ModelSettings.model_validate(
        {
            "training_window_days": 60,
            "lstm": {"enabled": True, "sequence_length": LENGTH},
            "drift": {"benchmark_symbol": "BBB/USDC"},
        }
    )
    market = TrainingMarket(MARKET, {}, BASKET.symbols, BBB, end_ms)
    found = sample(AAA, market, settings, RiskSettings(), max_gap_bars=3)
    windows = found.data.windows
    assert windows is not None
    assert found.windows_note == ""
    for place in np.flatnonzero(windows.known & (found.data.t0 > MONDAY_MS))[::47]:
        own = windows.part(slice(place, place + 1)).gather()[0]
        assert same_bits(own, window_of(batch.row(AAA, from_ms(int(found.data.t0[place]))))).all()


def test_a_history_full_of_holes_trains_no_member_that_looks_back() -> None:
    holed = without(MARKET[AAA], range(14_000, 21_000, 30))
    settings = ModelSettings.model_validate(
        {
            "training_window_days": 60,
            "lstm": {"enabled": True, "sequence_length": LENGTH},
            "drift": {"benchmark_symbol": "BBB/USDC"},
        }
    )
    market = TrainingMarket({AAA: holed, BBB: MARKET[BBB]}, {}, BASKET.symbols, BBB, MONDAY_MS + WEEK_MS)
    found = sample(AAA, market, settings, RiskSettings(), max_gap_bars=3)
    assert found.data.windows is None
    assert "of the rows have a gapless window, 80% are needed" in found.windows_note
