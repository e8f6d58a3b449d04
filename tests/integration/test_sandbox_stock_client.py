"""The stock ccxt client, unchanged, against the sandbox: led by its addresses, and by an adapter of its session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import ccxt
import pytest

from tests.fakes.sandbox_process import SandboxThread, now_wall_ms

BTC = "BTC/USDC"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxThread]:
    running = SandboxThread.start(frozen=False, start_ms=now_wall_ms())
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["addresses", "adapter"])
def client(sandbox: SandboxThread, request: pytest.FixtureRequest) -> ccxt.binance:
    made = sandbox.client() if request.param == "addresses" else sandbox.rewritten_client()
    made.load_markets()
    return made


@pytest.fixture(scope="module")
def rewritten(sandbox: SandboxThread) -> ccxt.binance:
    made = sandbox.rewritten_client()
    made.load_markets()
    return made


def last(client: ccxt.binance) -> float:
    return float(client.fetch_ticker(BTC)["last"])


def test_markets_load_with_keys_and_default_options(client: ccxt.binance) -> None:
    market = client.market(BTC)

    assert set(client.symbols) == {"BTC/USDC", "ETH/USDC", "BNB/USDC"}
    assert market["active"]
    assert market["precision"] == {"amount": 0.000001, "price": 0.01, "base": 1e-8, "quote": 1e-8}
    assert market["limits"]["cost"]["min"] == 5


def test_time_and_status_are_served(client: ccxt.binance, sandbox: SandboxThread) -> None:
    assert client.fetch_time() == pytest.approx(sandbox.now_ms(), abs=1000)
    assert client.fetch_status()["status"] == "ok"


def test_all_views_of_the_price_agree(client: ccxt.binance, sandbox: SandboxThread) -> None:
    sandbox.post("clock", freeze=True)
    tickers = client.fetch_tickers()
    best = client.fetch_bids_asks([BTC])[BTC]
    book = client.fetch_order_book(BTC, 5)
    minute = client.fetch_ohlcv(BTC, "1m", limit=2)[-1]
    price = client.fetch_last_prices([BTC])[BTC]["price"]
    trade = client.fetch_trades(BTC, limit=1)[-1]
    sandbox.post("clock", run=True)

    assert tickers[BTC]["last"] == minute[4] == trade["price"] == price
    assert best["bid"] == book["bids"][0][0] < tickers[BTC]["last"] < best["ask"] == book["asks"][0][0]


def test_klines_go_back_to_the_beginning(client: ccxt.binance) -> None:
    quarters = client.fetch_ohlcv(BTC, "15m", limit=1000)
    first = client.fetch_ohlcv(BTC, "1h", since=0, limit=3)

    assert len(quarters) == 1000
    assert {after[0] - before[0] for before, after in pairwise(quarters)} == {900_000}
    assert first[0][0] == 1_704_067_200_000


@pytest.mark.parametrize(
    ("kind", "price", "params"),
    [
        ("limit", 0.9, {}),
        ("limit", 0.9, {"postOnly": True}),
    ],
)
def test_resting_buys_are_placed_and_cancelled(
    client: ccxt.binance, kind: Any, price: float, params: dict[str, Any]
) -> None:
    order = client.create_order(BTC, kind, "buy", 0.001, last(client) * price, params)

    assert client.fetch_order(order["id"], BTC)["status"] == "open"
    assert client.cancel_order(order["id"], BTC)["status"] == "canceled"


@pytest.mark.parametrize(
    ("kind", "price", "params"),
    [
        ("market", None, {"stopLossPrice": 0.95}),
        ("limit", 0.94, {"stopLossPrice": 0.95}),
        ("market", None, {"takeProfitPrice": 1.05}),
        ("limit", 1.06, {"takeProfitPrice": 1.05}),
        ("STOP_LOSS", None, {"trailingDelta": 100}),
    ],
)
def test_contingent_sells_are_placed_and_cancelled(
    client: ccxt.binance, kind: Any, price: float | None, params: dict[str, Any]
) -> None:
    client.create_order(BTC, "market", "buy", 0.002)
    now = last(client)
    levels = {
        name: value if name == "trailingDelta" else client.price_to_precision(BTC, value * now)
        for name, value in params.items()
    }

    order = client.create_order(BTC, kind, "sell", 0.001, None if price is None else price * now, levels)

    found = client.fetch_order(order["id"], BTC)
    assert (found["status"], found["side"]) == ("open", "sell")
    assert client.cancel_all_orders(BTC)


def test_a_market_order_fills_and_its_trades_add_up(client: ccxt.binance) -> None:
    before = client.fetch_balance()["total"].get("BTC", 0)
    order = client.create_order(BTC, "market", "buy", 0.01)

    trades = client.fetch_my_trades(BTC, params={"orderId": order["id"]})
    after = client.fetch_balance()["total"]["BTC"]
    assert order["status"] == "closed"
    assert order["filled"] == pytest.approx(sum(trade["amount"] for trade in trades)) == 0.01
    assert after - before == pytest.approx(0.01 - sum(trade["fee"]["cost"] for trade in trades))
    assert order["id"] in {row["id"] for row in client.fetch_orders(BTC)}


def test_an_oco_is_placed_over_one_quantity_and_cancelled_as_one(client: ccxt.binance) -> None:
    client.create_order(BTC, "market", "buy", 0.002)
    now = last(client)
    answer = client.privatePostOrderListOco(
        {
            "symbol": "BTCUSDC",
            "side": "SELL",
            "quantity": "0.00100",
            "aboveType": "LIMIT_MAKER",
            "abovePrice": client.price_to_precision(BTC, now * 1.05),
            "belowType": "STOP_LOSS",
            "belowStopPrice": client.price_to_precision(BTC, now * 0.95),
            "listClientOrderId": f"list-{client.milliseconds()}-{id(client)}",
            "aboveClientOrderId": f"up-{client.milliseconds()}-{id(client)}",
            "belowClientOrderId": f"down-{client.milliseconds()}-{id(client)}",
        }
    )

    assert [order["type"] for order in client.fetch_open_orders(BTC)] == ["market", "limit"]
    assert client.fetch_balance()["BTC"]["used"] == 0.001
    client.privateDeleteOrderList({"symbol": "BTCUSDC", "orderListId": answer["orderListId"]})
    assert client.fetch_open_orders(BTC) == []


def test_an_order_is_replaced_in_one_request(client: ccxt.binance) -> None:
    order = client.create_order(BTC, "limit", "buy", 0.001, last(client) * 0.9)

    replaced = client.edit_order(order["id"], BTC, "limit", "buy", 0.001, last(client) * 0.91)

    assert client.fetch_order(order["id"], BTC)["status"] == "canceled"
    assert client.cancel_order(replaced["id"], BTC)["status"] == "canceled"


def refuse_amount(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.create_order(BTC, "market", "sell", 99)


def refuse_unknown(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.fetch_order("987654321", BTC)


def refuse_cancel(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.cancel_order("987654321", BTC)


def refuse_stop(client: ccxt.binance, sandbox: SandboxThread) -> None:
    stop = client.price_to_precision(BTC, last(client) * 1.05)
    client.create_order(BTC, "market", "sell", 0.0001, None, {"stopLossPrice": stop})


def refuse_time(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.fetch_balance({"timestamp": sandbox.now_ms() - 60_000})


def refuse_notional(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.create_order(BTC, "limit", "buy", 0.00001, last(client) * 0.9)


def refuse_price(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.privatePostOrder(
        {"symbol": "BTCUSDC", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "1.001"}
    )


def refuse_all(client: ccxt.binance, sandbox: SandboxThread) -> None:
    client.fetch_open_orders()


def fail_with(kind: str) -> Callable[[ccxt.binance, SandboxThread], None]:
    def fail(client: ccxt.binance, sandbox: SandboxThread) -> None:
        sandbox.post("faults", script=[{"kind": kind, "path": "/api/v3/account"}])
        client.fetch_balance()

    return fail


@pytest.mark.parametrize(
    ("provoke", "expected"),
    [
        (refuse_amount, ccxt.InsufficientFunds),
        (refuse_unknown, ccxt.OrderNotFound),
        (refuse_cancel, ccxt.OrderNotFound),
        (refuse_stop, ccxt.OrderImmediatelyFillable),
        (refuse_time, ccxt.InvalidNonce),
        (refuse_notional, ccxt.BadRequest),
        (refuse_price, ccxt.InvalidOrder),
        (refuse_all, ccxt.ExchangeError),
        (fail_with("unavailable"), ccxt.ExchangeNotAvailable),
        (fail_with("overloaded"), ccxt.OperationFailed),
        (fail_with("unknown_before"), ccxt.ExchangeNotAvailable),
        (fail_with("timeout_before"), ccxt.RequestTimeout),
        (fail_with("drop_before"), ccxt.NetworkError),
        (fail_with("drop_after"), ccxt.NetworkError),
        (fail_with("cut"), ccxt.NetworkError),
        (fail_with("forbidden"), ccxt.ExchangeNotAvailable),
        (fail_with("bad_gateway_before"), ccxt.ExchangeNotAvailable),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_failures_have_the_class_they_have_on_the_real_host(
    rewritten: ccxt.binance, sandbox: SandboxThread, provoke: Any, expected: type[Exception]
) -> None:
    with pytest.raises(expected) as caught:
        provoke(rewritten, sandbox)

    assert type(caught.value) is expected or expected is ccxt.NetworkError


def test_a_halted_symbol_is_a_closed_market(rewritten: ccxt.binance, sandbox: SandboxThread) -> None:
    sandbox.post("symbols", symbol="ETH/USDC", status="HALT")

    with pytest.raises(ccxt.MarketClosed):
        rewritten.create_order("ETH/USDC", "market", "buy", 0.1)

    sandbox.post("symbols", symbol="ETH/USDC", status="TRADING")
    assert rewritten.create_order("ETH/USDC", "market", "buy", 0.1)["status"] == "closed"


def test_too_much_weight_stops_the_client_until_the_minute_is_over(
    rewritten: ccxt.binance, sandbox: SandboxThread
) -> None:
    sandbox.post("faults", script=[{"kind": "burst_429", "amount": 50, "path": "/api/v3/time"}])

    with pytest.raises(ccxt.DDoSProtection):
        rewritten.fetch_time()

    assert int(rewritten.last_response_headers["Retry-After"]) >= 1
    ends_ms = sandbox.now_ms() + 60
    while sandbox.now_ms() < ends_ms:
        continue
    assert rewritten.fetch_time() == pytest.approx(sandbox.now_ms(), abs=1000)


def test_a_revoked_key_is_refused(sandbox: SandboxThread) -> None:
    sandbox.post("account", keys={"revoked": True})
    fresh = sandbox.rewritten_client()
    with pytest.raises(ccxt.AuthenticationError):
        fresh.privateGetAccount()

    sandbox.post("account", keys={"revoked": False})
    assert fresh.privateGetAccount()["accountType"] == "SPOT"
