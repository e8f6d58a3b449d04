"""Request weight, order counts, and what happens to those who go on."""

from __future__ import annotations

import pytest

from public_api.sandbox.limits import LimitSettings, Window
from public_api.sandbox.requests import Request
from tests.fakes.sandbox_world import NOW, Client, body_of, sandbox

MINUTE = 60_000
TIGHT = LimitSettings(weight_per_minute=40, orders_per_10s=2, orders_per_day=4, patience=3)


def used(client: Client) -> int:
    return client.dialect.meter("127.0.0.1").used(client.now_ms)


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("ping", {}, 1),
        ("exchangeInfo", {}, 20),
        ("depth", {"symbol": "ABCUSDT"}, 5),
        ("depth", {"symbol": "ABCUSDT", "limit": 100}, 5),
        ("depth", {"symbol": "ABCUSDT", "limit": 101}, 25),
        ("depth", {"symbol": "ABCUSDT", "limit": 1000}, 50),
        ("depth", {"symbol": "ABCUSDT", "limit": 5000}, 250),
        ("trades", {"symbol": "ABCUSDT"}, 25),
        ("aggTrades", {"symbol": "ABCUSDT"}, 4),
        ("klines", {"symbol": "ABCUSDT", "interval": "1m"}, 2),
        ("avgPrice", {"symbol": "ABCUSDT"}, 2),
        ("ticker/24hr", {"symbol": "ABCUSDT"}, 2),
        ("ticker/24hr", {"symbols": '["ABCUSDT"]'}, 2),
        ("ticker/24hr", {}, 80),
        ("ticker/price", {"symbol": "ABCUSDT"}, 2),
        ("ticker/bookTicker", {}, 4),
    ],
)
def test_public_weights(path: str, params: dict[str, object], weight: int) -> None:
    client = sandbox()
    client.ask(f"/api/v3/{path}", **params)
    assert used(client) == weight


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("account", {}, 20),
        ("order", {"symbol": "ABCUSDT", "orderId": 1}, 4),
        ("openOrders", {"symbol": "ABCUSDT"}, 6),
        ("openOrders", {}, 80),
        ("allOrders", {"symbol": "ABCUSDT"}, 20),
        ("orderList", {"orderListId": 1}, 4),
        ("openOrderList", {}, 6),
        ("allOrderList", {}, 20),
        ("myTrades", {"symbol": "ABCUSDT"}, 20),
        ("myTrades", {"symbol": "ABCUSDT", "orderId": 1}, 5),
        ("account/commission", {"symbol": "ABCUSDT"}, 20),
        ("rateLimit/order", {}, 40),
        ("myFilters", {"symbol": "ABCUSDT"}, 40),
    ],
)
def test_signed_weights(path: str, params: dict[str, object], weight: int) -> None:
    client = sandbox()
    client.get(f"/api/v3/{path}", **params)
    assert used(client) == weight


def test_orders_that_succeed_weigh_nothing_and_refused_ones_do() -> None:
    client = sandbox(base="5")
    made = client.limit("SELL", "110")
    client.delete("/api/v3/order", symbol="ABCUSDT", orderId=made["orderId"])
    assert used(client) == 0
    client.limit("SELL", "110.001")
    assert used(client) == 1


def test_the_last_weight_is_served_and_the_next_request_told_when_to_come_back() -> None:
    client = sandbox(limits=TIGHT)
    client.now_ms = NOW // MINUTE * MINUTE + 45_500
    assert [client.send("GET", "/api/v3/account").status for _ in range(3)] == [200, 200, 429]
    refused = client.send("GET", "/api/v3/account")
    assert refused.headers["Retry-After"] == "15"
    assert refused.headers["X-MBX-USED-WEIGHT-1M"] == "40"
    assert body_of(refused)["code"] == -1003
    client.now_ms += 14_500
    assert client.send("GET", "/api/v3/account").status == 200


def test_going_on_after_429_brings_bans_that_grow() -> None:
    client = sandbox(limits=TIGHT)
    bans = []
    for _ in range(3):
        client.now_ms = client.now_ms // MINUTE * MINUTE + MINUTE
        statuses = [client.send("GET", "/api/v3/account").status for _ in range(6)]
        assert statuses == [200, 200, 429, 429, 429, 418]
        banned = client.send("GET", "/api/v3/time")
        bans.append(int(banned.headers["Retry-After"]))
        until = client.now_ms + bans[-1] * 1000
        assert f"IP banned until {until}." in body_of(banned)["msg"]
        client.now_ms = until - 1
        assert client.send("GET", "/api/v3/time").status == 418
        client.now_ms = until
    assert bans == [120, 240, 480]


def test_each_address_has_its_own_weight() -> None:
    client = sandbox(limits=TIGHT)
    for _ in range(3):
        client.ask("/api/v3/exchangeInfo")
    other = Request("GET", "/api/v3/time", address="127.0.0.2")
    assert client.dialect.handle(other, client.now_ms).status == 200


def test_unfilled_orders_are_counted_per_ten_seconds_and_per_day() -> None:
    client = sandbox(base="50", limits=TIGHT)
    answers = [client.send("POST", "/api/v3/order", ORDER) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[1].headers["X-MBX-ORDER-COUNT-10S"] == "2"
    assert body_of(answers[2]) == {
        "code": -1015,
        "msg": "Too many new orders; current limit is 2 orders per 10 SECOND.",
    }
    client.now_ms += 10_000
    assert [client.send("POST", "/api/v3/order", ORDER).status for _ in range(2)] == [200, 200]
    client.now_ms += 10_000
    assert "4 orders per 1 DAY" in body_of(client.send("POST", "/api/v3/order", ORDER))["msg"]


ORDER = {"symbol": "ABCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "110"}


def test_a_fill_gives_the_count_back() -> None:
    client = sandbox(base="50", limits=TIGHT)
    assert [client.sell()["status"] for _ in range(5)] == ["FILLED"] * 5
    client.limit("SELL", "101")
    client.quote("102")
    client.dialect.settle()
    assert client.get("/api/v3/rateLimit/order")[1]["count"] == 0


def test_a_list_counts_each_leg() -> None:
    client = sandbox(base="50", limits=TIGHT)
    client.oco()
    assert client.oco()["code"] == -1015


def test_orders_the_engine_refuses_are_counted() -> None:
    client = sandbox(base="1")
    client.limit("SELL", "110", "2")
    client.limit("SELL", "110.001")
    assert client.get("/api/v3/rateLimit/order")[0]["count"] == 1


def test_a_window_keeps_its_count_for_an_answer_from_just_before() -> None:
    window = Window(10_000)
    window.add(3, 20_000)
    assert window.count(19_999) == 3
    assert window.count(30_000) == 0
    window.add(-5, 30_000)
    assert window.count(30_000) == 0
    assert window.left_s(30_000) == 10
    assert window.left_s(39_999) == 1
