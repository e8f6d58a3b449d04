"""Market streams and the WebSocket API, frame by frame, on a clock that stands still until it is advanced."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from public_api.sandbox.socket_session import SocketRules
from tests.fakes.sandbox_process import ROOT, SandboxThread


@pytest.fixture
def sandbox() -> Iterator[SandboxThread]:
    running = SandboxThread.start(symbols=("BTC/USDC", "ETH/USDC"))
    yield running
    running.stop()


@pytest.fixture
def payloads() -> Path:
    folder = ROOT.parent / "shared" / "binance" / "payloads"
    if not folder.is_dir():
        pytest.skip(f"recorded payloads not found at {folder}")
    return folder


class Talk:
    """One open socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, sandbox: SandboxThread) -> None:
        self.socket = socket
        self.sandbox = sandbox

    async def ask(self, heard: list[Any] | None = None, **frame: Any) -> Any:
        """Send a frame and give the answer with its id; events in between are kept in `heard`."""
        await self.socket.send_json(frame)
        while True:
            answer = await self.hear()
            if answer.get("id") == frame.get("id", answer.get("id")) and "e" not in answer:
                return answer
            if heard is not None:
                heard.append(answer)

    async def hear(self) -> Any:
        return await self.socket.receive_json(timeout=5)

    async def advance(self, seconds: float) -> None:
        await asyncio.to_thread(self.sandbox.post, "clock", advance_ms=int(seconds * 1000))

    async def tell(self, name: str, **wish: Any) -> Any:
        return await asyncio.to_thread(lambda: self.sandbox.post(name, **wish))

    async def close_code(self) -> int | None:
        while True:
            message = await self.socket.receive(timeout=5)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return self.socket.close_code


def talk(sandbox: SandboxThread, path: str, steps: Callable[[Talk], Awaitable[Any]], **options: Any) -> Any:
    async def talked() -> Any:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(sandbox.ws_url + path, **options) as socket:
                return await asyncio.wait_for(steps(Talk(socket, sandbox)), 20)

    return asyncio.run(talked())


def recorded(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("stream", "example"),
    [
        ("btcusdc@miniTicker", "individual_symbol_mini_ticker_stream"),
        ("btcusdc@ticker", "individual_symbol_ticker_streams"),
        ("btcusdc@bookTicker", "individual_symbol_book_ticker_streams"),
        ("btcusdc@trade", "trade_streams"),
        ("btcusdc@aggTrade", "aggregate_trade_streams"),
        ("btcusdc@kline_1m", "kline_candlestick_streams_for_utc"),
        ("btcusdc@depth@100ms", "diff_depth_stream"),
        ("btcusdc@depth5", "partial_book_depth_streams"),
    ],
)
def test_events_have_the_recorded_fields(sandbox: SandboxThread, payloads: Path, stream: str, example: str) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.advance(1)
        return await socket.hear()

    event = talk(sandbox, f"/ws/{stream}", steps)
    wanted = recorded(payloads, f"market_streams/{example}.json")

    assert event.keys() == wanted.keys()
    assert {name: type(value) for name, value in event.items()} == {name: type(value) for name, value in wanted.items()}
    if "k" in wanted:
        assert event["k"].keys() == wanted["k"].keys()


