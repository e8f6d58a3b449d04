"""The row a live bot decides on is the row the trainer learns from, through the real client and over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_audit import same_bits
from data_manager.feature_engineer import FeatureEngineer, FeatureFrame
from data_manager.feature_feed import LiveFeatureFeed, MarketBasket
from data_manager.history import HistoryStore
from data_manager.resampling import resample
from data_manager.sources.binance import BinanceSource
from ml_engine.training_data import BASE, load_market, window_start_ms
from ml_engine.training_history import StoredHistory
from tests.fakes.bar_builders import same_bars
from tests.fakes.live_market import LiveMarket

BTC, DOGE = Symbol("BTC/USDC"), Symbol("DOGE/USDC")
MARKET = MarketBasket((BTC, DOGE), BTC)


@pytest.fixture(scope="module")
def market() -> Iterator[LiveMarket]:
    with LiveMarket() as running:
        yield running


@pytest.fixture(scope="module")
def settings(market: LiveMarket) -> Settings:
    return Settings.from_mapping(
        {
            "exchange": {"base_url": market.url, "rate_limit_ms": 10},
            "universe": {"training_symbols": [BTC, DOGE]},
            "model": {"training_window_days": 45},
        }
    )


@pytest.fixture(scope="module")
def manager(market: LiveMarket, settings: Settings) -> BinanceDataManager:
    return BinanceDataManager(settings, source=BinanceSource.connect(settings.exchange, market.clock))


@pytest.fixture(scope="module")
def trained(manager: BinanceDataManager, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> FeatureFrame:
    return _trained_rows(manager, settings, tmp_path_factory.mktemp("history"))


def _trained_rows(manager: BinanceDataManager, settings: Settings, folder: Path) -> FeatureFrame:
    """The rows of DOGE as a training makes them: 15m bars alone, paged into the store, longer ones resampled."""
    history = StoredHistory(HistoryStore(folder), manager)
    end_ms = to_ms(manager.clock.now())
    market = load_market(history, MARKET.symbols, MARKET.symbols, settings.model, end_ms=end_ms)
    start_ms = window_start_ms(settings.model, end_ms)
    return FeatureEngineer(settings.model).build({BASE: market.bars[DOGE]}, market.context(), since_ms=start_ms)


def test_the_live_row_has_the_bits_of_the_trainers_row(
    manager: BinanceDataManager, settings: Settings, trained: FeatureFrame, tmp_path: Path
) -> None:
    cached = CachedBars(manager)
    feed = LiveFeatureFeed(FeatureEngineer(settings.model), cached, basket=MARKET, preparer=cached)
    row = feed.row(DOGE, manager.clock.now())
    if row.close_time_ms > trained.close_time[-1]:
        # A bar closed since the training read its own; a training now knows it too.
        trained = _trained_rows(manager, settings, tmp_path)
    place = int(np.searchsorted(trained.close_time, row.close_time_ms))
    assert trained.close_time[place] == row.close_time_ms
    assert row.columns == trained.columns
    different = [
        name for name, a, b in zip(row.columns, row.values, trained.values[place], strict=True) if not same_bits(a, b)
    ]
    assert different == []
    assert np.isfinite(row.values).all()


@pytest.mark.parametrize("timeframe", [Timeframe.H1, Timeframe.H4, Timeframe.D1])
def test_longer_bars_of_the_venue_are_those_made_from_its_quarters(
    timeframe: Timeframe, manager: BinanceDataManager
) -> None:
    end_ms = to_ms(manager.clock.now()) // Timeframe.D1.ms * Timeframe.D1.ms
    start_ms = end_ms - 60 * Timeframe.D1.ms
    made = resample(manager.history(DOGE, Timeframe.M15, start_ms, end_ms), timeframe)
    native = manager.history(DOGE, timeframe, start_ms, end_ms)
    known = np.empty(0)
    assert same_bars(replace(made, quote_volume=known), replace(native, quote_volume=known))


@pytest.mark.parametrize("name", ["BTC", "XRP", "SOL", "LTC"])
def test_recorded_hours_equal_the_recorded_quarters(name: str, market_data: Path) -> None:
    symbol = Symbol(f"{name}/USDT")
    hours = HistoryStore(market_data / "spot_1h_2021_2023").read(symbol, Timeframe.H1)
    made = resample(HistoryStore(market_data / "spot_2022_2023").read(symbol, Timeframe.M15), Timeframe.H1)
    both, ours, theirs = np.intersect1d(made.open_time, hours.open_time, return_indices=True)
    assert len(both) > 10_000
    for column in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(made, column)[ours], getattr(hours, column)[theirs]), column


def test_a_silent_quarter_does_not_open_its_hour() -> None:
    quarter = Timeframe.M15.ms
    times, volume = np.arange(4, dtype=np.int64) * quarter, np.array([0.0, 0.1, 0.0, 0.2])
    opened, high = np.array([5.0, 4.0, 4.1, 4.1]), np.array([5.0, 4.2, 4.1, 4.3])
    low, close = np.array([5.0, 3.9, 4.1, 4.0]), np.array([5.0, 4.1, 4.1, 4.2])
    bars = Bars(BTC, Timeframe.M15, times, opened, high, low, close, volume, "test")
    hour = resample(bars, Timeframe.H1)
    assert (hour.open[0], hour.high[0], hour.low[0], hour.close[0], hour.volume[0]) == (4.0, 4.3, 3.9, 4.2, 0.3)


def test_an_hour_without_trades_repeats_the_close_before_it() -> None:
    flat, times = np.full(4, 7.0), np.arange(4, dtype=np.int64) * Timeframe.M15.ms
    hour = resample(Bars(BTC, Timeframe.M15, times, flat, flat, flat, flat, np.zeros(4), "test"), Timeframe.H1)
    assert (hour.open[0], hour.high[0], hour.low[0], hour.close[0], hour.volume[0]) == (7.0, 7.0, 7.0, 7.0, 0.0)


def test_the_first_scan_asks_every_bar_once_and_the_second_none(market: LiveMarket, settings: Settings) -> None:
    clock = SimulatedClock(from_ms(to_ms(market.clock.now()) // Timeframe.M15.ms * Timeframe.M15.ms + 1000))
    manager = BinanceDataManager(settings, source=BinanceSource(settings.exchange, clock), clock=clock)
    cached = CachedBars(manager)
    feed = LiveFeatureFeed(FeatureEngineer(settings.model), cached, basket=MARKET, preparer=cached)
    before = len(market.requests)
    for symbol in MARKET.symbols:
        feed.row(symbol, clock.now())
    assert market.counted(before) == {"klines": 12}
    clock.sleep_until(from_ms(to_ms(clock.now()) + 600_000))
    for symbol in MARKET.symbols:
        feed.row(symbol, clock.now())
    assert market.counted(before) == {"klines": 12}
