"""Order lists, replacements and cancels over a scripted venue."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.orders import OrderStatus, Side
from bn_ml.errors import OutcomeUnknown, Refused
from bn_ml.http_answers import HttpAnswer
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    LIST_ID,
    NOW,
    STOP_ID,
    TARGET_ID,
    a_cancel,
    a_live_exchange,
    a_stop,
    a_trade,
    an_oco,
    an_oco_answer,
    an_order,
    ok,
    refusal,
)
from tests.fakes.recorded_answers import recorded


def test_a_sell_oco_names_list_and_legs_and_sends_formatted_numbers() -> None:
    target, stop = an_oco()
    exchange, transport, _ = a_live_exchange(ok(an_oco_answer(target, stop)))
    above, below = exchange.create_oco(target, stop)
    assert transport.asked[0][:2] == ("POST", "/api/v3/orderList/oco")
    assert transport.params == {
        "symbol": "BTCUSDC",
        "listClientOrderId": LIST_ID,
        "side": "SELL",
        "quantity": "0.05000",
        "aboveType": "LIMIT_MAKER",
        "aboveClientOrderId": TARGET_ID,
        "abovePrice": "20400.00",
        "belowType": "STOP_LOSS",
        "belowClientOrderId": STOP_ID,
        "belowStopPrice": "19700.00",
        "newOrderRespType": "FULL",
        "timestamp": str(to_ms(NOW)),
        "recvWindow": "1000",
    }
    assert (above.client_id, above.exchange_id, above.list_id) == (TARGET_ID, "11", LIST_ID)
    assert (below.client_id, below.exchange_id, below.status) == (STOP_ID, "10", OrderStatus.NEW)


def test_the_lower_leg_of_an_oco_may_trail() -> None:
    target, stop = an_oco()
    stop = a_stop(list_id=LIST_ID, stop_price=None, trailing_bp=200)
    exchange, transport, _ = a_live_exchange(ok(an_oco_answer(target, stop)))
    exchange.create_oco(target, stop)
    assert transport.params["belowTrailingDelta"] == "200"
    assert "belowStopPrice" not in transport.params


def test_a_leg_that_traded_at_once_comes_with_its_trades() -> None:
    target, stop = an_oco()
    body = an_oco_answer(target, stop)
    body["orderReports"][1] |= {"executedQty": "0.02", "cummulativeQuoteQty": "408.00", "status": "PARTIALLY_FILLED"}
    exchange, transport, _ = a_live_exchange(
        ok(body), ok([a_trade("20400.00", "0.02", 5, order=11, isBuyer=False, commissionAsset="USDC")])
    )
    above, _ = exchange.create_oco(target, stop)
    assert ([fill.trade_id for fill in above.fills], transport.params["orderId"]) == (["5"], "11")


def oco_changes() -> list[dict[str, Any]]:
    target, stop = an_oco()
    good = an_oco_answer(target, stop)
    stop_leg, target_leg = good["orderReports"]
    return [
        {"symbol": "ETHUSDC"},
        {"listClientOrderId": ENTRY_ID},
        {"contingencyType": "OTO"},
        {"orderListId": 2},
        {"orderListId": -1},
        {"orderReports": [stop_leg]},
        {"orderReports": None},
        {"orderReports": [stop_leg, {**target_leg, "clientOrderId": ENTRY_ID}]},
        {"orderReports": [stop_leg, {**target_leg, "orderListId": 3}]},
        {"orderReports": [stop_leg, {**target_leg, "origQty": "0.04"}]},
        {"orderReports": [stop_leg, {**target_leg, "type": "LIMIT"}]},
        {"orderReports": [{**stop_leg, "stopPrice": "19600.00"}, target_leg]},
        {"orderReports": [{**stop_leg, "side": "BUY"}, target_leg]},
        {"orderReports": [{"symbol": "BTCUSDC", "orderId": 10, "clientOrderId": STOP_ID}, target_leg]},
    ]


@pytest.mark.parametrize("changes", oco_changes(), ids=range(14))
def test_an_oco_whose_answer_does_not_hold_both_our_legs_is_unknown(changes: dict[str, Any]) -> None:
    target, stop = an_oco()
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(ok(an_oco_answer(target, stop, **changes)))[0].create_oco(target, stop)


@pytest.mark.parametrize(
    "changes", [{"list_id": None}, {"quantity": Decimal("0.04")}, {"side": Side.BUY}, {"symbol": Symbol("ETH/USDC")}]
)
def test_two_orders_that_are_no_oco_are_not_sent(changes: dict[str, Any]) -> None:
    target, _ = an_oco()
    exchange, transport, _ = a_live_exchange()
    with pytest.raises(Refused):
        exchange.create_oco(target, a_stop(**{"list_id": LIST_ID, **changes}))
    assert transport.asked == []


def test_a_replacement_stops_when_the_cancel_fails_and_reports_both_orders() -> None:
    old, new = a_stop(STOP_ID), a_stop(ENTRY_ID, stop_price=Decimal("19800.00"))
    body = {
        "cancelResult": "SUCCESS",
        "newOrderResult": "SUCCESS",
        "cancelResponse": a_cancel(old),
        "newOrderResponse": an_order(new, orderId=29),
    }
    exchange, transport, _ = a_live_exchange(ok(body))
    done = exchange.replace_order(STOP_ID, new)
    assert transport.asked[0][:2] == ("POST", "/api/v3/order/cancelReplace")
    assert (transport.params["cancelReplaceMode"], transport.params["cancelOrigClientOrderId"]) == (
        "STOP_ON_FAILURE",
        STOP_ID,
    )
    assert (transport.params["newClientOrderId"], transport.params["stopPrice"]) == (ENTRY_ID, "19800.00")
    assert (done.canceled.client_id, done.canceled.status) == (STOP_ID, OrderStatus.CANCELED)
    assert done.placed is not None
    assert (done.placed.client_id, done.placed.exchange_id) == (ENTRY_ID, "29")


def half_done(cancel: dict[str, Any]) -> HttpAnswer:
    data = {
        "cancelResult": "SUCCESS",
        "newOrderResult": "FAILURE",
        "cancelResponse": cancel,
        "newOrderResponse": {"code": -2010, "msg": "Order would trigger immediately."},
    }
    body = {"code": -2021, "msg": "Order cancel-replace partially failed.", "data": data}
    return HttpAnswer(409, ok(body).body)


def test_a_half_done_replacement_says_why_there_is_no_new_order() -> None:
    exchange, _, _ = a_live_exchange(half_done(a_cancel(a_stop())))
    done = exchange.replace_order(STOP_ID, a_stop(ENTRY_ID))
    assert (done.canceled.status, done.placed) == (OrderStatus.CANCELED, None)
    assert (done.refusal, done.code) == ("Order would trigger immediately.", -2010)


def test_a_half_done_replacement_of_another_order_is_unknown() -> None:
    for_a_buy = half_done(a_cancel(a_stop(), side="BUY"))
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(for_a_buy)[0].replace_order(STOP_ID, a_stop(ENTRY_ID))
    exchange, _, _ = a_live_exchange(half_done(a_cancel(a_stop("bnml-abc123-zzz"))))
    with pytest.raises(OutcomeUnknown):
        exchange.replace_order(STOP_ID, a_stop(ENTRY_ID))


def test_a_replaced_order_that_had_traded_comes_with_its_trades() -> None:
    old = a_stop()
    cancel = a_cancel(old, executed="0.02", quote="394.00", status="CANCELED")
    trade = a_trade("19700.00", "0.02", 9, isBuyer=False, commissionAsset="USDC")
    done = a_live_exchange(half_done(cancel), ok([trade]))[0].replace_order(STOP_ID, a_stop(ENTRY_ID))
    assert [fill.trade_id for fill in done.canceled.fills] == ["9"]
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(half_done(cancel), ok([]))[0].replace_order(STOP_ID, a_stop(ENTRY_ID))


def test_a_cancel_is_stamped_when_it_is_sent() -> None:
    exchange, transport, clock = a_live_exchange(ok(a_cancel(a_stop())))
    clock.sleep_until(NOW + timedelta(minutes=5))
    report = exchange.cancel_order(BTC, STOP_ID)
    assert transport.asked == [
        (
            "DELETE",
            "/api/v3/order",
            {
                "symbol": "BTCUSDC",
                "origClientOrderId": STOP_ID,
                "timestamp": str(to_ms(NOW + timedelta(minutes=5))),
            },
            True,
        )
    ]
    assert report is not None
    assert (report.client_id, report.status, report.exchange_id) == (STOP_ID, OrderStatus.CANCELED, "28")


def test_a_cancelled_leg_is_found_in_the_answer_about_its_list() -> None:
    target, stop = an_oco()
    body = an_oco_answer(target, stop, listStatusType="ALL_DONE", listOrderStatus="ALL_DONE")
    body["orderReports"] = [a_cancel(stop, orderId=10, orderListId=1), a_cancel(target, orderId=11, orderListId=1)]
    report = a_live_exchange(ok(body))[0].cancel_order(BTC, STOP_ID)
    assert report is not None
    assert (report.client_id, report.exchange_id, report.list_id) == (STOP_ID, "10", "1")
    body["orderReports"] = body["orderReports"][1:]
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(ok(body))[0].cancel_order(BTC, STOP_ID)


@pytest.mark.parametrize(
    "changes", [{"status": "NEW"}, {"symbol": "ETHUSDC"}, {"executedQty": "0.02"}, {"cummulativeQuoteQty": "1.00"}]
)
def test_a_cancel_whose_answer_makes_no_sense_is_unknown(changes: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(ok(a_cancel(a_stop(), **changes)), ok([]))[0].cancel_order(BTC, STOP_ID)


def test_a_cancel_of_what_is_not_open_finds_nothing() -> None:
    assert a_live_exchange(refusal(-2011, "Unknown order sent."))[0].cancel_order(BTC, STOP_ID) is None


@pytest.mark.parametrize("name", ["orders/cancel_order__response.json"])
def test_the_recorded_cancel_is_read(name: str) -> None:
    body = recorded(name)
    report = a_live_exchange(ok(body))[0].cancel_order(Symbol("LTC/BTC"), "myOrder1")
    assert report is not None
    assert (report.quantity, report.side) == (Decimal(1), Side.BUY)


def test_the_recorded_cancel_of_a_list_is_read() -> None:
    body = recorded("order_lists/cancel_order_list__response.json")
    report = a_live_exchange(ok(body))[0].cancel_order(Symbol("LTC/BTC"), "TXOvglzXuaubXAaENpaRCB")
    assert report is not None
    assert (report.exchange_id, report.status) == ("3", OrderStatus.CANCELED)


def test_the_recorded_query_is_read() -> None:
    report = a_live_exchange(ok(recorded("orders/query_order__response.json")))[0].order_status(
        Symbol("LTC/BTC"), "myOrder1"
    )
    assert report is not None
    assert (report.status, report.quantity) == (OrderStatus.NEW, Decimal("1.0"))
