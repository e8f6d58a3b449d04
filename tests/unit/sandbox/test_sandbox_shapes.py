"""Answers have the recorded names and JSON types, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.sandbox_world import PAYLOADS, Client, body_of, sandbox

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="recorded payloads are not beside the repository")

DAY = "24hr_ticker_price_change_statistics__response"
OTHER_FORM = {
    "permissionSets": "groups differ per symbol",
    "filters": "compared one by one",
    "rateLimits": "compared one by one",
    "sors": "smart order routing is not offered",
}


def recorded(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_text(encoding="utf-8"))


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


def differences(mine: Any, theirs: Any, *, optional: tuple[str, ...] = (), at: str = "") -> list[str]:
    """Name every field that is missing, extra or of another JSON type. Rows are compared by the first."""
    if kind(mine) != kind(theirs):
        return [f"{at}: {kind(mine)} instead of {kind(theirs)}"]
    if isinstance(theirs, list) and theirs and not isinstance(theirs[0], dict | list):
        mine_kinds, their_kinds = [kind(item) for item in mine], [kind(item) for item in theirs]
        alike = len({*mine_kinds, *their_kinds}) == 1 or mine_kinds == their_kinds
        return [] if alike else [f"{at}: {mine}"]
    if isinstance(theirs, list):
        return differences(mine[0], theirs[0], optional=optional, at=f"{at}[0]") if mine and theirs else []
    if not isinstance(theirs, dict):
        return []
    skipped = {*optional, *OTHER_FORM}
    found = [f"{at}.{name} missing" for name in theirs.keys() - mine.keys() - skipped]
    found += [f"{at}.{name} is extra" for name in mine.keys() - theirs.keys() - skipped]
    for name in mine.keys() & theirs.keys() - skipped:
        found += differences(mine[name], theirs[name], optional=optional, at=f"{at}.{name}")
    return sorted(found)


@pytest.fixture
def client() -> Client:
    return sandbox(base="50")


STOP_PARTS = ("stopPrice", "icebergQty", "expiryReason")


def test_order_answers_of_each_detail(client: Client) -> None:
    for detail in ("ACK", "RESULT", "FULL"):
        mine = client.sell("1", newOrderRespType=detail)
        assert differences(mine, recorded(f"orders/new_order__response_{detail.lower()}.json")) == []


def test_a_limit_order_that_rests(client: Client) -> None:
    mine = client.limit("BUY", "90", icebergQty="0.5")
    assert differences(mine, recorded("orders/ccxt_limit_new_full_recorded.json")) == []


def test_a_market_order_that_ran_dry(client: Client) -> None:
    client.quote("100", depth="400")
    mine = client.sell("40")
    theirs = recorded("orders/market_order_expired_partly_filled.json")
    assert mine["status"] == theirs["status"] == "EXPIRED"
    assert differences(mine, theirs, optional=("origQuoteOrderQty", "expiryReason")) == []


def test_queries_and_cancels(client: Client) -> None:
    made = client.limit("BUY", "90")
    one = client.get("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])
    assert differences(one, recorded("orders/query_order__response.json")) == []
    every = client.get("/api/v3/openOrders")
    assert differences(every, recorded("orders/current_open_orders__response.json")) == []
    gone = client.delete("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])
    assert differences(gone, recorded("orders/cancel_order__response.json")) == []


def test_all_orders_of_an_account(client: Client) -> None:
    client.sell()
    theirs = recorded("ws_api/account_order_history__response.json")["result"]
    mine = client.get("/api/v3/allOrders", symbol="ABCUSDT")
    assert differences(mine, theirs, optional=("preventedMatchId", "preventedQuantity")) == []


def test_cancelling_all_gives_orders_and_lists(client: Client) -> None:
    client.order(side="SELL", type="STOP_LOSS", stopPrice="95", quantity="1", strategyId="7", strategyType="1000000")
    client.oco()
    mine = client.delete("/api/v3/openOrders", symbol="ABCUSDT")
    theirs = recorded("ws_api/cancel_open_orders__response.json")["result"]
    assert differences(mine[0], theirs[0], optional=("trailingDelta", "trailingTime", "icebergQty")) == []
    assert differences(mine[1], theirs[1], optional=("stopPrice",)) == []


@pytest.mark.parametrize(
    ("mode", "cancel", "price", "name"),
    [
        ("STOP_ON_FAILURE", "absent", "120", "response_when_c_72898f"),
        ("STOP_ON_FAILURE", "old", "90", "response_when_c_6e1b46"),
        ("ALLOW_FAILURE", "absent", "90", "response_when_b_a1be5a"),
    ],
)
def test_cancel_replace_that_fails(client: Client, mode: str, cancel: str, price: str, name: str) -> None:
    client.limit("SELL", "110", newClientOrderId="old")
    theirs = recorded(f"errors/cancel_an_existing_order_and_send_a_new_order__{name}.json")
    params = {
        "symbol": "ABCUSDT",
        "side": "SELL",
        "type": "LIMIT_MAKER",
        "quantity": "1",
        "price": price,
        "cancelReplaceMode": mode,
        "cancelOrigClientOrderId": cancel,
    }
    answer = client.send("POST", "/api/v3/order/cancelReplace", params)
    mine = body_of(answer)
    assert answer.status == (409 if theirs["code"] == -2021 else 400)
    assert differences(mine, theirs) == []
    assert (mine["code"], mine["msg"]) == (theirs["code"], theirs["msg"])
    assert mine["data"]["cancelResult"] == theirs["data"]["cancelResult"]
    assert mine["data"]["newOrderResult"] == theirs["data"]["newOrderResult"]
    assert mine["data"]["newOrderResponse"] == theirs["data"]["newOrderResponse"]


def test_cancel_replace_that_succeeds(client: Client) -> None:
    client.limit("SELL", "110", newClientOrderId="old")
    mine = client.post(
        "/api/v3/order/cancelReplace",
        symbol="ABCUSDT",
        side="SELL",
        type="LIMIT",
        timeInForce="GTC",
        quantity="1",
        price="120",
        cancelReplaceMode="STOP_ON_FAILURE",
        cancelOrigClientOrderId="old",
        newOrderRespType="RESULT",
    )
    theirs = recorded("ws_api/cancel_and_replace_order__response.json")["result"]
    assert differences(mine, theirs, optional=("workingTime",)) == []


def test_amendments(client: Client) -> None:
    made = client.limit("BUY", "90")
    mine = client.put("/api/v3/order/amend/keepPriority", symbol="ABCUSDT", orderId=made["orderId"], newQty="0.5")
    assert differences(mine, recorded("ws_api/order_amend_keep_priority__response.json")["result"]) == []


def test_test_orders_with_rates(client: Client) -> None:
    asked = {"symbol": "ABCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    assert client.post("/api/v3/order/test", **asked) == {}
    mine = client.post("/api/v3/order/test", **asked, computeCommissionRates="true")
    assert differences(mine, recorded("orders/test_new_order__response_2.json")) == []


def test_oco_placement_in_both_forms(client: Client) -> None:
    limited = {"belowType": "STOP_LOSS_LIMIT", "belowPrice": "94", "belowTimeInForce": "GTC", "belowIcebergQty": "1"}
    mine = client.oco(**limited)
    assert differences(mine, recorded("order_lists/new_order_list_oco__response.json")) == []
    old = client.post("/api/v3/order/oco", symbol="ABCUSDT", side="SELL", quantity="1", price="110", stopPrice="95")
    assert differences(old, recorded("order_lists/new_oco_deprecated__response.json")) == []


def test_list_queries_and_cancels(client: Client) -> None:
    made = client.oco()
    opened = client.get("/api/v3/openOrderList")
    assert differences(opened, recorded("order_lists/query_open_order_lists__response.json")) == []
    every = client.get("/api/v3/allOrderList")
    assert differences(every, recorded("order_lists/query_all_order_lists__response.json")) == []
    assert client.get("/api/v3/orderList", orderListId=made["orderListId"]) == every[0]
    gone = client.delete("/api/v3/orderList", symbol="ABCUSDT", orderListId=made["orderListId"])
    assert differences(gone, recorded("order_lists/cancel_order_list__response.json")) == []


WORKING = {
    "symbol": "ABCUSDT",
    "workingType": "LIMIT",
    "workingSide": "BUY",
    "workingPrice": "90",
    "workingQuantity": "1",
    "workingTimeInForce": "GTC",
    "pendingSide": "SELL",
}
PAIR = {
    "pendingAboveType": "LIMIT_MAKER",
    "pendingAbovePrice": "110",
    "pendingBelowType": "STOP_LOSS_LIMIT",
    "pendingBelowStopPrice": "80",
    "pendingBelowPrice": "79",
    "pendingBelowTimeInForce": "IOC",
}


def test_lists_with_a_working_order(client: Client) -> None:
    single = {**WORKING, "pendingType": "MARKET"}
    oto = client.post("/api/v3/orderList/oto", **single, pendingQuantity="1")
    assert differences(oto, recorded("ws_api/place_new_order_list_oto__response.json")["result"]) == []
    otoco = client.post("/api/v3/orderList/otoco", **WORKING, **PAIR, pendingQuantity="1")
    theirs = recorded("order_lists/new_order_list_otoco__response.json")
    for mine, wanted in zip(otoco["orderReports"], theirs["orderReports"], strict=True):
        assert differences(mine, wanted) == []
    opo = client.post("/api/v3/orderList/opo", **single)
    for mine, wanted in zip(
        opo["orderReports"], recorded("order_lists/new_order_list_opo__response.json")["orderReports"], strict=True
    ):
        assert differences(mine, wanted) == []
    opoco = client.post("/api/v3/orderList/opoco", **WORKING, **PAIR)
    for mine, wanted in zip(
        opoco["orderReports"], recorded("ws_api/opoco__response.json")["result"]["orderReports"], strict=True
    ):
        assert differences(mine, wanted) == []


def test_account_answers(client: Client) -> None:
    client.sell()
    for path, name in (
        ("account", "account/account_information__response.json"),
        ("account/commission?", "account/query_commission_rates__response.json"),
        ("myTrades?", "account/account_trade_list__response.json"),
        ("rateLimit/order", "account/query_unfilled_order_count__response.json"),
        ("myFilters?", "account/query_relevant_filters__response.json"),
    ):
        asked = {"symbol": "ABCUSDT"} if path.endswith("?") else {}
        mine = client.get(f"/api/v3/{path.rstrip('?')}", **asked)
        assert differences(mine, recorded(name)) == []
    fees = client.get("/sapi/v1/asset/tradeFee")
    assert differences(fees, recorded("account/nt_http_wallet_trading_fees.json")) == []


@pytest.mark.parametrize(
    ("path", "params", "name", "optional"),
    [
        ("time", {}, "exchange/check_server_time__response.json", ()),
        ("depth", {"symbol": "ABCUSDT", "limit": 5}, "market_data/order_book__response.json", ()),
        ("avgPrice", {"symbol": "ABCUSDT"}, "market_data/current_average_price__response.json", ()),
        ("klines", {"symbol": "ABCUSDT", "interval": "15m"}, "market_data/kline_candlestick_data__response.json", ()),
        ("trades", {"symbol": "ABCUSDT"}, "market_data/trades_recorded_0.json", ()),
        ("aggTrades", {"symbol": "ABCUSDT"}, "market_data/agg_trades_recorded_0.json", ()),
        ("ticker/24hr", {"symbol": "ABCUSDT"}, f"market_data/{DAY}_full.json", ()),
        ("ticker/24hr", {}, "market_data/ticker_24hr_recorded_4.json", ()),
        ("ticker/24hr", {"type": "MINI"}, f"market_data/{DAY}_mini_2.json", ()),
        ("ticker/price", {"symbol": "ABCUSDT"}, "market_data/symbol_price_ticker__response.json", ()),
        ("ticker/bookTicker", {"symbol": "ABCUSDT"}, "market_data/symbol_order_book_ticker__response.json", ()),
        ("ticker/bookTicker", {}, "market_data/symbol_order_book_ticker__response_2.json", ()),
    ],
)  # fmt: skip
def test_market_answers(client: Client, path: str, params: dict[str, object], name: str, optional: Any) -> None:
    assert differences(client.ask(f"/api/v3/{path}", **params), recorded(name), optional=optional) == []


def test_exchange_info_has_the_newest_record_of_a_symbol(client: Client) -> None:
    mine = client.ask("/api/v3/exchangeInfo")
    theirs = recorded("exchange/exchange_info_recorded_2026_09_tslabusdt.json")
    assert differences(mine, theirs) == []
    assert mine["rateLimits"] == recorded("exchange/rate_limits_recorded_2026_09.json")
    wanted = {row["filterType"]: row for row in theirs["symbols"][0]["filters"]}
    filters = {row["filterType"]: row for row in mine["symbols"][0]["filters"]}
    assert filters.keys() == wanted.keys()
    for name, row in filters.items():
        assert differences(row, wanted[name]) == []


def test_headers_of_every_answer(client: Client) -> None:
    theirs = recorded("orders/response_headers_recorded.json")
    mine = {name.lower(): value for name, value in client.send("GET", "/api/v3/account").headers.items()}
    assert theirs.keys() <= mine.keys()
    assert mine["content-type"] == theirs["content-type"]


def test_the_comparison_itself_sees_missing_extra_and_retyped_fields() -> None:
    assert differences({"a": 1, "c": [["1"]]}, {"a": "1", "b": 1, "c": [[1]]}) == [
        ".a: number instead of str",
        ".b missing",
        ".c[0]: ['1']",
    ]
    assert differences({"a": 1, "b": True}, {"a": 1}) == [".b is extra"]
