"""Features of recorded markets: nothing of the future, nothing of the window's start, nothing of the unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, FloatArray
from data_manager.feature_audit import same_bits, truncation_differences
from data_manager.feature_columns import BASE_SPECS, ColumnSpec
from data_manager.feature_engineer import FeatureEngineer, base_columns, week_start
from data_manager.indicators import INDICATORS
from data_manager.market_context import MarketContext
from tests.fakes.feature_market import STEP_MS, recorded, scaled, without

ENGINEER = FeatureEngineer()
SYMBOLS = ("BTC", "ETH", "SOL", "OXT", "DIA", "XRP")
BENCHMARK = Symbol("BTC/USDT")
SPECS = [spec for spec in BASE_SPECS if spec.function in INDICATORS]
GAPS = [20_500, 20_501, 20_502, 21_000]


@pytest.fixture(scope="module")
def market(market_data: Path) -> dict[Symbol, Bars]:
    loaded = [recorded(market_data, base).rows(0, 26_000) for base in SYMBOLS]
    return {bars.symbol: without(bars, GAPS) if bars.symbol.base == "ETH" else bars for bars in loaded}


def cuts(bars: Bars) -> list[int]:
    """50 random rows, rows at every border of a longer bar, and rows around gaps."""
    rng = np.random.default_rng(7)
    places = rng.integers(20_200, len(bars) - 1, 50).tolist()
    for length in (Timeframe.H1.ms, Timeframe.H4.ms, Timeframe.D1.ms):
        border = int(bars.open_time[23_000]) // length * length
        at = int(np.searchsorted(bars.open_time, border))
        places += [at - 2, at - 1, at, at + 1]
    return [*places, 20_499, 20_500, 20_501, 20_997, 20_998]


@pytest.mark.parametrize("base", ["ETH", "OXT"])
def test_taking_the_future_away_changes_no_bit(market: dict[Symbol, Bars], base: str) -> None:
    bars = market[Symbol(f"{base}/USDT")]
    context = MarketContext.of(market, BENCHMARK)

    assert truncation_differences(ENGINEER, {Timeframe.M15: bars}, context, cuts(bars)) == []


def test_the_order_of_symbols_changes_no_bit(market: dict[Symbol, Bars]) -> None:
    bars = market[Symbol("ETH/USDT")].rows(24_000, 26_000)
    backwards = dict(reversed(market.items()))

    one = MarketContext.of(market, BENCHMARK).columns(bars)
    other = MarketContext.of(backwards, BENCHMARK).columns(bars)

    assert same_bits(one, other).all()
    assert np.isfinite(one[100:]).all()


@pytest.mark.parametrize("poison", [np.nan, 1000.0])
def test_a_poisoned_future_changes_no_bit(market: dict[Symbol, Bars], poison: float) -> None:
    at = 23_456
    sick = {symbol: _poisoned(bars, int(bars.open_time[at]), poison) for symbol, bars in market.items()}
    symbol = Symbol("SOL/USDT")
    since = int(market[symbol].open_time[at - 700])

    clean = ENGINEER.build({Timeframe.M15: market[symbol]}, MarketContext.of(market, BENCHMARK), since_ms=since)
    hurt = ENGINEER.build({Timeframe.M15: sick[symbol]}, MarketContext.of(sick, BENCHMARK), since_ms=since)

    assert same_bits(clean.values[:701], hurt.values[:701]).all()


def test_a_window_twice_as_long_changes_nothing_beyond_a_millionth(market: dict[Symbol, Bars]) -> None:
    for bars in market.values():
        monday = int(np.searchsorted(bars.open_time, week_start(int(bars.open_time[16_000]))))
        declared = base_columns(bars.rows(monday - 2000, monday + 672), SPECS, 2000)
        doubled = base_columns(bars.rows(monday - 4000, monday + 672), SPECS, 4000)
        assert _beyond(declared, doubled) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.name))
def test_a_declared_warm_up_is_enough(market: dict[Symbol, Bars], spec: ColumnSpec) -> None:
    need = spec.warmup_bars
    for bars in market.values():
        for end in (9000, 14_007, 19_111):
            declared = base_columns(bars.rows(end - need, end), [spec], need - 1)
            doubled = base_columns(bars.rows(end - 2 * need, end), [spec], 2 * need - 1)
            assert _beyond(declared, doubled) == []


def _beyond(one: FloatArray, other: FloatArray) -> list[tuple[int, int]]:
    assert np.array_equal(np.isnan(one), np.isnan(other))
    far = np.abs(one - other) > 1e-6 * np.maximum(np.abs(other), 1e-3)
    return [(int(row), int(column)) for row, column in np.argwhere(far)]


@pytest.mark.parametrize(("price", "volume"), [(1e-3, 1.0), (1e2, 1e6), (1.0, 1e-5)])
def test_units_of_price_and_volume_do_not_matter(market: dict[Symbol, Bars], price: float, volume: float) -> None:
    part = {symbol: bars.rows(0, 21_000) for symbol, bars in market.items()}
    other = {symbol: scaled(bars, price, volume) for symbol, bars in part.items()}
    symbol = Symbol("BTC/USDT")
    since = int(part[symbol].open_time[20_300])

    one = ENGINEER.build({Timeframe.M15: part[symbol]}, MarketContext.of(part, BENCHMARK), since_ms=since)
    two = ENGINEER.build({Timeframe.M15: other[symbol]}, MarketContext.of(other, BENCHMARK), since_ms=since)

    error = np.abs(one.values - two.values) / np.maximum(1.0, np.abs(one.values))
    worst = {name: float(np.nanmax(column)) for name, column in zip(one.columns, error.T, strict=True)}
    assert {name: value for name, value in worst.items() if value > 1e-9} == {}


def _poisoned(bars: Bars, after_ms: int, poison: float) -> Bars:
    later = bars.open_time > after_ms
    factor = np.where(later, poison, 1.0)
    return replace(
        bars,
        open=bars.open * factor,
        high=bars.high * factor,
        low=bars.low * factor,
        close=bars.close * factor,
        volume=bars.volume * factor,
    )


def test_every_recorded_step_is_a_quarter_hour(market: dict[Symbol, Bars]) -> None:
    assert all((np.diff(bars.open_time) % STEP_MS == 0).all() for bars in market.values())
