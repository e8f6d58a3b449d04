"""Everything a request is tested for before it reaches the engine, each refusal with its own code and text.

The order is the venue's: parameters, precision, filters, counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal

from bn_ml.domain.market import ZERO, MarketRules, Symbol
from bn_ml.domain.orders import OrderType, Side, TimeInForce
from bn_ml.venue.account import UNIT
from bn_ml.venue.errors import (
    API,
    ENGINE,
    VenueError,
    filter_failure,
    illegal,
    missing,
    too_precise,
    unwanted,
)
from bn_ml.venue.orders import CONTINGENT, NO_LIST, PRICED, TIMED, OrderRequest, VenueOrder

CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
MAX_ICEBERG_PARTS = 100
_CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """Limits over all symbols (EXCHANGE_MAX_*) and the largest position per symbol; 0 or absent means none."""

    max_orders: int = 0
    max_algo_orders: int = 0
    max_order_lists: int = 0
    max_position: Mapping[Symbol, Decimal] = field(default_factory=dict)


def check_parameters(request: OrderRequest) -> None:
    """Refuse missing, needless and malformed parameters."""
    check_client_id(request.client_id, "newClientOrderId")
    for name, amount in _numbers(request):
        if not amount.is_finite() or amount < 0 or amount >= Decimal(10) ** 20:
            raise illegal(name, NUMBER)
        if amount == 0:
            raise VenueError(API, f"Invalid {name}.")
    _check_quantities(request)
    _check_prices(request)
    if request.type in TIMED and request.time_in_force is None:
        raise missing("timeInForce")
    rests_visibly = request.time_in_force is TimeInForce.GTC or request.type is OrderType.LIMIT_MAKER
    if request.iceberg is not None and not rests_visibly:
        raise VenueError(API, "Unsupported order combination")
    if request.type not in TIMED and request.time_in_force is not None:
        raise unwanted("timeInForce")


def check_client_id(client_id: str, parameter: str) -> None:
    """Refuse a client id with other than letters, digits, `-` and `_`, or not 1 to 36 long."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise illegal(parameter, CLIENT_ID)


def check_precision(request: OrderRequest) -> None:
    """Refuse more decimals than the assets have."""
    for name, amount in _numbers(request):
        if amount % UNIT != 0:
            raise too_precise(name)


def check_allowed(requests: Sequence[OrderRequest], rules: MarketRules) -> None:
    """Refuse kinds of orders the symbol does not take; several requests at once are an order list."""
    if len(requests) > 1 and not rules.lists_allowed:
        raise VenueError(API, "OCO orders are not supported for this symbol")
    for request in requests:
        if request.type is OrderType.STOP_LOSS and not rules.stops_allowed:
            raise VenueError(API, "Stop loss orders are not supported for this symbol.")
        if request.trailing_delta is not None and not rules.trailing_allowed:
            raise VenueError(API, "Trailing stop orders are not supported for this symbol.")


def check_replaceable(rules: MarketRules) -> None:
    """Refuse a cancel-replace where the symbol does not take any."""
    if not rules.replace_allowed:
        raise VenueError(API, "Order cancel-replace is not supported for this symbol.")


def check_filters(request: OrderRequest, rules: MarketRules, last: Decimal) -> None:
    """Refuse what the symbol's own filters refuse; `last` is the reference price."""
    for price in (request.price, request.stop_price):
        if price is not None:
            _check_grid(price, rules.min_price, rules.max_price, rules.tick, "PRICE_FILTER")
    if request.price is not None:
        _check_band(request.side, request.price, rules, last)
    quantity = _expected_quantity(request, rules, last)
    _check_grid(quantity, rules.min_quantity, rules.max_quantity, rules.step, "LOT_SIZE")
    if request.type is OrderType.MARKET:
        _check_grid(
            quantity, rules.market_min_quantity, rules.market_max_quantity, rules.market_step, "MARKET_LOT_SIZE"
        )
    _check_notional(request, quantity, rules, last)
    if request.iceberg is not None:
        _check_iceberg(request.iceberg, quantity, rules)
    delta = request.trailing_delta
    if delta is not None and not rules.min_trailing_delta <= delta <= rules.max_trailing_delta:
        raise filter_failure("TRAILING_DELTA")


