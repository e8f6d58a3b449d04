"""A scan ranks the BUYs, names a reason for everything else, and survives any single symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from bn_ml.domain.market import Quote, Symbol, Timeframe, to_ms
from bn_ml.domain.signals import Action, MarketMood, MarketRegime, Probabilities, ScanReport, Signal, hold
from bn_ml.errors import MarketDataError, ModelError, Transient
from bn_ml.settings import Settings
from data_manager.bars import Bars, empty_bars
from data_manager.feed_checks import FeatureRow
from scanner.co_movement import Movements, volatility_ratio
from scanner.multi_pair_scanner import MultiPairScanner, ScanExtras
from tests.fakes.bundle_builders import NOW, a_row

BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")


def a_signal(symbol: Symbol, buy: float = 0.6, *, action: Action = Action.BUY, reason: str | None = None) -> Signal:
    rest = (1.0 - buy) / 2
    probabilities = Probabilities(rest, rest, buy) if action is not Action.SELL else Probabilities(buy, rest, rest)
    return Signal(symbol, action, probabilities, NOW, reason, base_rate=0.22, buy_threshold=0.42, data_source="history")


def a_quote(symbol: Symbol, *, spread: float = 0.0002, depth: int = 200_000, at: datetime = NOW) -> Quote:
    half = Decimal(str(spread)) / 2
    return Quote(symbol, 100 * (1 - half), 100 * (1 + half), Decimal(100), at, "history", depth_quote=Decimal(depth))


def some_bars(count: int = 400, *, last_range: float = 0.01, all_ranges: float = 0.01) -> Bars:
    opens = to_ms(NOW) + (np.arange(count, dtype=np.int64) - count) * Timeframe.M15.ms
    close = np.full(count, 100.0)
    reach = np.full(count, all_ranges)
    reach[-20:] = last_range
    return Bars(BTC, Timeframe.M15, opens, close, close * (1 + reach), close * (1 - reach), close, close, "history")


@dataclass
class World:
    """Feed, market and predictor in one, answering from tables; exceptions in a table are raised."""

    signals: Mapping[Symbol, Signal | Exception] = field(default_factory=dict)
    quotes: Mapping[Symbol, Quote | Exception] = field(default_factory=dict)
    rows: Mapping[Symbol, FeatureRow | Exception] = field(default_factory=dict)
    benchmark: Bars | Exception = field(default_factory=some_bars)
    asked: list[Symbol] = field(default_factory=list)
    bundleless: Mapping[Symbol, str] = field(default_factory=dict)

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        return _given(self.rows.get(symbol, a_row(symbol=symbol)))

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        return _given(self.signals.get(row.symbol, hold(row.symbol, now, "proba_below_min")))

    def without_bundle(self, symbol: Symbol, now: datetime) -> str | None:
        return self.bundleless.get(symbol)

    def priced(self, signal: Signal, spread_frac: float) -> Signal:
        if spread_frac <= 0.001:
            return signal
        return replace(signal, action=Action.HOLD, reason="ev_not_positive")

    def quote(self, symbol: Symbol) -> Quote:
        self.asked.append(symbol)
        return _given(self.quotes.get(symbol, a_quote(symbol)))

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        return _given(self.benchmark)


def _given(item: object) -> object:  # type: ignore[misc]
    if isinstance(item, Exception):
        raise item
    return item


def scan(world: World, *, extras: ScanExtras | None = None, **scanner: object) -> ScanReport:
    settings = Settings.from_mapping(
        {
            "universe": {"training_symbols": ["BTC/USDC", "ETH/USDC", "SOL/USDC"]},
            "scanner": {"min_score": 0.0, **scanner},
        }
    )
    return MultiPairScanner(settings, world, world, world, extras=extras).scan(NOW)


def reasons(report: ScanReport) -> dict[str, str | None]:
    return {item.symbol: item.reason or item.signal.reason for item in report.refused}


def test_buys_are_ranked_by_score_and_the_rest_is_refused_by_name() -> None:
    report = scan(World({BTC: a_signal(BTC, 0.5), ETH: a_signal(ETH, 0.7)}))
    assert [item.symbol for item in report.opportunities] == [ETH, BTC]
    assert report.opportunities[0].score > report.opportunities[1].score
    assert reasons(report) == {SOL: "proba_below_min"}
    assert report.funnel == {"proba_below_min": 1}
    assert report.errors == ()


def test_equal_scores_are_ordered_by_name() -> None:
    report = scan(World({symbol: a_signal(symbol) for symbol in (SOL, BTC, ETH)}))
    assert [item.symbol for item in report.opportunities] == [BTC, ETH, SOL]


def test_quotes_are_fetched_for_buys_alone() -> None:
    world = World({ETH: a_signal(ETH), BTC: a_signal(BTC, action=Action.SELL)})
    report = scan(world)
    assert world.asked == [ETH]
    assert all(item.quote is None for item in report.refused)
    assert reasons(report)[BTC] == "signal_not_buy"
    assert report.funnel == {"proba_below_min": 1, "signal_not_buy": 1}


@pytest.mark.parametrize("error", [MarketDataError("gone", "data_gap"), ModelError("odd", "bundle_refused")])
def test_a_symbol_without_data_or_model_is_a_hold_with_its_reason(error: MarketDataError | ModelError) -> None:
    report = scan(World({ETH: a_signal(ETH)}, rows={BTC: error}))
    assert reasons(report)[BTC] == error.reason
    assert [item.symbol for item in report.opportunities] == [ETH]


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (World(rows={BTC: ValueError("odd")}), "data_unavailable"),
        (World(rows={BTC: RuntimeError("odd")}), "data_unavailable"),
        (World(rows={BTC: Transient("down")}), "data_unavailable"),
        (World(signals={BTC: KeyError("odd")}), "model_error"),
        (World(signals={BTC: ZeroDivisionError()}), "model_error"),
    ],
)
def test_an_unexpected_failure_is_recorded_and_the_scan_goes_on(world: World, reason: str) -> None:
    report = scan(world)
    assert reasons(report)[BTC] == reason
    assert len(report.refused) == 3
    assert report.errors[0].startswith("BTC/USDC: ")


def test_a_scan_in_which_all_fails_is_not_empty() -> None:
    report = scan(
        World(rows=dict.fromkeys((BTC, ETH, SOL), MarketDataError("down")), benchmark=MarketDataError("down"))
    )
    assert report.funnel == {"data_unavailable": 3}
    assert report.volatility_ratio == math.inf
    assert report.errors == ("BTC/USDC: volatility of the benchmark unknown, so no entries: down",)


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        (a_quote(BTC, spread=0.0009), None),
        (a_quote(BTC, spread=0.0011), "ev_not_positive"),
        (a_quote(BTC, depth=44_999), "depth"),
        (a_quote(BTC, depth=45_000), None),
        (MarketDataError("stale", "data_stale"), "data_stale"),
        (RuntimeError("odd"), "data_unavailable"),
    ],
)
def test_the_quote_of_a_buy_is_judged(quote: Quote | Exception, reason: str | None) -> None:
    report = scan(World({BTC: a_signal(BTC)}, quotes={BTC: quote}))
    assert reasons(report).get(BTC) == reason
    assert bool(report.opportunities) is (reason is None)


def test_a_wide_spread_that_still_pays_is_refused_for_itself() -> None:
    world = World({ETH: a_signal(ETH)}, quotes={ETH: a_quote(ETH, spread=0.0009)})
    assert reasons(scan(world, spread_max_pct=0.0005))[ETH] == "spread"


@pytest.mark.parametrize(("limit", "passes"), [(0.5999, True), (0.6, True), (0.6001, False)])
def test_the_least_confidence(limit: float, passes: bool) -> None:
    report = scan(World({BTC: a_signal(BTC, 0.6)}), min_confidence=limit)
    assert bool(report.opportunities) is passes
    assert passes or reasons(report)[BTC] == "min_confidence"


@pytest.mark.parametrize(("shift", "passes"), [(-1e-9, True), (0.0, True), (1e-9, False)])
def test_the_least_score(shift: float, passes: bool) -> None:
    score = scan(World({BTC: a_signal(BTC)})).opportunities[0].score
    report = scan(World({BTC: a_signal(BTC)}), min_score=score + shift)
    assert bool(report.opportunities) is passes
    assert passes or reasons(report)[BTC] == "min_score"


def test_only_the_best_are_passed_on() -> None:
    signals = {symbol: a_signal(symbol, buy) for symbol, buy in ((BTC, 0.5), (ETH, 0.7), (SOL, 0.6))}
    report = scan(World(signals), top_n=2)
    assert [item.symbol for item in report.opportunities] == [ETH, SOL]
    assert reasons(report) == {BTC: "top_n"}


def test_opportunities_are_correlated_with_everything_scanned() -> None:
    returns = np.random.default_rng(1).normal(0, 0.01, (2, 192))
    closes = {
        BTC: returns[0],
        ETH: 0.8 * returns[0] + 0.6 * returns[1],
        SOL: -returns[0],
    }
    rows = {
        symbol: replace(a_row(symbol=symbol), closes=np.exp(np.concatenate([[0.0], np.cumsum(path)])))
        for symbol, path in closes.items()
    }
    report = scan(World({ETH: a_signal(ETH)}, rows=rows))
    expected = np.corrcoef(closes[BTC], closes[ETH])[0, 1]
    assert report.correlation(ETH, BTC) == report.correlation(BTC, ETH) == pytest.approx(expected)
    assert report.correlation(ETH, SOL) == pytest.approx(-expected)
    assert report.correlation(BTC, SOL) is None
    assert report.opportunities[0].correlation_btc == pytest.approx(expected)


def test_no_correlation_is_computed_without_opportunities() -> None:
    assert scan(World()).correlations == {}


def test_rows_of_different_bars_are_not_correlated() -> None:
    rows = {BTC: a_row(symbol=BTC), ETH: a_row(symbol=ETH, at=NOW - timedelta(minutes=15))}
    movements = Movements(rows, 192)
    assert movements.correlation(BTC, ETH) is None
    assert movements.correlation(ETH, ETH) == 1.0


def test_prices_that_do_not_move_have_no_correlation() -> None:
    still = replace(a_row(symbol=ETH), closes=np.full(193, 7.0))
    assert Movements({BTC: a_row(symbol=BTC), ETH: still}, 192).correlation(BTC, ETH) is None


def test_the_benchmark_ranges_are_compared_with_their_own_past() -> None:
    assert scan(World()).volatility_ratio == pytest.approx(1.0)
    assert scan(World(benchmark=some_bars(last_range=0.03))).volatility_ratio > 1.5
    assert volatility_ratio(some_bars(110), 96) == pytest.approx(1.0)
    assert volatility_ratio(some_bars(last_range=0.0, all_ranges=0.0), 96) == 1.0


@pytest.mark.parametrize("bars", [some_bars(109), empty_bars(BTC, Timeframe.M15, "history")])
def test_too_few_bars_of_the_benchmark_tell_nothing(bars: Bars) -> None:
    with pytest.raises(MarketDataError) as refused:
        volatility_ratio(bars, 96)
    assert refused.value.reason == "too_few_bars"
    assert scan(World(benchmark=bars)).volatility_ratio == math.inf


@pytest.mark.parametrize(("late_ms", "known"), [(0, True), (3_599_999, True), (3_600_000, False)])
def test_the_last_known_ratio_counts_for_an_hour_and_then_entries_wait(late_ms: int, known: bool) -> None:
    world = World(benchmark=some_bars(last_range=0.03))
    scanner = MultiPairScanner({"universe": {"training_symbols": ["ETH/USDC"]}}, world, world, world)
    measured = scanner.scan(NOW)
    assert measured.errors == ()
    world.benchmark = MarketDataError("down")
    later = scanner.scan(NOW + timedelta(milliseconds=late_ms))
    assert later.volatility_ratio == (measured.volatility_ratio if known else math.inf)
    wording = "as last known" if known else "unknown, so no entries"
    assert later.errors == (f"BTC/USDC: volatility of the benchmark {wording}: down",)
    world.benchmark = some_bars()
    assert scanner.scan(NOW).volatility_ratio == pytest.approx(1.0)


def test_old_bars_of_the_benchmark_tell_nothing_of_the_present() -> None:
    scanner = MultiPairScanner({"universe": {"training_symbols": ["ETH/USDC"]}}, *[World()] * 3)
    report = scanner.scan(NOW + timedelta(hours=1))
    assert report.volatility_ratio == math.inf
    assert report.errors == ("BTC/USDC: volatility of the benchmark unknown, so no entries: its newest bar is too old",)


class Surroundings:
    def __init__(self, error: Exception | None = None, drifting: tuple[Symbol, ...] = ()) -> None:
        self.error = error
        self.drifting = drifting
        self.settled: datetime | None = None
        self.observed: ScanReport | None = None

    def mood(self, report: ScanReport) -> MarketMood:
        if self.error:
            raise self.error
        return MarketMood(MarketRegime.NEUTRAL, confidence=float(len(report.refused)))

    def drifted(self, now: datetime) -> bool:
        if self.error:
            raise self.error
        return True

    def settle(self, now: datetime) -> None:
        if self.error:
            raise self.error
        self.settled = now

    def blocks(self, symbol: Symbol) -> bool:
        return symbol in self.drifting

    def observe(self, rows: Mapping[Symbol, FeatureRow], report: ScanReport) -> None:
        assert set(rows) >= {item.symbol for item in (*report.opportunities, *report.refused) if item.signal.members}
        self.observed = report


def test_mood_and_drift_are_part_of_the_report() -> None:
    around = Surroundings()
    report = scan(World(), extras=ScanExtras(mood=around, drift=around))
    assert (report.mood.regime, report.mood.confidence, report.drifted) == (MarketRegime.NEUTRAL, 3.0, True)


def test_a_symbol_without_data_and_without_a_bundle_lacks_the_bundle_first() -> None:
    gone = MarketDataError("gone", "data_stale")
    assert scan(World(rows={BTC: gone}, bundleless={BTC: "no_bundle"})).refused[0].signal.reason == "no_bundle"
    assert scan(World(rows={BTC: gone})).refused[0].signal.reason == "data_stale"


def test_a_failing_mood_or_drift_is_an_error_in_the_report() -> None:
    around = Surroundings(ValueError("odd"))
    report = scan(World(), extras=ScanExtras(mood=around, drift=around))
    assert report.errors == ("drift not judged: odd", "drift unknown: odd", "market mood unknown: odd")
    assert report.mood == MarketMood()


def test_drift_is_judged_before_and_told_after_each_scan() -> None:
    around = Surroundings()
    report = scan(World(), extras=ScanExtras(drift=around))
    assert around.settled == report.at
    assert around.observed is not None
    assert around.observed.funnel == report.funnel


@pytest.mark.parametrize(("blocking", "reason", "asked"), [(True, "breaker_drift", [BTC]), (False, None, [BTC, ETH])])
def test_drift_of_a_symbol_stops_its_buys_alone_when_it_may(
    blocking: bool, reason: str | None, asked: list[Symbol]
) -> None:
    world = World({symbol: a_signal(symbol) for symbol in (BTC, ETH)})
    settings = Settings.from_mapping(
        {
            "universe": {"training_symbols": ["BTC/USDC", "ETH/USDC"]},
            "scanner": {"min_score": 0.0},
            "risk": {"circuit_breakers": {"drift_block_enabled": blocking}},
        }
    )
    extras = ScanExtras(drift=Surroundings(drifting=(ETH,)))
    report = MultiPairScanner(settings, world, world, world, extras=extras).scan(NOW)
    assert reasons(report).get(ETH) == reason
    assert BTC in [item.symbol for item in report.opportunities]
    assert world.asked == asked


def test_the_same_world_gives_the_same_report() -> None:
    signals = {BTC: a_signal(BTC), ETH: a_signal(ETH)}
    assert scan(World(signals)) == scan(World(signals))
