from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import ConfigError, MarketDataError, Transient
from bn_ml.ports import MarketView
from bn_ml.settings import Settings
from data_manager.bars import Bars, empty_bars
from data_manager.data_manager import BinanceDataManager
from data_manager.history import HistoryStore
from data_manager.open_source import open_source
from data_manager.sources.replay import ReplaySource
from tests.fakes.bar_builders import BTC, START, START_MS, clock_at, same_bars, some_bars

QUARTER = Timeframe.M15.ms
NOBODY = "http://127.0.0.1:9"


class RemoteBars(ReplaySource):
    """A replayed record that counts what is asked of it, as a remote source would be asked, and can fail."""

    concurrency = 4

    def __init__(self, folder: Path, clock: SimulatedClock) -> None:
        super().__init__(folder, clock)
        self.asked: list[tuple[int, int]] = []
        self.failing = False

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        self.asked.append((start_ms, end_ms))
        if self.failing:
            raise Transient("no answer")
        return super().bars(symbol, timeframe, start_ms, end_ms)


def a_manager(folder: Path, bars: Bars, after: int) -> tuple[BinanceDataManager, RemoteBars, SimulatedClock]:
    HistoryStore(folder).write(bars)
    clock = clock_at(START_MS + after * QUARTER)
    source = RemoteBars(folder, clock)
    return BinanceDataManager({}, source=source, clock=clock), source, clock


def test_asking_again_within_a_bar_fetches_nothing(tmp_path: Path) -> None:
    manager, source, clock = a_manager(tmp_path, some_bars(2000), 1500)
    first = manager.bars(BTC, Timeframe.M15, 300)
    requests = len(source.asked)
    clock.sleep_until(clock.now() + timedelta(minutes=14, seconds=59))
    assert same_bars(manager.bars(BTC, Timeframe.M15, 300), first)
    assert len(source.asked) == requests


def test_after_a_bar_only_that_bar_and_the_one_before_it_are_fetched(tmp_path: Path) -> None:
    manager, source, clock = a_manager(tmp_path, some_bars(2000), 1500)
    manager.bars(BTC, Timeframe.M15, 300)
    clock.sleep_until(clock.now() + timedelta(minutes=15))
    bars = manager.bars(BTC, Timeframe.M15, 300)
    assert source.asked[-1] == (START_MS + 1499 * QUARTER, START_MS + 1501 * QUARTER)
    assert same_bars(bars, some_bars(2000).rows(1201, 1501))


def test_n_bars_means_n_even_across_an_outage(tmp_path: Path) -> None:
    bars = some_bars(2000)
    holed = bars.take(np.delete(np.arange(2000), np.arange(1200, 1400)))
    manager, _, _ = a_manager(tmp_path, holed, 1500)
    assert len(manager.bars(BTC, Timeframe.M15, 500)) == 500


def test_a_young_symbol_gives_what_there_is(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(2000), 120)
    assert len(manager.bars(BTC, Timeframe.M15, 500)) == 120
    with pytest.raises(MarketDataError) as caught:
        manager.fresh_bars(BTC, Timeframe.M15, 500, minimum=121)
    assert caught.value.reason == "too_few_bars"
    assert len(manager.fresh_bars(BTC, Timeframe.M15, 500, minimum=120)) == 120


@pytest.mark.parametrize(("overdue_s", "stale"), [(89, False), (90, False), (91, True)])
def test_bars_are_stale_when_the_next_is_later_than_allowed(overdue_s: int, stale: bool, tmp_path: Path) -> None:
    manager, _, clock = a_manager(tmp_path, some_bars(500), 501)
    clock.sleep_until(clock.now() + timedelta(seconds=overdue_s))
    if stale:
        with pytest.raises(MarketDataError) as caught:
            manager.fresh_bars(BTC, Timeframe.M15, 300)
        assert caught.value.reason == "data_stale"
    else:
        assert len(manager.fresh_bars(BTC, Timeframe.M15, 300)) == 300


@pytest.mark.parametrize(("absent", "gapped"), [(2, False), (3, False), (4, True)])
def test_too_many_absent_bars_among_the_last_96_are_a_gap(absent: int, gapped: bool, tmp_path: Path) -> None:
    bars = some_bars(500)
    manager, _, _ = a_manager(tmp_path, bars.take(np.delete(np.arange(500), np.arange(404, 404 + absent))), 500)
    if gapped:
        with pytest.raises(MarketDataError) as caught:
            manager.fresh_bars(BTC, Timeframe.M15, 300)
        assert caught.value.reason == "data_gap"
    else:
        assert len(manager.fresh_bars(BTC, Timeframe.M15, 300)) == 300


