"""Placing, cancelling, replacing, amending and querying single orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderStatus
from bn_ml.venue.errors import VenueError, unknown_order
from bn_ml.venue.filters import check_replaceable
from bn_ml.venue.orders import VenueOrder
from bn_ml.venue.replacement import ReplacementFailed
from public_api.sandbox import order_answers
from public_api.sandbox.answers import Json, Refusal, Row, money
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.order_requests import read_detail, read_order
from public_api.sandbox.requests import Parameters

_DAY_MS = 24 * 3600 * 1000
_ARCHIVED_AFTER_MS = 90 * _DAY_MS
_RESTRICTIONS = ("ONLY_NEW", "ONLY_PARTIALLY_FILLED")


def new_order(desk: Desk, call: Call) -> Json:
    """POST order."""
    request = read_order(desk, call, call.symbol(desk))
    detail = read_detail(call.params, request.type)
    call.params.done()
    order = desk.venue.place(request, call.now)
    return order_answers.placed(order, desk.venue.my_trades(order), detail)


def test_order(desk: Desk, call: Call) -> Json:
    """POST order/test: checks everything, places nothing."""
    symbol = call.symbol(desk)
    request = read_order(desk, call, symbol)
    read_detail(call.params, request.type)
    with_rates = call.params.flag("computeCommissionRates")
    call.params.done()
    desk.venue.check(request)
    if not with_rates:
        return {}
    fees = desk.venue.fees
    none = {"maker": money(fees.maker * 0), "taker": money(fees.taker * 0)}
    return {
        "standardCommissionForOrder": {"maker": money(fees.maker), "taker": money(fees.taker)},
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": discount(desk),
    }


def query_order(desk: Desk, call: Call) -> Json:
    """GET order."""
    symbol = call.symbol(desk)
    order = named(desk, call.params, symbol)
    call.params.done()
    if order is None:
        raise VenueError(-2013, "Order does not exist.")
    ended = order.status in (OrderStatus.CANCELED, OrderStatus.EXPIRED)
    if ended and not order.executed and call.now_ms - order.updated_ms > _ARCHIVED_AFTER_MS:
        raise VenueError(
            -2026, "Order was canceled or expired with no executed qty over 90 days ago and has been archived."
        )
    return order_answers.queried(order)


def cancel_order(desk: Desk, call: Call) -> Json:
    """DELETE order."""
    symbol = call.symbol(desk)
    new_id = call.params.client_id("newClientOrderId") or desk.fresh_id()
    restriction = _restriction(call.params)
    order = _to_cancel(desk, call.params, symbol)
    call.params.done()
    _check_open(order, restriction)
    first = desk.venue.cancel(symbol, order.client_id, call.now)[0]
    return order_answers.cancelled(first, new_id)


def cancel_replace(desk: Desk, call: Call) -> Json:
    """POST order/cancelReplace."""
    params = call.params
    symbol = call.symbol(desk)
    check_replaceable(desk.listings.rules(symbol))
    request = read_order(desk, call, symbol)
    detail = read_detail(params, request.type)
    params.needed("cancelReplaceMode")
    stops = params.choice("cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE")) == "STOP_ON_FAILURE"
    params.choice("orderRateLimitExceededMode", ("DO_NOTHING", "CANCEL_ONLY"))
    new_id = params.client_id("cancelNewClientOrderId") or desk.fresh_id()
    restriction = _restriction(params)
    former = named(desk, params, symbol, by_id="cancelOrderId", by_client_id="cancelOrigClientOrderId", strict=False)
    params.done()
    restricted = former is not None and former.is_open and _restricted(former, restriction)
    target = "" if former is None or not former.is_open or restricted else former.client_id
    try:
        cancelled, order = desk.venue.replace(target, request, call.now, stop_on_failure=stops)
    except ReplacementFailed as failure:
        raise _half(desk, failure, new_id, restricted=restricted) from failure
    answer = order_answers.placed(order, desk.venue.my_trades(order), detail)
    return _halves("SUCCESS", "SUCCESS", order_answers.cancelled(cancelled[0], new_id), answer)


def open_orders(desk: Desk, call: Call) -> Json:
    """GET openOrders."""
    symbol = call.optional_symbol(desk)
    call.params.done()
    return [order_answers.queried(order) for order in desk.venue.open_orders(symbol)]


def cancel_open_orders(desk: Desk, call: Call) -> Json:
    """DELETE openOrders."""
    symbol = call.symbol(desk)
    call.params.done()
    if not desk.venue.open_orders(symbol):
        raise unknown_order()
    answers: list[Json] = []
    while remaining := desk.venue.open_orders(symbol):
        ended = desk.venue.cancel(symbol, remaining[0].client_id, call.now)
        new_id = desk.fresh_id()
        answers.append(order_answers.cancelled(ended[0], new_id) if len(ended) == 1 else cancelled_list(desk, ended))
    return answers


def all_orders(desk: Desk, call: Call) -> Json:
    """GET allOrders."""
    symbol = call.symbol(desk)
    first_id, limit = call.params.whole("orderId"), call.params.limit(500, 1000)
    start, end = span(call.params)
    call.params.done()
    known = sorted(
        (order for order in desk.venue.state.all_orders() if order.symbol == symbol), key=lambda order: order.order_id
    )
    if first_id is not None:
        known = [order for order in known if order.order_id >= first_id][:limit]
    elif start is not None or end is not None:
        known = [order for order in known if within(order.created_ms, start, end)][:limit]
    return [order_answers.queried(order) for order in known[-limit:]]


def amend_order(desk: Desk, call: Call) -> Json:
    """PUT order/amend/keepPriority."""
    symbol = call.symbol(desk)
    new_id = call.params.client_id("newClientOrderId") or desk.fresh_id()
    call.params.needed("newQty")
    quantity = call.params.number("newQty")
    order = named(desk, call.params, symbol)
    call.params.done()
    if order is None or quantity is None:
        raise VenueError(-2013, "Order does not exist.")
    after = desk.venue.amend(order, quantity, new_id, call.now)
    return order_answers.amended(after, order.client_id, desk.number())


def no_rows(desk: Desk, call: Call) -> Json:
    """Answer a query for what this venue never has: prevented matches, allocations, amendments by others."""
    call.symbol(desk)
    for name in ("orderId", "preventedMatchId", "fromPreventedMatchId", "fromExecutionId", "fromAllocationId", "limit"):
        call.params.whole(name)
    span(call.params)
    call.params.done()
    return []


def named(
    desk: Desk,
    params: Parameters,
    symbol: Symbol,
    *,
    by_id: str = "orderId",
    by_client_id: str = "origClientOrderId",
    strict: bool = True,
) -> VenueOrder | None:
    """Give the order two parameters name; the number counts first, and the client id must then be its own.

    Raises `VenueError` -1102 without either, and if `strict` -2039 when they name different orders.
    """
    number, client_id = params.whole(by_id), params.client_id(by_client_id)
    if number is None and client_id is None:
        raise VenueError(-1102, f"Param '{by_client_id}' or '{by_id}' must be sent, but both were empty/null!")
    if number is None:
        return desk.venue.find(symbol, client_id=client_id or "")
    order = desk.venue.find(symbol, order_id=number)
    if order is not None and client_id is not None and order.client_id != client_id:
        if strict:
            raise VenueError(-2039, "Client order ID is not correct for this order ID.")
        return None
    return order


def cancelled_list(desk: Desk, legs: Sequence[VenueOrder], client_id: str = "") -> Row:
    """Answer the cancellation of a whole list."""
    new_id = client_id or desk.fresh_id()
    every = desk.venue.state.by_list(legs[0].list_id)
    ended = sorted(legs, key=lambda leg: leg.order_id)
    answer = order_answers.order_list(every, at_ms=ended[0].updated_ms)
    return answer | {"orderReports": [order_answers.cancelled(leg, new_id) for leg in ended]}


def discount(desk: Desk) -> Json:
    """Give the commission discount of the account."""
    return {
        "enabledForAccount": desk.venue.fees.pay_with_discount_asset,
        "enabledForSymbol": True,
        "discountAsset": "BNB",
        "discount": money(desk.venue.fees.discount),
    }


def span(params: Parameters) -> tuple[int | None, int | None]:
    """Give `startTime` and `endTime`; raises `VenueError` -1127 when more than a day lies between them."""
    start, end = params.whole("startTime"), params.whole("endTime")
    if start is not None and end is not None:
        if end - start > _DAY_MS:
            raise VenueError(-1127, "More than 24 hours between startTime and endTime.")
        if end < start:
            raise VenueError(-1128, "Combination of optional parameters invalid.")
    return start, end


def within(at_ms: int, start: int | None, end: int | None) -> bool:
    """Whether an instant lies in a span; with one end only, the span is a day long."""
    first = start if start is not None else (end or 0) - _DAY_MS
    last = end if end is not None else (start or 0) + _DAY_MS
    return first <= at_ms <= last


def _restriction(params: Parameters) -> str | None:
    return params.choice("cancelRestrictions", _RESTRICTIONS, VenueError(-1145, "Invalid cancelRestrictions"))


def _restricted(order: VenueOrder, restriction: str | None) -> bool:
    allowed: Iterable[OrderStatus] = (OrderStatus.NEW, OrderStatus.PENDING_NEW)
    if restriction == "ONLY_PARTIALLY_FILLED":
        allowed = (OrderStatus.PARTIALLY_FILLED,)
    return restriction is not None and order.status not in allowed


def _to_cancel(desk: Desk, params: Parameters, symbol: Symbol) -> VenueOrder:
    order = named(desk, params, symbol, strict=False)
    if order is None:
        raise unknown_order()
    return order


def _check_open(order: VenueOrder, restriction: str | None) -> None:
    if not order.is_open:
        raise unknown_order()
    if _restricted(order, restriction):
        raise VenueError(-2011, "Order was not canceled due to cancel restrictions.")


def _half(desk: Desk, failure: ReplacementFailed, new_id: str, *, restricted: bool) -> VenueError:
    not_tried = failure.cancel is None and not failure.cancelled
    if not_tried and failure.order is not None and -1200 < failure.order.code < -1013:
        return failure.order
    cancel: Json = None
    if failure.cancelled:
        cancel = order_answers.cancelled(failure.cancelled[0], new_id)
    elif restricted and failure.cancel is not None:
        cancel = _plain(VenueError(-2011, "Order was not canceled due to cancel restrictions."))
    elif failure.cancel is not None:
        cancel = _plain(failure.cancel)
    order: Json = None
    if failure.placed is not None:
        detail = order_answers.usual_detail(failure.placed.type)
        order = order_answers.placed(failure.placed, desk.venue.my_trades(failure.placed), detail)
    elif failure.order is not None:
        order = _plain(failure.order)
    cancel_word = "SUCCESS" if failure.cancelled else "FAILURE" if failure.cancel is not None else "NOT_ATTEMPTED"
    order_word = "SUCCESS" if failure.placed else "FAILURE" if failure.order is not None else "NOT_ATTEMPTED"
    return Refusal(failure.code, failure.text, data=_halves(cancel_word, order_word, cancel, order))


def _plain(refusal: VenueError) -> Json:
    return {"code": refusal.code, "msg": refusal.text}


def _halves(cancel_word: str, order_word: str, cancel: Json, order: Json) -> Row:
    return {
        "cancelResult": cancel_word,
        "newOrderResult": order_word,
        "cancelResponse": cancel,
        "newOrderResponse": order,
    }
