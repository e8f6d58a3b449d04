from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from data_manager.resampling import resample
from data_manager.sources.replay import ReplaySource
from tests.fakes.bar_builders import BTC, START_MS, clock_at, same_bars, some_bars

QUARTER = Timeframe.M15.ms


def a_replay(folder: Path, *series: Bars, now_ms: int) -> tuple[ReplaySource, SimulatedClock]:
    store = HistoryStore(folder)
    for bars in series:
        store.write(bars)
    clock = clock_at(now_ms)
    return ReplaySource(folder, clock), clock


def test_a_bar_is_visible_from_its_close_and_not_a_moment_before(tmp_path: Path) -> None:
    closes = START_MS + 10 * QUARTER
    source, clock = a_replay(tmp_path, some_bars(50), now_ms=closes - 1)
    assert len(source.bars(BTC, Timeframe.M15, 0, 2**60)) == 9
    clock.sleep_until(from_ms(closes))
    assert len(source.bars(BTC, Timeframe.M15, 0, 2**60)) == 10


def test_an_hour_is_visible_only_when_its_last_quarter_has_closed(tmp_path: Path) -> None:
    source, clock = a_replay(tmp_path, some_bars(50), now_ms=START_MS + 7 * QUARTER)
    assert len(source.bars(BTC, Timeframe.H1, 0, 2**60)) == 1
    clock.sleep_until(from_ms(START_MS + 8 * QUARTER))
    assert len(source.bars(BTC, Timeframe.H1, 0, 2**60)) == 2


def test_hours_come_from_quarters_even_where_hours_are_stored(tmp_path: Path) -> None:
    quarters, other_hours = some_bars(40), some_bars(10, timeframe=Timeframe.H1, seed=9)
    source, _ = a_replay(tmp_path, quarters, other_hours, now_ms=START_MS + 40 * QUARTER)
    assert same_bars(source.bars(BTC, Timeframe.H1, 0, 2**60), resample(quarters, Timeframe.H1))


def test_hours_alone_are_answered_as_stored(tmp_path: Path) -> None:
    hours = some_bars(10, timeframe=Timeframe.H1)
    source, _ = a_replay(tmp_path, hours, now_ms=START_MS + 10 * Timeframe.H1.ms)
    assert same_bars(source.bars(BTC, Timeframe.H1, 0, 2**60), hours)
    assert len(source.bars(BTC, Timeframe.M15, 0, 2**60)) == 0
    assert len(source.bars(BTC, Timeframe.H4, 0, 2**60)) == 2


def test_the_quote_at_a_boundary_is_the_open_of_the_bar_that_opens_there(tmp_path: Path) -> None:
    bars = some_bars(200)
    now_ms = START_MS + 150 * QUARTER
    source, _ = a_replay(tmp_path, bars, now_ms=now_ms)
    quote = source.quote(BTC)
    assert quote.last == Decimal(str(bars.open[150]))
    assert to_ms(quote.at) == now_ms
    assert quote.bid < quote.last < quote.ask or quote.ask - quote.bid >= Decimal("0.01")
    turnover = bars.quote_volume[150 - 96 : 150].sum()
    assert float(quote.volume_24h_quote) == pytest.approx(turnover, rel=1e-6)


def test_the_quote_of_an_absent_bar_is_the_last_close_with_its_own_time(tmp_path: Path) -> None:
    bars = some_bars(60)
    kept = bars.take(np.delete(np.arange(60), [30, 31]))
    source, clock = a_replay(tmp_path, kept, now_ms=START_MS + 30 * QUARTER)
    first = source.quote(BTC)
    clock.sleep_until(clock.now() + timedelta(minutes=15))
    second = source.quote(BTC)
    assert to_ms(first.at) == to_ms(second.at) == START_MS + 30 * QUARTER
    assert second.age_s(clock.now()) == 900
    assert second.last == Decimal(str(bars.close[29]))


def test_after_the_record_ends_the_quote_grows_old(tmp_path: Path) -> None:
    source, clock = a_replay(tmp_path, some_bars(10), now_ms=START_MS + 12 * QUARTER)
    assert source.quote(BTC).age_s(clock.now()) == 1800


def test_before_the_record_there_is_no_quote(tmp_path: Path) -> None:
    source, _ = a_replay(tmp_path, some_bars(10), now_ms=START_MS - 1)
    with pytest.raises(MarketDataError, match="starts after"):
        source.quote(BTC)


