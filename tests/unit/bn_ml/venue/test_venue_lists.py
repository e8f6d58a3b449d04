from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.venue.errors import VenueError
from bn_ml.venue.invariants import violations
from bn_ml.venue.order_lists import OcoRequest
from bn_ml.venue.orders import OrderRequest, VenueOrder
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import START, SYMBOL, bar, oco, quote, request, venue

BUY, SELL = Side.BUY, Side.SELL
MAKER, STOP, TARGET = OrderType.LIMIT_MAKER, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT
STOP_LIMIT = OrderType.STOP_LOSS_LIMIT


def legs(made: Venue) -> tuple[VenueOrder, VenueOrder]:
    target, stop = (made.find(SYMBOL, client_id=name) for name in ("o-t", "o-s"))
    assert target is not None
    assert stop is not None
    return target, stop


@pytest.fixture
def protected() -> Venue:
    made = venue(base="1")
    made.place_oco(oco(), START)
    return made


def test_an_oco_locks_its_quantity_once(protected: Venue) -> None:
    assert protected.balances()["ABC"].locked == 1
    assert violations(protected.state) == ()
    assert {order.list_client_id for order in protected.open_orders()} == {"o"}


def test_two_separate_sells_of_one_holding_lock_twice() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    with pytest.raises(VenueError, match="insufficient balance"):
        made.place(request(SELL, MAKER, price="110", client_id="b"), START)


def test_the_target_traded_through_expires_the_stop(protected: Venue) -> None:
    protected.on_bar(SYMBOL, bar("100", "110.01", "96", "109"))
    target, stop = legs(protected)
    assert (target.status, target.executed_quote) == (OrderStatus.FILLED, 110)
    assert (stop.status, stop.expiry_reason) == (OrderStatus.EXPIRED, "OCO_TRIGGER")
    assert protected.state.account.of("ABC").total == 0


def test_a_target_only_touched_does_not_fill(protected: Venue) -> None:
    protected.on_bar(SYMBOL, bar("100", "110", "96", "109"))
    assert all(leg.is_open for leg in legs(protected))


def test_a_partly_filled_target_expires_the_stop_and_keeps_its_own_lock() -> None:
    made = venue(base="1")
    made.place_oco(oco(), START)
    made.on_bar(SYMBOL, bar("100", "111", "96", "109", volume="40"))
    target, stop = legs(made)
    assert (target.status, target.executed) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.4"))
    assert stop.status is OrderStatus.EXPIRED
    assert made.balances()["ABC"].locked == Decimal("0.6")
    assert violations(made.state) == ()


def test_a_bar_that_touches_stop_and_target_counts_as_the_stop(protected: Venue) -> None:
    protected.on_bar(SYMBOL, bar("100", "120", "94", "119"))
    target, stop = legs(protected)
    assert (stop.status, stop.executed_quote) == (OrderStatus.FILLED, Decimal("94.99"))
    assert (target.status, target.executed) == (OrderStatus.EXPIRED, 0)


def test_an_open_above_the_target_fills_it_before_the_low_reaches_the_stop(protected: Venue) -> None:
    protected.on_bar(SYMBOL, bar("112", "112", "90", "91"))
    target, stop = legs(protected)
    assert target.status is OrderStatus.FILLED
    assert stop.executed == 0


def test_cancelling_one_leg_cancels_the_list(protected: Venue) -> None:
    ended = protected.cancel(SYMBOL, "o-s", START)
    assert [leg.client_id for leg in ended] == ["o-s", "o-t"]
    assert {leg.status for leg in legs(protected)} == {OrderStatus.CANCELED}
    assert protected.balances()["ABC"].free == 1


def test_a_triggered_stop_limit_leg_rests_alone() -> None:
    made = venue(base="1")
    below = request(SELL, STOP_LIMIT, client_id="o-s", stop="95", price="94.9")
    made.place_oco(replace(oco(), below=below), START)
    made.on_bar(SYMBOL, bar("90", "91", "89", "90"))
    target, stop = legs(made)
    assert target.status is OrderStatus.EXPIRED
    assert (stop.is_open, stop.triggered) == (True, True)
    assert made.balances()["ABC"].locked == 1
    made.cancel(SYMBOL, "o-s", START)
    assert made.balances()["ABC"].locked == 0


