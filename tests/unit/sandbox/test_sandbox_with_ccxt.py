"""A stock client library against the dialect, with nothing between them but its own HTTP session."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import ccxt
import pytest
import requests
from requests.adapters import BaseAdapter

from public_api.sandbox.requests import Request
from tests.fakes.sandbox_world import KEY, SECRET, Client, sandbox

PAIR = "ABC/USDT"
LOCAL = "http://127.0.0.1:1"


class DialectAdapter(BaseAdapter):
    """Hands requests to a dialect instead of a socket."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.paths: list[str] = []

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        body = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
        received = Request(request.method or "", parts.path, parts.query, body, dict(request.headers))
        answer = self.client.dialect.handle(received, self.client.now_ms)
        self.paths.append(f"{request.method} {parts.path}")
        response = requests.Response()
        response.status_code, response.reason, response.url = answer.status, "", request.url or ""
        response.raw = BytesIO(answer.body.encode())
        response.headers.update(answer.headers)
        return response

    def close(self) -> None:
        return


def connected(client: Client, *, overridden: bool) -> tuple[Any, DialectAdapter]:
    adapter = DialectAdapter(client)
    exchange = ccxt.binance({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
    if overridden:
        for section, url in exchange.urls["api"].items():
            if isinstance(url, str):
                exchange.urls["api"][section] = LOCAL + urlsplit(url).path
    for host in (LOCAL, "https://api.binance.com/", "https://fapi.binance.com/", "https://dapi.binance.com/"):
        exchange.session.mount(host, adapter)
    exchange.milliseconds = lambda: client.now_ms
    return exchange, adapter


@pytest.fixture(params=[True, False], ids=["url override", "session adapter"])
def venue(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Client]]:
    client = sandbox(base="5")
    exchange, _adapter = connected(client, overridden=request.param)
    exchange.load_markets()
    yield exchange, client
    exchange.session.close()


def test_loading_markets_with_keys_asks_for_what_it_always_asks() -> None:
    exchange, adapter = connected(sandbox(), overridden=False)
    markets = exchange.load_markets()
    assert markets[PAIR]["active"]
    assert markets[PAIR]["precision"]["amount"] == 0.001
    assert sorted(set(adapter.paths)) == [
        "GET /api/v3/exchangeInfo",
        "GET /dapi/v1/exchangeInfo",
        "GET /fapi/v1/exchangeInfo",
        "GET /sapi/v1/capital/config/getall",
        "GET /sapi/v1/margin/allPairs",
        "GET /sapi/v1/margin/isolated/allPairs",
    ]


def test_market_data_reads(venue: tuple[Any, Client]) -> None:
    exchange, client = venue
    assert exchange.fetch_time() == client.now_ms
    assert exchange.fetch_status()["status"] == "ok"
    assert len(exchange.fetch_ohlcv(PAIR, "15m", limit=3)) == 3
    assert exchange.fetch_ticker(PAIR)["last"] == 100
    assert exchange.fetch_tickers([PAIR])[PAIR]["bid"] == exchange.fetch_tickers()[PAIR]["bid"] == 99.99
    assert exchange.fetch_order_book(PAIR, 5)["asks"][0][0] == 100.01
    assert exchange.fetch_bids_asks([PAIR])[PAIR]["ask"] == 100.01
    assert exchange.fetch_last_prices()[PAIR]["price"] == 100
    assert len(exchange.fetch_trades(PAIR, limit=4)) == 4


def test_orders_of_every_type(venue: tuple[Any, Client]) -> None:
    exchange, _client = venue
    bought = exchange.create_order(PAIR, "market", "buy", 1)
    assert (bought["status"], bought["filled"]) == ("closed", 1)
    assert bought["fees"] == [{"currency": "ABC", "cost": 0.001}]
    made = [
        exchange.create_order(PAIR, "limit", "sell", 1, 110),
        exchange.create_order(PAIR, "market", "sell", 1, None, {"stopLossPrice": 95}),
        exchange.create_order(PAIR, "limit", "sell", 1, 94, {"stopLossPrice": 95}),
        exchange.create_order(PAIR, "limit", "sell", 1, 120, {"takeProfitPrice": 119}),
        exchange.create_order(PAIR, "limit", "buy", 1, 90, {"postOnly": True}),
    ]
    assert [row["id"] for row in exchange.fetch_open_orders(PAIR)] == [row["id"] for row in made]
    moved = exchange.edit_order(made[0]["id"], PAIR, "limit", "sell", 1, 111)
    assert exchange.fetch_order(moved["id"], PAIR)["price"] == 111
    assert exchange.cancel_order(made[1]["id"], PAIR)["status"] == "canceled"
    exchange.cancel_all_orders(PAIR)
    assert exchange.fetch_open_orders(PAIR) == []
    assert {row["status"] for row in exchange.fetch_orders(PAIR)} == {"closed", "canceled"}
    assert exchange.fetch_my_trades(PAIR)[0]["fee"] == {"currency": "ABC", "cost": 0.001}
    assert exchange.create_order(PAIR, "market", "buy", 1, None, {"test": True})["id"] is None


def test_account_reads(venue: tuple[Any, Client]) -> None:
    exchange, _client = venue
    assert exchange.fetch_balance()["USDT"]["free"] == 10000
    assert exchange.fetch_trading_fee(PAIR)["maker"] == 0.001
    assert exchange.privateGetAccountCommission({"symbol": "ABCUSDT"})["symbol"] == "ABCUSDT"
    assert exchange.privateGetRateLimitOrder()[0]["count"] in (0, "0")
    assert exchange.publicGetExecutionRules() == {"symbolRules": []}


def test_order_lists(venue: tuple[Any, Client]) -> None:
    exchange, _client = venue
    made = exchange.privatePostOrderListOco(
        {
            "symbol": "ABCUSDT",
            "side": "SELL",
            "quantity": "1",
            "listClientOrderId": "both",
            "aboveType": "LIMIT_MAKER",
            "abovePrice": "110",
            "aboveClientOrderId": "target",
            "belowType": "STOP_LOSS",
            "belowStopPrice": "95",
            "belowClientOrderId": "stop",
        }
    )
    assert [row["clientOrderId"] for row in made["orders"]] == ["stop", "target"]
    assert exchange.privateGetOpenOrderList()[0]["listClientOrderId"] == "both"
    gone = exchange.privateDeleteOrderList({"symbol": "ABCUSDT", "listClientOrderId": "both"})
    assert gone["listOrderStatus"] == "ALL_DONE"
    assert exchange.privateGetAllOrderList()[0]["listOrderStatus"] == "ALL_DONE"


def test_refusals_keep_the_librarys_own_classes(venue: tuple[Any, Client]) -> None:
    exchange, client = venue
    with pytest.raises(ccxt.OrderNotFound):
        exchange.cancel_order("999", PAIR)
    with pytest.raises(ccxt.InsufficientFunds):
        exchange.create_order(PAIR, "market", "sell", 999)
    with pytest.raises(ccxt.InvalidOrder, match="PERCENT_PRICE_BY_SIDE"):
        exchange.create_order(PAIR, "limit", "sell", 1, 1000)
    with pytest.raises(ccxt.BadRequest, match="Not all sent parameters were read"):
        exchange.create_order(PAIR, "limit", "buy", 1, 100, {"stopLoss": {"triggerPrice": 90}})
    exchange.milliseconds = lambda: client.now_ms + 5000
    with pytest.raises(ccxt.InvalidNonce):
        exchange.fetch_balance()
