"""The market the sandbox shows: one road per bar, and every view of it the same."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from data_manager.sources.replay import ReplaySource
from data_manager.sources.synthetic import SyntheticSource
from public_api.sandbox.kline_rows import close_of, open_of
from public_api.sandbox.market_clock import MarketClock
from public_api.sandbox.market_data import INTERVAL_MS, Span
from public_api.sandbox.market_feed import MarketFeed
from public_api.sandbox.second_path import PathBar, second_path

BTC = Symbol("BTC/USDC")
FAR = SimulatedClock(from_ms(4_102_444_800_000))
NOW_MS = 1_706_780_123_456


@pytest.fixture(scope="module")
def feed() -> MarketFeed:
    return MarketFeed(SyntheticSource(FAR, [BTC]), 7)


def everything(limit: int = 1000) -> Span:
    return Span(None, None, limit)


@st.composite
def path_bars(draw: st.DrawFn) -> PathBar:
    low, high = sorted(draw(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9))))
    opened, close = (draw(st.integers(low, high)) for _ in range(2))
    length_ms = draw(st.sampled_from((60_000, 300_000, 900_000, 3_600_000)))
    volume, trades = draw(st.integers(0, 10**16)), draw(st.integers(0, 10**6))
    return PathBar(0, length_ms, opened, high, low, close, volume, trades)


@given(path_bars(), st.integers(0, 2**64))
@settings(max_examples=100, deadline=None)
def test_a_path_opens_peaks_bottoms_and_closes_as_its_bar_says(bar: PathBar, seed: int) -> None:
    path = second_path(bar, BTC, seed)

    assert len(path.last) == bar.seconds
    assert (path.last[0], path.last[-1]) == (bar.open, bar.close) or bar.high == bar.low
    assert (path.last.max(), path.last.min()) == (bar.high, bar.low)
    assert (path.high[-1], path.low[-1]) == (bar.high, bar.low)
    assert np.array_equal(path.last, second_path(bar, BTC, seed).last)


@given(path_bars())
@settings(max_examples=50, deadline=None)
def test_the_volumes_of_the_seconds_make_the_bars_volume(bar: PathBar) -> None:
    path = second_path(bar, BTC, 1)
    pieces = [after - before for before, after in pairwise(path.volume_before(row) for row in range(bar.seconds + 1))]

    assert sum(pieces) == bar.volume
    assert max(pieces) - min(pieces) <= 1
    assert path.trades_before(bar.seconds) == bar.trades


@pytest.mark.parametrize("interval", sorted(INTERVAL_MS, key=INTERVAL_MS.__getitem__))
def test_klines_follow_each_other_without_a_gap(feed: MarketFeed, interval: str) -> None:
    klines = feed.klines(BTC, interval, everything(200), NOW_MS)

    assert all(after.open_ms == before.close_ms + 1 for before, after in pairwise(klines))
    assert klines[-1].open_ms <= NOW_MS <= klines[-1].close_ms
    assert all(row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high for row in klines)


@pytest.mark.parametrize(("short", "long"), [("1m", "5m"), ("1m", "15m"), ("5m", "30m"), ("15m", "4h"), ("1h", "12h")])
def test_longer_klines_are_made_of_shorter_ones(feed: MarketFeed, short: str, long: str) -> None:
    whole = feed.klines(BTC, long, everything(3), NOW_MS)[1]
    parts = feed.klines(BTC, short, Span(whole.open_ms, whole.close_ms, 1000), NOW_MS)

    assert (parts[0].open, parts[-1].close) == (whole.open, whole.close)
    assert max(row.high for row in parts) == whole.high
    assert min(row.low for row in parts) == whole.low
    assert float(sum(row.volume for row in parts)) == pytest.approx(float(whole.volume))


def test_closed_klines_are_the_bars_of_the_source(feed: MarketFeed) -> None:
    klines = feed.klines(BTC, "15m", everything(50), NOW_MS)[:-1]
    bars = SyntheticSource(FAR, [BTC]).bars(BTC, Timeframe.M15, klines[0].open_ms, klines[-1].open_ms + 1)

    assert [row.open_ms for row in klines] == bars.open_time.tolist()
    for column in ("open", "high", "low", "close", "volume"):
        assert [float(getattr(row, column)) for row in klines] == pytest.approx(getattr(bars, column).tolist())


def test_every_view_of_an_instant_shows_the_same_price(feed: MarketFeed) -> None:
    for second in range(0, 400, 7):
        now_ms = NOW_MS + second * 1000
        quote, day = feed.quote(BTC, now_ms), feed.day(BTC, now_ms)
        assert quote is not None
        assert day is not None
        closes = {feed.klines(BTC, interval, everything(1), now_ms)[-1].close for interval in ("1m", "15m", "1d")}
        assert closes == {quote.last, day.last, feed.trades(BTC, 1, now_ms)[-1].price}
        assert quote.bid < quote.ask
        assert quote.bid <= quote.last <= quote.ask
        assert day.low <= quote.last <= day.high


def test_a_running_kline_only_ever_widens_until_it_is_the_stored_bar(feed: MarketFeed) -> None:
    opened = open_of(NOW_MS, "15m")
    seen = [feed.klines(BTC, "15m", everything(1), opened + at)[-1] for at in range(0, 900_000, 5_000)]
    closed = feed.klines(BTC, "15m", everything(2), opened + 900_000)[0]

    for before, after in pairwise(seen):
        assert after.high >= before.high
        assert after.low <= before.low
        assert after.volume >= before.volume
        assert after.open == closed.open
    last = feed.klines(BTC, "15m", everything(1), opened + 899_999)[-1]
    assert (last.high, last.low, last.close, last.volume) == (closed.high, closed.low, closed.close, closed.volume)


@pytest.mark.parametrize(
    ("span", "count", "first"),
    [
        (Span(0, None, 3), 3, 1_704_067_200_000),
        (Span(1_704_067_200_001, None, 2), 2, 1_704_070_800_000),
        (Span(NOW_MS - 7_200_000, None, 500), 2, open_of(NOW_MS - 3_600_000, "1h")),
        (Span(None, NOW_MS - 86_400_000, 5), 5, open_of(NOW_MS - 86_400_000, "1h") - 4 * 3_600_000),
        (Span(NOW_MS + 3_600_000, None, 5), 0, None),
        (Span(None, 1_704_067_199_999, 5), 0, None),
        (Span(NOW_MS, NOW_MS - 1, 5), 0, None),
    ],
)
def test_spans_are_cut_as_the_venue_cuts_them(feed: MarketFeed, span: Span, count: int, first: int | None) -> None:
    klines = feed.klines(BTC, "1h", span, NOW_MS)

    assert len(klines) == count
    assert (klines[0].open_ms if klines else None) == first


def test_weeks_open_on_mondays_and_months_on_the_first() -> None:
    assert from_ms(open_of(NOW_MS, "1w")).strftime("%a %H:%M") == "Mon 00:00"
    assert from_ms(open_of(NOW_MS, "1M")).isoformat() == "2024-02-01T00:00:00+00:00"
    assert from_ms(close_of(open_of(NOW_MS, "1M"), "1M")).isoformat() == "2024-03-01T00:00:00+00:00"


def test_a_pinned_price_and_a_gap_never_change_what_was(feed: MarketFeed) -> None:
    moved = MarketFeed(SyntheticSource(FAR, [BTC]), 7)
    moved.gap(BTC, Decimal("-0.2"), NOW_MS)
    before = Span(None, open_of(NOW_MS, "1m") - 1, 300)

    assert moved.klines(BTC, "1m", before, NOW_MS + 600_000) == feed.klines(BTC, "1m", before, NOW_MS + 600_000)
    later = NOW_MS + 600_000
    ours, theirs = moved.quote(BTC, later), feed.quote(BTC, later)
    assert ours is not None
    assert theirs is not None
    assert float(ours.last) == pytest.approx(float(theirs.last) * 0.8, rel=1e-6)


def test_two_gaps_multiply() -> None:
    moved = MarketFeed(SyntheticSource(FAR, [BTC]), 7)
    plain = moved.quote(BTC, NOW_MS)
    moved.gap(BTC, Decimal("-0.5"), NOW_MS)
    moved.gap(BTC, Decimal("1"), NOW_MS)

    again = moved.quote(BTC, NOW_MS)
    assert plain is not None
    assert again is not None
    assert float(again.last) == pytest.approx(float(plain.last), rel=1e-6)


def test_a_replayed_coarse_record_shows_finer_klines_of_its_own_roads(market_data: Path) -> None:
    source = ReplaySource(market_data / "spot_2022_2023", FAR, [Symbol("BTC/USDT")])
    feed = MarketFeed(source, 1, "USDC")
    now_ms = 1_667_865_600_000 + 123_456
    quarter = feed.klines(BTC, "15m", everything(2), now_ms)[0]
    minutes = feed.klines(BTC, "1m", Span(quarter.open_ms, quarter.close_ms, 15), now_ms)

    assert len(minutes) == 15
    assert (minutes[0].open, minutes[-1].close) == (quarter.open, quarter.close)
    assert max(row.high for row in minutes) == quarter.high
    assert min(row.low for row in minutes) == quarter.low


class Wall:
    """Seconds set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_the_market_clock_runs_stops_and_steps() -> None:
    wall = Wall()
    clock = MarketClock(wall, 1000, 2.0)  # type: ignore[arg-type]
    wall.seconds = 1.0
    assert clock.now_ms() == 3000
    clock.freeze()
    wall.seconds = 5.0
    assert (clock.now_ms(), clock.frozen) == (3000, True)
    clock.advance(250)
    assert clock.now_ms() == 3250
    clock.run(10)
    wall.seconds = 6.0
    assert (clock.now_ms(), clock.speed) == (13_250, 10)
    clock.advance(1000)
    assert clock.now_ms() == 14_250


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_the_market_clock_refuses_impossible_speeds(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        MarketClock(Wall(), 0, speed)  # type: ignore[arg-type]
