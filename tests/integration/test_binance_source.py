"""The live source through the real client library against an exchange on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.errors import ExchangeError, MarketDataError, Transient, Unreachable
from bn_ml.exchange import Credentials, build_client
from bn_ml.patience import Patience
from bn_ml.settings import ExchangeSettings, Settings
from bn_ml.weight import WeightMeter
from data_manager.data_manager import BinanceDataManager
from data_manager.open_source import open_source
from data_manager.sources.binance import BinanceSource
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars
from tests.fakes.loopback_exchange import Failure, LoopbackExchange

QUARTER = Timeframe.M15.ms
BARS = 3000
NOW_MS = START_MS + BARS * QUARTER - QUARTER // 2
BUSY = Failure(503, '{"code":-1000,"msg":"Service Unavailable."}')


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    with LoopbackExchange(NOW_MS) as running:
        running.serve(some_bars(BARS))
        running.serve(some_bars(700, symbol=Symbol("ETH/USDC"), start_ms=START_MS + 2300 * QUARTER, seed=4))
        yield running


def settings(exchange: LoopbackExchange, **changes: object) -> ExchangeSettings:
    return ExchangeSettings.model_validate({"base_url": exchange.url, "rate_limit_ms": 10, **changes})


def a_source(exchange: LoopbackExchange, **changes: object) -> tuple[BinanceSource, SimulatedClock]:
    clock = SimulatedClock(from_ms(NOW_MS))
    return BinanceSource(settings(exchange, **changes), clock), clock


def test_many_pages_are_one_series_of_closed_bars(exchange: LoopbackExchange) -> None:
    source, _ = a_source(exchange)
    bars = source.bars(BTC, Timeframe.M15, START_MS, 2**53)
    expected = some_bars(BARS, source="binance_sandbox").rows(0, BARS - 1)
    assert same_bars(bars, expected)
    assert bars.source == "binance_sandbox"
    assert exchange.paths() == ["/api/v3/klines"] * 3


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_paging_returns_exactly_n_bars(count: int, exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    manager = BinanceDataManager({}, source=source, clock=clock)
    bars = manager.bars(BTC, Timeframe.M15, count)
    assert len(bars) == count
    assert np.all(np.diff(bars.open_time) == QUARTER)
    assert bars.open_time[-1] == START_MS + (BARS - 2) * QUARTER


def test_a_young_symbol_gives_all_it_has(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    manager = BinanceDataManager({}, source=source, clock=clock)
    assert len(manager.bars(Symbol("ETH/USDC"), Timeframe.M15, 2000)) == 699


def test_within_a_bar_nothing_is_fetched_and_after_it_one_page(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    manager = BinanceDataManager({}, source=source, clock=clock)
    manager.bars(BTC, Timeframe.M15, 500)
    sent = len(exchange.requests)
    manager.bars(BTC, Timeframe.M15, 500)
    assert len(exchange.requests) == sent
    clock.sleep_until(clock.now() + timedelta(minutes=8))
    exchange.now_ms += 8 * 60_000
    assert manager.bars(BTC, Timeframe.M15, 500).open_time[-1] == START_MS + (BARS - 1) * QUARTER
    assert len(exchange.requests) == sent + 1


def test_a_clock_that_runs_ahead_of_the_exchange_shows_no_open_bar(exchange: LoopbackExchange) -> None:
    clock = SimulatedClock(from_ms(NOW_MS + 20 * 60_000))
    source = BinanceSource.connect(settings(exchange), clock)
    assert source.offset_ms == -20 * 60_000
    assert source.bars(BTC, Timeframe.M15, START_MS + 2900 * QUARTER, 2**53).close_time[-1] <= NOW_MS


@pytest.mark.parametrize(("slow_s", "expected_ms"), [(0, 5000), (4, 1000), (5, 0), (9, 0)])
def test_a_slow_answer_moves_the_clock_offset_only_by_what_it_proves(
    exchange: LoopbackExchange, slow_s: int, expected_ms: int
) -> None:
    source, _ = a_source(exchange, retry_backoff_sec=slow_s or 1)
    exchange.now_ms += 5000
    exchange.failures = [BUSY] if slow_s else []
    source.markets()
    assert source.offset_ms == expected_ms


def test_many_symbols_are_fetched_by_several_threads(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    manager = BinanceDataManager({}, source=source, clock=clock)
    ghost = Symbol("XRP/USDC")
    failures = manager.prefetch([BTC, Symbol("ETH/USDC"), ghost], [Timeframe.M15], 300)
    assert set(failures) == {ghost}
    assert failures[ghost].reason == "data_unavailable"


def test_a_quote_has_prices_and_depth_of_the_book(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    quote = source.quote(BTC)
    assert (quote.bid, quote.ask, quote.last) == (Decimal("100.00"), Decimal("100.02"), Decimal("100.01"))
    assert quote.depth_quote == Decimal("300.02")
    assert quote.volume_24h_quote == Decimal("2500000.5")
    assert (quote.at, quote.source) == (clock.now(), "binance_sandbox")


@pytest.mark.parametrize(
    "book",
    [
        {"bids": [], "asks": [["1", "1"]]},
        {"bids": [["2", "1"]], "asks": [["1", "1"]]},
        {"bids": [["0", "1"]], "asks": [["1", "1"]]},
        {"bids": [["x", "1"]], "asks": [["1", "1"]]},
        {"asks": [["1", "1"]]},
    ],
)
def test_an_empty_crossed_or_garbled_book_is_no_quote(book: dict[str, object], exchange: LoopbackExchange) -> None:
    exchange.book = book
    source, _ = a_source(exchange)
    with pytest.raises(MarketDataError) as caught:
        source.quote(BTC)
    assert caught.value.reason == "data_unavailable"


def test_rules_need_one_request_and_are_kept(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    assert source.markets()[BTC].min_notional == 5
    clock.sleep_until(clock.now() + timedelta(minutes=59))
    source.markets()
    assert exchange.paths() == ["/api/v3/exchangeInfo"]
    clock.sleep_until(clock.now() + timedelta(minutes=1))
    source.markets()
    assert exchange.paths() == ["/api/v3/exchangeInfo"] * 2


def test_the_client_itself_learns_its_markets_in_one_request(exchange: LoopbackExchange) -> None:
    client = build_client(settings(exchange), credentials=Credentials("key", "secret"))
    client.load_markets()
    assert exchange.paths() == ["/api/v3/exchangeInfo"]
    assert all(url.startswith(exchange.url) for url in client.urls["api"].values() if isinstance(url, str))


def test_a_failed_read_is_repeated_with_a_doubling_pause(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange, retry_attempts=3, retry_backoff_sec=2)
    exchange.failures = [BUSY, BUSY]
    assert len(source.bars(BTC, Timeframe.M15, START_MS, START_MS + 5 * QUARTER)) == 5
    assert clock.now() == from_ms(NOW_MS) + timedelta(seconds=2 + 4)


def test_repeating_ends_within_the_settings(exchange: LoopbackExchange) -> None:
    source, _ = a_source(exchange, retry_attempts=2, retry_backoff_sec=1)
    exchange.failures = [BUSY] * 9
    with pytest.raises(Transient):
        source.bars(BTC, Timeframe.M15, START_MS, START_MS + QUARTER)
    assert len(exchange.requests) == 3


def test_an_answer_that_is_no_json_is_repeated(exchange: LoopbackExchange) -> None:
    source, _ = a_source(exchange)
    exchange.failures = [Failure(200, ""), Failure(200, "<html>")]
    assert len(source.bars(BTC, Timeframe.M15, START_MS, START_MS + QUARTER)) == 1


def test_a_start_repeats_at_once_what_makes_no_sense_and_outwaits_a_short_ban(exchange: LoopbackExchange) -> None:
    clock = SimulatedClock(from_ms(NOW_MS))
    chosen = settings(exchange, retry_attempts=3, retry_backoff_sec=0.5)
    patience = Patience(clock, chosen)
    patience.begin_start()
    source = BinanceSource(chosen, clock, patience=patience)
    busy = '{"code":-1003,"msg":"Too much request weight used."}'
    overloaded = '{"code":-1008,"msg":"Server is currently overloaded with other requests."}'
    exchange.failures = [Failure(200, "{}"), Failure(200, "[]"), Failure(503, overloaded), Failure(403, "<html>")]
    assert source.markets()[BTC].min_notional == 5
    assert clock.now() == from_ms(NOW_MS) + timedelta(seconds=0.05 + 0.1 + 0.2 + 0.4)
    exchange.failures = [Failure(429, busy, {"Retry-After": "10"})]
    before = clock.now()
    assert source.quote(BTC).bid == 100
    assert clock.now() == before + timedelta(seconds=10)
    exchange.failures = [Failure(429, busy, {"Retry-After": "11"})]
    with pytest.raises(Unreachable):
        source.quote(BTC)


@pytest.mark.parametrize(("starting", "waits"), [(True, False), (False, True)])
def test_the_reads_of_a_start_draw_on_the_weight_kept_back_for_orders(
    exchange: LoopbackExchange, starting: bool, waits: bool
) -> None:
    clock = SimulatedClock(from_ms(NOW_MS))
    chosen = settings(exchange, timeout_ms=1000)
    patience = Patience(clock, chosen)
    if starting:
        patience.begin_start()
    weight = WeightMeter(clock, 0.5, limit=200, kept_back=0.2)
    weight.spend(70)
    BinanceSource(chosen, clock, weight=weight, patience=patience).markets()
    assert (clock.now() > from_ms(NOW_MS)) is waits
    if starting:
        with pytest.raises(Unreachable, match="used up"):
            BinanceSource(chosen, clock, weight=weight, patience=patience).markets()


def test_bars_that_are_no_lists_are_asked_for_again(exchange: LoopbackExchange) -> None:
    source, _ = a_source(exchange)
    exchange.failures = [Failure(200, "[5]"), Failure(200, "{}")]
    assert len(source.bars(BTC, Timeframe.M15, START_MS, START_MS + QUARTER)) == 1


@pytest.mark.parametrize("body", ['{"serverTime": "5"}', '{"serverTime": 0}', '{"serverTime": true}', "{}", "[]"])
def test_a_time_that_is_none_is_no_connection(body: str, exchange: LoopbackExchange) -> None:
    exchange.failures = [Failure(200, body)]
    with pytest.raises(Transient):
        BinanceSource.connect(settings(exchange), SimulatedClock(from_ms(NOW_MS)))


@pytest.mark.parametrize("status", [429, 418])
def test_the_exchange_is_left_alone_for_as_long_as_it_asks(status: int, exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange)
    exchange.failures = [Failure(status, '{"code":-1003,"msg":"Too much request weight used."}', {"Retry-After": "17"})]
    with pytest.raises(Transient, match="17 s"):
        source.quote(BTC)
    with pytest.raises(Transient, match="asked to stay away"):
        source.quote(BTC)
    assert len(exchange.requests) == 1
    assert source.banned_until == clock.now() + timedelta(seconds=17)
    clock.sleep_until(clock.now() + timedelta(seconds=17))
    assert source.quote(BTC).bid == 100


def test_the_exchanges_own_count_of_weight_slows_us_down(exchange: LoopbackExchange) -> None:
    source, clock = a_source(exchange, weight_budget_pct=0.5)
    exchange.used_weight = 3000
    source.bars(BTC, Timeframe.M15, START_MS, START_MS + QUARTER)
    exchange.used_weight = 2
    source.bars(BTC, Timeframe.M15, START_MS, START_MS + QUARTER)
    assert clock.now() > from_ms(NOW_MS)
    assert clock.now().second == 0


def test_an_unlisted_refusal_is_not_repeated(exchange: LoopbackExchange) -> None:
    source, _ = a_source(exchange)
    exchange.failures = [Failure(400, '{"code":-1100,"msg":"Illegal characters found in a parameter."}')]
    with pytest.raises(ExchangeError):
        source.quote(BTC)
    assert len(exchange.requests) == 1


def test_an_exchange_that_answers_is_live(exchange: LoopbackExchange) -> None:
    chosen = Settings.from_mapping({"exchange": {"base_url": exchange.url}})
    source = open_source(chosen, SimulatedClock(from_ms(NOW_MS)), "auto")
    assert (source.name, source.notice) == ("binance_sandbox", "")


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, "binance"),
        ({"testnet": True}, "binance_testnet"),
        ({"base_url": "https://api1.binance.com"}, "binance"),
        ({"base_url": "https://testnet.binance.vision"}, "binance_sandbox"),
        ({"base_url": "http://127.0.0.1:9101"}, "binance_sandbox"),
    ],
)
def test_only_the_market_itself_is_called_binance(given: dict[str, object], label: str) -> None:
    source = BinanceSource(ExchangeSettings.model_validate(given), SystemClock())
    assert source.bars(BTC, Timeframe.M15, 1, 1).source == label
