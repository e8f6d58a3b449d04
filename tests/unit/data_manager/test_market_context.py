"""The market around a symbol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.feature_audit import same_bits
from data_manager.feature_columns import MARKET_COLUMNS
from data_manager.market_context import CARRIED_BARS, MarketContext
from tests.fakes.feature_market import flat, walk, without

NAMES = ("AAA", "BBB", "CCC", "DDD", "EEE")
BARS = {Symbol(f"{name}/USDC"): walk(f"{name}/USDC", bars=400, seed=seed) for seed, name in enumerate(NAMES)}
BENCHMARK = Symbol("AAA/USDC")
LAST_CLOSE = int(BARS[BENCHMARK].close_time[-1])


def column(context: MarketContext, bars: Bars, name: str) -> float:
    return float(context.columns(bars)[-1, MARKET_COLUMNS.index(name)])


def test_equal_weight_leaves_the_symbol_itself_out() -> None:
    own = BARS[Symbol("BBB/USDC")]
    others = [bars.close for symbol, bars in BARS.items() if symbol != own.symbol]
    sigma = np.diff(np.log(BARS[BENCHMARK].close))[-96:].std()
    expected = np.mean([np.log(close[-1] / close[-5]) for close in others]) / (sigma * 2.0)

    assert column(MarketContext.of(BARS, BENCHMARK), own, "market_equal_return_4") == pytest.approx(expected)


def test_the_own_move_does_not_enter_the_others() -> None:
    own = BARS[Symbol("BBB/USDC")]
    moved = {**BARS, own.symbol: replace(own, close=own.close * np.linspace(1, 9, len(own)))}

    for name in ("market_equal_return_16", "market_breadth_16", "market_dispersion_16", "market_benchmark_return_96"):
        assert column(MarketContext.of(BARS, BENCHMARK), own, name) == column(
            MarketContext.of(moved, BENCHMARK), moved[own.symbol], name
        )


def test_a_symbol_outside_the_basket_is_compared_with_all_of_it() -> None:
    outsider = walk("ZZZ/USDC", bars=400, seed=99)
    rising = np.mean([np.log(bars.close[-1] / bars.close[-17]) > 0 for bars in BARS.values()])

    assert column(MarketContext.of(BARS, BENCHMARK), outsider, "market_breadth_16") == pytest.approx(rising)


def test_the_benchmark_moves_with_itself() -> None:
    context = MarketContext.of(BARS, BENCHMARK)

    assert column(context, BARS[BENCHMARK], "market_correlation_96") == pytest.approx(1.0)


@pytest.mark.parametrize(("absent", "stale"), [(0, False), (1, False), (2, True)])
def test_under_four_fifths_of_the_basket_is_stale(absent: int, stale: bool) -> None:
    held = {symbol: bars for place, (symbol, bars) in enumerate(BARS.items()) if place < len(BARS) - absent}
    context = MarketContext.of(held, BENCHMARK, tuple(BARS))

    if not stale:
        context.require(LAST_CLOSE)
        return
    with pytest.raises(MarketDataError) as refused:
        context.require(LAST_CLOSE)
    assert refused.value.reason == "data_stale"


def test_an_instant_after_the_last_bar_is_stale() -> None:
    with pytest.raises(MarketDataError):
        MarketContext.of(BARS, BENCHMARK).require(LAST_CLOSE + 900_000)


def test_no_benchmark_is_unavailable() -> None:
    with pytest.raises(MarketDataError) as refused:
        MarketContext.of(BARS, Symbol("QQQ/USDC"))
    assert refused.value.reason == "data_unavailable"


@pytest.mark.parametrize(("absent", "known"), [(3, True), (CARRIED_BARS, True), (CARRIED_BARS + 1, False)])
def test_a_short_hole_in_the_benchmark_is_bridged(absent: int, known: bool) -> None:
    held = {**BARS, BENCHMARK: without(BARS[BENCHMARK], range(350, 350 + absent))}

    value = column(MarketContext.of(held, BENCHMARK), BARS[Symbol("CCC/USDC")], "market_benchmark_return_4")

    assert np.isfinite(value) == known


def test_a_flat_benchmark_gives_nan_not_infinity() -> None:
    held = {**BARS, BENCHMARK: flat(str(BENCHMARK), bars=400)}

    values = MarketContext.of(held, BENCHMARK).columns(BARS[Symbol("CCC/USDC")])

    assert not np.isinf(values).any()


def test_later_bars_change_no_bit() -> None:
    own = BARS[Symbol("DDD/USDC")]
    whole = MarketContext.of(BARS, BENCHMARK)
    cut = int(own.close_time[299])

    early = whole.closed_by(cut).columns(own.rows(0, 300))

    assert same_bits(early, whole.columns(own)[:300]).all()


def test_rows_off_the_grid_are_unknown() -> None:
    later = walk("DDD/USDC", bars=10, start_ms=LAST_CLOSE + 86_400_000)

    assert np.isnan(MarketContext.of(BARS, BENCHMARK).columns(later)).all()
