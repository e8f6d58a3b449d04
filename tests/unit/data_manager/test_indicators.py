"""Indicators against TA-Lib and against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from data_manager import indicators as ind
from data_manager import ta
from data_manager.bar_view import BarView, WindowView
from tests.fakes.feature_market import flat, scaled, walk

Array = npt.NDArray[np.float64]
BARS = walk(bars=900, seed=4)
VIEW = BarView(BARS)
HIGH, LOW, CLOSE, VOLUME = BARS.high, BARS.low, BARS.close, BARS.volume
ATR = ta.function("ATR")(HIGH, LOW, CLOSE, 14)


def _keltner() -> Array:
    upper, _, lower = ta.function("KC")(HIGH, LOW, CLOSE, 20, 10, 2.0)
    return np.asarray((CLOSE - lower) / (upper - lower))


def _bollinger() -> Array:
    upper, _, lower = ta.function("BBANDS")(np.log(CLOSE), 20, 2.0, 2.0, 0)
    return np.asarray((np.log(CLOSE) - lower) / (upper - lower))


@pytest.mark.parametrize(
    ("ours", "library"),
    [
        (lambda: ind.rsi(VIEW, 14), lambda: ta.function("RSI")(CLOSE, 14)),
        (lambda: ind.ema_distance(VIEW, 21), lambda: (CLOSE - ta.function("EMA")(CLOSE, 21)) / ATR),
        (lambda: ind.macd_histogram(VIEW, 12, 26, 9), lambda: ta.function("MACD")(CLOSE, 12, 26, 9)[2] / ATR),
        (lambda: ind.directional(VIEW, "ADX", 14), lambda: ta.function("ADX")(HIGH, LOW, CLOSE, 14)),
        (lambda: ind.stochastic(VIEW, 14, 3), lambda: ta.function("STOCH")(HIGH, LOW, CLOSE, 14, 3, 0, 3, 0)[0]),
        (lambda: ind.williams(VIEW, 14), lambda: ta.function("WILLR")(HIGH, LOW, CLOSE, 14)),
        (lambda: ind.cci(VIEW, 20), lambda: ta.function("CCI")(HIGH, LOW, CLOSE, 20)),
        (lambda: ind.money_flow_index(VIEW, 14), lambda: ta.function("MFI")(HIGH, LOW, CLOSE, VOLUME, 14)),
        (lambda: 100 * ind.atr_share(VIEW, 14), lambda: ta.function("NATR")(HIGH, LOW, CLOSE, 14)),
        (lambda: ind.bollinger_place(VIEW, 20, 2.0), _bollinger),
        (lambda: ind.keltner_place(VIEW, 20, 10, 2.0), _keltner),
        (lambda: ind.chaikin_flow(VIEW, 20), lambda: ta.function("CMF")(HIGH, LOW, CLOSE, VOLUME, 20)),
        (lambda: ind.efficiency(VIEW, 20), lambda: ta.function("ER")(CLOSE, 20)),
        (lambda: ind.supertrend_side(VIEW, 10, 3.0), lambda: ta.function("SUPERTREND")(HIGH, LOW, CLOSE, 10, 3.0)[1]),
    ],
)
def test_agrees_with_the_library(ours: Callable[[], Array], library: Callable[[], Array]) -> None:
    np.testing.assert_allclose(ours()[300:], library()[300:], rtol=1e-7, atol=1e-7)


def test_money_flow_does_not_depend_on_the_unit_of_volume() -> None:
    tiny = BarView(scaled(BARS, volume=1e-9))

    np.testing.assert_allclose(ind.money_flow_index(tiny, 14)[20:], ind.money_flow_index(VIEW, 14)[20:], rtol=1e-9)


def test_a_mean_with_a_reach_is_the_weighted_mean_of_those_bars() -> None:
    weights = (199 / 201) ** np.arange(600)
    expected = (weights * CLOSE[::-1][:600]).sum() / weights.sum()

    place = ind.ema_distance(VIEW, 200, 600)[-1]

    assert place == pytest.approx((CLOSE[-1] - expected) / ATR[-1], rel=1e-9)


def test_returns_are_counted_in_their_own_deviations() -> None:
    steps = np.diff(np.log(CLOSE))[-96:]

    assert ind.return_z(VIEW, 4)[-1] == pytest.approx(np.log(CLOSE[-1] / CLOSE[-5]) / (steps.std() * 2), rel=1e-9)


def test_variance_ratio_of_a_random_walk_is_near_one() -> None:
    assert np.nanmean(ind.variance_ratio(BarView(walk(bars=20_000)), 4, 96)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", sorted(ind.INDICATORS))
def test_an_unmoved_market_gives_no_infinite_value(name: str) -> None:
    from data_manager.feature_columns import BASE_SPECS

    spec = next(spec for spec in BASE_SPECS if spec.function == name)

    for bars in (flat(bars=800), flat(bars=800, volume=0.0), flat(bars=30), flat(bars=1)):
        result = ind.INDICATORS[name](BarView(bars), *spec.parameters)
        assert result.shape == (len(bars),)
        assert not np.isinf(result).any()


def test_a_window_view_equals_a_plain_view_of_the_window() -> None:
    rows = np.array([250, 500, 899])

    windowed = ind.ema_distance(WindowView(BARS, rows, 200), 50)

    for row in rows:
        alone = ind.ema_distance(BarView(BARS.rows(row - 199, row + 1)), 50)
        assert windowed[row] == alone[-1]
