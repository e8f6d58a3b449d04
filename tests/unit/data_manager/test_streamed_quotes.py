"""A quote comes from the stream while that is fresh, else from the venue, else there is none."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Quote, Symbol, from_ms, to_ms
from bn_ml.errors import MarketDataError
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import DataSettings
from data_manager.streamed_quotes import DEPTH_KEPT, DEPTH_RENEWED, StreamedQuotes

BTC = Symbol("BTC/USDC")
ASKED, STREAMED = Decimal(50), Decimal(60)
ENTRY_S, EXIT_S = 5, 15


class Venue:
    """Answers with a price of 50 or fails; its stream says 60."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(from_ms(1_770_000_000_000))
        self.board = QuoteBoard(self.clock, source="binance", capacity=1)
        self.board.follow([BTC])
        self.asked = 0
        self.failing = False
        self.numbers = 0
        limits = DataSettings(max_quote_age_entry_sec=ENTRY_S, max_quote_age_exit_sec=EXIT_S)
        self.quotes = StreamedQuotes(self.board, self.ask, self.clock, limits)

    def ask(self, symbol: Symbol) -> Quote:
        self.asked += 1
        if self.failing:
            raise MarketDataError("no answer")
        return Quote(symbol, ASKED, ASKED, ASKED, self.clock.now(), "binance", Decimal(7), Decimal(8))

    def stream(self) -> None:
        self.numbers += 1
        self.board.book(BTC, bid=STREAMED, ask=STREAMED, update_id=self.numbers)
        self.board.traded(BTC, last=STREAMED, event_ms=to_ms(self.clock.now()))

    def wait(self, length_s: float) -> None:
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=length_s))


def a_streaming_venue() -> Venue:
    """The venue told depth a second ago and streams now."""
    venue = Venue()
    venue.quotes.quote(BTC)
    venue.wait(1)
    venue.stream()
    return venue


def test_without_a_stream_the_venue_is_asked() -> None:
    venue = Venue()
    assert venue.quotes.quote(BTC).bid == ASKED
    venue.wait(1)
    assert venue.quotes.quote(BTC).bid == ASKED
    assert venue.asked == 2


def test_the_first_quote_is_asked_for_since_the_stream_knows_no_depth() -> None:
    venue = Venue()
    venue.stream()
    assert venue.quotes.quote(BTC).depth_quote == 7


@pytest.mark.parametrize(("age_s", "bid"), [(0, STREAMED), (ENTRY_S, STREAMED), (ENTRY_S + 0.001, ASKED)])
def test_a_streamed_quote_serves_as_long_as_an_entry_may_use_it(age_s: float, bid: Decimal) -> None:
    venue = a_streaming_venue()
    venue.wait(age_s)
    quote = venue.quotes.quote(BTC)
    assert (quote.bid, quote.depth_quote, quote.volume_24h_quote) == (bid, 7, 8)
    assert venue.asked == (1 if bid == STREAMED else 2)


@pytest.mark.parametrize(("age_s", "known"), [(ENTRY_S + 1, True), (EXIT_S, True), (EXIT_S + 0.001, False)])
def test_when_the_venue_fails_a_streamed_quote_serves_as_long_as_an_exit_may_use_it(age_s: float, known: bool) -> None:
    venue = a_streaming_venue()
    venue.failing = True
    venue.wait(age_s)
    if known:
        quote = venue.quotes.quote(BTC)
        assert (quote.bid, quote.age_s(venue.clock.now())) == (STREAMED, age_s)
    else:
        with pytest.raises(MarketDataError):
            venue.quotes.quote(BTC)


def test_a_streamed_quote_never_comes_after_a_newer_answer() -> None:
    venue = a_streaming_venue()
    venue.wait(ENTRY_S + 1)
    assert venue.quotes.quote(BTC).bid == ASKED
    venue.wait(2)
    venue.failing = True
    with pytest.raises(MarketDataError):
        venue.quotes.quote(BTC)
    venue.stream()
    assert venue.quotes.quote(BTC).bid == STREAMED


def test_depth_is_asked_for_once_a_minute_beside_a_fresh_stream() -> None:
    venue = a_streaming_venue()
    for _ in range(180):
        venue.wait(1)
        venue.stream()
        venue.quotes.quote(BTC)
    assert venue.asked == 1 + 180 // DEPTH_RENEWED.total_seconds()


def test_a_venue_that_fails_costs_one_question_a_minute_and_its_depth_is_dropped_in_the_end() -> None:
    venue = a_streaming_venue()
    venue.failing = True
    depths = []
    for _ in range(int(DEPTH_KEPT.total_seconds())):
        depths.append(venue.quotes.quote(BTC).depth_quote)
        venue.wait(1)
        venue.stream()
    assert set(depths) == {7}
    assert venue.quotes.quote(BTC).depth_quote == 0
    assert venue.quotes.quote(BTC).bid == STREAMED
    assert venue.asked == 1 + DEPTH_KEPT // DEPTH_RENEWED
