"""The price stream as a supervised worker: begun again after a stop, and in place of a thread that hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import RealtimePricesSettings
from monitoring.realtime_prices import RealtimePrices
from monitoring.stream_inbox import StreamLimits
from tests.fakes.stream_server import StreamServer, until

BTC = Symbol("BTC/USDC")
LIMITS = StreamLimits(connect_s=1.0, idle_s=1.0, settled_s=0.3, longest_wait_s=0.2, turn_s=0.01)


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer() as running:
        yield running


def prices_of(server: StreamServer) -> RealtimePrices:
    clock = SystemClock()
    url = server.url.replace("127.0.0.1", "localhost")
    chosen = RealtimePricesSettings.model_validate({"reconnect_delay_sec": 0.1})
    made = RealtimePrices(f"{url}/stream", chosen, QuoteBoard(clock, source="test", capacity=5), clock, LIMITS)
    made.follow([BTC])
    return made


def has_quote(prices: RealtimePrices) -> bool:
    try:
        return prices.board.quote(BTC) is not None
    except MarketDataError:
        return False


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_it_streams_again_after_it_was_stopped(server: StreamServer) -> None:
    prices = prices_of(server)
    prices.start()
    until(lambda: has_quote(prices))
    prices.stop(2.0)
    assert not prices.is_alive()
    before = prices.figures().accepted
    prices.start()
    until(lambda: prices.figures().accepted > before)
    assert prices.beat_age_s() < 1
    prices.stop(2.0)
    assert threads_named(prices.name) == 0


def test_a_thread_that_hangs_in_the_name_server_is_replaced_and_ends_when_it_can(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()
    ask: Callable[..., object] = socket.getaddrinfo

    def hanging(*arguments: object, **options: object) -> object:
        if threading.current_thread().name == "realtime-prices" and not asked.is_set():
            asked.set()
            answered.wait(10)
        return ask(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    prices = prices_of(server)
    prices.start()
    assert asked.wait(5)
    prices.stop(0.05)
    prices.start()
    until(lambda: has_quote(prices))
    assert threads_named(prices.name) == 2
    answered.set()
    until(lambda: threads_named(prices.name) == 1)
    before = prices.figures().accepted
    until(lambda: prices.figures().accepted > before)
    prices.stop(2.0)
