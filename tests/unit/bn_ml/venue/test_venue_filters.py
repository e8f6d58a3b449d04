from __future__ import annotations

from decimal import Decimal

import pytest

from bn_ml.domain.orders import OrderType, Side, TimeInForce
from bn_ml.venue.errors import VenueError
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.orders import OrderRequest
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import START, SYMBOL, oco, quote, request, rules, venue

BUY, SELL = Side.BUY, Side.SELL
LIMIT, MARKET, STOP = OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LOSS
MAKER, STOP_LIMIT, TARGET = OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT
ILLEGAL_ID = "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'."
ILLEGAL_QTY = r"Illegal characters found in parameter 'quantity'; legal range is '^([0-9]{1,20})(\.[0-9]{1,20})?$'."


def refusal(made: Venue, order: OrderRequest, **changes: object) -> tuple[int, str]:
    made.set_rules(rules(**changes))
    with pytest.raises(VenueError) as caught:
        made.place(order, START)
    return caught.value.code, caught.value.text


def missing(name: str) -> tuple[int, str]:
    return -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (request(price="90", client_id="a.b"), (-1100, ILLEGAL_ID)),
        (request(price="90", client_id="a" * 37), (-1100, ILLEGAL_ID)),
        (request(price="90", client_id=""), (-1100, ILLEGAL_ID)),
        (request(price="90", quantity="-1"), (-1100, ILLEGAL_QTY)),
        (request(price="90", quantity="NaN"), (-1100, ILLEGAL_QTY)),
        (request(price="90", quantity="0"), (-1013, "Invalid quantity.")),
        (request(price="90", quantity=None), missing("quantity")),
        (request(), missing("price")),
        (request(SELL, STOP_LIMIT, price="90"), (-1102, None)),
        (request(SELL, STOP, stop="90", price="89"), (-1106, "Parameter 'price' sent when not required.")),
        (request(type_=LIMIT, price="90", stop="95"), (-1106, "Parameter 'stopPrice' sent when not required.")),
        (request(type_=MARKET, delta=10), (-1106, "Parameter 'trailingDelta' sent when not required.")),
        (request(type_=MARKET, tif=TimeInForce.IOC), (-1106, "Parameter 'timeInForce' sent when not required.")),
        (request(price="90", spend="50"), (-1128, "Combination of optional parameters invalid.")),
        (request(price="90", quantity=None, spend="50"), (-1106, "Parameter 'quoteOrderQty' sent when not required.")),
        (request(price="90", quantity="0.000000001"), (-1111, "Parameter 'quantity' has too much precision.")),
    ],
)
def test_malformed_parameters_are_refused_before_any_filter(
    order: OrderRequest, expected: tuple[int, str | None]
) -> None:
    code, text = refusal(venue(), order)
    assert code == expected[0]
    assert expected[1] in (None, text)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "changes"),
    [
        ("PRICE_FILTER", request(price="90.01"), request(price="90.015"), {}),
        ("PRICE_FILTER", request(price="90"), request(price="89.99"), {"min_price": Decimal(90)}),
        ("PRICE_FILTER", request(price="90"), request(price="90.01"), {"max_price": Decimal(90)}),
        ("PRICE_FILTER", request(SELL, STOP, stop="90"), request(SELL, STOP, stop="90.001"), {}),
        ("PERCENT_PRICE_BY_SIDE", request(price="80"), request(price="79.99"), {"bid_multiplier_down": Decimal("0.8")}),
        ("PERCENT_PRICE_BY_SIDE", request(price="110"), request(price="110.01"), {"bid_multiplier_up": Decimal("1.1")}),
        (
            "PERCENT_PRICE_BY_SIDE",
            request(SELL, price="120"),
            request(SELL, price="120.01"),
            {"ask_multiplier_up": Decimal("1.2")},
        ),
        (
            "PERCENT_PRICE_BY_SIDE",
            request(SELL, price="90"),
            request(SELL, price="89.99"),
            {"ask_multiplier_down": Decimal("0.9")},
        ),
        ("LOT_SIZE", request(price="90", quantity="0.5"), request(price="90", quantity="0.5005"), {}),
        (
            "LOT_SIZE",
            request(price="90", quantity="0.2"),
            request(price="90", quantity="0.199"),
            {"min_quantity": Decimal("0.2")},
        ),
        (
            "LOT_SIZE",
            request(price="90", quantity="2"),
            request(price="90", quantity="2.001"),
            {"max_quantity": Decimal(2)},
        ),
        (
            "MARKET_LOT_SIZE",
            request(type_=MARKET, quantity="2"),
            request(type_=MARKET, quantity="2.001"),
            {"market_max_quantity": Decimal(2)},
        ),
        (
            "MARKET_LOT_SIZE",
            request(type_=MARKET, quantity="0.5"),
            request(type_=MARKET, quantity="0.501"),
            {"market_step": Decimal("0.01")},
        ),
        ("NOTIONAL", request(price="50", quantity="0.1"), request(price="50", quantity="0.099"), {}),
        ("NOTIONAL", request(type_=MARKET, quantity="0.05"), request(type_=MARKET, quantity="0.049"), {}),
        ("NOTIONAL", request(SELL, STOP, "0.1", stop="50"), request(SELL, STOP, "0.099", stop="50"), {}),
        ("NOTIONAL", request(price="90"), request(price="90.01"), {"max_notional": Decimal(90)}),
        (
            "NOTIONAL",
            request(type_=MARKET, quantity=None, spend="5"),
            request(type_=MARKET, quantity=None, spend="4.99"),
            {},
        ),
        ("TRAILING_DELTA", request(SELL, STOP, delta=10), request(SELL, STOP, delta=9), {}),
        ("TRAILING_DELTA", request(SELL, STOP, delta=2000), request(SELL, STOP, delta=2001), {}),
    ],
)
def test_each_filter_accepts_at_its_limit_and_refuses_just_outside(
    name: str, inside: OrderRequest, outside: OrderRequest, changes: dict[str, object]
) -> None:
    made = venue(base="100")
    assert refusal(made, outside, **changes) == (-1013, f"Filter failure: {name}")
    made.place(inside, START)