def test_a_hole_older_than_96_bars_is_no_gap(tmp_path: Path) -> None:
    bars = some_bars(500)
    manager, _, _ = a_manager(tmp_path, bars.take(np.delete(np.arange(500), np.arange(394, 404))), 500)
    assert len(manager.fresh_bars(BTC, Timeframe.M15, 300)) == 300


def test_a_failing_symbol_is_left_alone_for_a_growing_while(tmp_path: Path) -> None:
    manager, source, clock = a_manager(tmp_path, some_bars(500), 400)
    source.failing = True
    with pytest.raises(MarketDataError, match="no answer"):
        manager.bars(BTC, Timeframe.M15, 300)
    asked = len(source.asked)
    clock.sleep_until(clock.now() + timedelta(seconds=29))
    with pytest.raises(MarketDataError, match="left alone until"):
        manager.bars(BTC, Timeframe.M15, 300)
    assert len(source.asked) == asked
    assert manager.quarantined() == {BTC: START + 400 * timedelta(minutes=15) + timedelta(seconds=30)}
    clock.sleep_until(clock.now() + timedelta(seconds=1))
    with pytest.raises(MarketDataError, match="no answer"):
        manager.bars(BTC, Timeframe.M15, 300)
    assert manager.quarantined()[BTC] == clock.now() + timedelta(seconds=60)
    source.failing = False
    clock.sleep_until(clock.now() + timedelta(seconds=60))
    assert len(manager.bars(BTC, Timeframe.M15, 300)) == 300
    assert manager.quarantined() == {}


def test_quotes_of_a_quarantined_symbol_still_come(tmp_path: Path) -> None:
    manager, source, _ = a_manager(tmp_path, some_bars(500), 400)
    source.failing = True
    with pytest.raises(MarketDataError):
        manager.bars(BTC, Timeframe.M15, 300)
    assert manager.quote(BTC).bid > 0


def test_bars_that_no_market_made_are_refused(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(500), 400)

    class Fabricated(RemoteBars):
        def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
            found = super().bars(symbol, timeframe, start_ms, end_ms)
            return Bars(found.symbol, timeframe, found.open_time, *[found.close / 3] * 4, found.volume, "false")

    manager = BinanceDataManager({}, source=Fabricated(tmp_path, manager.clock), clock=manager.clock)  # type: ignore[arg-type]
    with pytest.raises(MarketDataError, match="not a market's bars"):
        manager.bars(BTC, Timeframe.M15, 300)


def test_prefetching_fills_the_cache_and_names_the_failures(tmp_path: Path) -> None:
    manager, source, _ = a_manager(tmp_path, some_bars(500), 400)
    absent = Symbol("XRP/USDC")
    failures = manager.prefetch([BTC, absent], [Timeframe.M15, Timeframe.H1], 50)
    assert set(failures) == {absent}
    asked = len(source.asked)
    manager.bars(BTC, Timeframe.H1, 50)
    assert len(source.asked) == asked


def test_quotes_of_many_symbols_name_those_without(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(500), 400)
    quotes = manager.quotes([BTC, Symbol("XRP/USDC")])
    assert quotes[BTC] == manager.quote(BTC)
    assert isinstance(quotes[Symbol("XRP/USDC")], MarketDataError)


def test_the_path_holds_exact_bars_inside_the_span(tmp_path: Path) -> None:
    manager, _, clock = a_manager(tmp_path, some_bars(500), 400)
    path = manager.path(BTC, clock.now() - timedelta(minutes=45), clock.now())
    assert [bar.open_at for bar in path] == [clock.now() - timedelta(minutes=minutes) for minutes in (45, 30, 15)]
    assert path[-1].close == Decimal(repr(float(some_bars(500).close[399])))


def test_the_atr_is_that_of_the_newest_closed_bar(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(500), 400)
    bars = some_bars(500).rows(250, 400)
    before = np.concatenate([[bars.close[0]], bars.close[:-1]])
    ranges = np.maximum(bars.high, before) - np.minimum(bars.low, before)
    value = float(np.mean(ranges[1:15]))
    for width in ranges[15:]:
        value = (value * 13 + float(width)) / 14
    assert manager.atr_frac(BTC) == pytest.approx(value / bars.close[-1], rel=1e-9)
    assert manager.atr_frac(BTC) == manager.atr_frac(BTC)