def test_the_combined_address_wraps_events_and_the_property_unwraps_them(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.advance(1)
        wrapped = await socket.hear()
        answers = [
            await socket.ask(method="GET_PROPERTY", params=["combined"], id=1),
            await socket.ask(method="SET_PROPERTY", params=["combined", False], id=2),
            await socket.ask(method="LIST_SUBSCRIPTIONS", id=3),
        ]
        await socket.advance(1)
        return wrapped, answers, await socket.hear()

    wrapped, answers, bare = talk(sandbox, "/stream?streams=btcusdc@miniTicker/ethusdc@trade", steps)

    assert wrapped["stream"] == "btcusdc@miniTicker"
    assert wrapped["data"]["s"] == "BTCUSDC"
    assert answers == [
        {"result": True, "id": 1},
        {"result": None, "id": 2},
        {"result": ["btcusdc@miniTicker", "ethusdc@trade"], "id": 3},
    ]
    assert bare["e"] in ("24hrMiniTicker", "trade")


def test_a_snapshot_and_the_changes_after_it_give_the_book_of_every_later_instant(sandbox: SandboxThread) -> None:
    def snapshot() -> Any:
        url = f"{sandbox.base_url}/api/v3/depth?symbol=BTCUSDC&limit=100"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    async def steps(socket: Talk) -> None:
        await socket.ask(method="SUBSCRIBE", params=["btcusdc@depth@100ms"], id=1)
        book = await asyncio.to_thread(snapshot)
        newest, sides = book["lastUpdateId"], (dict(book["bids"]), dict(book["asks"]))
        await socket.tell("account", order={"symbol": "BTC/USDC", "side": "BUY", "quantity": "0.5"})
        for _ in range(5):
            await socket.advance(1.3)
        await socket.ask(method="UNSUBSCRIBE", params=["btcusdc@depth@100ms"], id=1, heard=heard)
        for event in heard:
            if event["u"] > newest:
                assert event["U"] <= newest + 1
                newest = event["u"]
                for side, changes in zip(sides, (event["b"], event["a"]), strict=True):
                    side.update(changes)
        now = await asyncio.to_thread(snapshot)
        left = tuple({price: size for price, size in side.items() if float(size)} for side in sides)
        assert left == (dict(now["bids"]), dict(now["asks"]))

    heard: list[Any] = []
    talk(sandbox, "/ws", steps)
    assert len(heard) >= 5


def test_subscriptions_begin_and_end_at_the_clients_word(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        assert await socket.ask(method="SUBSCRIBE", params=["!miniTicker@arr"], id=1) == {"result": None, "id": 1}
        await socket.advance(1)
        every = await socket.hear()
        await socket.ask(method="UNSUBSCRIBE", params=["!miniTicker@arr"], id=2)
        left = await socket.ask(method="LIST_SUBSCRIPTIONS", id=3)
        return every, left

    every, left = talk(sandbox, "/ws", steps)

    assert [row["s"] for row in every] == ["BTCUSDC", "ETHUSDC"]
    assert left["result"] == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("no json", 3),
        ("[]", 2),
        ('{"method":"SUBSCRIBE","params":"x","id":1}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 0),
    ],
)
def test_nonsense_is_answered_with_an_error(sandbox: SandboxThread, frame: str, code: int) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.socket.send_str(frame)
        return await socket.hear()

    assert talk(sandbox, "/ws/0", steps)["code"] == code


def test_1024_streams_fit_and_one_more_does_not(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        full = await socket.ask(method="SUBSCRIBE", params=[f"x{number}@trade" for number in range(1024)], id=1)
        over = await socket.ask(method="SUBSCRIBE", params=["btcusdc@trade"], id=2)
        return full, over

    full, over = talk(sandbox, "/ws", steps)

    assert full == {"result": None, "id": 1}
    assert over["code"] == 2


def test_a_kline_is_closed_exactly_once_and_as_the_bar_says(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> list[Any]:
        events = []
        for _ in range(40):
            await socket.advance(2)
            events.append(await socket.hear())
            if events[-1]["k"]["x"]:
                events.append(await socket.hear())
        return events

    events = talk(sandbox, "/ws/btcusdc@kline_1m", steps)
    closed = [event["k"] for event in events if event["k"]["x"]]
    opens = [kline["t"] for kline in closed]
    client = sandbox.client(fetchMarkets={"types": ["spot"]}, fetchCurrencies=False, fetchMargins=False)
    bars = client.fetch_ohlcv("BTC/USDC", "1m", since=opens[0], limit=1)

    assert len(opens) == len(set(opens)) == 1
    kline = closed[0]
    assert [kline["t"], *(float(kline[name]) for name in "ohlcv")] == bars[0]
    running = [float(event["k"]["h"]) for event in events if event["k"]["t"] == opens[0]]
    assert running == sorted(running)


def test_five_messages_a_second_pass_and_the_sixth_ends_the_connection(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        for number in range(5):
            await socket.ask(method="LIST_SUBSCRIPTIONS", id=number)
        await socket.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 6})
        return await socket.close_code()

    assert talk(sandbox, "/ws", steps) == 1008


def test_a_client_that_answers_no_ping_is_closed() -> None:
    async def steps(socket: Talk) -> Any:
        return await socket.close_code()

    impatient = SandboxThread.start(symbols=("BTC/USDC",), rules=SocketRules(ping_every_s=0.1, pong_within_s=0.15))
    try:
        assert talk(impatient, "/ws", steps, autoping=False) == 1008
    finally:
        impatient.stop()


def test_too_many_connections_are_turned_away() -> None:
    async def steps(socket: Talk) -> Any:
        return await socket.ask(method="LIST_SUBSCRIPTIONS", id=1)

    narrow = SandboxThread.start(symbols=("BTC/USDC",), rules=SocketRules(connects_per_5min=2))
    try:
        for _ in range(2):
            assert talk(narrow, "/ws", steps)["result"] == []
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            talk(narrow, "/ws", steps)
    finally:
        narrow.stop()
    assert refused.value.status == 429


def test_a_client_that_does_not_read_is_dropped() -> None:
    async def steps(socket: Talk) -> Any:
        await subscribed(socket)
        await socket.tell("account", deposit={"ETH": "1", "BTC": "1"})
        return await socket.close_code()

    narrow = SandboxThread.start(symbols=("BTC/USDC",), rules=SocketRules(outbox=1))
    try:
        assert talk(narrow, "/ws-api/v3", steps) == 1006
    finally:
        narrow.stop()


def test_a_connection_dies_of_age_after_24_hours(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.advance(24 * 3600 - 1)
        await asyncio.sleep(0.4)
        alive = not socket.socket.closed
        await socket.advance(1)
        return alive, await socket.close_code()

    assert talk(sandbox, "/ws", steps) == (True, 1001)


def test_a_shutdown_is_announced_before_the_end(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.tell("streams", shutdown=True)
        return await socket.hear(), await socket.close_code()

    raw, code = talk(sandbox, "/ws/btcusdc@trade", steps)
    wrapped, _ = talk(sandbox, "/stream?streams=btcusdc@trade", steps)
    api, _ = talk(sandbox, "/ws-api/v3", steps)

    assert (raw["e"], code) == ("serverShutdown", 1001)
    assert (wrapped["stream"], wrapped["data"]["e"]) == ("!serverShutdown", "serverShutdown")
    assert api["event"]["e"] == "serverShutdown"


def test_frozen_streams_say_nothing_and_a_refused_subscription_is_an_error(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        await socket.tell("streams", freeze=True, refuse=1)
        await socket.advance(1)
        refused = await socket.ask(method="SUBSCRIBE", params=["ethusdc@trade"], id=1)
        with pytest.raises(asyncio.TimeoutError):
            await socket.socket.receive_json(timeout=0.2)
        return refused

    assert talk(sandbox, "/ws/btcusdc@trade", steps)["code"] == 2


def signed(params: Mapping[str, Any], sandbox: SandboxThread) -> dict[str, Any]:
    full = {**params, "apiKey": sandbox.api_key, "timestamp": sandbox.now_ms()}
    payload = "&".join(f"{name}={full[name]}" for name in sorted(full))
    digest = hmac.new(sandbox.api_secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return full | {"signature": digest}


async def subscribed(socket: Talk) -> Any:
    params = await asyncio.to_thread(signed, {}, socket.sandbox)
    return await socket.ask(id="u", method="userDataStream.subscribe.signature", params=params)


def test_the_account_hears_of_a_market_order_in_the_recorded_form(sandbox: SandboxThread, payloads: Path) -> None:
    async def steps(socket: Talk) -> Any:
        answer = await subscribed(socket)
        order = {"symbol": "BTCUSDC", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        await socket.socket.send_json(
            {"id": "o", "method": "order.place", "params": await asyncio.to_thread(signed, order, socket.sandbox)}
        )
        heard = [await socket.hear()]
        while heard[-1].get("event", {}).get("e") != "outboundAccountPosition":
            heard.append(await socket.hear())
        if not any("status" in frame for frame in heard):
            heard.append(await socket.hear())
        return answer, heard

    answer, heard = talk(sandbox, "/ws-api/v3", steps)
    placed = next(frame for frame in heard if "status" in frame)
    events = [frame["event"] for frame in heard if "event" in frame]
    reports = [event for event in events if event["e"] == "executionReport"]
    run = recorded(payloads, "user_stream/market_order_expired_event_run.json")

    assert answer == {"id": "u", "status": 200, "result": {"subscriptionId": 0}}
    assert (placed["status"], placed["result"]["status"]) == (200, "FILLED")
    assert placed["rateLimits"]
    assert [report["x"] for report in reports] == ["NEW", *["TRADE"] * len(placed["result"]["fills"])]
    assert reports[0].keys() == run[0].keys()
    assert reports[1].keys() == run[1].keys()
    assert reports[-1]["X"] == "FILLED"
    assert {row["a"] for row in events[-1]["B"]} == {"BTC", "USDC"}


def test_an_oco_and_its_cancellation_are_told_with_list_states(sandbox: SandboxThread, payloads: Path) -> None:
    async def steps(socket: Talk) -> Any:
        await subscribed(socket)
        await socket.tell("account", deposit={"BTC": "1"})
        price = float((await asyncio.to_thread(sandbox.get, "prices"))["BTC/USDC"]["last"])
        oco = {
            "symbol": "BTCUSDC",
            "side": "SELL",
            "quantity": "0.01",
            "aboveType": "LIMIT_MAKER",
            "abovePrice": f"{price * 1.05:.2f}",
            "belowType": "STOP_LOSS",
            "belowStopPrice": f"{price * 0.95:.2f}",
            "listClientOrderId": "list1",
            "aboveClientOrderId": "above1",
            "belowClientOrderId": "below1",
        }
        cancel = {"symbol": "BTCUSDC", "listClientOrderId": "list1"}
        for method, params in (("orderList.place.oco", oco), ("orderList.cancel", cancel)):
            frame = {"id": method, "method": method, "params": await asyncio.to_thread(signed, params, sandbox)}
            await socket.socket.send_json(frame)
        heard: list[Any] = []
        while len([frame for frame in heard if frame.get("event", {}).get("e") == "listStatus"]) < 2:
            heard.append(await socket.hear())
        return [frame["event"] for frame in heard if "event" in frame]

    events = talk(sandbox, "/ws-api/v3", steps)
    lists = [event for event in events if event["e"] == "listStatus"]
    cancelled = [event for event in events if event.get("x") == "CANCELED"]

    assert events[0] == {**events[0], "e": "balanceUpdate", "a": "BTC", "d": "1.00000000"}
    assert lists[0].keys() == recorded(payloads, "user_stream/order_reject_reason.json")["event"].keys()
    assert [event["l"] for event in lists] == ["EXEC_STARTED", "ALL_DONE"]
    assert {event["C"] for event in cancelled} == {"above1", "below1"}
    assert all(event["c"] != event["C"] for event in cancelled)


def test_events_are_lost_doubled_and_swapped_on_demand(sandbox: SandboxThread) -> None:
    async def deposits(socket: Talk, wish: Mapping[str, int], count: int) -> list[str]:
        await socket.tell("streams", **wish)
        for amount in ("1", "2", "3"):
            await socket.tell("account", deposit={"ETH": amount})
        heard = [(await socket.hear())["event"] for _ in range(count)]
        return [event["d"][0] if event["e"] == "balanceUpdate" else "p" for event in heard]

    async def steps(socket: Talk) -> Any:
        await subscribed(socket)
        return [
            await deposits(socket, {"lose": 2}, 4),
            await deposits(socket, {"duplicate": 1}, 7),
            await deposits(socket, {"reorder": 1}, 6),
        ]

    assert talk(sandbox, "/ws-api/v3", steps) == [
        ["2", "p", "3", "p"],
        ["1", "1", "p", "2", "p", "3", "p"],
        ["p", "1", "2", "p", "3", "p"],
    ]


def test_signatures_subscriptions_and_methods_are_refused_with_their_codes(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        good = await asyncio.to_thread(signed, {}, sandbox)
        return [
            (await socket.ask(id=1, method="account.status", params=good | {"signature": "0" * 64}))["error"]["code"],
            (await socket.ask(id=2, method="account.status", params={}))["error"]["code"],
            (await socket.ask(id=3, method="no.such"))["error"]["code"],
            (await socket.ask(id=4, method="userDataStream.unsubscribe"))["error"]["code"],
            (await socket.ask(id=5, method="userDataStream.subscribe.signature", params=good))["status"],
        ]

    async def twice(socket: Talk) -> Any:
        await subscribed(socket)
        again = (await subscribed(socket))["error"]["code"]
        listed = (await socket.ask(id=3, method="session.subscriptions"))["result"]
        gone = (await socket.ask(id=4, method="userDataStream.unsubscribe", params={"subscriptionId": 0}))["result"]
        return again, listed, gone

    assert talk(sandbox, "/ws-api/v3", steps) == [-1022, -1102, -1020, -2036, 200]
    assert talk(sandbox, "/ws-api/v3", twice) == (-2035, [{"subscriptionId": 0}], {})


def test_a_session_is_opened_with_an_ed25519_key_only(sandbox: SandboxThread) -> None:
    keys = sandbox.world.keys
    private: Any = load_pem_private_key(keys.ed25519_private.encode(), None)

    async def steps(socket: Talk) -> Any:
        now_ms = await asyncio.to_thread(sandbox.now_ms)
        payload = f"apiKey={keys.ed25519_key}&timestamp={now_ms}"
        signature = base64.b64encode(private.sign(payload.encode())).decode()
        params = {"apiKey": keys.ed25519_key, "timestamp": now_ms, "signature": signature}
        wrong = await asyncio.to_thread(signed, {}, sandbox)
        return [
            (await socket.ask(id=1, method="session.logon", params=wrong))["status"],
            (await socket.ask(id=2, method="session.logon", params=params))["result"]["apiKey"],
            (await socket.ask(id=3, method="account.status", params={"timestamp": now_ms}))["status"],
            (await socket.ask(id=4, method="userDataStream.subscribe"))["result"],
            (await socket.ask(id=5, method="session.logout"))["result"]["apiKey"],
        ]

    assert talk(sandbox, "/ws-api/v3", steps) == [400, keys.ed25519_key, 200, {"subscriptionId": 0}, None]


def test_public_methods_answer_as_rest_does(sandbox: SandboxThread) -> None:
    async def steps(socket: Talk) -> Any:
        ping = await socket.ask(id=1, method="ping")
        time = await socket.ask(id=2, method="time")
        klines = await socket.ask(id=3, method="klines", params={"symbol": "BTCUSDC", "interval": "1m", "limit": 2})
        tickers = await socket.ask(id=4, method="ticker.price", params={"symbols": ["BTCUSDC", "ETHUSDC"]})
        return ping, time, klines, tickers

    ping, time, klines, tickers = talk(sandbox, "/ws-api/v3", steps)

    assert (ping["status"], ping["result"]) == (200, {})
    assert time["result"]["serverTime"] == sandbox.now_ms()
    assert len(klines["result"]) == 2
    assert {row["symbol"] for row in tickers["result"]} == {"BTCUSDC", "ETHUSDC"}
    assert ping["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