def test_an_unknown_symbol_is_refused_with_a_reason(tmp_path: Path) -> None:
    source, _ = a_replay(tmp_path, some_bars(10), now_ms=START_MS)
    with pytest.raises(MarketDataError, match="no bars in the replayed history") as caught:
        source.bars(Symbol("XRP/USDC"), Timeframe.M15, 0, 1)
    assert caught.value.reason == "data_unavailable"


def test_the_path_is_the_finest_record_of_the_span(tmp_path: Path) -> None:
    minutes = some_bars(60, timeframe=Timeframe.M1, start_ms=START_MS + 20 * QUARTER)
    source, _ = a_replay(tmp_path, some_bars(200), minutes, now_ms=START_MS + 100 * QUARTER)
    covered = source.path(BTC, START_MS + 21 * QUARTER, START_MS + 22 * QUARTER)
    elsewhere = source.path(BTC, START_MS + 10 * QUARTER, START_MS + 12 * QUARTER)
    assert (covered.timeframe, len(covered)) == (Timeframe.M1, 15)
    assert (elsewhere.timeframe, len(elsewhere)) == (Timeframe.M15, 2)


def test_a_path_never_holds_a_bar_that_reaches_past_its_end(tmp_path: Path) -> None:
    source, _ = a_replay(tmp_path, some_bars(50), now_ms=START_MS + 50 * QUARTER)
    inside = source.path(BTC, START_MS, START_MS + 3 * QUARTER - 1)
    assert len(inside) == 2


def test_rules_derive_from_the_prices_seen(tmp_path: Path) -> None:
    source, _ = a_replay(tmp_path, some_bars(100), now_ms=START_MS)
    rules = source.markets()[BTC]
    assert rules.tick == Decimal("0.01")
    assert rules.min_notional == 5
    assert 0 < rules.step * 100 < 5


def test_files_of_others_are_replayed_in_place(market_data: Path) -> None:
    clock = clock_at(1_680_000_000_000)
    source = ReplaySource(market_data / "spot_2022_2023", clock)
    assert len(source.markets()) == 30
    btc = Symbol("BTC/USDT")
    day = source.bars(btc, Timeframe.D1, 0, 2**60)
    assert day.close_time[-1] <= to_ms(clock.now())
    assert source.quote(btc).volume_24h_quote > 10**9
    assert source.markets()[btc].tick == Decimal("0.01")


def test_during_the_outage_of_march_2023_quotes_grow_old(market_data: Path) -> None:
    halted = to_ms(from_ms(0)) + 1_679_661_000_000
    clock = clock_at(halted)
    source = ReplaySource(market_data / "spot_2022_2023", clock)
    ages = []
    for _ in range(7):
        ages.append(source.quote(Symbol("ETH/USDT")).age_s(clock.now()))
        clock.sleep_until(clock.now() + timedelta(minutes=15))
    assert max(ages) >= 3600
    assert ages[0] < 900


def test_a_file_that_cannot_be_read_costs_its_symbol_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = Symbol("ETH/USDC")
    now_ms = START_MS + 20 * QUARTER
    source, _ = a_replay(tmp_path, some_bars(50), some_bars(50, symbol=broken), now_ms=now_ms)
    next(tmp_path.glob("ETH_USDC/15m*")).write_bytes(b"torn")
    assert set(source.markets()) == {BTC}
    assert "ETH/USDC" in caplog.text
    assert source.quote(BTC).last > 0
    with pytest.raises(MarketDataError, match="cannot read"):
        source.quote(broken)


def test_a_record_without_one_usable_bar_has_no_quote_and_no_path(tmp_path: Path) -> None:
    bars = some_bars(50)
    unusable = Bars(
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        source=bars.source,
        open_time=bars.open_time,
        open=bars.open * np.nan,
        high=bars.high,
        low=bars.low,
        close=bars.close * np.nan,
        volume=bars.volume,
        quote_volume=bars.quote_volume,
        trades=bars.trades,
    )
    source, _ = a_replay(tmp_path, unusable, now_ms=START_MS + 20 * QUARTER)
    with pytest.raises(MarketDataError):
        source.quote(BTC)
    assert len(source.path(BTC, START_MS, START_MS + 10 * QUARTER)) == 0
    assert source.markets()[BTC].tick > 0
