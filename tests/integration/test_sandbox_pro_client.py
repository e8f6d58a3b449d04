"""The stock ccxt.pro client against the sandbox: market streams and the account's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.sandbox_process import Sandbox, SandboxThread, now_wall_ms, redirect

pro = pytest.importorskip("ccxt.pro")

BTC = "BTC/USDC"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxThread]:
    running = SandboxThread.start(frozen=False, start_ms=now_wall_ms())
    yield running
    running.stop()


@asynccontextmanager
async def opened(sandbox: Sandbox) -> AsyncIterator[Any]:
    client = pro.binance(
        sandbox.credentials(defaultType="spot", fetchMarkets={"types": ["spot"]}, fetchCurrencies=False)
    )
    redirect(client.urls["api"], sandbox.base_url)
    client.urls["api"]["ws"]["spot"] = f"{sandbox.ws_url}/ws"
    client.urls["api"]["ws"]["ws-api"]["spot"] = f"{sandbox.ws_url}/ws-api/v3"
    try:
        yield client
    finally:
        await client.close()


def watch(sandbox: Sandbox, steps: Callable[[Any], Awaitable[Any]]) -> Any:
    async def watched() -> Any:
        async with opened(sandbox) as client:
            return await asyncio.wait_for(steps(client), 15)

    return asyncio.run(watched())


def test_tickers_books_trades_and_klines_are_pushed(sandbox: SandboxThread) -> None:
    async def steps(client: Any) -> list[Any]:
        return list(
            await asyncio.gather(
                client.watch_ticker(BTC),
                client.watch_bids_asks([BTC]),
                client.watch_ohlcv(BTC, "1m"),
                client.watch_trades(BTC),
                client.watch_order_book(BTC),
                client.watch_tickers(None, {"name": "miniTicker"}),
            )
        )

    ticker, best, klines, trades, book, everything = watch(sandbox, steps)

    assert ticker["last"] > 0
    assert best[BTC]["bid"] < best[BTC]["ask"]
    assert klines[-1][3] <= klines[-1][4] <= klines[-1][2]
    assert trades[-1]["price"] > 0
    assert book["bids"][0][0] < book["asks"][0][0]
    assert set(everything) <= {"BTC/USDC", "ETH/USDC", "BNB/USDC"}


def test_the_account_is_told_of_its_orders_trades_and_balances(sandbox: SandboxThread) -> None:
    async def steps(client: Any) -> tuple[Any, Any, Any]:
        await client.load_markets()
        watching = [
            asyncio.ensure_future(client.watch_orders(BTC)),
            asyncio.ensure_future(client.watch_my_trades(BTC)),
            asyncio.ensure_future(client.watch_balance()),
        ]
        while None in sandbox.get("streams")["users"] or not sandbox.get("streams")["users"]:
            await asyncio.sleep(0.05)
        order = await client.create_order(BTC, "market", "buy", 0.01)
        orders, trades, balance = await asyncio.gather(*watching)
        assert {row["id"] for row in orders} == {order["id"]}
        return order, trades, balance

    order, trades, balance = watch(sandbox, steps)

    assert trades[0]["order"] == order["id"]
    assert trades[0]["fee"]["currency"] == "BTC"
    assert balance["BTC"]["free"] > 0


def test_a_cut_connection_is_an_error_the_client_sees(sandbox: SandboxThread) -> None:
    async def steps(client: Any) -> None:
        await client.watch_ticker(BTC)
        sandbox.post("streams", drop=True)
        while True:
            await client.watch_ticker(BTC)

    with pytest.raises(pro.NetworkError):
        watch(sandbox, steps)