def test_market_orders_below_the_notional_pass_where_it_does_not_apply_to_them() -> None:
    made = venue()
    made.set_rules(rules(notional_applies_to_market=False))
    assert made.place(request(type_=MARKET, quantity="0.01"), START).executed == Decimal("0.01")


def test_a_zero_turns_a_bound_off() -> None:
    made = venue(usdt="100000000")
    made.set_rules(rules(max_price=Decimal(0), max_quantity=Decimal(0), bid_multiplier_up=Decimal(0)))
    made.place(request(type_=LIMIT, price="99", quantity="9001"), START)


def fill_up(made: Venue, count: int) -> None:
    for number in range(count):
        made.place(request(SELL, STOP, "0.1", client_id=f"s{number}", stop="90"), START)


@pytest.mark.parametrize(
    ("name", "changes", "limits"),
    [
        ("MAX_NUM_ORDERS", {"max_orders": 2}, AccountLimits()),
        ("MAX_NUM_ALGO_ORDERS", {"max_algo_orders": 2}, AccountLimits()),
        ("EXCHANGE_MAX_NUM_ORDERS", {}, AccountLimits(max_orders=2)),
        ("EXCHANGE_MAX_NUM_ALGO_ORDERS", {}, AccountLimits(max_algo_orders=2)),
    ],
)
def test_order_counts_are_refused_by_the_engine_beyond_their_limit(
    name: str, changes: dict[str, object], limits: AccountLimits
) -> None:
    made = venue(base="10", limits=limits)
    made.set_rules(rules(**changes))
    fill_up(made, 2)
    late = request(SELL, STOP, "0.1", client_id="late", stop="90")
    assert refusal(made, late, **changes) == (-2010, f"Filter failure: {name}")


def test_an_order_list_counts_each_leg_and_lists_have_their_own_limit() -> None:
    made = venue(base="10", limits=AccountLimits(max_order_lists=1))
    made.set_rules(rules(max_orders=3))
    made.place_oco(oco(name="one"), START)
    with pytest.raises(VenueError, match="MAX_NUM_ORDERS"):
        made.place_oco(oco(name="two"), START)
    made.set_rules(rules(max_order_lists=1))
    with pytest.raises(VenueError, match="Filter failure: MAX_NUM_ORDER_LISTS"):
        made.place_oco(oco(name="two"), START)
    made.set_rules(rules())
    with pytest.raises(VenueError, match="Filter failure: EXCHANGE_MAX_NUM_ORDER_LISTS"):
        made.place_oco(oco(name="two"), START)


