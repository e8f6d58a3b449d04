"""Refusals: parameters, filters, counts and the engine, each with its own code and text."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import from_ms
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.price_range import PriceRange
from public_api.sandbox.listings import SymbolStatus
from tests.fakes.sandbox_world import PAYLOADS, SYMBOL, Client, body_of, sandbox
from tests.fakes.venue_world import rules

ORDER = {"symbol": "ABCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "110"}


@pytest.fixture
def client() -> Client:
    return sandbox(base="50")


def place(client: Client, **changes: object) -> Any:
    params = {**ORDER, **changes}
    return client.post("/api/v3/order", **{name: value for name, value in params.items() if value is not None})


def market(**changes: object) -> dict[str, object]:
    return {"type": "MARKET", "timeInForce": None, "price": None, **changes}


def stop(**changes: object) -> dict[str, object]:
    return {"type": "STOP_LOSS", "timeInForce": None, "price": None, "stopPrice": "95", **changes}


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"symbol": None}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ({"symbol": ""}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ({"side": None}, -1102, "Mandatory parameter 'side' was not sent, was empty/null, or malformed."),
        ({"type": None}, -1102, "Mandatory parameter 'type' was not sent, was empty/null, or malformed."),
        ({"quantity": None}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
        ({"price": None}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
        ({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed."),
        ({"price": ""}, -1105, "Parameter 'price' was empty."),
        ({"symbol": "XYZUSDT"}, -1121, "Invalid symbol."),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "STOP"}, -1116, "Invalid orderType."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"newOrderRespType": "MOST"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
        ({"strategyType": "999999"}, -1134, "`strategyType` was less than 1000000."),
        ({"stopPrice": "95"}, -1106, "Parameter 'stopPrice' sent when not required."),
        ({"quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "0"}, -1013, "Invalid quantity."),
        (
            {"quantity": "1e-05"},
            -1100,
            r"Illegal characters found in parameter 'quantity'; legal range is '^([0-9]{1,20})(\.[0-9]{1,20})?$'.",
        ),
        (
            {"newClientOrderId": "a.b"},
            -1100,
            "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
        ),
        ({"bogus": "1"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but was sent '9'."),
        (market(quantity="1", quoteOrderQty="100"), -1128, "Combination of optional parameters invalid."),
        (
            stop(stopPrice=None),
            -1102,
            "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!",
        ),
        ({"price": "110.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"quantity": "1.0001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.01", "price": "110"}, -1013, "Filter failure: NOTIONAL"),
        ({"price": "500.01"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (stop(stopPrice=None, trailingDelta="9"), -1013, "Filter failure: TRAILING_DELTA"),
        ({"quantity": "50.001"}, -2010, "Account has insufficient balance for requested action."),
        (stop(stopPrice="100"), -2010, "Order would trigger immediately."),
        (
            {"type": "LIMIT_MAKER", "timeInForce": None, "price": "99.99"},
            -2010,
            "Order would immediately match and take.",
        ),
    ],
)
def test_an_order_that_is_refused_changes_nothing(
    client: Client, changes: dict[str, object], code: int, text: str
) -> None:
    assert place(client, **changes) == {"code": code, "msg": text}
    assert client.get("/api/v3/openOrders") == []


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"price": "500"}, True),
        ({"price": "500.01"}, False),
        ({"quantity": "0.046", "price": "110"}, True),
        ({"quantity": "0.045", "price": "110"}, False),
        ({"quantity": "50"}, True),
        (stop(stopPrice="99.99"), True),
        (stop(stopPrice=None, trailingDelta="10"), True),
        (stop(stopPrice=None, trailingDelta="2000"), True),
        (stop(stopPrice=None, trailingDelta="2001"), False),
        ({"type": "LIMIT_MAKER", "timeInForce": None, "price": "100"}, True),
        ({"newClientOrderId": "a" * 36}, True),
        ({"newClientOrderId": "a" * 37}, False),
    ],
)
def test_limits_hold_at_and_just_beyond_their_edge(client: Client, changes: dict[str, object], accepted: bool) -> None:
    assert ("orderId" in place(client, **changes)) is accepted


@pytest.mark.parametrize(
    ("most", "name"),
    [
        ({"max_orders": 1}, "MAX_NUM_ORDERS"),
        ({"max_algo_orders": 1}, "MAX_NUM_ALGO_ORDERS"),
    ],
)
def test_counts_are_refused_by_the_engine(client: Client, most: dict[str, int], name: str) -> None:
    client.dialect.listings.set_rules(rules(**most))
    assert "orderId" in place(client, **stop())
    assert place(client, **stop()) == {"code": -2010, "msg": f"Filter failure: {name}"}


def test_lists_are_counted(client: Client) -> None:
    client.dialect.listings.set_rules(rules(max_order_lists=1))
    client.oco()
    assert client.oco() == {"code": -2010, "msg": "Filter failure: MAX_NUM_ORDER_LISTS"}


def test_account_wide_limits_have_their_own_names() -> None:
    client = sandbox(base="5", account_limits=AccountLimits(max_orders=1, max_position={SYMBOL: 6}))  # type: ignore[dict-item]
    place(client)
    assert place(client)["msg"] == "Filter failure: EXCHANGE_MAX_NUM_ORDERS"
    assert client.buy("1.001") == {"code": -2010, "msg": "Filter failure: MAX_POSITION"}
    assert client.buy("1")["status"] == "FILLED"


def test_a_text_can_be_sent_with_the_other_code() -> None:
    text = "Filter failure: MAX_NUM_ALGO_ORDERS"
    client = sandbox(base="5", recoded={text: -1013})
    client.dialect.listings.set_rules(rules(max_algo_orders=0 + 1))
    place(client, **stop())
    assert place(client, **stop()) == {"code": -1013, "msg": text}


OCO_REFUSALS: list[tuple[dict[str, object], int, str]] = [
    ({"abovePrice": "99"}, -2010, "The relationship of the prices for the orders is not correct."),
    ({"belowStopPrice": "101"}, -2010, "The relationship of the prices for the orders is not correct."),
    (
        {"belowType": "LIMIT_MAKER", "belowStopPrice": None, "belowPrice": "90"},
        -1168,
        "At least one OCO order must be contingent.",
    ),
    (
        {"belowType": "LIMIT_MAKER", "belowStopPrice": None, "belowPrice": "90", "aboveType": "TAKE_PROFIT",
         "aboveStopPrice": "110", "abovePrice": None},
        -1166,
        "A limit order in a sell OCO must be above.",
    ),
    (
        {"aboveType": "STOP_LOSS", "aboveStopPrice": "110", "abovePrice": None},
        -1197,
        "A stop loss order in a sell OCO must be below.",
    ),
    ({"belowType": "TAKE_PROFIT"}, -1199, "A take profit order in a sell OCO must be above."),
    ({"belowType": "MARKET", "belowStopPrice": None}, -1158, "Order type not supported in OCO."),
    ({"abovePrice": None}, -1102, "Mandatory parameter 'abovePrice' was not sent, was empty/null, or malformed."),
    ({"quantity": None}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code", "text"), OCO_REFUSALS)
def test_an_oco_that_is_refused_changes_nothing(
    client: Client, changes: dict[str, object], code: int, text: str
) -> None:
    params = {
        "symbol": "ABCUSDT",
        "side": "SELL",
        "quantity": "1",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": "110",
        "belowType": "STOP_LOSS",
        "belowStopPrice": "95",
        **changes,
    }
    sent = {name: value for name, value in params.items() if value is not None}
    assert client.post("/api/v3/orderList/oco", **sent) == {"code": code, "msg": text}
    assert client.get("/api/v3/openOrders") == []


def test_opo_lists_buy_first_and_sell_then(client: Client) -> None:
    working = {"symbol": "ABCUSDT", "workingType": "LIMIT", "workingTimeInForce": "GTC", "workingQuantity": "1"}
    selling = {**working, "workingSide": "SELL", "workingPrice": "110", "pendingSide": "SELL", "pendingType": "MARKET"}
    assert client.post("/api/v3/orderList/opo", **selling) == {
        "code": -1222,
        "msg": "Working order in an OPO list must be a bid.",
    }
    buying = {**working, "workingSide": "BUY", "workingPrice": "90", "pendingSide": "BUY", "pendingType": "MARKET"}
    assert client.post("/api/v3/orderList/opo", **buying) == {
        "code": -1223,
        "msg": "Pending orders in an OPO list must be asks.",
    }


@pytest.mark.parametrize("status", [status for status in SymbolStatus if status is not SymbolStatus.TRADING])
def test_a_symbol_that_does_not_trade_takes_no_orders_but_cancels(client: Client, status: SymbolStatus) -> None:
    made = place(client)
    client.dialect.listings.set_status(SYMBOL, status)
    assert place(client) == {"code": -2010, "msg": "Market is closed."}
    assert client.ask("/api/v3/exchangeInfo")["symbols"][0]["status"] == status.value
    assert client.delete("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"stops_allowed": False}, "", "Stop loss orders are not supported for this symbol."),
        ({"trailing_allowed": False}, "allowTrailingStop", "Trailing stop orders are not supported for this symbol."),
        ({"lists_allowed": False}, "ocoAllowed", "OCO orders are not supported for this symbol"),
        (
            {"replace_allowed": False},
            "cancelReplaceAllowed",
            "Order cancel-replace is not supported for this symbol.",
        ),
    ],
)
def test_what_a_symbol_does_not_take_is_announced_and_refused(
    client: Client, changes: dict[str, bool], field: str, text: str
) -> None:
    client.dialect.listings.set_rules(rules(**changes))
    record = client.ask("/api/v3/exchangeInfo")["symbols"][0]
    assert record[field] is False if field else "STOP_LOSS" not in record["orderTypes"]
    answers = [
        place(client, **stop()),
        place(client, **stop(stopPrice=None, trailingDelta="100", type="TAKE_PROFIT")),
        client.oco(belowType="STOP_LOSS_LIMIT", belowPrice="94", belowTimeInForce="GTC"),
        client.post("/api/v3/order/cancelReplace", **ORDER, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=1),
    ]
    assert {"code": -1013, "msg": text} in answers
    assert sum("msg" in answer and answer["msg"] == text for answer in answers) == 1


def test_the_reference_price_of_a_range_bounds_limit_prices(client: Client) -> None:
    ones = (Decimal(1),) * 4
    client.dialect.venue.set_price_range(SYMBOL, PriceRange(Decimal(20), *ones))
    assert place(client, price="101")["msg"] == "Filter failure: PERCENT_PRICE_BY_SIDE"
    assert "orderId" in place(client, price="100")


def test_filters_may_change_while_a_status_stands(client: Client) -> None:
    client.dialect.listings.set_status(SYMBOL, SymbolStatus.HALT)
    client.dialect.listings.set_rules(rules(max_algo_orders=3))
    assert place(client)["msg"] == "Market is closed."
    client.dialect.listings.set_status(SYMBOL, SymbolStatus.TRADING)
    assert "orderId" in place(client)


ASKED: list[tuple[Callable[[Client], Any], int, str]] = [
    (lambda c: c.get("/api/v3/order", symbol="ABCUSDT", orderId=9), -2013, "Order does not exist."),
    (lambda c: c.delete("/api/v3/order", symbol="ABCUSDT", orderId=9), -2011, "Unknown order sent."),
    (
        lambda c: c.get("/api/v3/order", symbol="ABCUSDT"),
        -1102,
        "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
    ),
    (lambda c: c.delete("/api/v3/openOrders", symbol="ABCUSDT"), -2011, "Unknown order sent."),
    (lambda c: c.delete("/api/v3/orderList", symbol="ABCUSDT", orderListId=3), -2011, "Unknown order sent."),
    (
        lambda c: c.delete("/api/v3/order", symbol="ABCUSDT", orderId=1, cancelRestrictions="X"),
        -1145,
        "Invalid cancelRestrictions",
    ),
    (lambda c: c.ask("/api/v3/klines", symbol="ABCUSDT", interval="7m"), -1120, "Invalid interval."),
    (lambda c: c.ask("/api/v3/depth", symbol="NOPE"), -1121, "Invalid symbol."),
    (
        lambda c: c.ask("/api/v3/ticker/24hr", symbol="ABCUSDT", symbols='["ABCUSDT"]'),
        -1128,
        "Combination of optional parameters invalid.",
    ),
    (
        lambda c: c.ask("/api/v3/ticker/price", symbols='["ABCUSDT","ABCUSDT"]'),
        -1151,
        "Symbol is present multiple times in the list.",
    ),
    (lambda c: c.ask("/api/v3/ticker/24hr", type="TINY"), -1139, "Invalid ticker type."),
    (lambda c: c.ask("/api/v3/exchangeInfo", symbolStatus="ASLEEP"), -1220, "Invalid symbolStatus."),
    (
        lambda c: c.get("/api/v3/myTrades", symbol="ABCUSDT", startTime=1, endTime=86_400_002),
        -1127,
        "More than 24 hours between startTime and endTime.",
    ),
    (
        lambda c: c.get("/api/v3/myTrades", symbol="ABCUSDT", fromId=1, startTime=1),
        -1128,
        "Combination of optional parameters invalid.",
    ),
]


@pytest.mark.parametrize(("ask", "code", "text"), ASKED)
def test_queries_and_cancels_are_refused_in_the_venues_words(
    client: Client, ask: Callable[[Client], Any], code: int, text: str
) -> None:
    assert ask(client) == {"code": code, "msg": text}


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="recorded payloads are not beside the repository")
def test_the_texts_above_are_the_catalogues() -> None:
    rows = json.loads((PAYLOADS / "errors" / "error_catalogue.json").read_text(encoding="utf-8"))
    catalogue = {(row["body"]["code"], row["body"]["msg"]) for row in rows}
    texts = {text for _code, text in catalogue}
    mine = [(code, text) for _changes, code, text in OCO_REFUSALS] + [(code, text) for _ask, code, text in ASKED]
    shared = [entry for entry in mine if entry[1] in texts]
    assert len(shared) > 8
    assert [entry for entry in shared if entry not in catalogue] == []


def test_an_order_ended_long_ago_without_fills_is_archived(client: Client) -> None:
    made = place(client)
    client.delete("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])
    day = 24 * 3600 * 1000
    client.now_ms += 90 * day
    assert client.get("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])["status"] == "CANCELED"
    client.now_ms += 1
    assert client.get("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])["code"] == -2026


def test_an_order_named_twice_must_be_one(client: Client) -> None:
    made = place(client, newClientOrderId="mine")
    place(client, newClientOrderId="other")
    both = {"symbol": "ABCUSDT", "orderId": made["orderId"], "origClientOrderId": "other"}
    assert client.get("/api/v3/order", **both)["code"] == -2039
    assert client.delete("/api/v3/order", **both)["code"] == -2011
    assert client.get("/api/v3/order", **{**both, "origClientOrderId": "mine"})["orderId"] == made["orderId"]


def test_cancel_restrictions(client: Client) -> None:
    made = place(client)
    asked = {"symbol": "ABCUSDT", "orderId": made["orderId"]}
    refused = client.delete("/api/v3/order", **asked, cancelRestrictions="ONLY_PARTIALLY_FILLED")
    assert refused == {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."}
    assert client.delete("/api/v3/order", **asked, cancelRestrictions="ONLY_NEW")["status"] == "CANCELED"


def test_a_removed_and_an_unknown_path_are_pages(client: Client) -> None:
    gone = client.send("POST", "/api/v3/userDataStream")
    absent = client.send("GET", "/api/v3/nowhere")
    assert (gone.status, absent.status) == (410, 404)
    assert gone.body.startswith("<html>")
    assert absent.headers["Content-Type"] == "text/html"


def test_a_delisted_symbol_is_unknown_everywhere(client: Client) -> None:
    place(client)
    client.dialect.listings.delist(SYMBOL, from_ms(client.now_ms))
    assert client.ask("/api/v3/exchangeInfo")["symbols"] == []
    assert place(client)["code"] == -1121
    assert body_of(client.send("GET", "/api/v3/openOrders")) == []
