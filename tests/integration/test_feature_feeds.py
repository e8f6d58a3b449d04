"""The live feed and the replay feed hand out the same rows and refuse the same data."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.feature_audit import same_bits
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, LiveFeatureFeed, MarketBasket
from data_manager.feed_checks import FeatureRow, FeedLimits
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, MemoryProvider, UntilProvider, recorded, walk, without

ENGINEER = FeatureEngineer()
AAA = Symbol("AAA/USDC")
NOW_MS = MONDAY_MS + 2 * 86_400_000


@pytest.fixture(scope="module")
def market(market_data: Path) -> dict[Symbol, Bars]:
    loaded = [recorded(market_data, base).rows(0, 26_000) for base in ("BTC", "ETH", "SOL", "OXT", "XRP")]
    gapped = {Symbol("ETH/USDT"): [22_100, 22_101, 24_000]}
    return {bars.symbol: without(bars, gapped.get(bars.symbol, [])) for bars in loaded}


def test_both_feeds_give_the_same_bits(market: dict[Symbol, Bars]) -> None:
    basket = MarketBasket(tuple(market), Symbol("BTC/USDT"))
    batch = BatchFeatureFeed(ENGINEER, MemoryProvider(market), basket=basket)
    anchor = int(market[Symbol("BTC/USDT")].close_time[22_000])
    monday = MONDAY_MS + (anchor - MONDAY_MS) // (672 * STEP_MS) * 672 * STEP_MS
    offsets = [0, 1, 2, 4, 16, 95, 96, 97, 300, 671, 672, 673]

    for now_ms in [monday + offset * STEP_MS + 1500 for offset in offsets] + [anchor + 100 * STEP_MS]:
        live = LiveFeatureFeed(ENGINEER, UntilProvider(market, now_ms), basket=basket)
        for symbol in (Symbol("ETH/USDT"), Symbol("OXT/USDT")):
            assert _same(live.row(symbol, from_ms(now_ms)), batch.row(symbol, from_ms(now_ms)))


def test_rows_of_recorded_data_are_complete(market: dict[Symbol, Bars]) -> None:
    feed = BatchFeatureFeed(ENGINEER, MemoryProvider(market), basket=MarketBasket(tuple(market), Symbol("BTC/USDT")))

    row = feed.row(Symbol("ETH/USDT"), from_ms(int(market[Symbol("ETH/USDT")].close_time[25_000])))

    assert np.isfinite(row.values).all()
    assert row.columns == ENGINEER.columns
    assert len(row.closes) == 193
    assert row.log_returns.shape == (192,)
    assert 0 < row.atr_frac < 0.1
    assert row.volatility_frac == pytest.approx(row.log_returns[-96:].std(), rel=1e-9)


def test_the_replay_feed_never_hands_out_a_later_row() -> None:
    feed = BatchFeatureFeed(ENGINEER, MemoryProvider({AAA: walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS)}))

    for late_ms in (0, 1, STEP_MS - 1):
        assert feed.row(AAA, from_ms(NOW_MS + late_ms)).close_time_ms == NOW_MS


def test_a_week_is_computed_once_and_weeks_are_bounded() -> None:
    provider = MemoryProvider({AAA: walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS)})
    feed = BatchFeatureFeed(ENGINEER, provider, blocks=1)

    feed.row(AAA, from_ms(NOW_MS))
    calls = provider.calls
    feed.row(AAA, from_ms(NOW_MS + STEP_MS))
    assert provider.calls == calls
    feed.row(AAA, from_ms(NOW_MS - 7 * 86_400_000))
    feed.row(AAA, from_ms(NOW_MS))
    assert provider.calls > 2 * calls


def test_a_second_scan_without_a_closed_bar_computes_nothing() -> None:
    provider = MemoryProvider({AAA: walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS)})
    feed = LiveFeatureFeed(ENGINEER, provider)

    first = feed.row(AAA, from_ms(NOW_MS + 1000))
    calls = provider.calls
    second = feed.row(AAA, from_ms(NOW_MS + 301_000))

    assert second is first
    assert (feed.computed_rows, provider.calls) == (1, calls)
    assert feed.row(AAA, from_ms(NOW_MS + STEP_MS)) is not first


def test_a_late_bar_is_waited_for_with_the_row_before() -> None:
    provider = UntilProvider({AAA: walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS)}, NOW_MS - STEP_MS)
    feed = LiveFeatureFeed(ENGINEER, provider)

    first = feed.row(AAA, from_ms(NOW_MS - 1))
    again = feed.row(AAA, from_ms(NOW_MS + 60_000))

    assert again is first


def _refusal(bars: Bars, now_ms: int, limits: FeedLimits | None = None) -> set[str]:
    reasons = set()
    for kind in (LiveFeatureFeed, BatchFeatureFeed):
        feed = kind(ENGINEER, MemoryProvider({AAA: bars}), limits=limits)
        try:
            feed.row(AAA, from_ms(now_ms))
        except MarketDataError as refused:
            reasons.add(refused.reason)
        else:
            reasons.add("")
    return reasons


@pytest.mark.parametrize(("late_s", "reason"), [(89.999, ""), (90.0, "data_stale"), (91.0, "data_stale")])
def test_a_bar_later_than_allowed_is_stale(late_s: float, reason: str) -> None:
    bars = walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS).closed_by(NOW_MS - STEP_MS)
    now = from_ms(NOW_MS) + timedelta(seconds=late_s)

    assert _refusal(bars, NOW_MS + int((now - from_ms(NOW_MS)).total_seconds() * 1000)) == {reason}


@pytest.mark.parametrize(("absent", "reason"), [(2, ""), (3, ""), (4, "data_gap")])
def test_too_many_absent_bars_are_a_gap(absent: int, reason: str) -> None:
    bars = walk(bars=2700, start_ms=NOW_MS - 2700 * STEP_MS)

    assert _refusal(without(bars, range(2610, 2610 + absent)), NOW_MS) == {reason}


def test_an_old_hole_is_no_gap() -> None:
    bars = walk(bars=2700, start_ms=NOW_MS - 2700 * STEP_MS)

    assert _refusal(without(bars, range(2500, 2600)), NOW_MS) == {""}


@pytest.mark.parametrize(("bars", "reason"), [(299, "too_few_bars"), (300, ""), (301, "")])
def test_a_young_symbol_has_too_few_bars(bars: int, reason: str) -> None:
    assert _refusal(walk(bars=bars, start_ms=NOW_MS - bars * STEP_MS), NOW_MS) == {reason}


def test_no_bars_are_unavailable() -> None:
    assert _refusal(walk(bars=10, start_ms=NOW_MS), NOW_MS) == {"data_unavailable"}


def test_a_stale_basket_refuses_the_symbol() -> None:
    held = {AAA: walk(bars=5000, start_ms=MONDAY_MS - 2500 * STEP_MS)}
    basket = MarketBasket((AAA, Symbol("BBB/USDC")), AAA)

    for kind in (LiveFeatureFeed, BatchFeatureFeed):
        with pytest.raises(MarketDataError) as refused:
            kind(ENGINEER, MemoryProvider(held), basket=basket).row(AAA, from_ms(NOW_MS))
        assert refused.value.reason == "data_stale"


def _same(one: FeatureRow, other: FeatureRow) -> bool:
    return (
        one.close_time_ms == other.close_time_ms
        and bool(same_bits(one.values, other.values).all())
        and bool(same_bits(one.closes, other.closes).all())
        and (one.atr_frac, one.volatility_frac, one.source) == (other.atr_frac, other.volatility_frac, other.source)
    )
