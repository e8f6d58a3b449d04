"""Order parameters read into the venue's requests."""

from __future__ import annotations

from decimal import Decimal

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderType, Side, TimeInForce
from bn_ml.venue import filters
from bn_ml.venue.errors import VenueError, missing
from bn_ml.venue.order_lists import OcoRequest, OtoRequest
from bn_ml.venue.orders import NO_STRATEGY, OrderRequest, SelfTrade
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.order_answers import Detail, usual_detail
from public_api.sandbox.requests import Parameters

_TYPES = {kind.value for kind in OrderType}
_SIDES = {side.value for side in Side}
_TIMES = {kind.value for kind in TimeInForce}
_MODES = {mode.value for mode in SelfTrade}
_DETAILS = {detail.value for detail in Detail}
_RENAMED = ("price", "stopPrice", "timeInForce", "trailingDelta", "quantity", "icebergQty")


def read_detail(params: Parameters, kind: OrderType) -> Detail:
    """Give how much the answer shall say."""
    word = params.choice("newOrderRespType", _DETAILS)
    return usual_detail(kind) if word is None else Detail(word)


def read_side(params: Parameters, name: str = "side") -> Side:
    """Give the mandatory side; raises `VenueError` -1117 on any other word."""
    params.needed(name)
    return Side(params.choice(name, _SIDES, VenueError(-1117, "Invalid side.")))


def read_order(desk: Desk, call: Call, symbol: Symbol, *, client_id: str = "newClientOrderId") -> OrderRequest:
    """Give the request of a single order."""
    params = call.params
    return OrderRequest(
        symbol=symbol,
        side=read_side(params),
        type=_kind(params, "type"),
        client_id=params.client_id(client_id) or desk.fresh_id(),
        quantity=params.number("quantity"),
        quote_quantity=params.number("quoteOrderQty"),
        price=params.number("price"),
        stop_price=params.number("stopPrice"),
        trailing_delta=params.whole("trailingDelta"),
        time_in_force=_time(params, "timeInForce"),
        iceberg=params.number("icebergQty"),
        self_trade=_self_trade(params),
        strategy=_strategy(params, "strategyId", "strategyType"),
    )


def read_oco(desk: Desk, call: Call) -> OcoRequest:
    """Give the request of an OCO."""
    symbol, side = call.symbol(desk), read_side(call.params)
    quantity = _needed_number(call.params, "quantity")
    above, below = (_leg(desk, call, name, symbol, side, quantity) for name in ("above", "below"))
    return OcoRequest(_list_id(desk, call), above=above, below=below)


def read_old_oco(desk: Desk, call: Call) -> OcoRequest:
    """Give the request of an OCO in the form that names a limit and a stop."""
    params = call.params
    symbol, side = call.symbol(desk), read_side(params)
    quantity, mode = _needed_number(params, "quantity"), _self_trade(params)
    stop_limit = params.number("stopLimitPrice")
    maker = OrderRequest(
        symbol,
        side,
        OrderType.LIMIT_MAKER,
        params.client_id("limitClientOrderId") or desk.fresh_id(),
        quantity=quantity,
        price=_needed_number(params, "price"),
        iceberg=params.number("limitIcebergQty"),
        self_trade=mode,
    )
    stop = OrderRequest(
        symbol,
        side,
        OrderType.STOP_LOSS if stop_limit is None else OrderType.STOP_LOSS_LIMIT,
        params.client_id("stopClientOrderId") or desk.fresh_id(),
        quantity=quantity,
        price=stop_limit,
        stop_price=params.number("stopPrice"),
        trailing_delta=params.whole("trailingDelta"),
        time_in_force=_time(params, "stopLimitTimeInForce"),
        iceberg=params.number("stopIcebergQty"),
        self_trade=mode,
    )
    above, below = (maker, stop) if side is Side.SELL else (stop, maker)
    return OcoRequest(_list_id(desk, call), above=above, below=below)


def read_oto(desk: Desk, call: Call, *, pair: bool, sized_by_working: bool) -> OtoRequest:
    """Give the request of a working order and what follows it: one order, or an OCO `pair`."""
    params = call.params
    symbol = call.symbol(desk)
    working_quantity = _needed_number(params, "workingQuantity")
    working = _leg(desk, call, "working", symbol, read_side(params, "workingSide"), working_quantity)
    side = read_side(params, "pendingSide")
    quantity = working_quantity if sized_by_working else _needed_number(params, "pendingQuantity")
    names = ("pendingBelow", "pendingAbove") if pair else ("pending",)
    pending = tuple(_leg(desk, call, name, symbol, side, quantity) for name in names)
    return OtoRequest(_list_id(desk, call), working, pending, sized_by_working=sized_by_working)


def _leg(desk: Desk, call: Call, prefix: str, symbol: Symbol, side: Side, quantity: Decimal) -> OrderRequest:
    params = call.params

    def name(plain: str) -> str:
        return prefix + plain[0].upper() + plain[1:]

    leg = OrderRequest(
        symbol=symbol,
        side=side,
        type=_kind(params, name("type")),
        client_id=params.client_id(name("clientOrderId")) or desk.fresh_id(),
        quantity=quantity,
        price=params.number(name("price")),
        stop_price=params.number(name("stopPrice")),
        trailing_delta=params.whole(name("trailingDelta")),
        time_in_force=_time(params, name("timeInForce")),
        iceberg=params.number(name("icebergQty")),
        self_trade=_self_trade(params),
        strategy=_strategy(params, name("strategyId"), name("strategyType")),
    )
    try:
        filters.check_parameters(leg)
    except VenueError as refusal:
        text = refusal.text
        for plain in _RENAMED:
            text = text.replace(f"'{plain}'", f"'{name(plain)}'")
        raise VenueError(refusal.code, text) from refusal
    return leg


def _list_id(desk: Desk, call: Call) -> str:
    return call.params.client_id("listClientOrderId") or desk.fresh_id()


def _kind(params: Parameters, name: str) -> OrderType:
    params.needed(name)
    return OrderType(params.choice(name, _TYPES, VenueError(-1116, "Invalid orderType.")))


def _time(params: Parameters, name: str) -> TimeInForce | None:
    word = params.choice(name, _TIMES, VenueError(-1115, "Invalid timeInForce."))
    return None if word is None else TimeInForce(word)


def _self_trade(params: Parameters) -> SelfTrade:
    word = params.choice("selfTradePreventionMode", _MODES)
    return SelfTrade.EXPIRE_MAKER if word is None else SelfTrade(word)


def _strategy(params: Parameters, id_name: str, type_name: str) -> tuple[int, int]:
    label, kind = params.whole(id_name), params.whole(type_name)
    if kind is not None and kind < 1_000_000:
        raise VenueError(-1134, "`strategyType` was less than 1000000.")
    absent = NO_STRATEGY[0]
    return (absent if label is None else label, absent if kind is None else kind)


def _needed_number(params: Parameters, name: str) -> Decimal:
    value = params.number(name) if params.sent(name) else None
    if value is None:
        raise missing(name)
    return value
