"""The account: balances, commission, trades, counters, and the wallet's few answers a client asks for at start."""

from __future__ import annotations

from collections.abc import Sequence

from bn_ml.domain.market import ZERO
from bn_ml.venue.errors import VenueError
from bn_ml.venue.orders import VenueOrder, VenueTrade
from public_api.sandbox import order_answers
from public_api.sandbox.answers import Json, Row, money
from public_api.sandbox.desk import ACCOUNT_ID, Call, Desk, fraction
from public_api.sandbox.listings import wire
from public_api.sandbox.order_endpoints import discount, span, within

_NONE = money(ZERO)


def account(desk: Desk, call: Call) -> Json:
    """GET account."""
    brief = call.params.flag("omitZeroBalances")
    call.params.done()
    fees = desk.venue.fees
    return {
        "makerCommission": fraction(fees.maker),
        "takerCommission": fraction(fees.taker),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(desk),
        "canTrade": desk.keys.may_trade,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": call.now_ms,
        "accountType": "SPOT",
        "balances": _balances(desk, brief=brief),
        "permissions": ["SPOT"],
        "uid": ACCOUNT_ID,
    }


def commission(desk: Desk, call: Call) -> Json:
    """GET account/commission."""
    symbol = call.symbol(desk)
    call.params.done()
    none = dict.fromkeys(("maker", "taker", "buyer", "seller"), _NONE)
    return {
        "symbol": wire(symbol),
        "standardCommission": _rates(desk),
        "specialCommission": none,
        "taxCommission": none,
        "discount": discount(desk),
    }


def my_trades(desk: Desk, call: Call) -> Json:
    """GET myTrades."""
    symbol = call.symbol(desk)
    order_id, first_id = call.params.whole("orderId"), call.params.whole("fromId")
    limit = call.params.limit(500, 1000)
    start, end = span(call.params)
    call.params.done()
    timed = start is not None or end is not None
    if first_id is not None and timed:
        raise VenueError(-1128, "Combination of optional parameters invalid.")
    if order_id is not None:
        order = desk.venue.find(symbol, order_id=order_id)
        known: Sequence[VenueTrade] = () if order is None else desk.venue.my_trades(order)
    else:
        known = [trade for trade in desk.venue.state.all_trades() if trade.symbol == symbol]
    if first_id is not None:
        known = [trade for trade in known if trade.trade_id >= first_id][:limit]
    elif timed:
        known = [trade for trade in known if within(trade.at_ms, start, end)][:limit]
    return [order_answers.trade(trade, _list_of(desk, trade)) for trade in known[-limit:]]


def order_counts(desk: Desk, call: Call) -> Json:
    """GET rateLimit/order."""
    call.params.done()
    per_10s, per_day = desk.orders.counts(call.now_ms)
    return [{**row, "count": count} for row, count in zip(order_limits(desk), (per_10s, per_day), strict=True)]


def order_limits(desk: Desk) -> tuple[Row, Row]:
    """Give the two limits of order counts."""
    return (
        {
            "rateLimitType": "ORDERS",
            "interval": "SECOND",
            "intervalNum": 10,
            "limit": desk.limits.orders_per_10s,
        },
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": desk.limits.orders_per_day},
    )


def my_filters(desk: Desk, call: Call) -> Json:
    """GET myFilters."""
    symbol = call.symbol(desk)
    call.params.done()
    limits = desk.venue.limits
    exchange: list[Json] = []
    for name, key, value in (
        ("EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders", limits.max_orders),
        ("EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders", limits.max_algo_orders),
        ("EXCHANGE_MAX_NUM_ORDER_LISTS", "maxNumOrderLists", limits.max_order_lists),
    ):
        if value:
            exchange.append({"filterType": name, key: value})
    listed: list[Json] = [
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": desk.listings.rules(symbol).max_order_lists}
    ]
    largest = limits.max_position.get(symbol)
    if largest:
        listed.append({"filterType": "MAX_POSITION", "maxPosition": money(largest)})
    return {"exchangeFilters": exchange, "symbolFilters": listed, "assetFilters": []}


def system_status(desk: Desk, call: Call) -> Json:
    """GET system/status of the wallet."""
    call.params.done()
    return {"status": 1, "msg": "system maintenance"} if desk.maintenance else {"status": 0, "msg": "normal"}


def api_restrictions(desk: Desk, call: Call) -> Json:
    """GET account/apiRestrictions of the wallet."""
    call.params.done()
    keys = desk.keys
    return {
        "ipRestrict": False,
        "createTime": 1_700_000_000_000,
        "enableReading": keys.may_read,
        "enableSpotAndMarginTrading": keys.may_trade,
        "enableWithdrawals": keys.may_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enablePortfolioMarginTrading": False,
    }


def coins(desk: Desk, call: Call) -> Json:
    """GET capital/config/getall of the wallet."""
    call.params.done()
    assets = sorted({name for symbol in desk.listings.all() for name in (symbol.base, symbol.quote)})
    return [_coin(desk, asset) for asset in assets]


def nothing(desk: Desk, call: Call) -> Json:
    """Answer for markets this venue does not run."""
    call.optional_symbol(desk)
    call.params.done()
    return []


def trade_fees(desk: Desk, call: Call) -> Json:
    """GET asset/tradeFee of the wallet."""
    symbol = call.optional_symbol(desk)
    call.params.done()
    fees = desk.venue.fees
    return [
        {"symbol": wire(listed), "makerCommission": f"{fees.maker:f}", "takerCommission": f"{fees.taker:f}"}
        for listed in ([symbol] if symbol else desk.listings.all())
    ]


def _rates(desk: Desk) -> Row:
    fees = desk.venue.fees
    return {"maker": money(fees.maker), "taker": money(fees.taker), "buyer": _NONE, "seller": _NONE}


def _balances(desk: Desk, *, brief: bool) -> list[Json]:
    held = desk.venue.state.account.all()
    assets = {name for symbol in desk.listings.all() for name in (symbol.base, symbol.quote)} | held.keys()
    rows = (desk.venue.state.account.of(asset) for asset in sorted(assets))
    return [
        {"asset": row.asset, "free": money(row.free), "locked": money(row.locked)}
        for row in rows
        if row.total or not brief
    ]


def _coin(desk: Desk, asset: str) -> Json:
    balance = desk.venue.state.account.of(asset)
    return {
        "coin": asset,
        "depositAllEnable": True,
        "withdrawAllEnable": True,
        "name": asset,
        "free": money(balance.free),
        "locked": money(balance.locked),
        "freeze": _NONE,
        "withdrawing": _NONE,
        "ipoing": _NONE,
        "ipoable": _NONE,
        "storage": _NONE,
        "isLegalMoney": False,
        "trading": True,
        "networkList": [],
    }


def _list_of(desk: Desk, trade: VenueTrade) -> int:
    order: VenueOrder | None = desk.venue.find(trade.symbol, order_id=trade.order_id)
    return -1 if order is None else order.list_id
