"""Reading the stream's messages, asking for symbols, finding the address: the parts that need no connection."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.domain.signals import Opportunity, ScanReport, hold
from bn_ml.errors import ConfigError, Transient
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import ExchangeSettings, RealtimePricesSettings, Settings
from monitoring.realtime_prices import RealtimePrices, open_realtime_prices, wait_s
from monitoring.stream_address import stream_url
from monitoring.stream_inbox import StreamInbox, StreamLimits
from monitoring.stream_messages import (
    Acknowledged,
    BookUpdate,
    LastPrice,
    Message,
    RequestRefused,
    ShuttingDown,
    read_message,
)
from monitoring.stream_subscriptions import (
    ANSWER_WITHIN_S,
    FIRST_ASIDE_S,
    LONGEST_ASIDE_S,
    REQUEST_INTERVAL_S,
    SYMBOLS_PER_REQUEST,
    Subscriptions,
)
from monitoring.symbols_to_stream import SymbolsToStream
from tests.fakes.book_builders import a_position

PAYLOADS = Path(__file__).resolve().parents[4] / "shared" / "binance" / "payloads" / "market_streams"
BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")
RECORDED: tuple[tuple[str, Message], ...] = (
    (
        "individual_symbol_book_ticker_streams.json",
        BookUpdate("BNBUSDT", Decimal("25.35190000"), Decimal("25.36520000"), 400900217),
    ),
    ("nt_ws_spot_ticker_book.json", BookUpdate("ETHUSDT", Decimal("4507.24"), Decimal("4507.25"), 12711621188)),
    ("individual_symbol_mini_ticker_stream.json", LastPrice("BNBBTC", Decimal("0.0025"), 1672515782136)),
    ("trade_streams.json", LastPrice("BNBBTC", Decimal("0.001"), 1672515782136)),
    ("subscribe_to_a_stream_2.json", Acknowledged(1)),
    ("unsubscribe_to_a_stream_2.json", Acknowledged(312)),
    ("server_shutdown.json", ShuttingDown()),
    ("server_shutdown_2.json", ShuttingDown()),
)


@pytest.mark.parametrize(("name", "message"), RECORDED, ids=[name for name, _ in RECORDED])
def test_recorded_messages_are_understood(name: str, message: Message) -> None:
    if not PAYLOADS.is_dir():
        pytest.skip(f"the recorded payloads are not at {PAYLOADS}")
    assert read_message((PAYLOADS / name).read_text()) == message


OTHERS = (
    "aggregate_trade_streams.json",
    "average_price.json",
    "diff_depth_stream.json",
    "gct_combined_24hrticker.json",
    "gct_combined_kline.json",
    "partial_book_depth_streams.json",
    "reference_price_streams.json",
    "xc_testtickerevent.json",
)


@pytest.mark.parametrize("name", OTHERS)
def test_recorded_events_nobody_asked_for_are_unusable(name: str) -> None:
    if not PAYLOADS.is_dir():
        pytest.skip(f"the recorded payloads are not at {PAYLOADS}")
    with pytest.raises(ValueError, match=r"not asked for|neither an event nor an answer"):
        read_message((PAYLOADS / name).read_text())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"error":{"code":2,"msg":"Invalid request"},"id":3}', 3),
        ('{"code":2,"msg":"Invalid request","id":3}', 3),
        ('{"code":2,"msg":"Invalid request"}', None),
        ('{"code":2,"msg":"Invalid request","id":true}', None),
    ],
)
def test_refusals_are_understood_in_every_form(text: str, number: int | None) -> None:
    assert read_message(text) == RequestRefused(number, "2 'Invalid request'")


def symbols(count: int) -> list[Symbol]:
    return [Symbol(f"A{number}/USDC") for number in range(count)]


def asked(text: str | None) -> tuple[str, list[str], int]:
    assert text is not None
    body = json.loads(text)
    return body["method"], body["params"], body["id"]


def test_a_request_names_both_streams_of_each_symbol() -> None:
    method, names, _ = asked(Subscriptions().request([BTC], 0))
    assert (method, names) == ("SUBSCRIBE", ["btcusdc@miniTicker", "btcusdc@bookTicker"])


def test_requests_are_few_small_and_apart() -> None:
    subscriptions = Subscriptions()
    many = symbols(SYMBOLS_PER_REQUEST + 1)
    assert len(asked(subscriptions.request(many, 0))[1]) == 2 * SYMBOLS_PER_REQUEST
    assert subscriptions.request(many, REQUEST_INTERVAL_S - 0.01) is None
    assert len(asked(subscriptions.request(many, REQUEST_INTERVAL_S))[1]) == 2
    assert subscriptions.request(many, 10) is None


def test_what_is_no_longer_wanted_is_given_up_after_it_was_acknowledged() -> None:
    subscriptions = Subscriptions()
    _, _, number = asked(subscriptions.request([BTC], 0))
    assert subscriptions.request([], 1) is None
    subscriptions.acknowledged(number)
    method, _, number = asked(subscriptions.request([ETH], 2))
    assert (method, subscriptions.streamed) == ("UNSUBSCRIBE", (BTC,))
    subscriptions.acknowledged(number)
    assert subscriptions.streamed == ()
    assert asked(subscriptions.request([ETH], 3))[0] == "SUBSCRIBE"


def test_a_refused_group_is_asked_for_one_by_one_and_the_culprit_set_aside() -> None:
    subscriptions = Subscriptions()
    _, _, number = asked(subscriptions.request([BTC, ETH], 0))
    assert subscriptions.refused(number, 0) == ()
    _, names, number = asked(subscriptions.request([BTC, ETH], 1))
    assert names[0] == "btcusdc@miniTicker"
    assert subscriptions.refused(number, 1) == (BTC,)
    _, names, number = asked(subscriptions.request([BTC, ETH], 2))
    assert names[0] == "ethusdc@miniTicker"
    subscriptions.acknowledged(number)
    subscriptions.reset()
    assert asked(subscriptions.request([BTC, ETH], 3))[1][0] == "ethusdc@miniTicker"
    assert subscriptions.request([BTC, ETH], 1 + FIRST_ASIDE_S - 0.01) is None
    assert asked(subscriptions.request([BTC, ETH], 1 + FIRST_ASIDE_S))[1][0] == "btcusdc@miniTicker"


def test_a_symbol_refused_again_and_again_is_asked_for_ever_more_seldom() -> None:
    subscriptions, now_s, waits = Subscriptions(), 0.0, []
    for _ in range(8):
        began_s = now_s
        while (text := subscriptions.request([BTC], now_s)) is None:
            now_s += 1
        waits.append(now_s - began_s)
        assert subscriptions.refused(asked(text)[2], now_s) == (BTC,)
    assert waits == [0, 10, 20, 40, 80, 160, 320, LONGEST_ASIDE_S]


def test_a_refusal_of_nothing_or_of_giving_up_means_the_connection_is_not_understood() -> None:
    subscriptions = Subscriptions()
    with pytest.raises(Transient):
        subscriptions.refused(None, 0)
    subscriptions.acknowledged(asked(subscriptions.request([BTC], 0))[2])
    number = asked(subscriptions.request([], 1))[2]
    with pytest.raises(Transient):
        subscriptions.refused(number, 1)


def test_a_request_is_overdue_after_ten_seconds() -> None:
    subscriptions = Subscriptions()
    subscriptions.request([BTC], 100)
    assert not subscriptions.is_overdue(100 + ANSWER_WITHIN_S)
    assert subscriptions.is_overdue(100.01 + ANSWER_WITHIN_S)


def an_inbox(clock: SimulatedClock, limits: StreamLimits) -> StreamInbox:
    board = QuoteBoard(clock, source="binance", capacity=3)
    board.follow([BTC])
    inbox = StreamInbox(board, clock, limits)
    inbox.follow([BTC])
    inbox.opened()
    return inbox


def a_book(number: int) -> str:
    data = {"u": number, "s": "BTCUSDC", "b": "1", "a": "2"}
    return json.dumps({"stream": "btcusdc@bookTicker", "data": data})


def test_only_usable_messages_end_the_silence() -> None:
    clock = SimulatedClock(from_ms(0))
    inbox = an_inbox(clock, StreamLimits(idle_s=30))
    clock.sleep_until(clock.now() + timedelta(seconds=20))
    inbox.take(a_book(1))
    clock.sleep_until(clock.now() + timedelta(seconds=30))
    inbox.take(a_book(1))
    inbox.take("{}")
    inbox.require_useful()
    clock.sleep_until(clock.now() + timedelta(seconds=0.001))
    with pytest.raises(Transient, match="no usable message"):
        inbox.require_useful()


def test_beyond_the_reading_rate_only_best_prices_are_skipped() -> None:
    clock = SimulatedClock(from_ms(0))
    inbox = an_inbox(clock, StreamLimits(messages_per_s=2))
    for number in range(4):
        inbox.take(a_book(number))
    assert (inbox.tally.accepted, inbox.tally.skipped) == (2, 2)
    assert inbox.take('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')
    clock.sleep_until(clock.now() + timedelta(seconds=1))
    inbox.take(a_book(9))
    assert inbox.tally.accepted == 3


TESTNET = "wss://stream.testnet.binance.vision"
LOCAL = "http://127.0.0.1:9101"


@pytest.mark.parametrize(
    ("exchange", "url"),
    [
        ({}, "wss://stream.binance.com:9443/stream"),
        ({"testnet": True}, f"{TESTNET}/stream"),
        ({"base_url": "https://data-api.binance.vision"}, "wss://stream.binance.com:9443/stream"),
        ({"base_url": "https://testnet.binance.vision"}, f"{TESTNET}/stream"),
        ({"base_url": "https://demo-api.binance.com"}, "wss://demo-stream.binance.com/stream"),
        ({"base_url": LOCAL}, None),
        ({"base_url": LOCAL, "ws_url": "ws://127.0.0.1:9101"}, "ws://127.0.0.1:9101/stream"),
        ({"base_url": LOCAL, "ws_url": "ws://localhost:9101/ws/"}, "ws://localhost:9101/stream"),
        ({"base_url": LOCAL, "ws_url": "ws://[::1]:9101/stream"}, "ws://[::1]:9101/stream"),
        ({"ws_url": "wss://data-stream.binance.vision"}, "wss://data-stream.binance.vision/stream"),
    ],
)
def test_the_stream_is_that_of_the_market_traded(exchange: dict[str, object], url: str | None) -> None:
    assert stream_url(ExchangeSettings.model_validate(exchange)) == url


@pytest.mark.parametrize(
    "exchange",
    [
        {"ws_url": "ws://127.0.0.1:9101"},
        {"ws_url": TESTNET},
        {"testnet": True, "ws_url": "wss://stream.binance.com:9443"},
        {"base_url": LOCAL, "ws_url": "wss://stream.binance.com"},
        {"ws_url": "wss://ws-api.binance.com"},
        {"ws_url": "wss://api.binance.com"},
    ],
)
def test_a_stream_of_another_market_is_refused(exchange: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"exchange\.ws_url"):
        stream_url(ExchangeSettings.model_validate(exchange))


def test_nothing_is_opened_when_switched_off_or_without_a_stream() -> None:
    clock = SimulatedClock(from_ms(0))
    off = {"monitoring": {"realtime_prices": {"enabled": False}}}
    assert open_realtime_prices(Settings.from_mapping(off), clock, "binance") is None
    local = {"exchange": {"base_url": LOCAL}}
    assert open_realtime_prices(Settings.from_mapping(local), clock, "binance_sandbox") is None


def test_figures_before_the_start_say_that_nothing_turns() -> None:
    clock = SimulatedClock(from_ms(0))
    settings = RealtimePricesSettings(max_symbols=2)
    board = QuoteBoard(clock, source="binance", capacity=2)
    prices = RealtimePrices("ws://127.0.0.1:9/stream", settings, board, clock)
    prices.follow([BTC, ETH, BTC], [ETH, SOL])
    figures = prices.figures()
    assert (figures.followed, figures.left_out, figures.connected) == (2, 1, False)
    assert figures.beat_age_s == float("inf")


@dataclass(frozen=True)
class Cycle:
    scan: ScanReport | None


def a_scan(*names: Symbol) -> ScanReport:
    at = from_ms(0)
    return ScanReport(at, (), tuple(Opportunity(hold(name, at, "no_bundle", "test"), None) for name in names))


def test_what_is_held_comes_first_then_the_benchmark_then_the_newest_scan() -> None:
    clock = SimulatedClock(from_ms(0))
    board = QuoteBoard(clock, source="binance", capacity=3)
    settings = RealtimePricesSettings(max_symbols=3)
    prices = RealtimePrices("ws://127.0.0.1:9/stream", settings, board, clock)
    position = replace(a_position(), symbol=ETH)
    held = [position]
    choose = SymbolsToStream(prices, lambda: held, [BTC])
    choose.renew()
    assert tuple(board.ages()) == (ETH, BTC)
    choose(Cycle(a_scan(SOL, Symbol("XRP/USDC"))))
    assert tuple(board.ages()) == (ETH, BTC, SOL)
    held.clear()
    choose(Cycle(None))
    assert tuple(board.ages()) == (BTC, SOL, Symbol("XRP/USDC"))


@pytest.mark.parametrize(
    ("first_s", "in_row", "wanted"), [(3, 0, 3), (3, 1, 3), (3, 5, 48), (3, 6, 60), (3, 10_000, 60), (300, 9, 300)]
)
def test_waits_double_up_to_a_minute(first_s: float, in_row: int, wanted: float) -> None:
    assert wait_s(first_s, in_row, 60) == wanted