def test_a_full_count_does_not_stop_a_market_exit() -> None:
    made = venue(base="10")
    made.set_rules(rules(max_orders=1))
    fill_up(made, 1)
    assert made.place(request(SELL, MARKET, "1"), START).executed == 1


def test_max_position_counts_what_is_held_and_what_open_buys_may_add() -> None:
    made = venue(base="2", limits=AccountLimits(max_position={SYMBOL: Decimal(4)}))
    made.place(request(price="90", client_id="one"), START)
    assert refusal(made, request(price="90", quantity="1.001")) == (-2010, "Filter failure: MAX_POSITION")
    made.place(request(price="90", quantity="1"), START)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (request(SELL, STOP, stop="100"), "Order would trigger immediately."),
        (request(SELL, STOP, stop="100.01"), "Order would trigger immediately."),
        (request(SELL, TARGET, stop="100"), "Order would trigger immediately."),
        (request(BUY, STOP, stop="100"), "Order would trigger immediately."),
        (request(BUY, TARGET, stop="100"), "Order would trigger immediately."),
        (request(SELL, MAKER, price="99.99"), "Order would immediately match and take."),
        (request(BUY, MAKER, price="100.01"), "Order would immediately match and take."),
        (request(SELL, LIMIT, "5.001", price="110"), "Account has insufficient balance for requested action."),
        (request(BUY, LIMIT, "100.001", price="100"), "Account has insufficient balance for requested action."),
        (request(BUY, MARKET, "101"), "Account has insufficient balance for requested action."),
        (request(SELL, MARKET, "5.001"), "Account has insufficient balance for requested action."),
    ],
)
def test_the_engine_refuses_wrong_sides_crossing_makers_and_uncovered_orders(order: OrderRequest, text: str) -> None:
    made = venue(base="5")
    before = dict(made.balances())
    assert refusal(made, order) == (-2010, text)
    assert made.balances() == before
    assert made.find(SYMBOL, client_id="a") is None


def test_makers_and_stops_just_on_the_right_side_are_accepted() -> None:
    made = venue(base="5")
    made.place(request(SELL, STOP, stop="99.99", client_id="s"), START)
    made.place(request(SELL, MAKER, price="100", client_id="m"), START)
    made.cancel(SYMBOL, "m", START)
    made.place(request(BUY, MAKER, price="100", client_id="b"), START)
    assert len(made.open_orders()) == 2


def test_a_client_id_must_be_unique_among_open_orders_only() -> None:
    made = venue(base="5")
    made.place(request(price="90", client_id="same"), START)
    assert refusal(made, request(price="90", client_id="same")) == (-2010, "Duplicate order sent.")
    made.cancel(SYMBOL, "same", START)
    again = made.place(request(type_=MARKET, client_id="same"), START)
    assert again.order_id == 2
    assert made.place(request(type_=MARKET, client_id="same"), START).order_id == 3
    newest = made.find(SYMBOL, client_id="same")
    assert newest is not None
    assert newest.order_id == 3


def test_a_halted_symbol_is_closed_for_orders_but_not_for_cancels() -> None:
    made = venue()
    made.place(request(price="90", client_id="resting"), START)
    assert refusal(made, request(price="90"), trading=False) == (-2010, "Market is closed.")
    made.on_quote(quote("80"))
    assert made.cancel(SYMBOL, "resting", START)[0].executed == 0


def test_an_unlisted_symbol_is_invalid() -> None:
    made = venue()
    made.state.rules.clear()
    with pytest.raises(VenueError) as caught:
        made.place(request(price="90"), START)
    assert (caught.value.code, caught.value.text) == (-1121, "Invalid symbol.")


def test_cancelling_what_is_not_open_is_an_unknown_order() -> None:
    made = venue()
    made.place(request(type_=MARKET), START)
    for name in ("a", "never"):
        with pytest.raises(VenueError) as caught:
            made.cancel(SYMBOL, name, START)
        assert (caught.value.code, caught.value.text) == (-2011, "Unknown order sent.")
