"""Takers at their limits: own orders in the way, the price range rule, an empty book; amendments; what is told."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue.errors import VenueError
from bn_ml.venue.happenings import Step
from bn_ml.venue.invariants import violations
from bn_ml.venue.orders import Expiry, OrderRequest, SelfTrade, VenueOrder
from bn_ml.venue.persistence import order_from, order_text
from bn_ml.venue.price_range import PriceRange
from bn_ml.venue.replacement import ReplacementFailed
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import START, SYMBOL, oco, quote, request, rules, venue

BUY, SELL = Side.BUY, Side.SELL
SECOND = timedelta(seconds=1)


def with_mode(order: OrderRequest, mode: SelfTrade) -> OrderRequest:
    values = {name: getattr(order, name) for name in order.__dataclass_fields__}
    return OrderRequest(**{**values, "self_trade": mode})


def leg(made: Venue, client_id: str) -> VenueOrder:
    found = made.find(SYMBOL, client_id=client_id)
    assert found is not None
    return found


def with_own_sell_at(price: str) -> Venue:
    made = venue(base="5")
    made.place(request(SELL, price=price, client_id="mine"), START)
    return made


def test_a_market_buy_expires_own_sells_it_reaches_and_trades_with_the_others() -> None:
    made = with_own_sell_at("100.02")
    order = made.place(request(BUY, OrderType.MARKET, "30"), START)
    assert order.status is OrderStatus.FILLED
    assert leg(made, "mine").status is OrderStatus.EXPIRED
    assert leg(made, "mine").prevented == 1
    assert violations(made.state) == ()


def test_own_sells_out_of_reach_stay() -> None:
    made = with_own_sell_at("100.02")
    made.place(request(BUY, OrderType.MARKET, "1"), START)
    assert leg(made, "mine").is_open


def test_prevention_of_a_list_leg_ends_the_list() -> None:
    made = venue(base="5")
    made.place_oco(oco("100.02", "95"), START)
    made.place(request(BUY, OrderType.MARKET, "30"), START)
    assert leg(made, "o-t").expiry_reason == Expiry.SELF_TRADE
    assert leg(made, "o-s").expiry_reason == Expiry.OTHER_LEG
    assert made.state.account.of("ABC").locked == 0


def test_expire_taker_stops_before_the_own_order() -> None:
    made = with_own_sell_at("100.02")
    taker = with_mode(request(BUY, OrderType.MARKET, "30"), SelfTrade.EXPIRE_TAKER)
    order = made.place(taker, START)
    assert leg(made, "mine").is_open
    assert order.expiry_reason == Expiry.SELF_TRADE
    assert 0 < order.executed < 30
    assert order.executed + order.prevented == 30


def test_expire_both_ends_both() -> None:
    made = with_own_sell_at("100.02")
    order = made.place(with_mode(request(BUY, price="100.05", quantity="30"), SelfTrade.EXPIRE_BOTH), START)
    assert not order.is_open
    assert not leg(made, "mine").is_open
    assert violations(made.state) == ()


def test_without_prevention_own_orders_are_passed_by() -> None:
    made = with_own_sell_at("100.02")
    made.place(with_mode(request(BUY, OrderType.MARKET, "30"), SelfTrade.NONE), START)
    assert leg(made, "mine").is_open


def test_a_dormant_stop_is_nothing_to_trade_with() -> None:
    made = venue(base="5")
    made.place(request(SELL, OrderType.STOP_LOSS_LIMIT, price="99", stop="99.5", client_id="stop"), START)
    made.place(request(BUY, OrderType.MARKET, "30"), START)
    assert leg(made, "stop").is_open


def narrow() -> PriceRange:
    return PriceRange(Decimal(100), Decimal("1.0005"), Decimal("0.9"), Decimal("1.1"), Decimal("0.9995"))


def test_a_taker_stops_at_the_price_range_and_the_rest_expires() -> None:
    made = venue(base="5000", usdt="10000000")
    made.set_price_range(SYMBOL, narrow())
    for side in (BUY, SELL):
        order = made.place(request(side, OrderType.MARKET, "1000", client_id=side.value), START)
        assert order.expiry_reason == Expiry.PRICE_RANGE
        assert 0 < order.executed < 1000
        worst = made.my_trades(order)[-1].price
        assert Decimal("99.95") <= worst <= Decimal("100.05")
    assert violations(made.state) == ()


def test_a_resting_limit_order_that_would_take_beyond_the_range_expires_instead_of_resting() -> None:
    made = venue(usdt="10000000")
    made.set_price_range(SYMBOL, narrow())
    order = made.place(request(BUY, price="101", quantity="1000"), START)
    assert order.status is OrderStatus.EXPIRED
    assert order.expiry_reason == Expiry.PRICE_RANGE


def test_without_a_rule_nothing_is_bounded() -> None:
    made = venue(usdt="10000000")
    made.set_price_range(SYMBOL, narrow())
    made.set_price_range(SYMBOL, None)
    assert made.place(request(BUY, OrderType.MARKET, "1000"), START).status is OrderStatus.FILLED


def test_a_triggered_stop_that_runs_out_of_book_ends_expired_and_partly_filled() -> None:
    made = venue(base="500")
    made.place(request(SELL, OrderType.STOP_LOSS, "500", stop="95"), START)
    made.on_quote(quote("94", at=START + SECOND, depth="4000"))
    order = leg(made, "a")
    assert order.status is OrderStatus.EXPIRED
    assert order.expiry_reason == Expiry.NO_LIQUIDITY
    assert 0 < order.executed < 500
    assert made.state.account.of("ABC").locked == 0


def test_a_price_range_leaves_a_stop_in_a_crash_partly_unfilled() -> None:
    made = venue(base="500")
    made.place(request(SELL, OrderType.STOP_LOSS, "500", stop="95"), START)
    made.set_price_range(SYMBOL, narrow())
    made.on_quote(quote("94", at=START + SECOND))
    assert leg(made, "a").expiry_reason == Expiry.PRICE_RANGE
    assert leg(made, "a").executed == 0


def test_a_range_must_hold_its_reference_price() -> None:
    with pytest.raises(ValueError, match="reference"):
        PriceRange(Decimal(100), Decimal("0.9"), Decimal("0.8"), Decimal(1), Decimal(1))


def test_a_trailing_stop_as_the_lower_leg_follows_the_price_and_ends_the_target() -> None:
    made = venue(base="1")
    lower = request(SELL, OrderType.STOP_LOSS, client_id="o-s", delta=200)
    pair = oco("120")
    made.place_oco(pair.__class__("o", above=pair.above, below=lower), START)
    for at, price in ((1, "100"), (2, "110"), (3, "107.8")):
        assert leg(made, "o-s").is_open
        made.on_quote(quote(price, at=START + at * SECOND))
    assert made.my_trades(leg(made, "o-s"))
    assert leg(made, "o-t").expiry_reason == Expiry.OTHER_LEG


@pytest.mark.parametrize(("quantity", "accepted"), [("0.999", True), ("1", False), ("1.001", False), ("0.0005", False)])
def test_an_amendment_only_lowers_the_quantity(quantity: str, accepted: bool) -> None:
    made = venue()
    order = made.place(request(BUY, price="90"), START)
    if accepted:
        after = made.amend(order, Decimal(quantity), "b", START)
        assert (after.client_id, after.quantity, after.order_id) == ("b", Decimal(quantity), order.order_id)
        assert made.state.account.of("USDT").locked == Decimal(quantity) * 90
    else:
        with pytest.raises(VenueError):
            made.amend(order, Decimal(quantity), "b", START)
    assert violations(made.state) == ()


def test_an_order_is_amended_ten_times_at_most() -> None:
    made = venue()
    order = made.place(request(BUY, price="90"), START)
    for number in range(10):
        order = made.amend(order, order.quantity - Decimal("0.001"), f"n{number}", START)
    with pytest.raises(VenueError) as refusal:
        made.amend(order, order.quantity - Decimal("0.001"), "more", START)
    assert refusal.value.code == -2038


def test_a_replacement_that_allows_failure_places_although_nothing_was_cancelled() -> None:
    made = venue()
    with pytest.raises(ReplacementFailed) as half:
        made.replace("absent", request(BUY, price="90", client_id="new"), START, stop_on_failure=False)
    assert half.value.code == -2021
    assert half.value.placed is not None
    assert leg(made, "new").is_open


def test_a_delisted_symbol_ends_its_orders_and_is_unknown() -> None:
    made = venue()
    made.place(request(BUY, price="90"), START)
    made.delist(SYMBOL, START)
    assert made.open_orders() == ()
    assert made.state.account.of("USDT").locked == 0
    with pytest.raises(VenueError, match="Invalid symbol"):
        made.place(request(BUY, price="90", client_id="b"), START)


def test_every_step_of_an_order_is_told_once_and_in_order() -> None:
    made = venue(base="1")
    made.state.happenings = []
    made.place_oco(oco(), START)
    made.on_quote(quote("94", at=START + SECOND))
    told = [(step.step, step.order.client_id) for step in made.state.happenings]
    assert told == [
        (Step.NEW, "o-s"),
        (Step.NEW, "o-t"),
        (Step.TRIGGERED, "o-s"),
        (Step.EXPIRED, "o-t"),
        (Step.TRADE, "o-s"),
    ]


def test_amendments_and_prevention_have_their_own_steps() -> None:
    made = with_own_sell_at("100.02")
    made.state.happenings = []
    made.amend(leg(made, "mine"), Decimal("0.9"), "mine2", START)
    made.place(request(BUY, OrderType.MARKET, "30"), START)
    steps = [(step.step, step.former_client_id) for step in made.state.happenings]
    assert (Step.REPLACED, "mine") in steps
    assert (Step.TRADE_PREVENTION, "") in steps


@pytest.mark.parametrize(("shown", "text"), [("1.001", "exceeds"), ("0.0101", "LOT_SIZE"), ("0.009", "ICEBERG_PARTS")])
def test_icebergs_have_their_own_refusals(shown: str, text: str) -> None:
    order = request(BUY, price="90")
    iceberg = OrderRequest(
        SYMBOL, BUY, OrderType.LIMIT, "i", quantity=Decimal(1), price=Decimal(90), time_in_force=TimeInForce.GTC,
        iceberg=Decimal(shown),
    )  # fmt: skip
    made = venue()
    with pytest.raises(VenueError, match=text):
        made.place(iceberg, START)
    assert made.place(order, START).is_open


def test_an_iceberg_of_exactly_the_most_parts_is_accepted() -> None:
    made = venue()
    order = OrderRequest(
        SYMBOL, BUY, OrderType.LIMIT, "i", quantity=Decimal(1), price=Decimal(90), time_in_force=TimeInForce.GTC,
        iceberg=Decimal("0.01"),
    )  # fmt: skip
    assert made.place(order, START).iceberg == Decimal("0.01")
    assert rules().step == Decimal("0.001")


def test_a_record_from_before_lists_had_working_orders_is_still_read() -> None:
    made = venue()
    order = made.place(request(BUY, price="90"), START)
    record = json.loads(order_text(order))
    for name in ("pending", "sized_by_working", "iceberg", "self_trade", "strategy_id", "strategy_type", "prevented"):
        del record[name]
    del record["amends"]
    assert order_from(json.dumps(record)) == order