def test_too_few_bars_have_no_atr(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(14), 14)
    with pytest.raises(MarketDataError) as caught:
        manager.atr_frac(BTC)
    assert caught.value.reason == "too_few_bars"


def test_users_get_frames_and_plain_tickers(tmp_path: Path) -> None:
    manager, _, clock = a_manager(tmp_path, some_bars(500), 400)
    frame = manager.fetch_ohlcv("btc/usdc", "15m", 10)
    assert list(frame.columns[:2]) == ["timestamp", "open_time"]
    assert len(frame) == 10
    assert frame["timestamp"].iloc[-1] == clock.now() - timedelta(minutes=15)
    ticker = manager.fetch_ticker("BTC/USDC")
    assert ticker["bid"] < ticker["ask"]  # type: ignore[operator]
    assert ticker["data_source"] == "replay"


def test_it_is_a_market_view(tmp_path: Path) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(500), 400)
    view: MarketView = manager
    assert view.rules(BTC).tick == Decimal("0.01")
    with pytest.raises(MarketDataError, match="not listed"):
        view.rules(Symbol("XRP/USDC"))


def test_the_symbols_are_those_configured_without_the_excluded(tmp_path: Path) -> None:
    listed = {"training_symbols": ["BTC/USDC", "ETH/USDC", "SOL/USDC"], "exclude": ["ETH/USDC"]}
    manager, source, clock = a_manager(tmp_path, some_bars(5), 5)
    chosen = BinanceDataManager({"universe": listed}, source=source, clock=clock)
    assert chosen.symbols() == ("BTC/USDC", "SOL/USDC")
    assert len(manager.symbols()) == 7


def test_synthetic_data_need_no_network_and_say_so() -> None:
    clock = clock_at(START_MS)
    manager = BinanceDataManager({"data": {"paper_market_data_mode": "synthetic"}}, clock=clock)
    assert manager.source.name == "synthetic"
    assert len(manager.fresh_bars(BTC, Timeframe.H4, 200, minimum=200)) == 200
    assert manager.quote(BTC).source == "synthetic"


def test_auto_without_an_answer_is_synthetic_and_loud() -> None:
    settings = Settings.from_mapping({"exchange": {"base_url": NOBODY}})
    source = open_source(settings, clock_at(START_MS), "auto")
    assert source.name == "synthetic"
    assert "SYNTHETIC" in source.notice
    assert "did not answer at start" in source.notice


def test_live_without_an_answer_is_refused_unless_a_fallback_is_allowed() -> None:
    clock = clock_at(START_MS)
    with pytest.raises(Transient):
        open_source(Settings.from_mapping({"exchange": {"base_url": NOBODY}}), clock, "live")
    allowed = Settings.from_mapping({"exchange": {"base_url": NOBODY}, "data": {"allow_synthetic_fallback": True}})
    source = open_source(allowed, clock, "live")
    assert source.name == "synthetic_fallback"
    assert source.bars(BTC, Timeframe.M15, START_MS - QUARTER, START_MS).source == "synthetic_fallback"


def test_replay_needs_something_to_replay(tmp_path: Path) -> None:
    settings = Settings.from_mapping({"data": {"replay_dir": str(tmp_path)}})
    with pytest.raises(MarketDataError, match="no bars to replay"):
        open_source(settings, clock_at(START_MS), "replay")
    HistoryStore(tmp_path).write(some_bars(10))
    assert open_source(settings, clock_at(START_MS), "replay").name == "replay"


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of live, synthetic, replay, auto"):
        open_source(Settings(), clock_at(START_MS), "dreamt")


def test_an_empty_answer_is_no_data(tmp_path: Path) -> None:
    HistoryStore(tmp_path).write(empty_bars(BTC, Timeframe.M15, "test"))
    clock = clock_at(to_ms(from_ms(START_MS)))
    manager = BinanceDataManager({}, source=ReplaySource(tmp_path, clock), clock=clock)
    with pytest.raises(MarketDataError) as caught:
        manager.bars(BTC, Timeframe.M15, 10)
    assert caught.value.reason == "data_unavailable"


@pytest.mark.parametrize("count", [0, -1])
def test_asking_for_no_bars_is_the_callers_mistake_not_the_symbols(tmp_path: Path, count: int) -> None:
    manager, _, _ = a_manager(tmp_path, some_bars(400), 350)
    with pytest.raises(ValueError, match="at least 1 bar"):
        manager.fetch_ohlcv("BTC/USDC", "15m", count)
    assert len(manager.fetch_ohlcv("BTC/USDC", "15m", 1)) == 1
