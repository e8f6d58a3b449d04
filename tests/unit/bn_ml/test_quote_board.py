"""The board gives true quotes with their true age, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.market import Quote, Symbol, from_ms, to_ms
from bn_ml.quote_board import KEPT_S, LEAST_PRICE, MOST_EVENT_MS, MOST_PRICE, QuoteBoard

BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")
START = from_ms(1_770_000_000_000)
START_MS = to_ms(START)
ONE = Decimal(1)


@dataclass
class TwoClocks:
    """Wall time that can be set, beside seconds that only go on."""

    wall: datetime = START
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep_until(self, instant: datetime) -> None:
        self.pass_s((instant - self.wall).total_seconds())

    def pass_s(self, length_s: float) -> None:
        self.wall += timedelta(seconds=length_s)
        self.seconds += length_s


def a_board(clock: TwoClocks, *symbols: Symbol, capacity: int = 10) -> QuoteBoard:
    board = QuoteBoard(clock, source="binance", capacity=capacity)
    board.follow(symbols or (BTC,))
    return board


def a_full_board(clock: TwoClocks) -> QuoteBoard:
    board = a_board(clock)
    assert board.book(BTC, bid=Decimal(100), ask=Decimal(102), update_id=5)
    assert board.traded(BTC, last=Decimal(101), event_ms=to_ms(clock.wall))
    return board


def the_quote(board: QuoteBoard, base: Quote | None = None) -> Quote:
    quote = board.quote(BTC, base)
    assert quote is not None
    return quote


def test_there_is_no_quote_until_book_and_last_price_are_known() -> None:
    board = a_board(TwoClocks())
    assert board.quote(BTC) is None
    board.book(BTC, bid=ONE, ask=ONE, update_id=1)
    assert board.quote(BTC) is None
    assert board.ages() == {BTC: float("inf")}
    board.traded(BTC, last=ONE, event_ms=START_MS)
    assert the_quote(board) == Quote(BTC, ONE, ONE, ONE, START, "binance")
    assert board.quote(ETH) is None


def test_a_quote_is_as_old_as_its_older_half() -> None:
    clock = TwoClocks()
    board = a_full_board(clock)
    clock.pass_s(3)
    board.book(BTC, bid=Decimal(100), ask=Decimal(102), update_id=6)
    clock.pass_s(1)
    assert the_quote(board).at == START
    board.traded(BTC, last=Decimal(101), event_ms=to_ms(clock.wall))
    assert the_quote(board).at == START + timedelta(seconds=3)
    assert board.ages() == {BTC: 1.0}


def test_a_last_price_is_true_since_the_venue_says_so_but_never_in_the_future() -> None:
    board = a_full_board(TwoClocks())
    board.traded(BTC, last=ONE, event_ms=START_MS + 60_000)
    assert the_quote(board).at == START
    late = a_board(TwoClocks())
    late.book(BTC, bid=ONE, ask=ONE, update_id=1)
    late.traded(BTC, last=ONE, event_ms=START_MS - 7000)
    assert the_quote(late).at == START - timedelta(seconds=7)


@pytest.mark.parametrize("step_s", [-3600, -1, 1, 3600])
def test_setting_the_clock_never_makes_a_quote_younger(step_s: int) -> None:
    clock = TwoClocks()
    board = a_full_board(clock)
    clock.pass_s(10)
    clock.wall += timedelta(seconds=step_s)
    assert the_quote(board).age_s(clock.wall) >= 10


def test_depth_and_turnover_are_those_of_the_base() -> None:
    board = a_full_board(TwoClocks())
    base = Quote(BTC, ONE, ONE, ONE, START, "binance", Decimal(7), Decimal(8))
    quote = the_quote(board, base)
    assert (quote.bid, quote.depth_quote, quote.volume_24h_quote) == (Decimal(100), Decimal(7), Decimal(8))
    assert the_quote(board).depth_quote == 0


BAD_PRICES = ("NaN", "sNaN", "Infinity", "-Infinity", "0", "-0", "-1", "1e-9", "1e999", "-1e999")


@pytest.mark.parametrize("text", BAD_PRICES)
def test_what_is_no_price_is_refused_and_counted(text: str) -> None:
    board, bad = a_full_board(TwoClocks()), Decimal(text)
    before = the_quote(board)
    assert not board.book(BTC, bid=bad, ask=Decimal(102), update_id=9)
    assert not board.book(BTC, bid=Decimal(100), ask=bad, update_id=9)
    assert not board.traded(BTC, last=bad, event_ms=START_MS + 9)
    assert the_quote(board) == before
    assert board.refused()["bad_price"] == 3


@pytest.mark.parametrize(
    ("price", "taken"),
    [
        (LEAST_PRICE, True),
        (LEAST_PRICE.next_minus(), False),
        (MOST_PRICE, True),
        (MOST_PRICE.next_plus(), False),
    ],
)
def test_prices_have_bounds(price: Decimal, taken: bool) -> None:
    board = a_board(TwoClocks())
    assert board.book(BTC, bid=price, ask=price, update_id=1) is taken
    assert board.traded(BTC, last=price, event_ms=1) is taken


@pytest.mark.parametrize(("bid", "taken"), [("101.99", True), ("102", True), ("102.01", False)])
def test_a_crossed_book_is_refused(bid: str, taken: bool) -> None:
    board = a_full_board(TwoClocks())
    assert board.book(BTC, bid=Decimal(bid), ask=Decimal(102), update_id=6) is taken
    assert board.refused()["crossed"] == (not taken)


@pytest.mark.parametrize(("number", "taken"), [(4, False), (5, False), (6, True)])
def test_an_older_or_repeated_book_is_refused_and_refreshes_nothing(number: int, taken: bool) -> None:
    clock = TwoClocks()
    board = a_full_board(clock)
    clock.pass_s(1)
    board.traded(BTC, last=ONE, event_ms=to_ms(clock.wall))
    assert board.book(BTC, bid=ONE, ask=ONE, update_id=number) is taken
    assert board.ages() == {BTC: 0.0 if taken else 1.0}
    assert board.refused()["out_of_order"] == (not taken)


@pytest.mark.parametrize(("after_ms", "taken"), [(-1, False), (0, False), (1, True)])
def test_an_older_or_repeated_last_price_is_refused(after_ms: int, taken: bool) -> None:
    board = a_full_board(TwoClocks())
    assert board.traded(BTC, last=ONE, event_ms=START_MS + after_ms) is taken


@pytest.mark.parametrize(
    ("number", "taken"), [(-1, False), (0, True), (MOST_EVENT_MS, True), (MOST_EVENT_MS + 1, False)]
)
def test_impossible_event_times_are_refused(number: int, taken: bool) -> None:
    board = a_board(TwoClocks())
    assert board.traded(BTC, last=ONE, event_ms=number) is taken
    assert not board.book(BTC, bid=ONE, ask=ONE, update_id=-1)
    assert board.refused()["bad_number"] == 1 + (not taken)


def test_symbols_not_followed_are_refused_and_those_given_up_are_forgotten() -> None:
    board = a_full_board(TwoClocks())
    assert not board.book(ETH, bid=ONE, ask=ONE, update_id=1)
    assert not board.traded(ETH, last=ONE, event_ms=1)
    assert board.refused()["not_followed"] == 2
    board.follow([ETH])
    board.follow([ETH, BTC])
    assert board.quote(BTC) is None


def test_no_more_symbols_are_kept_than_there_is_room_for() -> None:
    board = a_board(TwoClocks(), capacity=2)
    assert board.follow([BTC, ETH, BTC, SOL]) == (BTC, ETH)
    assert not board.book(SOL, bid=ONE, ask=ONE, update_id=1)


@pytest.mark.parametrize(("age_s", "forgotten"), [(KEPT_S - 1, False), (KEPT_S, False), (KEPT_S + 1, True)])
def test_a_venue_that_counts_anew_is_believed_once_all_is_old(age_s: float, forgotten: bool) -> None:
    clock = TwoClocks()
    board = a_full_board(clock)
    clock.pass_s(age_s)
    board.forget_old()
    assert (board.quote(BTC) is None) is forgotten
    assert board.book(BTC, bid=ONE, ask=ONE, update_id=1) is forgotten
