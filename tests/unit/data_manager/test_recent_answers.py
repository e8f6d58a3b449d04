"""One look at a symbol asks the venue once, and what is kept is never older than it may be."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Quote, Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.recent_answers import FAILURE_KEPT, QUOTE_KEPT, RecentPaths, RecentQuotes
from tests.fakes.bar_builders import BTC, START_MS, some_bars

MINUTE = Timeframe.M1.ms
PRICE = Decimal(100)


class Venue:
    """Answers or fails, and counts the questions."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(from_ms(START_MS + 30 * MINUTE + 10_000))
        self.asked: list[tuple[int, int]] = []
        self.failing = False
        self.minutes = some_bars(200, timeframe=Timeframe.M1)

    def quote(self, symbol: Symbol) -> Quote:
        self._answer(0, 0)
        return Quote(symbol, PRICE, PRICE, PRICE, self.clock.now(), "test")

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        self._answer(since_ms, until_ms)
        return self.minutes.between(since_ms, until_ms - MINUTE + 1)

    def wait(self, length: timedelta) -> None:
        self.clock.sleep_until(self.clock.now() + length)

    def _answer(self, since_ms: int, until_ms: int) -> None:
        self.asked.append((since_ms, until_ms))
        if self.failing:
            raise MarketDataError("no answer", "quote_stale")


def test_a_quote_is_asked_for_again_after_a_second() -> None:
    venue = Venue()
    recent = RecentQuotes(venue.quote, venue.clock)
    first = recent.quote(BTC)
    venue.wait(QUOTE_KEPT - timedelta(milliseconds=1))
    assert recent.quote(BTC) is first
    venue.wait(timedelta(milliseconds=1))
    assert recent.quote(BTC).at == venue.clock.now()
    assert len(venue.asked) == 2


def test_a_failure_is_told_again_for_three_seconds_and_then_the_venue_is_asked() -> None:
    venue = Venue()
    recent = RecentQuotes(venue.quote, venue.clock)
    venue.failing = True
    for _ in range(3):
        with pytest.raises(MarketDataError) as caught:
            recent.quote(BTC)
        assert caught.value.reason == "quote_stale"
    assert len(venue.asked) == 1
    venue.failing = False
    venue.wait(FAILURE_KEPT)
    assert recent.quote(BTC).bid == PRICE


def test_a_path_is_asked_for_once_in_a_minute_however_often_it_is_looked_at() -> None:
    venue = Venue()
    recent = RecentPaths(venue.path, venue.clock)
    now = to_ms(venue.clock.now())
    whole = recent.path(BTC, now - 5 * MINUTE, now)
    assert whole.open_time.tolist() == [START_MS + minute * MINUTE for minute in range(26, 30)]
    later = recent.path(BTC, now - 3 * MINUTE, now + 5000)
    assert later.open_time.tolist() == whole.open_time.tolist()[2:]
    assert len(venue.asked) == 1
    assert len(recent.path(BTC, now, now + 20_000)) == 0
    assert len(venue.asked) == 1
    assert recent.path(BTC, now, now + 2 * MINUTE).open_time.tolist() == [START_MS + 31 * MINUTE]
    assert len(venue.asked) == 2


def test_an_earlier_beginning_is_asked_for() -> None:
    venue = Venue()
    recent = RecentPaths(venue.path, venue.clock)
    now = to_ms(venue.clock.now())
    recent.path(BTC, now - 2 * MINUTE, now)
    assert len(recent.path(BTC, now - 20 * MINUTE, now)) == 19


def test_a_failing_path_is_asked_for_once_a_look() -> None:
    venue = Venue()
    recent = RecentPaths(venue.path, venue.clock)
    venue.failing = True
    now = to_ms(venue.clock.now())
    for _ in range(3):
        with pytest.raises(MarketDataError):
            recent.path(BTC, now - 2 * MINUTE, now)
    assert len(venue.asked) == 1
