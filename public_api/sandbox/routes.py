"""Which endpoints there are: who may call them, what they weigh, how many orders they place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from public_api.sandbox import account_endpoints as account
from public_api.sandbox import list_endpoints as lists
from public_api.sandbox import market_endpoints as market
from public_api.sandbox import order_endpoints as orders
from public_api.sandbox.answers import Json
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.requests import Parameters

Endpoint = Callable[[Desk, Call], Json]
Weight = Callable[[Parameters], int]


class Access(Enum):
    """What a caller must show."""

    PUBLIC = "public"
    KEY = "key"
    READ = "read"
    TRADE = "trade"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `orders` counts what it places; `free` costs no weight when it succeeds."""

    endpoint: Endpoint
    weight: Weight
    access: Access = Access.PUBLIC
    orders: int = 0
    free: bool = False


def _flat(weight: int) -> Weight:
    return lambda _params: weight


def _by_depth(params: Parameters) -> int:
    limit = params.limit(100, 5000)
    return next(weight for bound, weight in ((100, 5), (500, 25), (1000, 50), (5000, 250)) if limit <= bound)


def _by_symbols(one: int, many: int) -> Weight:
    return lambda params: one if params.text("symbol") else many


def _by_list_length(params: Parameters) -> int:
    if params.text("symbol"):
        return 2
    many = params.text("symbols")
    count = len(market.symbol_names(many)) if many else 101
    return next(weight for bound, weight in ((20, 2), (100, 40), (10**9, 80)) if count <= bound)


def _by_order(params: Parameters) -> int:
    return 5 if params.text("orderId") else 20


def _by_rates(params: Parameters) -> int:
    return 20 if params.flag("computeCommissionRates") else 1


def _read(endpoint: Endpoint, weight: int | Weight) -> Route:
    return Route(endpoint, _flat(weight) if isinstance(weight, int) else weight, Access.READ)


def _public(endpoint: Endpoint, weight: int | Weight) -> Route:
    return Route(endpoint, _flat(weight) if isinstance(weight, int) else weight)


def _trade(endpoint: Endpoint, orders: int = 0) -> Route:
    return Route(endpoint, _flat(1), Access.TRADE, orders, free=True)


_API: Mapping[tuple[str, str], Route] = {
    ("GET", "ping"): _public(market.ping, 1),
    ("GET", "time"): _public(market.server_time, 1),
    ("GET", "exchangeInfo"): _public(market.exchange_info, 20),
    ("GET", "depth"): _public(market.depth, _by_depth),
    ("GET", "trades"): _public(market.trades, 25),
    ("GET", "historicalTrades"): _public(market.trades, 25),
    ("GET", "aggTrades"): _public(market.aggregate_trades, 4),
    ("GET", "klines"): _public(market.klines, 2),
    ("GET", "uiKlines"): _public(market.klines, 2),
    ("GET", "avgPrice"): _public(market.average_price, 2),
    ("GET", "ticker/24hr"): _public(market.day_ticker, _by_list_length),
    ("GET", "ticker/price"): _public(market.price_ticker, _by_symbols(2, 4)),
    ("GET", "ticker/bookTicker"): _public(market.best_ticker, _by_symbols(2, 4)),
    ("GET", "executionRules"): _public(market.execution_rules, _by_symbols(2, 40)),
    ("GET", "referencePrice"): _public(market.reference_price, 2),
    ("POST", "order"): _trade(orders.new_order, 1),
    ("DELETE", "order"): _trade(orders.cancel_order),
    ("POST", "order/test"): Route(orders.test_order, _by_rates, Access.TRADE),
    ("POST", "order/cancelReplace"): _trade(orders.cancel_replace, 1),
    ("PUT", "order/amend/keepPriority"): Route(orders.amend_order, _flat(4), Access.TRADE),
    ("DELETE", "openOrders"): _trade(orders.cancel_open_orders),
    ("POST", "order/oco"): _trade(lists.old_oco, 2),
    ("POST", "orderList/oco"): _trade(lists.new_oco, 2),
    ("POST", "orderList/oto"): _trade(lists.new_oto, 2),
    ("POST", "orderList/otoco"): _trade(lists.new_otoco, 3),
    ("POST", "orderList/opo"): _trade(lists.new_opo, 2),
    ("POST", "orderList/opoco"): _trade(lists.new_opoco, 3),
    ("DELETE", "orderList"): _trade(lists.cancel_list),
    ("GET", "order"): _read(orders.query_order, 4),
    ("GET", "openOrders"): _read(orders.open_orders, _by_symbols(6, 80)),
    ("GET", "allOrders"): _read(orders.all_orders, 20),
    ("GET", "order/amendments"): _read(orders.no_rows, 4),
    ("GET", "myPreventedMatches"): _read(orders.no_rows, 20),
    ("GET", "myAllocations"): _read(orders.no_rows, 20),
    ("GET", "orderList"): _read(lists.query_list, 4),
    ("GET", "openOrderList"): _read(lists.open_lists, 6),
    ("GET", "allOrderList"): _read(lists.all_lists, 20),
    ("GET", "account"): _read(account.account, 20),
    ("GET", "account/commission"): _read(account.commission, 20),
    ("GET", "myTrades"): _read(account.my_trades, _by_order),
    ("GET", "rateLimit/order"): _read(account.order_counts, 40),
    ("GET", "myFilters"): _read(account.my_filters, 40),
}

ROUTES: Mapping[tuple[str, str], Route] = {
    **{(method, f"/api/v3/{path}"): route for (method, path), route in _API.items()},
    ("GET", "/sapi/v1/system/status"): _public(account.system_status, 1),
    ("GET", "/sapi/v1/account/apiRestrictions"): _read(account.api_restrictions, 1),
    ("GET", "/sapi/v1/capital/config/getall"): _read(account.coins, 10),
    ("GET", "/sapi/v1/margin/allPairs"): Route(account.nothing, _flat(1), Access.KEY),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(account.nothing, _flat(10), Access.KEY),
    ("GET", "/sapi/v1/asset/tradeFee"): _read(account.trade_fees, 1),
    ("GET", "/fapi/v1/exchangeInfo"): _public(market.other_exchange_info, 1),
    ("GET", "/dapi/v1/exchangeInfo"): _public(market.other_exchange_info, 1),
}
GONE = frozenset({"/api/v3/userDataStream"})
