"""The lives of orders as a client sees them over REST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import StateError
from bn_ml.venue.account import FeeRates
from bn_ml.venue.happenings import Step
from bn_ml.venue.price_range import PriceRange
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.requests import Request
from tests.fakes import venue_world
from tests.fakes.sandbox_world import KEY, NOW, SECRET, SYMBOL, Client, MemoryMarket, body_of, sandbox
from tests.fakes.venue_world import quote, rules

ONE = {"symbol": "ABCUSDT"}


def states(client: Client) -> dict[str, str]:
    return {row["clientOrderId"]: row["status"] for row in client.get("/api/v3/allOrders", **ONE)}


def test_a_client_id_is_unique_only_while_its_order_is_open() -> None:
    client = sandbox(base="5")
    first = client.limit("SELL", "110", newClientOrderId="mine")
    assert client.limit("SELL", "111", newClientOrderId="mine") == {"code": -2010, "msg": "Duplicate order sent."}
    client.delete("/api/v3/order", **ONE, origClientOrderId="mine")
    second = client.limit("SELL", "112", newClientOrderId="mine")
    assert second["orderId"] > first["orderId"]
    assert client.get("/api/v3/order", **ONE, origClientOrderId="mine")["orderId"] == second["orderId"]


def test_a_market_order_sent_again_trades_again() -> None:
    client = sandbox(base="5")
    assert [client.sell(newClientOrderId="same")["status"] for _ in range(2)] == ["FILLED", "FILLED"]
    assert client.free("ABC") == 3


def test_buying_leaves_less_than_was_bought_when_commission_is_taken_from_it() -> None:
    client = sandbox()
    made = client.buy("1")
    assert made["fills"][0]["commissionAsset"] == "ABC"
    assert client.sell("1")["msg"] == "Account has insufficient balance for requested action."
    assert client.sell("0.999")["status"] == "FILLED"


def test_commission_in_the_discount_asset_while_it_lasts() -> None:
    client = sandbox(fees=FeeRates(pay_with_discount_asset=True))
    bnb = Symbol("BNB/USDT")
    client.dialect.listings.set_rules(rules(bnb))
    client.dialect.venue.on_quote(quote("300", symbol=bnb))
    client.dialect.venue.deposit("BNB", Decimal("0.0003"))
    first, second = client.buy("1"), client.buy("1")
    assert first["fills"][0]["commissionAsset"] == "BNB"
    assert second["fills"][0]["commissionAsset"] == "ABC"


def test_a_quote_amount_buys_at_most_that_much() -> None:
    client = sandbox()
    made = client.order(side="BUY", type="MARKET", quoteOrderQty="50")
    assert made["origQuoteOrderQty"] == "50.00000000"
    assert Decimal(made["cummulativeQuoteQty"]) <= 50
    assert made["status"] == "FILLED"


def test_several_levels_make_several_fills() -> None:
    client = sandbox(base="500")
    made = client.sell("300")
    assert len(made["fills"]) > 1
    numbers = [fill["tradeId"] for fill in made["fills"]]
    assert numbers == sorted(set(numbers))
    assert sum(Decimal(fill["qty"]) for fill in made["fills"]) == 300
    assert len(client.get("/api/v3/myTrades", **ONE, orderId=made["orderId"])) == len(numbers)


def test_an_immediate_order_that_does_not_reach_the_book_expires() -> None:
    client = sandbox()
    made = client.order(side="BUY", type="LIMIT", timeInForce="IOC", quantity="1", price="90")
    assert (made["status"], made["executedQty"]) == ("EXPIRED", "0.00000000")


def test_a_stop_shows_its_trail_and_its_end() -> None:
    client = sandbox(base="5")
    made = client.order(side="SELL", type="STOP_LOSS", quantity="1", trailingDelta="100", newOrderRespType="RESULT")
    assert (made["trailingDelta"], made["trailingTime"]) == (100, -1)
    client.quote("110")
    followed = client.get("/api/v3/order", **ONE, orderId=made["orderId"])
    assert followed["trailingTime"] > NOW
    client.quote("108.9")
    assert client.get("/api/v3/order", **ONE, orderId=made["orderId"])["status"] == "FILLED"


def test_a_trailing_stop_in_an_oco() -> None:
    client = sandbox(base="5")
    params = {"belowTrailingDelta": "100", "belowClientOrderId": "stop", "aboveClientOrderId": "target"}
    made = client.post(
        "/api/v3/orderList/oco", **ONE, side="SELL", quantity="1", aboveType="LIMIT_MAKER", abovePrice="120",
        belowType="STOP_LOSS", **params,
    )  # fmt: skip
    assert made["listOrderStatus"] == "EXECUTING"
    for price in ("100", "110", "108.9"):
        client.quote(price)
    assert states(client) == {"stop": "FILLED", "target": "EXPIRED"}


def test_a_leg_that_fills_in_part_expires_the_other() -> None:
    client = sandbox(base="50")
    client.oco("101", "95", "50", aboveClientOrderId="target", belowClientOrderId="stop")
    client.quote("101.1", depth="2000")
    assert states(client) == {"target": "PARTIALLY_FILLED", "stop": "EXPIRED"}
    reason = client.get("/api/v3/order", **ONE, origClientOrderId="stop")["expiryReason"]
    assert reason == "OCO_TRIGGER"


def test_cancelling_a_leg_cancels_the_list() -> None:
    client = sandbox(base="5")
    client.oco(aboveClientOrderId="target", belowClientOrderId="stop", listClientOrderId="both")
    assert client.delete("/api/v3/order", **ONE, origClientOrderId="stop")["origClientOrderId"] == "stop"
    assert states(client) == {"target": "CANCELED", "stop": "CANCELED"}
    assert client.get("/api/v3/orderList", origClientOrderId="both")["listOrderStatus"] == "ALL_DONE"
    assert client.delete("/api/v3/orderList", **ONE, listClientOrderId="both")["code"] == -2011


def test_a_cancel_answer_carries_a_new_id_and_the_former() -> None:
    client = sandbox(base="5")
    client.limit("SELL", "110", newClientOrderId="mine")
    gone = client.delete("/api/v3/order", **ONE, origClientOrderId="mine", newClientOrderId="over")
    assert (gone["origClientOrderId"], gone["clientOrderId"]) == ("mine", "over")
    assert client.get("/api/v3/order", **ONE, origClientOrderId="mine")["status"] == "CANCELED"


def test_an_otoco_protects_what_it_bought() -> None:
    client = sandbox()
    made = client.post(
        "/api/v3/orderList/opoco", **ONE, workingType="LIMIT", workingSide="BUY", workingPrice="99",
        workingQuantity="1", workingTimeInForce="GTC", workingClientOrderId="w", pendingSide="SELL",
        pendingAboveType="LIMIT_MAKER", pendingAbovePrice="110", pendingAboveClientOrderId="t",
        pendingBelowType="STOP_LOSS", pendingBelowStopPrice="90", pendingBelowClientOrderId="s",
    )  # fmt: skip
    assert made["contingencyType"] == "OTO"
    assert states(client) == {"w": "NEW", "t": "PENDING_NEW", "s": "PENDING_NEW"}
    client.quote("98.5")
    assert states(client) == {"w": "FILLED", "t": "NEW", "s": "NEW"}
    assert client.get("/api/v3/order", **ONE, origClientOrderId="t")["origQty"] == "0.99900000"
    client.quote("110.5")
    assert states(client) == {"w": "FILLED", "t": "FILLED", "s": "EXPIRED"}


def test_own_orders_in_the_way_end_in_match() -> None:
    client = sandbox(base="5")
    client.limit("SELL", "100.02", newClientOrderId="mine")
    client.buy("30")
    mine = client.get("/api/v3/order", **ONE, origClientOrderId="mine")
    assert (mine["status"], mine["preventedQuantity"]) == ("EXPIRED_IN_MATCH", "1.00000000")


def test_execution_rules_and_their_reference_price() -> None:
    client = sandbox(base="5000")
    assert client.ask("/api/v3/executionRules") == {"symbolRules": []}
    assert client.ask("/api/v3/referencePrice", **ONE)["referencePrice"] is None
    near = Decimal("1.0005"), Decimal("0.9995")
    client.dialect.venue.set_price_range(SYMBOL, PriceRange(Decimal(100), *near, *near))
    (row,) = client.ask("/api/v3/executionRules", **ONE)["symbolRules"]
    assert row["rules"][0]["askLimitMultDown"] == "0.9995"
    assert client.ask("/api/v3/referencePrice", **ONE)["referencePrice"] == "100.00000000"
    made = client.sell("3000")
    assert (made["status"], made["expiryReason"]) == ("EXPIRED", "EXECUTION_RULE_PRICE_RANGE_EXCEEDED")


def test_cancel_replace_tests_the_quota_before_it_cancels() -> None:
    client = sandbox(base="5")
    client.dialect.listings.set_rules(rules(max_algo_orders=1))
    client.order(side="SELL", type="STOP_LOSS", stopPrice="95", quantity="1", newClientOrderId="old")
    params = {**ONE, "side": "SELL", "type": "STOP_LOSS", "stopPrice": "96", "quantity": "1"}
    answer = client.send(
        "POST",
        "/api/v3/order/cancelReplace",
        {**params, "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": "old"},
    )
    body = body_of(answer)
    assert (answer.status, body["code"]) == (400, -2022)
    assert body["data"]["newOrderResponse"]["msg"] == "Filter failure: MAX_NUM_ALGO_ORDERS"
    assert states(client) == {"old": "NEW"}


def test_cancel_replace_of_a_list_leg_cancels_the_list() -> None:
    client = sandbox(base="5")
    client.oco(aboveClientOrderId="target", belowClientOrderId="stop")
    made = client.post(
        "/api/v3/order/cancelReplace", **ONE, side="SELL", type="STOP_LOSS", stopPrice="96", quantity="1",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrigClientOrderId="stop", newClientOrderId="new",
    )  # fmt: skip
    assert made["cancelResult"] == made["newOrderResult"] == "SUCCESS"
    assert states(client) == {"target": "CANCELED", "stop": "CANCELED", "new": "NEW"}


def test_cancel_replace_with_malformed_parameters_is_an_ordinary_refusal() -> None:
    client = sandbox(base="5")
    answer = client.post(
        "/api/v3/order/cancelReplace", **ONE, side="SELL", type="LIMIT", price="110", quantity="1",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId="7",
    )  # fmt: skip
    assert answer["code"] == -1102


def test_trades_and_orders_are_found_by_number_and_time() -> None:
    client = sandbox(base="50")
    for _ in range(4):
        client.sell("1")
        client.now_ms += 3_600_000
    trades = client.get("/api/v3/myTrades", **ONE)
    assert [row["id"] for row in trades] == [1, 2, 3, 4]
    assert [row["id"] for row in client.get("/api/v3/myTrades", **ONE, fromId=3)] == [3, 4]
    assert [row["id"] for row in client.get("/api/v3/myTrades", **ONE, limit=1)] == [4]
    later = client.get("/api/v3/myTrades", **ONE, startTime=NOW + 1, endTime=NOW + 3_600_000)
    assert [row["id"] for row in later] == [2]
    assert [row["orderId"] for row in client.get("/api/v3/allOrders", **ONE, orderId=2, limit=2)] == [2, 3]
    assert len(client.get("/api/v3/allOrders", **ONE, startTime=NOW, endTime=NOW)) == 1
    assert client.get("/api/v3/myTrades", **ONE, orderId=99) == []


def test_lists_are_found_by_number_and_time() -> None:
    client = sandbox(base="50")
    for _ in range(3):
        client.oco()
        client.now_ms += 1000
    assert [row["orderListId"] for row in client.get("/api/v3/allOrderList", fromId=2)] == [2, 3]
    assert [row["orderListId"] for row in client.get("/api/v3/allOrderList", startTime=NOW, endTime=NOW)] == [1]
    assert client.get("/api/v3/allOrderList", fromId=1, startTime=NOW)["code"] == -1128
    assert client.get("/api/v3/orderList", orderListId=9)["code"] == -2013


def test_a_zero_balance_shows_unless_it_is_unwanted() -> None:
    client = sandbox()
    every = {row["asset"] for row in client.get("/api/v3/account")["balances"]}
    held = {row["asset"] for row in client.get("/api/v3/account", omitZeroBalances="true")["balances"]}
    assert (every, held) == ({"ABC", "USDT"}, {"USDT"})


def test_after_a_reset_no_order_is_known_and_the_balances_are_new() -> None:
    client = sandbox(base="5")
    made = client.limit("SELL", "110")
    client.dialect.reset(venue_world.venue(usdt="77"))
    assert client.get("/api/v3/order", **ONE, orderId=made["orderId"])["code"] == -2013
    assert client.get("/api/v3/openOrders") == []
    assert client.get("/api/v3/account", omitZeroBalances="true")["balances"][0]["free"] == "77.00000000"


def test_what_happened_is_told_once() -> None:
    client = sandbox(base="5")
    client.limit("SELL", "101", newClientOrderId="mine")
    client.quote("102")
    told = [(step.step, step.order.status.value) for step in client.dialect.take_happenings()]
    assert told == [(Step.NEW, "NEW"), (Step.TRADE, "FILLED")]
    assert client.dialect.take_happenings() == ()


def test_maintenance_shows_in_the_system_status() -> None:
    client = sandbox()
    assert client.ask("/sapi/v1/system/status") == {"status": 0, "msg": "normal"}
    client.dialect.desk.maintenance = True
    assert client.ask("/sapi/v1/system/status")["status"] == 1


def test_broken_books_are_never_answered_over() -> None:
    client = sandbox(base="5")
    client.dialect.venue.state.account.move("ABC", free=Decimal(1))
    with pytest.raises(StateError, match="ABC"):
        client.sell("1")


def test_the_same_requests_at_the_same_times_give_the_same_bytes() -> None:
    def session() -> list[Any]:
        client = Client(Dialect(venue_world.venue(base="9"), MemoryMarket(), {KEY: SECRET}, seed=3))
        answers: list[Any] = [client.sell("1"), client.oco(), client.limit("BUY", "90")]
        client.quote("94")
        return [*answers, client.get("/api/v3/allOrders", **ONE), client.send("GET", "/api/v3/account")]

    assert session() == session()


def test_public_requests_need_no_key_and_tolerate_one() -> None:
    client = sandbox()
    assert client.dialect.handle(Request("GET", "/api/v3/ping", headers={"X-MBX-APIKEY": "x"}), NOW).body == "{}"


def test_symbols_may_be_filtered_by_permission_and_status() -> None:
    client = sandbox()
    assert len(client.ask("/api/v3/exchangeInfo", permissions='["SPOT"]')["symbols"]) == 1
    assert client.ask("/api/v3/exchangeInfo", permissions="MARGIN")["symbols"] == []
    assert client.ask("/api/v3/exchangeInfo", symbolStatus="HALT")["symbols"] == []
    assert client.ask("/fapi/v1/exchangeInfo")["symbols"] == []


def test_a_trusted_caller_needs_no_signature() -> None:
    client = sandbox(base="5")
    order = "symbol=ABCUSDT&side=SELL&type=MARKET&quantity=1&apiKey=x&timestamp=1&signature=y"
    made = client.dialect.handle(Request("POST", "/api/v3/order", order), NOW, trusted=True)
    assert body_of(made)["status"] == "FILLED"
    unread = client.dialect.handle(Request("POST", "/api/v3/order", f"{order}&more=1"), NOW, trusted=True)
    assert body_of(unread)["code"] == -1104


def test_a_maker_may_not_meet_an_own_order() -> None:
    client = sandbox(base="5")
    client.limit("BUY", "100")
    crossing = client.order(side="SELL", type="LIMIT_MAKER", price="100", quantity="1")
    assert crossing["msg"] == "Order would immediately match and take."
    assert "orderId" in client.order(side="SELL", type="LIMIT_MAKER", price="100.01", quantity="1")


@pytest.mark.parametrize(("detail", "field"), [("ACK", "transactTime"), ("RESULT", "status"), ("FULL", "fills")])
def test_the_reports_of_a_list_say_as_much_as_was_asked(detail: str, field: str) -> None:
    client = sandbox(base="5")
    reports = client.oco(newOrderRespType=detail)["orderReports"]
    assert all(field in report for report in reports)
    assert all(("status" in report) is (detail != "ACK") for report in reports)


def test_klines_of_the_future_are_none() -> None:
    client = sandbox()
    ask = {**ONE, "interval": "1h"}
    assert client.ask("/api/v3/klines", **ask, startTime=NOW + 1) == []
    assert client.ask("/api/v3/klines", **ask, startTime="99999999999999999999") == []
    assert len(client.ask("/api/v3/klines", **ask, endTime="99999999999999999999", limit=2)) == 2
