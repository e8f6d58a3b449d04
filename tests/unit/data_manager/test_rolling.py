"""Rolling windows that remember nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_manager.rolling import (
    lagged,
    ratio,
    rolling_centred_deviation,
    rolling_correlation,
    rolling_deviation,
    rolling_sum,
)

Array = npt.NDArray[np.float64]
values = hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6))


@settings(max_examples=100, deadline=None)
@given(values=values, bars=st.integers(1, 120))
def test_windows_agree_with_their_definition(values: Array, bars: int) -> None:
    total = rolling_sum(values, bars)

    assert np.isnan(total[: bars - 1]).all()
    for end in range(bars, len(values) + 1):
        window = values[end - bars : end]
        assert total[end - 1] == pytest.approx(window.sum(), rel=1e-9, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(values=values, bars=st.integers(1, 120), cut=st.integers(0, 300))
def test_a_window_is_the_same_to_the_last_bit_wherever_the_array_starts_or_ends(
    values: Array, bars: int, cut: int
) -> None:
    whole = rolling_sum(values, bars)

    ended = rolling_sum(values[:cut], bars)
    assert np.array_equal(ended, whole[:cut], equal_nan=True)
    started = rolling_sum(values[cut:], bars)[bars - 1 :]
    assert np.array_equal(started, whole[cut + bars - 1 :])


def test_a_huge_value_leaves_no_trace_once_it_is_out_of_the_window() -> None:
    series = np.array([1e18, 1.0, 2.0, 3.0, 4.0])

    assert rolling_sum(series, 3)[-1] == 9.0


def test_an_unmoved_series_has_exactly_no_deviation() -> None:
    series = np.full(200, 0.1)

    assert rolling_deviation(series, 96)[-1] == 0.0
    assert np.isnan(rolling_correlation(series, np.arange(200.0), 96)[-1])


def test_deviation_far_from_zero_keeps_its_precision() -> None:
    noise = np.random.default_rng(1).normal(0, 1e-4, 100)

    _, near = rolling_centred_deviation(noise, 20)
    _, far = rolling_centred_deviation(noise + 16.0, 20)

    assert far[-1] == pytest.approx(near[-1], rel=1e-9)
    assert near[-1] == pytest.approx(noise[-20:].std(), rel=1e-12)


def test_a_ratio_is_never_infinite() -> None:
    result = ratio(np.array([1.0, 1.0, 1.0]), np.array([0.0, -1.0, 2.0]))

    assert np.array_equal(result, [np.nan, np.nan, 0.5], equal_nan=True)


def test_a_lag_longer_than_the_series_is_unknown_everywhere() -> None:
    assert np.isnan(lagged(np.arange(3.0), 5)).all()
