"""Lists with a working order: what waits, when it is placed, how it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.venue.account import FeeRates
from bn_ml.venue.errors import VenueError
from bn_ml.venue.invariants import violations
from bn_ml.venue.order_lists import OtoRequest
from bn_ml.venue.orders import Expiry, VenueOrder
from bn_ml.venue.persistence import MemoryPersistence
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import START, quote, request, rules, venue

BUY, SELL = Side.BUY, Side.SELL
SECOND = timedelta(seconds=1)
BNB = Symbol("BNB/USDT")


def oto(*, price: str = "99", quantity: str = "1", pending: str = "0.999", sized: bool = False) -> OtoRequest:
    stop = request(SELL, OrderType.STOP_LOSS, pending, client_id="s", stop="90")
    return OtoRequest("list", request(BUY, OrderType.LIMIT, quantity, client_id="w", price=price), (stop,), sized)


def otoco(*, price: str = "99", quantity: str = "1", pending: str = "0.999", sized: bool = False) -> OtoRequest:
    target = request(SELL, OrderType.LIMIT_MAKER, pending, client_id="t", price="110")
    single = oto(price=price, quantity=quantity, pending=pending, sized=sized)
    return replace(single, pending=(*single.pending, target))


def statuses(made: Venue) -> dict[str, OrderStatus]:
    return {order.client_id: order.status for order in made.state.all_orders()}


def leg(made: Venue, client_id: str) -> VenueOrder:
    found = made.find(rules().symbol, client_id=client_id)
    assert found is not None
    return found


def test_pending_legs_wait_without_a_reservation_and_without_meeting_the_market() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    made.on_quote(quote("89.5", at=START, spread="30"))
    assert statuses(made)["s"] is OrderStatus.PENDING_NEW
    assert made.state.account.of("USDT").locked == 99
    assert made.state.account.of("ABC").locked == 0
    assert violations(made.state) == ()


def test_a_full_fill_of_the_working_order_places_both_pending_legs_over_one_quantity() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    made.on_quote(quote("98.5", at=START + SECOND))
    assert statuses(made) == {"w": OrderStatus.FILLED, "s": OrderStatus.NEW, "t": OrderStatus.NEW}
    assert made.state.account.of("ABC").locked == Decimal("0.999")
    assert violations(made.state) == ()


def test_a_partial_fill_places_nothing() -> None:
    made = venue()
    made.place_oto(otoco(quantity="50", pending="49"), START)
    made.on_quote(quote("98.9", at=START + SECOND, depth="2000"))
    assert statuses(made)["w"] is OrderStatus.PARTIALLY_FILLED
    assert statuses(made)["s"] is OrderStatus.PENDING_NEW
    assert made.state.account.of("ABC").locked == 0


def test_the_answer_to_an_immediate_fill_still_shows_the_pending_leg_waiting() -> None:
    made = venue()
    working, waiting = made.place_oto(oto(price="101"), START)
    assert working.status is OrderStatus.FILLED
    assert waiting.status is OrderStatus.PENDING_NEW
    assert leg(made, "s").status is OrderStatus.NEW


def test_selling_as_much_as_was_bought_is_refused_when_commission_was_taken_from_it() -> None:
    made = venue()
    made.place_oto(otoco(pending="1"), START)
    made.on_quote(quote("98.5", at=START + SECOND))
    for name in ("s", "t"):
        assert leg(made, name).status is OrderStatus.EXPIRED
        assert leg(made, name).expiry_reason == Expiry.REFUSED
    assert made.state.account.of("ABC").free == Decimal("0.999")
    assert violations(made.state) == ()


def test_a_stop_the_market_has_passed_when_it_would_be_placed_is_refused() -> None:
    made = venue()
    made.place_oto(oto(), START)
    made.on_quote(quote("89", at=START + SECOND))
    assert leg(made, "w").status is OrderStatus.FILLED
    assert leg(made, "s").expiry_reason == Expiry.REFUSED


def test_cancelling_the_working_order_cancels_the_list() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    ended = made.cancel(rules().symbol, "w", START)
    assert ended[0].client_id == "w"
    assert set(statuses(made).values()) == {OrderStatus.CANCELED}
    assert made.state.account.of("USDT").locked == 0


def test_cancelling_a_waiting_leg_cancels_the_list() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    assert made.cancel(rules().symbol, "t", START)[0].client_id == "t"
    assert set(statuses(made).values()) == {OrderStatus.CANCELED}


def test_an_expired_working_order_ends_what_waits_for_it() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    made.expire_all(rules().symbol, START)
    assert leg(made, "w").expiry_reason == Expiry.EXCHANGE
    assert leg(made, "s").expiry_reason == Expiry.WORKING_ENDED
    assert violations(made.state) == ()


def test_one_pending_leg_that_triggers_ends_the_other() -> None:
    made = venue()
    made.place_oto(otoco(), START)
    made.on_quote(quote("98.5", at=START + SECOND))
    made.on_quote(quote("89", at=START + 2 * SECOND))
    assert leg(made, "s").status is OrderStatus.FILLED
    assert leg(made, "t").expiry_reason == Expiry.OTHER_LEG
    assert violations(made.state) == ()


@pytest.mark.parametrize(("bought", "sold"), [("1", "0.999"), ("1.5", "1.498"), ("0.101", "0.1")])
def test_an_opo_leg_sells_what_was_bought_less_commission_on_the_step(bought: str, sold: str) -> None:
    made = venue()
    made.place_oto(oto(quantity=bought, pending=bought, sized=True), START)
    assert leg(made, "s").quantity == 0
    made.on_quote(quote("98.5", at=START + SECOND))
    assert leg(made, "s").quantity == Decimal(sold)
    assert leg(made, "s").status is OrderStatus.NEW


def test_an_opo_leg_sells_all_when_commission_is_paid_in_another_asset() -> None:
    made = venue(fees=FeeRates(pay_with_discount_asset=True))
    made.deposit("BNB", Decimal(10))
    made.set_rules(rules(BNB))
    made.on_quote(quote("300", symbol=BNB))
    made.place_oto(oto(sized=True, pending="1"), START)
    made.on_quote(quote("98.5", at=START + SECOND))
    assert leg(made, "s").quantity == 1
    assert made.state.account.of("BNB").total < 10


def test_an_opo_list_buys_first_and_sells_then() -> None:
    made = venue(base="5")
    selling = replace(oto(sized=True), working=request(SELL, OrderType.LIMIT, "1", client_id="w", price="101"))
    with pytest.raises(VenueError) as refusal:
        made.place_oto(selling, START)
    assert refusal.value.code == -1222
    buying = replace(oto(sized=True), pending=(request(BUY, OrderType.LIMIT, "1", client_id="p", price="90"),))
    with pytest.raises(VenueError) as refusal:
        made.place_oto(buying, START)
    assert refusal.value.code == -1223


def test_a_working_order_must_be_one_that_rests() -> None:
    made = venue()
    with pytest.raises(VenueError) as refusal:
        made.place_oto(replace(oto(), working=request(BUY, OrderType.MARKET, "1", client_id="w")), START)
    assert refusal.value.code == -1014


def test_every_leg_counts_against_the_order_limits() -> None:
    made = venue()
    made.set_rules(rules(max_orders=2))
    with pytest.raises(VenueError, match="MAX_NUM_ORDERS"):
        made.place_oto(otoco(), START)
    made.place_oto(oto(), START)
    with pytest.raises(VenueError, match="MAX_NUM_ORDERS"):
        made.place(request(BUY, price="90"), START)


def test_a_list_id_may_be_used_again_only_after_the_list_has_ended() -> None:
    made = venue()
    made.place_oto(oto(), START)
    again = OtoRequest("list", request(BUY, price="98", client_id="x"), (request(SELL, price="120", client_id="y"),))
    with pytest.raises(VenueError, match="Duplicate"):
        made.place_oto(again, START)
    made.cancel(rules().symbol, "w", START)
    assert made.place_oto(again, START)[0].is_open


def test_waiting_lists_survive_a_restart() -> None:
    kept = MemoryPersistence()
    made = venue(persistence=kept)
    made.place_oto(otoco(sized=True, pending="1"), START)
    again = Venue(kept)
    again.set_rules(rules())
    again.on_quote(quote("98.5", at=START + SECOND))
    assert statuses(again) == {"w": OrderStatus.FILLED, "s": OrderStatus.NEW, "t": OrderStatus.NEW}
    assert violations(again.state) == ()


def test_a_pending_market_order_trades_at_once_when_its_turn_comes() -> None:
    made = venue()
    exit_ = request(SELL, OrderType.MARKET, "0.999", client_id="m")
    made.place_oto(replace(oto(), pending=(exit_,)), START)
    made.on_quote(quote("98.5", at=START + SECOND))
    assert leg(made, "m").status is OrderStatus.FILLED
    assert made.state.account.of("ABC").total == 0
