from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import FloatArray
from data_manager.history import content_hash
from data_manager.resampling import resample
from data_manager.sources.synthetic import SyntheticSource
from data_manager.sources.synthetic_paths import World
from data_manager.sources.synthetic_world import BLOCK_MS, ORIGIN_MS, Profile, autoregress
from tests.fakes.bar_builders import BTC, clock_at, same_bars

ETH = Symbol("ETH/USDC")
DOGE = Symbol("DOGE/USDC")
NOW_MS = ORIGIN_MS + 3 * BLOCK_MS + 5 * Timeframe.D1.ms + 7_384_123
FOREVER = 2**60


def a_market(now_ms: int = NOW_MS, **laws: object) -> SyntheticSource:
    return SyntheticSource(clock_at(now_ms), [BTC, ETH, DOGE], World(**laws))  # type: ignore[arg-type]


def returns(source: SyntheticSource, symbol: Symbol = BTC) -> FloatArray:
    return np.diff(np.log(source.bars(symbol, Timeframe.M15, 0, FOREVER).close))


def test_another_process_sees_the_same_world() -> None:
    code = (
        "from data_manager.sources.synthetic import SyntheticSource\n"
        "from data_manager.history import content_hash\n"
        "from bn_ml.domain.market import Symbol, Timeframe, from_ms\n"
        "from bn_ml.clock import SimulatedClock\n"
        f"source = SyntheticSource(SimulatedClock(from_ms({NOW_MS})), [Symbol('ETH/USDC')])\n"
        f"print(content_hash(source.bars(Symbol('ETH/USDC'), Timeframe.M1, {NOW_MS} - 86_400_000, 2**60)))\n"
        "print(source.quote(Symbol('ETH/USDC')).last)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    here = a_market()
    assert told[0] == content_hash(here.bars(ETH, Timeframe.M1, NOW_MS - 86_400_000, FOREVER))
    assert Decimal(told[1]) == here.quote(ETH).last


def test_later_blocks_change_nothing_before_them() -> None:
    early, late = a_market(ORIGIN_MS + BLOCK_MS + 1), a_market(ORIGIN_MS + 6 * BLOCK_MS)
    first = early.bars(ETH, Timeframe.M15, 0, FOREVER)
    late.bars(ETH, Timeframe.M15, 0, FOREVER)
    assert same_bars(first, late.bars(ETH, Timeframe.M15, 0, int(first.close_time[-1])))


def test_minutes_of_a_forgotten_block_come_back_equal() -> None:
    source = a_market(ORIGIN_MS + 8 * BLOCK_MS)
    span = (ORIGIN_MS + BLOCK_MS, ORIGIN_MS + BLOCK_MS + Timeframe.D1.ms)
    first = source.bars(BTC, Timeframe.M1, *span)
    for block in range(2, 8):
        source.bars(BTC, Timeframe.M1, ORIGIN_MS + block * BLOCK_MS, ORIGIN_MS + block * BLOCK_MS + 60_000)
    assert same_bars(first, source.bars(BTC, Timeframe.M1, *span))


@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1])
def test_every_timeframe_is_the_exact_aggregate_of_the_minutes(timeframe: Timeframe) -> None:
    source = a_market()
    minutes = source.bars(BTC, Timeframe.M1, ORIGIN_MS, FOREVER)
    longer, made = source.bars(BTC, timeframe, ORIGIN_MS, FOREVER), resample(minutes, timeframe)
    for name in ("open_time", "open", "high", "low", "close", "trades"):
        assert np.array_equal(getattr(longer, name), getattr(made, name))
    assert np.allclose(longer.volume, made.volume, rtol=1e-12)


def test_the_minutes_have_no_holes_and_no_jumps_between_close_and_open() -> None:
    minutes = a_market().bars(DOGE, Timeframe.M1, ORIGIN_MS, FOREVER)
    assert np.all(np.diff(minutes.open_time) == 60_000)
    assert np.array_equal(minutes.open[1:], minutes.close[:-1])
    assert np.all(minutes.low <= np.minimum(minutes.open, minutes.close))
    assert np.all(minutes.high >= np.maximum(minutes.open, minutes.close))
    assert np.all(minutes.volume > 0)


@pytest.mark.parametrize("profile", list(Profile))
def test_every_price_lies_on_the_tick(profile: Profile) -> None:
    source = a_market(profile=profile)
    for symbol, rules in source.markets().items():
        closes = source.bars(symbol, Timeframe.M15, 0, FOREVER).close[-50:].tolist()
        assert all(Decimal(repr(close)) % rules.tick == 0 for close in closes)


def test_only_bars_closed_by_now_are_answered() -> None:
    boundary = ORIGIN_MS + 10 * Timeframe.M15.ms
    assert len(a_market(boundary - 1).bars(BTC, Timeframe.M15, 0, FOREVER)) == 9
    assert len(a_market(boundary).bars(BTC, Timeframe.M15, 0, FOREVER)) == 10
    assert len(a_market(boundary).bars(BTC, Timeframe.M1, 0, FOREVER)) == 150


