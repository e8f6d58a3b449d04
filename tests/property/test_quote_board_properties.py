"""Whatever arrives in whatever order, a quote on the board is whole, uncrossed and never replaced by an older one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.quote_board import KEPT_S, QuoteBoard

BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
START = from_ms(1_770_000_000_000)
PRICES = st.one_of(st.sampled_from(["NaN", "sNaN", "Infinity", "0", "-5"]), st.integers(95, 105).map(str)).map(Decimal)
NUMBERS = st.integers(-2, 40)
SYMBOLS = st.sampled_from([BTC, ETH])
STEPS = st.one_of(
    st.tuples(st.just("book"), SYMBOLS, PRICES, PRICES, NUMBERS),
    st.tuples(st.just("trade"), SYMBOLS, PRICES, NUMBERS),
    st.tuples(st.just("wait"), st.floats(0, 200)),
    st.tuples(st.just("connect")),
)


@dataclass
class Model:
    """The newest acceptable book and last price of BTC with the time of receipt, kept in the plainest way."""

    books: list[tuple[int, Decimal, Decimal, float]] = field(default_factory=list)
    trades: list[tuple[int, Decimal, float]] = field(default_factory=list)

    def forget(self, now_s: float) -> None:
        if self.books and now_s - self.books[-1][-1] > KEPT_S:
            self.books.clear()
        if self.trades and now_s - self.trades[-1][-1] > KEPT_S:
            self.trades.clear()


def is_price(*prices: Decimal) -> bool:
    return all(price.is_finite() and price > 0 for price in prices)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_the_board_always_gives_the_newest_valid_quote_and_its_true_age(steps: list[tuple[object, ...]]) -> None:
    clock = SimulatedClock(START)
    board = QuoteBoard(clock, source="binance", capacity=1)
    board.follow([BTC, ETH])
    model = Model()
    for step in steps:
        now_s = clock.monotonic()
        match step:
            case ("book", symbol, Decimal() as bid, Decimal() as ask, int(number)):
                taken = board.book(Symbol(str(symbol)), bid=bid, ask=ask, update_id=number)
                valid = symbol == BTC and is_price(bid, ask) and bid <= ask and number >= 0
                assert taken == (valid and (not model.books or number > model.books[-1][0]))
                if taken:
                    model.books.append((number, bid, ask, now_s))
            case ("trade", symbol, Decimal() as last, int(number)):
                event_ms = to_ms(START) + number * 1000
                taken = board.traded(Symbol(str(symbol)), last=last, event_ms=event_ms)
                valid = symbol == BTC and is_price(last)
                assert taken == (valid and (not model.trades or event_ms > model.trades[-1][0]))
                if taken:
                    model.trades.append((event_ms, last, now_s))
            case ("wait", float(length_s)):
                clock.sleep_until(clock.now() + timedelta(seconds=length_s))
            case _:
                board.forget_old()
                model.forget(now_s)
        check(board, model, clock)


def check(board: QuoteBoard, model: Model, clock: SimulatedClock) -> None:
    quote = board.quote(BTC)
    assert board.quote(ETH) is None
    if not (model.books and model.trades):
        assert quote is None
        return
    assert quote is not None
    _, bid, ask, book_s = model.books[-1]
    event_ms, last, trade_s = model.trades[-1]
    assert (quote.bid, quote.ask, quote.last) == (bid, ask, last)
    true_at = min(START + timedelta(seconds=min(book_s, trade_s)), from_ms(event_ms))
    assert abs(quote.at - true_at) <= timedelta(microseconds=2)
    assert quote.at <= clock.now()