def test_a_buy_oco_locks_the_dearer_leg_once() -> None:
    made = venue(usdt="110")
    made.place_oco(
        OcoRequest(
            "o",
            above=request(BUY, STOP, client_id="o-s", stop="105"),
            below=request(BUY, MAKER, client_id="o-t", price="95"),
        ),
        START,
    )
    assert made.balances()["USDT"].locked == 105
    made.on_bar(SYMBOL, bar("100", "101", "94", "96"))
    assert made.state.account.of("USDT").total == 15
    assert made.state.account.of("USDT").locked == 0
    assert violations(made.state) == ()


@pytest.mark.parametrize(
    ("target", "stop"), [("100", "95"), ("99", "95"), ("110", "100"), ("110", "101"), ("95", "105")]
)
def test_prices_that_do_not_enclose_the_market_are_refused(target: str, stop: str) -> None:
    made = venue(base="1")
    with pytest.raises(VenueError) as caught:
        made.place_oco(oco(target, stop), START)
    assert (caught.value.code, caught.value.text) == (
        -2010,
        "The relationship of the prices for the orders is not correct.",
    )
    assert made.balances()["ABC"].locked == 0


def sell(type_: OrderType, name: str, *, price: str | None = None, stop: str | None = None) -> OrderRequest:
    return request(SELL, type_, client_id=name, price=price, stop=stop)


def buy(type_: OrderType, name: str, *, price: str | None = None, stop: str | None = None) -> OrderRequest:
    return request(BUY, type_, client_id=name, price=price, stop=stop)


@pytest.mark.parametrize(
    ("above", "below", "code", "text"),
    [
        (
            sell(OrderType.LIMIT, "x", price="110"),
            sell(STOP, "y", stop="95"),
            -1158,
            "Order type not supported in OCO.",
        ),
        (
            sell(MAKER, "x", price="110"),
            sell(MAKER, "y", price="105"),
            -1168,
            "At least one OCO order must be contingent.",
        ),
        (
            sell(TARGET, "x", stop="110"),
            sell(MAKER, "y", price="95"),
            -1166,
            "A limit order in a sell OCO must be above.",
        ),
        (buy(MAKER, "x", price="110"), buy(TARGET, "y", stop="95"), -1165, "A limit order in a buy OCO must be below."),
        (
            sell(STOP, "x", stop="110"),
            sell(STOP, "y", stop="95"),
            -1197,
            "A stop loss order in a sell OCO must be below.",
        ),
        (buy(STOP, "x", stop="110"), buy(STOP, "y", stop="95"), -1196, "A stop loss order in a buy OCO must be above."),
        (
            sell(MAKER, "x", price="110"),
            sell(TARGET, "y", stop="95"),
            -1199,
            "A take profit order in a sell OCO must be above.",
        ),
        (
            buy(TARGET, "x", stop="110"),
            buy(MAKER, "y", price="95"),
            -1198,
            "A take profit order in a buy OCO must be below.",
        ),
        (sell(MAKER, "x", price="110"), sell(STOP, "x", stop="95"), -1014, "Unsupported order combination."),
    ],
)
def test_legs_that_do_not_fit_are_refused_by_name(
    above: OrderRequest, below: OrderRequest, code: int, text: str
) -> None:
    made = venue(base="1")
    with pytest.raises(VenueError) as caught:
        made.place_oco(OcoRequest("o", above=above, below=below), START)
    assert (caught.value.code, caught.value.text) == (code, text)


def test_list_and_leg_ids_must_be_unique_among_open_ones() -> None:
    made = venue(base="3")
    made.place_oco(oco(), START)
    with pytest.raises(VenueError, match="Duplicate order sent"):
        made.place_oco(oco(), START)
    with pytest.raises(VenueError, match="Duplicate order sent"):
        made.place_oco(replace(oco(name="p"), below=request(SELL, STOP, client_id="o-s", stop="95")), START)
    with pytest.raises(VenueError, match="listClientOrderId"):
        made.place_oco(oco(name="o:1"), START)


def test_an_oco_beyond_the_balance_is_refused_whole() -> None:
    made = venue(base="0.999")
    with pytest.raises(VenueError, match="insufficient balance"):
        made.place_oco(oco(), START)
    assert made.open_orders() == ()


def test_a_quote_at_the_stop_sells_into_the_bid(protected: Venue) -> None:
    protected.on_quote(quote("94", at=START + timedelta(seconds=1)))
    _, stop = legs(protected)
    assert stop.executed_quote == Decimal("93.99")
