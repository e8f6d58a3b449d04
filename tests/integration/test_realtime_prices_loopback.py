"""The price stream against a real server on loopback that behaves, fails, lies and goes away."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.errors import MarketDataError
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import RealtimePricesSettings, Settings
from data_manager.data_manager import BinanceDataManager
from monitoring.realtime_prices import RealtimePrices, open_realtime_prices
from monitoring.stream_inbox import StreamLimits
from tests.fakes.loopback_exchange import Failure, LoopbackExchange
from tests.fakes.stream_server import StreamServer, book_ticker, mini_ticker, until

BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")
QUICK = StreamLimits(
    connect_s=1.0,
    answer_s=0.5,
    idle_s=0.4,
    settled_s=0.3,
    lifetime_s=60.0,
    longest_wait_s=0.2,
    turn_s=0.01,
)
PATIENT = StreamLimits(idle_s=30.0, settled_s=0.3, longest_wait_s=0.2, turn_s=0.01)
RECONNECT_S = 0.1


class StartPrices(Protocol):
    def __call__(self, url: str, *, limits: StreamLimits = QUICK, **settings: object) -> RealtimePrices: ...


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer() as running:
        yield running


@pytest.fixture
def start_prices(server: StreamServer) -> Iterator[StartPrices]:
    """Starts streams that are stopped before their server."""
    with ExitStack() as running:

        def start(url: str, *, limits: StreamLimits = QUICK, **settings: object) -> RealtimePrices:
            chosen = RealtimePricesSettings.model_validate({"reconnect_delay_sec": RECONNECT_S, **settings})
            clock = SystemClock()
            board = QuoteBoard(clock, source="binance_sandbox", capacity=chosen.max_symbols)
            prices = RealtimePrices(f"{url}/stream", chosen, board, clock, limits)
            running.callback(lambda: prices.stop())
            prices.start()
            return prices

        yield start


def has_quote(prices: RealtimePrices, symbol: Symbol = BTC, bid: str | None = None) -> bool:
    quote = prices.board.quote(symbol)
    return quote is not None and (bid is None or quote.bid == Decimal(bid))


def is_fresh(prices: RealtimePrices, symbol: Symbol = BTC) -> bool:
    return prices.board.ages().get(symbol, 99.0) < 0.2


def now_ms() -> int:
    return to_ms(SystemClock().now())


def test_quotes_are_fresh_and_carry_both_streams(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC])
    until(lambda: has_quote(prices))
    quote = prices.board.quote(BTC)
    assert quote is not None
    assert (quote.bid, quote.ask, quote.last) == (Decimal("100.00"), Decimal("100.02"), Decimal("100.01"))
    assert 0 <= quote.age_s(SystemClock().now()) < 1
    assert quote.source == "binance_sandbox"
    assert server.paths == ["/stream"]
    assert prices.figures().connected


def test_nothing_is_opened_while_nothing_is_wanted(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url)
    until(lambda: prices.figures().beat_age_s < 1)
    assert server.paths == []
    prices.follow([BTC])
    until(lambda: server.is_streaming("BTCUSDC"))
    prices.follow([])
    until(lambda: not prices.figures().connected)


def test_held_symbols_come_first_and_symbols_change_on_one_connection(
    server: StreamServer, start_prices: StartPrices
) -> None:
    prices = start_prices(server.url, limits=PATIENT, max_symbols=2)
    prices.follow([BTC], [ETH, SOL])
    until(lambda: server.is_streaming("BTCUSDC", "ETHUSDC"))
    assert prices.figures().left_out == 1
    prices.follow([SOL], [BTC, ETH])
    until(lambda: server.is_streaming("SOLUSDC", "BTCUSDC"))
    until(lambda: has_quote(prices, SOL))
    assert prices.board.quote(ETH) is None
    assert len(server.connections) == 1


def test_scanned_symbols_are_left_alone_when_not_wanted(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url, include_scan_pairs=False)
    prices.follow([BTC], [ETH, SOL])
    until(lambda: server.is_streaming("BTCUSDC"))
    assert prices.figures().followed == 1


def test_of_two_hundred_symbols_the_first_thirty_are_streamed(server: StreamServer, start_prices: StartPrices) -> None:
    many = [Symbol(f"A{number}/USDC") for number in range(200)]
    prices = start_prices(server.url, max_symbols=30)
    prices.follow(many[:10], many[10:])
    until(lambda: server.is_streaming(*(f"A{number}USDC" for number in range(30))))
    assert (prices.figures().followed, prices.figures().left_out) == (30, 170)
    until(lambda: all(age < 5 for age in prices.board.ages().values()))
    assert len(prices.board.ages()) == 30


def test_requests_keep_within_five_messages_a_second(server: StreamServer, start_prices: StartPrices) -> None:
    many = [Symbol(f"A{number}/USDC") for number in range(100)]
    prices = start_prices(server.url, limits=PATIENT, max_symbols=100)
    prices.follow(many)
    until(lambda: bool(server.connections) and len(server.newest.streams) == 200)
    times = [at for at, _ in server.newest.heard]
    assert times[-1] - times[0] > 0.2 * (len(times) - 1)
    assert max(server.newest.request_sizes()) <= 50


def test_a_frozen_stream_ages_and_is_built_anew(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.frozen = True
    until(lambda: prices.board.ages()[BTC] > 0.3)
    until(lambda: len(server.connections) >= 2)
    assert "no usable message" in prices.figures().last_error
    assert prices.board.ages()[BTC] > 0.3
    server.frozen = False
    until(lambda: is_fresh(prices))


def test_pings_are_answered_but_do_not_pass_for_prices(server: StreamServer, start_prices: StartPrices) -> None:
    server.heartbeat_s = 0.3
    prices = start_prices(server.url, limits=replace(QUICK, idle_s=0.8))
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.frozen = True
    until(lambda: prices.figures().failures > 0)
    assert "no usable message for 0.8" in prices.figures().last_error


@pytest.mark.parametrize("end", ["hang_up", "cut"])
def test_a_closed_stream_is_built_anew(end: str, server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    getattr(server, end)()
    until(lambda: len(server.connections) >= 2 and server.is_streaming("BTCUSDC"))
    until(lambda: is_fresh(prices))
    assert prices.figures().failures >= 1


@pytest.mark.parametrize(
    "text", ['{"e":"serverShutdown","E":1770123456789}', '{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}']
)
def test_an_announced_end_is_no_failure_and_the_stream_is_built_anew(
    text: str, server: StreamServer, start_prices: StartPrices
) -> None:
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.say(text)
    until(lambda: len(server.connections) >= 2 and server.is_streaming("BTCUSDC"))
    assert prices.figures().failures == 0


def test_a_connection_is_renewed_before_the_venue_ends_it(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url, limits=StreamLimits(lifetime_s=0.2, settled_s=0.1, turn_s=0.01))
    prices.follow([BTC])
    until(lambda: len(server.connections) >= 3)
    assert prices.figures().failures == 0


HOSTILE = (
    "",
    "null",
    "[]",
    "7",
    "{",
    '"text"',
    "[" * 30_000,
    '{"a":' * 10_000,
    "9" * 20_000,
    '{"stream":"btcusdc@bookTicker","data":null}',
    '{"stream":"btcusdc@bookTicker","data":{"u":true,"s":"BTCUSDC","b":"1","a":"2"}}',
    '{"stream":"btcusdc@bookTicker","data":{"u":1e400,"s":"BTCUSDC","b":"1","a":"2"}}',
    '{"stream":"btcusdc@bookTicker","data":{"u":9,"s":["BTCUSDC"],"b":"1","a":"2"}}',
    '{"e":{"e":[]},"u":1}',
    '{"e":"kline","s":"BTCUSDC"}',
    '{"result":null,"id":"x"}',
    '{"result":null,"id":99999}',
    '{"e":"24hrMiniTicker","s":"BTCUSDC","c":100.01,"E":1}',
    '{"e":"24hrMiniTicker","s":"BTCUSDC","c":"1e999999999999999999","E":1}',
    '{"error":5}',
    "\x00\ud7ff\uffff",
    book_ticker("BTCUSDC", 10**17, "NaN", "100"),
    book_ticker("BTCUSDC", 10**17, "Infinity", "Infinity"),
    book_ticker("BTCUSDC", 10**17, "0", "100"),
    book_ticker("BTCUSDC", 10**17, "-1", "100"),
    book_ticker("BTCUSDC", 10**17, "101", "100"),
    book_ticker("BTCUSDC", -1),
    book_ticker("BTCUSDC", 10**17, 100, 101),
    mini_ticker("BTCUSDC", -(10**30)),
    mini_ticker("BTCUSDC", 10**30),
    mini_ticker("BTCUSDC", 1, "NaN"),
    book_ticker("DOGEUSDC", 10**17),
)


def test_garbage_is_counted_and_disturbs_nothing(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.say(*HOSTILE, b"\x00\xff")
    server.bid = "100.01"
    until(lambda: has_quote(prices, BTC, "100.01"))
    figures = prices.figures()
    assert figures.malformed + figures.refused >= len(HOSTILE) - 1
    assert len(server.connections) == 1


@pytest.mark.parametrize("text", ["x" * 70_000, "x" * 5_000_000, '{"code":2,"msg":"Invalid request"}'])
def test_what_cannot_be_followed_ends_in_a_new_client(
    text: str, server: StreamServer, start_prices: StartPrices
) -> None:
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.say(text)
    until(lambda: len(server.connections) >= 2 and server.is_streaming("BTCUSDC"))
    until(lambda: is_fresh(prices))


def test_a_crossed_book_keeps_the_last_good_one_which_ages(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    server.bid, server.ask = "100.05", "100.03"
    until(lambda: prices.board.ages()[BTC] > 0.3)
    quote = prices.board.quote(BTC)
    assert quote is not None
    assert (quote.bid, quote.ask) == (Decimal("100.00"), Decimal("100.02"))
    assert prices.board.refused()["crossed"] > 0


@pytest.mark.parametrize("names", [True, False])
def test_a_refused_symbol_is_noticed_and_the_others_are_streamed(
    names: bool, server: StreamServer, start_prices: StartPrices
) -> None:
    server.refused, server.names_the_refused_request = {"ETHUSDC"}, names
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC, ETH, SOL])
    until(lambda: server.is_streaming("BTCUSDC", "SOLUSDC"))
    until(lambda: prices.figures().refused_requests == 2)
    until(lambda: prices.figures().streamed == 2)
    assert prices.board.ages()[ETH] == float("inf")
    assert len(server.connections) == 1


def test_an_unanswered_request_ends_in_a_new_client(server: StreamServer, start_prices: StartPrices) -> None:
    server.acknowledges = False
    prices = start_prices(server.url, limits=StreamLimits(answer_s=0.2, longest_wait_s=0.2, turn_s=0.01))
    prices.follow([BTC])
    until(lambda: len(server.connections) >= 2)
    assert "not answered" in prices.figures().last_error
    server.acknowledges = True
    until(lambda: is_fresh(prices))


@pytest.mark.parametrize("handshake", ["refuse", "redirect"])
def test_a_refused_handshake_is_repeated_with_growing_waits(
    handshake: str, server: StreamServer, start_prices: StartPrices
) -> None:
    server.handshake = handshake
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: prices.figures().failures >= 2)
    assert set(server.paths) == {"/stream"}
    server.handshake = "accept"
    until(lambda: is_fresh(prices))


def test_an_address_nobody_listens_at_is_tried_again(start_prices: StartPrices) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        prices = start_prices(f"ws://127.0.0.1:{unused.getsockname()[1]}")
        prices.follow([BTC])
        until(lambda: prices.figures().failures >= 2)
    assert not prices.figures().connected


def test_a_handshake_without_an_answer_is_given_up(server: StreamServer, start_prices: StartPrices) -> None:
    server.handshake = "hang"
    prices = start_prices(server.url, limits=StreamLimits(connect_s=0.2, longest_wait_s=0.2, turn_s=0.01))
    prices.follow([BTC])
    until(lambda: prices.figures().failures >= 1)
    assert "no connection within" in prices.figures().last_error


def stopped_after_s(prices: RealtimePrices) -> float:
    began = time.monotonic()
    prices.stop()
    assert not prices.is_alive()
    return time.monotonic() - began


def test_stop_while_connecting_takes_no_two_seconds(server: StreamServer, start_prices: StartPrices) -> None:
    server.handshake = "hang"
    prices = start_prices(server.url, limits=StreamLimits(connect_s=30))
    prices.follow([BTC])
    until(lambda: bool(server.paths))
    assert stopped_after_s(prices) < 2


def test_stop_while_streaming_or_waiting_takes_no_two_seconds(server: StreamServer, start_prices: StartPrices) -> None:
    streaming = start_prices(server.url, limits=StreamLimits())
    streaming.follow([BTC])
    until(lambda: is_fresh(streaming))
    assert stopped_after_s(streaming) < 2
    server.handshake = "refuse"
    waiting = start_prices(server.url, limits=StreamLimits(), reconnect_delay_sec=300)
    waiting.follow([BTC])
    until(lambda: waiting.figures().failures == 1)
    assert stopped_after_s(waiting) < 2


def test_a_stream_that_was_never_started_can_be_stopped() -> None:
    settings = Settings.from_mapping({"exchange": {"base_url": "http://127.0.0.1:1", "ws_url": "ws://127.0.0.1:1"}})
    prices = open_realtime_prices(settings, SystemClock(), "binance_sandbox")
    assert prices is not None
    prices.stop()
    assert not prices.is_alive()


def test_a_flood_slows_no_read_and_no_change_of_symbols(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(server.url, limits=StreamLimits(messages_per_s=500, turn_s=0.01))
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    flood = tuple(book_ticker("BTCUSDC", 10_000 + number) for number in range(20_000))
    flooding = threading.Thread(target=server.say, args=flood)
    flooding.start()
    took = []
    while flooding.is_alive():
        began = time.monotonic()
        prices.board.quote(BTC)
        prices.follow([BTC], [ETH])
        took.append(time.monotonic() - began)
        threading.Event().wait(0.002)
    flooding.join()
    took.sort()
    assert took[len(took) * 9 // 10] < 0.1
    assert prices.figures().skipped > 0
    until(lambda: server.is_streaming("BTCUSDC", "ETHUSDC"))
    until(lambda: has_quote(prices, ETH))


def a_market(exchange: LoopbackExchange, board: QuoteBoard, **data: object) -> BinanceDataManager:
    exchange_settings = {"base_url": exchange.url, "retry_attempts": 0, "timeout_ms": 1000}
    settings = Settings.from_mapping({"exchange": exchange_settings, "data": data})
    return BinanceDataManager(settings, board=board)


def test_the_market_prefers_the_stream_and_asks_only_for_depth(server: StreamServer, start_prices: StartPrices) -> None:
    server.bid, server.ask = "101.00", "101.05"
    with LoopbackExchange(now_ms()) as exchange:
        prices = start_prices(server.url)
        market = a_market(exchange, prices.board)
        prices.follow([BTC])
        until(lambda: is_fresh(prices))
        asked = market.quote(BTC)
        assert asked.bid == Decimal("100.00")
        until(lambda: market.quote(BTC).bid == Decimal("101.00"))
        streamed = market.quote(BTC)
        assert (streamed.depth_quote, streamed.volume_24h_quote) == (asked.depth_quote, asked.volume_24h_quote)
        assert streamed.depth_quote > 0
        assert streamed.source == market.source.name
        assert exchange.paths().count("/api/v3/depth") == 1


def test_a_frozen_stream_is_replaced_by_asking_and_then_by_an_error(
    server: StreamServer, start_prices: StartPrices
) -> None:
    server.bid, server.ask = "101.00", "101.05"
    with LoopbackExchange(now_ms()) as exchange:
        prices = start_prices(server.url)
        market = a_market(exchange, prices.board, max_quote_age_entry_sec=1, max_quote_age_exit_sec=1.5)
        prices.follow([BTC])
        until(lambda: is_fresh(prices))
        market.quote(BTC)
        until(lambda: market.quote(BTC).bid == Decimal("101.00"))
        server.frozen = True
        until(lambda: market.quote(BTC).bid == Decimal("100.00"))
        assert prices.board.ages()[BTC] > 1
        exchange.failures = [Failure(500, "{}")] * 100
        until(lambda: raises(market, BTC))


def raises(market: BinanceDataManager, symbol: Symbol) -> bool:
    try:
        quote = market.quote(symbol)
    except MarketDataError:
        return True
    assert quote.age_s(market.clock.now()) < 2
    return False


def test_while_the_venue_does_not_answer_the_stream_goes_on(server: StreamServer, start_prices: StartPrices) -> None:
    with LoopbackExchange(now_ms()) as exchange:
        prices = start_prices(server.url)
        market = a_market(exchange, prices.board)
        exchange.failures = [Failure(500, "{}")] * 100
        prices.follow([BTC])
        until(lambda: is_fresh(prices))
        quote = market.quote(BTC)
        assert quote.age_s(market.clock.now()) < 1
        assert quote.depth_quote == 0
        with pytest.raises(MarketDataError):
            market.quote(ETH)


def test_the_thread_outlives_a_board_that_breaks(
    server: StreamServer, start_prices: StartPrices, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = start_prices(server.url)

    def broken(*_: object, **__: object) -> bool:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(prices.board, "book", broken)
        prices.follow([BTC])
        until(lambda: prices.figures().failures >= 2)
        assert "MemoryError" in prices.figures().last_error
    until(lambda: is_fresh(prices))


def test_no_descriptor_is_left_behind_by_many_connections(server: StreamServer, start_prices: StartPrices) -> None:
    prices = start_prices(
        server.url, limits=StreamLimits(lifetime_s=0.02, settled_s=0, turn_s=0.005), reconnect_delay_sec=0.1
    )
    prices.follow([BTC])
    until(lambda: len(server.connections) >= 3)
    before = len(os.listdir("/proc/self/fd"))
    until(lambda: len(server.connections) >= 9)
    assert len(os.listdir("/proc/self/fd")) <= before + 5


def test_a_message_held_up_on_its_way_is_as_old_as_it_is(server: StreamServer, start_prices: StartPrices) -> None:
    server.frozen = True
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC])
    until(lambda: server.is_streaming("BTCUSDC"))
    server.say(mini_ticker("BTCUSDC", now_ms() - 4000), book_ticker("BTCUSDC", 5))
    until(lambda: has_quote(prices))
    quote = prices.board.quote(BTC)
    assert quote is not None
    assert timedelta(seconds=4) <= SystemClock().now() - quote.at < timedelta(seconds=9)


def test_messages_without_an_envelope_are_understood(server: StreamServer, start_prices: StartPrices) -> None:
    server.frozen = True
    prices = start_prices(server.url, limits=PATIENT)
    prices.follow([BTC])
    until(lambda: server.is_streaming("BTCUSDC"))
    for text in (mini_ticker("BTCUSDC", now_ms()), book_ticker("BTCUSDC", 5)):
        server.say(json.dumps(json.loads(text)["data"]))
    until(lambda: has_quote(prices))


def a_certificate_nobody_vouches_for(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = SystemClock().now()
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path, start_prices: StartPrices) -> None:
    with StreamServer(a_certificate_nobody_vouches_for(tmp_path)) as impostor:
        prices = start_prices(impostor.url)
        prices.follow([BTC])
        until(lambda: prices.figures().failures >= 1)
        assert "certificate verify failed" in prices.figures().last_error.lower()
        assert impostor.paths == []
        prices.stop()


def misfortunes(server: StreamServer, prices: RealtimePrices) -> list[Callable[[], object]]:
    """Give what goes wrong: each call does one thing, or undoes it."""

    def switch(name: str, one: object, other: object) -> Callable[[], None]:
        return lambda: setattr(server, name, one if getattr(server, name) == other else other)

    return [
        server.hang_up,
        server.cut,
        lambda: server.say(*HOSTILE),
        lambda: server.say("x" * 100_000),
        lambda: server.say('{"e":"serverShutdown","E":1}'),
        lambda: server.say(*(book_ticker("BTCUSDC", number) for number in range(500))),
        lambda: prices.follow([BTC], [ETH, SOL] if prices.figures().followed == 1 else []),
        switch("frozen", True, False),
        switch("bid", "100.05", "100.00"),
        switch("handshake", "refuse", "accept"),
        switch("refused", {"ETHUSDC"}, set()),
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_no_quote_is_invalid_or_older_than_the_one_before(
    seed: int, server: StreamServer, start_prices: StartPrices
) -> None:
    prices = start_prices(server.url)
    prices.follow([BTC])
    until(lambda: is_fresh(prices))
    newest = SystemClock().now() - timedelta(seconds=10)
    bad_luck = misfortunes(server, prices)
    for number in np.random.default_rng(seed).integers(0, len(bad_luck), size=20):
        bad_luck[number]()
        threading.Event().wait(0.02)
        quote = prices.board.quote(BTC)
        assert quote is not None
        assert (quote.ask, quote.bid) == (Decimal("100.02"), Decimal("100.00"))
        assert newest <= quote.at <= SystemClock().now()
        newest = quote.at
    server.frozen, server.handshake, server.bid, server.refused = False, "accept", "100.00", set()
    until(lambda: is_fresh(prices))