def test_before_its_origin_the_market_is_empty() -> None:
    source = a_market(ORIGIN_MS - 1)
    assert len(source.bars(BTC, Timeframe.M15, 0, FOREVER)) == 0
    with pytest.raises(MarketDataError, match="begins 2024-01-01"):
        source.quote(BTC)


def test_today_is_reached_quickly_enough_to_be_used() -> None:
    source = a_market(to_ms(datetime(2027, 6, 1, tzinfo=timezone.utc)))
    assert len(source.bars(BTC, Timeframe.M15, 0, FOREVER)) > 119_000


def test_the_quote_lies_on_the_running_minute_and_is_fresh() -> None:
    source = a_market()
    quote = source.quote(BTC)
    later = a_market(NOW_MS + 120_000)
    minute = later.bars(BTC, Timeframe.M1, NOW_MS // 60_000 * 60_000, FOREVER).rows(0, 1)
    assert float(minute.low[0]) <= float(quote.last) <= float(minute.high[0])
    assert quote.at == from_ms(NOW_MS)
    assert quote.bid < quote.ask
    assert quote.source == "synthetic"


def test_a_quote_at_a_minute_boundary_is_the_open_of_that_minute() -> None:
    boundary = ORIGIN_MS + 5000 * 60_000
    minute = a_market(boundary + 60_000).bars(BTC, Timeframe.M1, boundary, FOREVER)
    assert float(a_market(boundary).quote(BTC).last) == minute.open[0]


def test_another_seed_is_another_world() -> None:
    assert not np.array_equal(returns(a_market(seed=1)), returns(a_market(seed=2)))


def test_bitcoin_is_traded_most() -> None:
    source = a_market()
    assert source.quote(BTC).volume_24h_quote > source.quote(ETH).volume_24h_quote > source.quote(DOGE).volume_24h_quote
    assert source.quote(DOGE).depth_quote > 50_000


def test_symbols_share_a_common_factor() -> None:
    source = a_market(ORIGIN_MS + 12 * BLOCK_MS, profile=Profile.RANDOM_WALK)
    assert np.corrcoef(returns(source), returns(source, ETH))[0, 1] == pytest.approx(0.45, abs=0.05)


def test_a_random_walk_shows_nothing_of_its_future() -> None:
    assert abs(foresight(Profile.RANDOM_WALK, strength=0.1)) < 0.02


def test_the_planted_state_is_shown_by_the_place_of_the_close() -> None:
    assert foresight(Profile.PLANTED, strength=0.1) > 0.2
    assert abs(foresight(Profile.PLANTED, strength=0.0)) < 0.02


def foresight(profile: Profile, *, strength: float) -> float:
    source = a_market(ORIGIN_MS + 40 * BLOCK_MS, profile=profile, strength=strength)
    bars = source.bars(BTC, Timeframe.M15, 0, FOREVER)
    place = (bars.close - bars.low) / (bars.high - bars.low)
    return float(np.corrcoef(place[:-1], np.diff(np.log(bars.close)))[0, 1])


def test_garch_has_fatter_tails_and_clusters_where_a_random_walk_has_not() -> None:
    calm, wild = (returns(a_market(ORIGIN_MS + 20 * BLOCK_MS, profile=p)) for p in (Profile.RANDOM_WALK, Profile.GARCH))
    assert kurtosis(wild) > 6 > 4 > kurtosis(calm)
    assert clustering(wild) > 0.15
    assert abs(clustering(calm)) < 0.03


def kurtosis(moves: FloatArray) -> float:
    return float(np.mean((moves - moves.mean()) ** 4) / np.var(moves) ** 2)


def clustering(moves: FloatArray) -> float:
    return float(np.corrcoef(np.abs(moves[1:]), np.abs(moves[:-1]))[0, 1])


def test_whole_trades_happen_within_hours() -> None:
    bars = a_market(ORIGIN_MS + 20 * BLOCK_MS).bars(BTC, Timeframe.M15, 0, FOREVER)
    ten_hours = np.abs(np.log(bars.close[40:] / bars.close[:-40]))
    assert np.median(ten_hours) > 0.02


def test_an_autoregression_by_doubling_equals_the_plain_recursion() -> None:
    innovations = np.random.default_rng(1).normal(size=100)
    value, plain = 0.7, []
    for innovation in innovations:
        value = 0.9 * value + np.sqrt(1 - 0.81) * innovation
        plain.append(value)
    assert np.allclose(autoregress(innovations, 0.7, 0.9), plain)


def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(MarketDataError, match="not in the synthetic market"):
        a_market().bars(Symbol("XRP/USDC"), Timeframe.M15, 0, 1)


@pytest.mark.parametrize("laws", [{"deviation": 0.0}, {"common_share": 1.0}, {"strength": -0.1}])
def test_impossible_laws_are_refused(laws: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible synthetic market"):
        World(**laws)  # type: ignore[arg-type]


def test_the_notice_says_that_prices_are_generated() -> None:
    assert "SYNTHETIC" in a_market().notice
    assert timedelta(0) == a_market().quote(BTC).at - from_ms(NOW_MS)
