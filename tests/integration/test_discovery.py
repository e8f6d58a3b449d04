"""Symbols found on the venue: which are scanned and trained, what that costs, and what a failed look changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.errors import MarketDataError
from bn_ml.settings import Settings
from data_manager.bars import Bars, empty_bars
from data_manager.history import HistoryStore
from data_manager.open_source import replay_source, synthetic_source
from data_manager.source import DataSource
from data_manager.sources.binance import BinanceSource
from data_manager.venue_listings import VenueListings
from scanner.universe import Universe
from scripts.wiring import Extras, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import START_MS, some_bars
from tests.fakes.live_bot import BTC, ETH, SOL, live_bot
from tests.fakes.live_market import Fault, LiveMarket
from tests.fakes.loopback_exchange import Failure, LoopbackExchange, symbol_record

DAY = Timeframe.D1.ms
NOW_MS = START_MS + 200 * DAY
NOW = from_ms(NOW_MS)
AVAX, FRESH = Symbol("AVAX/USDC"), Symbol("FRESH/USDC")
DOWN = Failure(503, '{"code":-1000,"msg":"Service Unavailable."}')


def settings(**universe: object) -> Settings:
    found = {"enabled": True, "min_listing_days": 30, **dict(universe.pop("discovery", {}))}  # type: ignore[call-overload]
    return Settings.from_mapping({"universe": {"training_symbols": ["BTC/USDC"], "discovery": found, **universe}})


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    """AVAX passes every filter; each other symbol fails one."""
    with LoopbackExchange(NOW_MS) as running:
        halted = {**symbol_record("HALT", "USDC"), "status": "BREAK"}
        pairs = ("AVAX", "FRESH", "THIN", "BTCUP", "ETHBEAR", "FDUSD", "EUR")
        running.symbols += [*(symbol_record(base, "USDC") for base in pairs), symbol_record("AVAX", "USDT"), halted]
        running.turnovers = {"THINUSDC": "999999.99", "AVAXUSDC": "1000000"}
        ages = {"AVAX": 30, "FRESH": 29, "THIN": 99, "BTCUP": 99, "ETHBEAR": 99, "FDUSD": 99, "EUR": 99, "HALT": 99}
        for base, days in {"BTC": 199, "ETH": 150, **ages}.items():
            symbol = Symbol(f"{base}/USDC")
            first = NOW_MS - days * DAY
            running.serve(some_bars(days, symbol=symbol, timeframe=Timeframe.D1, start_ms=first))
        yield running


def a_source(exchange: LoopbackExchange) -> BinanceSource:
    plain = {"exchange": {"base_url": exchange.url, "rate_limit_ms": 10, "retry_attempts": 0}}
    return BinanceSource(Settings.from_mapping(plain).exchange, SimulatedClock(NOW))


def universe_on(source: DataSource, chosen: Settings) -> Universe:
    return Universe(chosen, VenueListings(source, chosen))


def test_only_what_passes_every_filter_joins_the_configured(exchange: LoopbackExchange) -> None:
    assert universe_on(a_source(exchange), settings()).symbols(NOW) == ("BTC/USDC", "ETH/USDC", "AVAX/USDC")


@pytest.mark.parametrize(
    ("relaxed", "added"),
    [
        ({"min_listing_days": 29}, {"FRESH/USDC"}),
        ({"min_listing_days": 31}, set()),
        ({"min_24h_volume_usdt": 999_999.99}, {"THIN/USDC"}),
        ({"exclude_leveraged": False}, {"BTCUP/USDC", "ETHBEAR/USDC"}),
        ({"exclude_stables": False}, {"FDUSD/USDC"}),
        ({"exclude_fiat": False}, {"EUR/USDC"}),
    ],
)
def test_each_filter_holds_back_what_it_names(
    exchange: LoopbackExchange, relaxed: dict[str, object], added: set[str]
) -> None:
    found = set(universe_on(a_source(exchange), settings(discovery=relaxed)).symbols(NOW))
    kept = {"BTC/USDC", "ETH/USDC"} if relaxed == {"min_listing_days": 31} else {"BTC/USDC", "ETH/USDC", "AVAX/USDC"}
    assert found == kept | added


def test_turnovers_of_all_symbols_cost_one_request_and_ages_are_asked_once(exchange: LoopbackExchange) -> None:
    source = a_source(exchange)
    universe = universe_on(source, settings())
    universe.symbols(NOW)
    paths = exchange.paths()
    assert paths.count("/api/v3/ticker/24hr") == 1
    assert paths.count("/api/v3/exchangeInfo") == 1
    asked = {query["symbol"] for path, query in exchange.requests if path == "/api/v3/klines"}
    assert asked.isdisjoint({"THINUSDC", "AVAXUSDT", "HALTUSDC"})
    assert len(asked) == paths.count("/api/v3/klines") == 8
    universe.symbols(NOW + timedelta(seconds=899))
    assert exchange.paths() == paths
    universe.symbols(NOW + timedelta(seconds=900))
    assert exchange.paths()[len(paths) :] == ["/api/v3/ticker/24hr"]


def test_the_weight_of_a_look_at_all_symbols_is_counted(exchange: LoopbackExchange) -> None:
    source = a_source(exchange)
    source.markets()
    before = source._reader.weight.used
    exchange.used_weight = 0
    source.turnovers()
    assert source._reader.weight.used - before >= 80


def test_a_least_age_of_zero_asks_for_no_age(exchange: LoopbackExchange) -> None:
    found = universe_on(a_source(exchange), settings(discovery={"min_listing_days": 0})).symbols(NOW)
    assert FRESH in found
    assert "/api/v3/klines" not in exchange.paths()


def test_a_failed_look_keeps_the_last_list_and_says_so_until_one_succeeds(exchange: LoopbackExchange) -> None:
    universe = universe_on(a_source(exchange), settings())
    known = universe.symbols(NOW)
    exchange.failures = [DOWN]
    assert universe.symbols(NOW + timedelta(seconds=900)) == known
    assert "discovery failed, the last list stays" in str(universe.problem)
    exchange.turnovers["AVAXUSDC"] = "5"
    assert universe.symbols(NOW + timedelta(seconds=1799)) == known
    assert universe.symbols(NOW + timedelta(seconds=1800)) == ("BTC/USDC", "ETH/USDC")
    assert universe.problem is None


def test_statistics_that_make_no_sense_leave_out_their_symbol_alone(exchange: LoopbackExchange) -> None:
    exchange.turnovers |= {"ETHUSDC": "NaN", "AVAXUSDC": "many"}
    assert universe_on(a_source(exchange), settings()).symbols(NOW) == ("BTC/USDC",)
    assert a_source(exchange).turnovers()[BTC] == Decimal("2500000.5")


def test_statistics_without_any_usable_turnover_are_a_failed_look(exchange: LoopbackExchange) -> None:
    source = a_source(exchange)
    source.markets()
    exchange.symbols = []
    with pytest.raises(MarketDataError, match="no usable turnover"):
        source.turnovers()


def test_a_symbol_without_a_first_bar_is_too_young(exchange: LoopbackExchange) -> None:
    del exchange.series["AVAXUSDC", "1d"]
    exchange.serve(empty_bars(FRESH, Timeframe.D1, "test"))
    assert universe_on(a_source(exchange), settings()).symbols(NOW) == ("BTC/USDC", "ETH/USDC")


def busy(symbol: str, *, days: float, start_day: int = 0) -> Bars:
    bars = some_bars(int(days * 96), symbol=Symbol(symbol), start_ms=START_MS + start_day * DAY)
    return replace(bars, quote_volume=np.full(len(bars), 20_000.0))


def stored(folder: Path, *series: Bars) -> Settings:
    for bars in series:
        HistoryStore(folder).write(bars)
    plain = {
        "universe": {"training_symbols": ["BTC/USDC"], "discovery": {"enabled": True, "min_listing_days": 3}},
        "data": {"replay_dir": str(folder)},
    }
    return Settings.from_mapping(plain)


def replayed(chosen: Settings, day: float) -> tuple[Symbol, ...]:
    clock = SimulatedClock(from_ms(START_MS + int(day * DAY)))
    return universe_on(replay_source(chosen, clock), chosen).symbols(clock.now())


def test_a_replay_finds_a_symbol_only_once_it_traded_long_enough_and_drops_it_when_it_stops(tmp_path: Path) -> None:
    chosen = stored(tmp_path, busy("BTC/USDC", days=12), busy("AVAX/USDC", days=6, start_day=2))
    days = (1.9, 2.5, 4.9, 5.0, 8.0, 8.4, 9.1)
    assert [AVAX in replayed(chosen, day) for day in days] == [False, False, False, True, True, True, False]


def test_a_generated_market_finds_its_own_symbols() -> None:
    chosen = Settings.from_mapping({"universe": {"discovery": {"enabled": True, "min_24h_volume_usdt": 1}}})
    clock = SimulatedClock(from_ms(START_MS))
    source = synthetic_source(chosen, clock)
    narrow = chosen.model_copy(
        update={"universe": chosen.universe.model_copy(update={"training_symbols": ("BTC/USDC",)})}
    )
    found = universe_on(source, narrow).symbols(clock.now())
    assert found[0] == BTC
    assert set(found) == set(source.markets())


def live_settings(*symbols: str) -> dict[str, object]:
    found = {"enabled": True, "min_listing_days": 0, "min_24h_volume_usdt": 1}
    return {"universe": {"training_symbols": list(symbols), "discovery": found}}


@pytest.fixture
def market() -> Iterator[LiveMarket]:
    wide = Settings.from_mapping({"universe": {"training_symbols": ["BTC/USDC", "ETH/USDC", "SOL/USDC"]}})
    with LiveMarket(wide, clock=SimulatedClock(NOW)) as running:
        yield running


def test_the_bot_trades_what_it_found_and_manages_it_after_the_venue_dropped_it(
    market: LiveMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_bot(market, tmp_path, monkeypatch, **live_settings("BTC/USDC")) as bot:
        bot.want(SOL)
        bot.cycle()
        assert [position.symbol for position in bot.held()] == [SOL]
        bot.want()
        records = [record for record in market.symbols if record["symbol"] == "SOLUSDC"]
        records[0]["status"] = "BREAK"
        bot.cycle(after_s=3_700)
        assert SOL not in bot.bot.scanner.universe(bot.clock.now())
        assert [position.symbol for position in bot.held()] == [SOL]
        records[0]["status"] = "TRADING"
        market.moved = Decimal("0.5")
        bot.cycle(after_s=3_700)
        assert bot.held() == ()


def test_a_failed_look_is_told_in_the_scan_and_the_found_stay(
    market: LiveMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_bot(market, tmp_path, monkeypatch, **live_settings("BTC/USDC")) as bot:
        bot.cycle()
        assert set(bot.bot.scanner.discovered) == {BTC, ETH, SOL}
        market.faults = [Fault("ticker/24hr", answer=lambda _: [{"symbol": "?"}])]
        report = bot.cycle(after_s=901)
        assert report.scan is not None
        assert any("the last list stays" in line for line in report.scan.errors)
        assert set(bot.bot.scanner.universe(bot.clock.now())) == {BTC, ETH, SOL}


def test_a_bot_told_one_symbol_discovers_nothing(market: LiveMarket, tmp_path: Path) -> None:
    plain = {
        **live_settings("BTC/USDC"),
        "exchange": {"base_url": market.url, "rate_limit_ms": 10},
        "storage": {"sqlite_path": str(tmp_path / "bn_ml.db"), "min_free_disk_mb": 0},
        "model": {"models_dir": str(tmp_path / "models")},
    }
    chosen = Settings.from_mapping(plain)
    source = BinanceSource.connect(chosen.exchange, market.clock)
    bot = open_bot(chosen, World(market.clock, source), Extras(symbols=(ETH,)))
    try:
        bot.engine.run(threading.Event().is_set, 1)
        assert bot.scanner.universe(market.clock.now()) == (ETH,)
        assert [query for path, query in market.requests if path.endswith("24hr") and "symbol" not in query] == []
    finally:
        bot.close()
