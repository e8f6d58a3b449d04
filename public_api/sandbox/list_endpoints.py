"""Order lists: OCO, OTO, OTOCO, OPO, OPOCO; their cancellation and queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bn_ml.venue.errors import VenueError, unknown_order
from bn_ml.venue.order_lists import OcoRequest
from bn_ml.venue.orders import NO_LIST, VenueOrder
from public_api.sandbox import order_answers
from public_api.sandbox.answers import Json, Row
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.order_answers import Detail
from public_api.sandbox.order_endpoints import cancelled_list, span, within
from public_api.sandbox.order_requests import read_oco, read_old_oco, read_oto


def new_oco(desk: Desk, call: Call) -> Json:
    """POST orderList/oco."""
    return _placed_oco(desk, call, read_oco(desk, call))


def old_oco(desk: Desk, call: Call) -> Json:
    """POST order/oco, the deprecated form."""
    return _placed_oco(desk, call, read_old_oco(desk, call))


def new_oto(desk: Desk, call: Call) -> Json:
    """POST orderList/oto."""
    return _placed_oto(desk, call, pair=False, sized_by_working=False)


def new_otoco(desk: Desk, call: Call) -> Json:
    """POST orderList/otoco."""
    return _placed_oto(desk, call, pair=True, sized_by_working=False)


def new_opo(desk: Desk, call: Call) -> Json:
    """POST orderList/opo."""
    return _placed_oto(desk, call, pair=False, sized_by_working=True)


def new_opoco(desk: Desk, call: Call) -> Json:
    """POST orderList/opoco."""
    return _placed_oto(desk, call, pair=True, sized_by_working=True)


def cancel_list(desk: Desk, call: Call) -> Json:
    """DELETE orderList."""
    symbol = call.symbol(desk)
    new_id = call.params.client_id("newClientOrderId") or ""
    legs = _named(desk, call, "listClientOrderId")
    call.params.done()
    opened = [leg for leg in legs if leg.is_open]
    if not opened or opened[0].symbol != symbol:
        raise unknown_order()
    return cancelled_list(desk, desk.venue.cancel(symbol, opened[0].client_id, call.now), new_id)


def query_list(desk: Desk, call: Call) -> Json:
    """GET orderList."""
    legs = _named(desk, call, "origClientOrderId")
    call.params.done()
    if not legs:
        raise VenueError(-2013, "Order list does not exist.")
    return order_answers.order_list(legs)


def open_lists(desk: Desk, call: Call) -> Json:
    """GET openOrderList."""
    call.params.done()
    numbers = {order.list_id for order in desk.venue.open_orders() if order.list_id != NO_LIST}
    return [order_answers.order_list(desk.venue.state.by_list(number)) for number in sorted(numbers)]


def all_lists(desk: Desk, call: Call) -> Json:
    """GET allOrderList."""
    first_id, limit = call.params.whole("fromId"), call.params.limit(500, 1000)
    start, end = span(call.params)
    call.params.done()
    lists = _by_number(desk)
    numbers = sorted(lists)
    if first_id is not None:
        if start is not None or end is not None:
            raise VenueError(-1128, "Combination of optional parameters invalid.")
        numbers = [number for number in numbers if number >= first_id][:limit]
    elif start is not None or end is not None:
        numbers = [number for number in numbers if within(lists[number][0].created_ms, start, end)][:limit]
    return [order_answers.order_list(lists[number]) for number in numbers[-limit:]]


def _placed_oco(desk: Desk, call: Call, oco: OcoRequest) -> Json:
    detail = _detail(call)
    call.params.done()
    above, below = desk.venue.place_oco(oco, call.now)
    return _answer(desk, (below, above), detail)


def _placed_oto(desk: Desk, call: Call, *, pair: bool, sized_by_working: bool) -> Json:
    oto = read_oto(desk, call, pair=pair, sized_by_working=sized_by_working)
    detail = _detail(call)
    call.params.done()
    return _answer(desk, desk.venue.place_oto(oto, call.now), detail)


def _detail(call: Call) -> Detail:
    word = call.params.choice("newOrderRespType", [detail.value for detail in Detail])
    return Detail.RESULT if word is None else Detail(word)


def _answer(desk: Desk, legs: Sequence[VenueOrder], detail: Detail) -> Row:
    reports = [order_answers.placed(leg, desk.venue.my_trades(leg) if leg.executed else (), detail) for leg in legs]
    return order_answers.order_list(legs) | {"orderReports": reports}


def _named(desk: Desk, call: Call, client_name: str) -> Sequence[VenueOrder]:
    number, client_id = call.params.whole("orderListId"), call.params.client_id(client_name)
    if number is None and client_id is None:
        raise VenueError(-1102, f"Param '{client_name}' or 'orderListId' must be sent, but both were empty/null!")
    if number is not None:
        legs = desk.venue.state.by_list(number)
        fits = client_id is None or (legs and legs[0].list_client_id == client_id)
        return legs if fits else ()
    lists = _by_number(desk)
    mine = [number for number, legs in lists.items() if legs[0].list_client_id == client_id]
    return lists[max(mine)] if mine else ()


def _by_number(desk: Desk) -> dict[int, list[VenueOrder]]:
    lists: dict[int, list[VenueOrder]] = defaultdict(list)
    for order in sorted(desk.venue.state.all_orders(), key=lambda order: order.order_id):
        if order.list_id != NO_LIST:
            lists[order.list_id].append(order)
    return lists