def check_counts(
    requests: Sequence[OrderRequest], rules: MarketRules, open_orders: Sequence[VenueOrder], limits: AccountLimits
) -> None:
    """Refuse resting orders beyond the symbol's and the account's counts; two requests at once are an order list."""
    symbol = requests[0].symbol
    resting = [request for request in requests if request.type is not OrderType.MARKET]
    algos = sum(request.type in CONTINGENT for request in requests)
    lists = int(len(requests) > 1)
    here = [order for order in open_orders if order.symbol == symbol]
    for orders, maxima, prefix in (
        (here, (rules.max_orders, rules.max_algo_orders, rules.max_order_lists), ""),
        (open_orders, (limits.max_orders, limits.max_algo_orders, limits.max_order_lists), "EXCHANGE_"),
    ):
        counts = _counts(orders)
        _check_count(counts[0], len(resting), maxima[0], f"{prefix}MAX_NUM_ORDERS")
        _check_count(counts[1], algos, maxima[1], f"{prefix}MAX_NUM_ALGO_ORDERS")
        _check_count(counts[2], lists, maxima[2], f"{prefix}MAX_NUM_ORDER_LISTS")


def check_position(
    request: OrderRequest, held: Decimal, open_orders: Sequence[VenueOrder], limits: AccountLimits
) -> None:
    """Refuse a buy that could carry the position of the symbol beyond its maximum."""
    maximum = limits.max_position.get(request.symbol, ZERO)
    if request.side is not Side.BUY or not maximum:
        return
    waiting = sum(
        (order.remaining for order in open_orders if order.symbol == request.symbol and order.side is Side.BUY), ZERO
    )
    if held + waiting + (request.quantity or ZERO) > maximum:
        raise filter_failure("MAX_POSITION", ENGINE)


def _numbers(request: OrderRequest) -> list[tuple[str, Decimal]]:
    named = (
        ("quantity", request.quantity),
        ("quoteOrderQty", request.quote_quantity),
        ("price", request.price),
        ("stopPrice", request.stop_price),
        ("icebergQty", request.iceberg),
    )
    return [(name, amount) for name, amount in named if amount is not None]


def _check_quantities(request: OrderRequest) -> None:
    if request.quantity is not None and request.quote_quantity is not None:
        raise VenueError(-1128, "Combination of optional parameters invalid.")
    if request.quote_quantity is not None and request.type is not OrderType.MARKET:
        raise unwanted("quoteOrderQty")
    if request.quantity is None and request.quote_quantity is None:
        raise missing("quantity")


def _check_prices(request: OrderRequest) -> None:
    if request.type in PRICED and request.price is None:
        raise missing("price")
    if request.type not in PRICED and request.price is not None:
        raise unwanted("price")
    if request.type not in CONTINGENT:
        if request.stop_price is not None:
            raise unwanted("stopPrice")
        if request.trailing_delta is not None:
            raise unwanted("trailingDelta")
    elif request.stop_price is None and request.trailing_delta is None:
        raise VenueError(-1102, "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!")


def _check_grid(value: Decimal, low: Decimal, high: Decimal, step: Decimal, name: str) -> None:
    if value < low or (high > 0 and value > high) or (step > 0 and value % step != 0):
        raise filter_failure(name)


def _check_iceberg(shown: Decimal, quantity: Decimal, rules: MarketRules) -> None:
    if shown > quantity:
        raise VenueError(API, "IcebergQty exceeds QTY.")
    _check_grid(shown, rules.min_quantity, rules.max_quantity, rules.step, "LOT_SIZE")
    if (quantity / shown).to_integral_value(ROUND_UP) > MAX_ICEBERG_PARTS:
        raise filter_failure("ICEBERG_PARTS")


def _check_band(side: Side, price: Decimal, rules: MarketRules, last: Decimal) -> None:
    up, down = (
        (rules.bid_multiplier_up, rules.bid_multiplier_down)
        if side is Side.BUY
        else (rules.ask_multiplier_up, rules.ask_multiplier_down)
    )
    if (up > 0 and price > last * up) or price < last * down:
        raise filter_failure("PERCENT_PRICE_BY_SIDE")


def _expected_quantity(request: OrderRequest, rules: MarketRules, last: Decimal) -> Decimal:
    if request.quantity is not None:
        return request.quantity
    return rules.quantity_down((request.quote_quantity or ZERO) / last)


def _check_notional(request: OrderRequest, quantity: Decimal, rules: MarketRules, last: Decimal) -> None:
    at_market = request.type is OrderType.MARKET
    if at_market and not rules.notional_applies_to_market:
        return
    price = request.price or request.stop_price or last
    notional = request.quote_quantity or price * quantity
    beyond = rules.max_notional > 0 and not at_market and notional > rules.max_notional
    if notional < rules.min_notional or beyond:
        raise filter_failure("NOTIONAL")


def _counts(orders: Sequence[VenueOrder]) -> tuple[int, int, int]:
    algos = sum(order.type in CONTINGENT for order in orders)
    lists = {order.list_id for order in orders if order.list_id != NO_LIST}
    return len(orders), algos, len(lists)


def _check_count(present: int, added: int, maximum: int, name: str) -> None:
    if added and maximum and present + added > maximum:
        raise filter_failure(name, ENGINE)
