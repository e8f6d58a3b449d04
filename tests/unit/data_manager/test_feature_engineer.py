"""The feature matrix: its declaration, its behaviour on poor data, and that it can be caught looking ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager import feature_columns, multi_timeframe
from data_manager.bar_view import BarView
from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.feature_audit import same_bits, truncation_differences
from data_manager.feature_columns import BASE_SPECS, REPEATED_COLUMNS, feature_hash
from data_manager.feature_engineer import FeatureEngineer, week_start, window_start
from data_manager.indicators import INDICATORS
from data_manager.resampling import resample
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, flat, nothing, walk, without

ENGINEER = FeatureEngineer()
PACKAGE = Path(feature_columns.__file__).parent
SOURCES = [
    "bar_view.py",
    "candle_patterns.py",
    "feature_columns.py",
    "feature_engineer.py",
    "indicators.py",
    "liquidity.py",
    "market_context.py",
    "multi_timeframe.py",
    "rolling.py",
]


def frames(bars: Bars) -> dict[Timeframe, Bars]:
    return {Timeframe.M15: bars}


def test_columns_are_declared_once_and_cover_every_family() -> None:
    assert len(set(ENGINEER.columns)) == len(ENGINEER.columns)
    assert {spec.family for spec in ENGINEER.specs} == set(feature_columns.FAMILIES)
    for timeframe in ("1h", "4h", "1d"):
        assert {f"mtf_{timeframe}_{name}" for name in REPEATED_COLUMNS} <= set(ENGINEER.columns)


@pytest.mark.parametrize("change", [{"name": "other"}, {"warmup_bars": 1}, {"parameters": (3,)}, {"required": False}])
def test_the_hash_changes_with_any_part_of_a_definition(change: dict[str, str]) -> None:
    changed = [replace(BASE_SPECS[0], **change), *BASE_SPECS[1:]]  # type: ignore[arg-type]

    assert feature_hash(changed) != feature_hash(BASE_SPECS)


def test_the_hash_changes_with_the_order_and_the_window() -> None:
    assert feature_hash(BASE_SPECS[::-1]) != feature_hash(BASE_SPECS)
    assert feature_hash(BASE_SPECS, (200,)) != feature_hash(BASE_SPECS, (199,))


def test_settings_choose_columns() -> None:
    engineer = FeatureEngineer(
        {"features": {"families": ["trend", "momentum", "mtf"]}, "multi_timeframe": {"timeframes": ["1h"]}}
    )

    assert {spec.family for spec in engineer.specs} == {"trend", "momentum", "mtf"}
    assert engineer.higher_timeframes == (Timeframe.H1,)
    assert not engineer.uses_market
    built = engineer.build(frames(walk(bars=3000)))
    assert np.isfinite(built.column("mtf_trend_strength_mean")[-1])


def test_default_settings_give_the_default_columns() -> None:
    assert FeatureEngineer({}).feature_hash == ENGINEER.feature_hash


def test_the_window_opens_2000_bars_before_monday() -> None:
    wednesday = MONDAY_MS + 2 * 86_400_000 + 5 * STEP_MS

    assert week_start(wednesday) == MONDAY_MS
    assert week_start(MONDAY_MS - 1) == MONDAY_MS - 7 * 86_400_000
    assert window_start(wednesday) == MONDAY_MS - 2000 * STEP_MS


@pytest.mark.parametrize("bars", [1, 2, 30, 97, 299])
@pytest.mark.parametrize("make", [walk, flat])
def test_few_bars_give_rows_without_infinite_values(make: Callable[..., Bars], bars: int) -> None:
    built = ENGINEER.build(frames(make(bars=bars)))

    assert built.values.shape == (bars, len(ENGINEER.columns))
    assert not np.isinf(built.values).any()


def test_no_bars_give_no_rows() -> None:
    assert len(ENGINEER.build(frames(nothing()))) == 0
    with pytest.raises(MarketDataError) as refused:
        ENGINEER.row(frames(nothing()))
    assert refused.value.reason == "too_few_bars"


@pytest.mark.parametrize("volume", [0.0, 1.0])
def test_a_price_that_never_moves_gives_nan_not_infinity(volume: float) -> None:
    values = ENGINEER.build(frames(flat(bars=3000, volume=volume))).values[-1]

    assert not np.isinf(values).any()
    assert np.isnan(values[ENGINEER.columns.index("ema_9")])


def test_a_column_is_nan_until_its_warm_up_is_covered() -> None:
    built = ENGINEER.build(frames(walk(bars=672)))

    spec = next(spec for spec in BASE_SPECS if spec.name == "macd_hist")
    first = int(np.flatnonzero(np.isfinite(built.column("macd_hist")))[0])
    assert first == spec.warmup_bars - 1
    assert np.isnan(built.column("ema_200")).all()


def test_bars_that_cannot_be_are_treated_as_absent() -> None:
    bars = walk(bars=1000)
    poisoned = replace(bars, close=np.where(np.arange(1000) == 500, np.nan, bars.close))

    built = ENGINEER.build(frames(poisoned))

    assert len(built) == 999
    assert same_bits(built.values, ENGINEER.build(frames(without(bars, [500]))).values).all()


def test_more_history_changes_no_bit() -> None:
    bars = walk(bars=4000, start_ms=MONDAY_MS - 3000 * STEP_MS)
    longer = {Timeframe.M15: bars} | {tf: resample(bars, tf) for tf in ENGINEER.higher_timeframes}
    exact = {**longer, Timeframe.M15: bars.between(MONDAY_MS - 2000 * STEP_MS, 2**60)}

    assert same_bits(ENGINEER.row(longer), ENGINEER.row(exact)).all()


@pytest.mark.parametrize("name", SOURCES)
def test_no_forbidden_construct_is_used(name: str) -> None:
    text = (PACKAGE / name).read_text()

    for word in ("bfill", "shift(-", "center=", "cumsum", '"OBV"', '"AD"', '"VWAP"', "fillna", "nan_to_num", "pandas"):
        assert word not in text


def open_time_join(higher: Bars, close_time: IntArray) -> IntArray:
    return np.searchsorted(higher.open_time, close_time - STEP_MS, side="right").astype(np.int64) - 1


def ahead(view: BarView, bars: int) -> FloatArray:
    return np.append(view.log_return(1)[1:], np.nan)


def whole_column(view: BarView, bars: int) -> FloatArray:
    return view.close / view.close.mean()


def centred(view: BarView, bars: int) -> FloatArray:
    return np.convolve(view.close, np.ones(5) / 5, mode="same") / view.close


def back_filled(view: BarView, bars: int) -> FloatArray:
    known = np.where(np.arange(len(view)) % 3 == 0, view.close, np.nan)
    following = np.minimum(np.arange(len(view)) + (-np.arange(len(view))) % 3, len(view) - 1)
    return known[following]


BARS = walk(bars=3400, seed=9, start_ms=MONDAY_MS - 2100 * STEP_MS)
CUTS = [2800, 2801, 2955, 3000, 3111]


def test_a_join_by_open_time_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_timeframe, "visible", open_time_join)

    found = truncation_differences(ENGINEER, frames(BARS), None, CUTS)

    assert any(difference.column.startswith("mtf_1h_") for difference in found)


@pytest.mark.parametrize("fault", [ahead, whole_column, centred, back_filled])
def test_a_planted_look_ahead_is_caught_by_its_name(
    fault: Callable[[BarView, int], FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INDICATORS, "volatility", fault)  # type: ignore[arg-type]

    found = truncation_differences(ENGINEER, frames(BARS), None, CUTS)

    assert "volatility_96" in {difference.column for difference in found}


def test_clean_columns_are_found_clean() -> None:
    assert truncation_differences(ENGINEER, frames(BARS), None, CUTS) == []


GOLDEN = {"ema_200": 1.052593, "rsi_14": 45.323834, "skewness_96": 0.207293, "mtf_1h_adx_14": 21.755053}


def test_the_definition_computes_what_it_always_did() -> None:
    bars = walk("GLD/USDC", bars=2700, seed=42, start_ms=MONDAY_MS - 2000 * STEP_MS)
    values = ENGINEER.row(frames(bars))
    known = dict(zip(ENGINEER.columns, values, strict=True))

    assert {name: known[name] for name in GOLDEN} == pytest.approx(GOLDEN, abs=1e-6)
    assert bars.symbol == Symbol("GLD/USDC")
