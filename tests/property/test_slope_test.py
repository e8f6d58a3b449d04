"""The slope test's p-value says the same as its interval, and is honest where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_engine.evidence import return_slope, slope_test

ROWS = 960
DAY = np.arange(ROWS) // 96


def world(seed: int, slope: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    score = generator.normal(size=ROWS)
    return score, slope * score + generator.standard_t(5, size=ROWS)


@given(st.integers(0, 2**31), st.floats(-0.3, 0.3))
def test_the_p_value_and_the_lower_bound_open_together(seed: int, slope: float) -> None:
    tested = slope_test(*world(seed, slope), DAY)
    if abs(tested.p_value - 0.025) > 1e-9:
        assert (tested.slope.lower > 0.0) is (tested.p_value < 0.025)
        assert (tested.slope.upper < 0.0) is (tested.p_value > 0.975)
    assert (tested.slope.value > 0.0) is (tested.p_value < 0.5)


@given(st.integers(0, 2**31), st.floats(0.01, 100.0))
def test_units_do_not_matter(seed: int, scale: float) -> None:
    score, gain = world(seed, 0.1)
    assert slope_test(score * scale, gain / scale, DAY).p_value == pytest.approx(slope_test(score, gain, DAY).p_value)


@given(st.integers(0, 2**31))
def test_turning_the_returns_turns_the_evidence(seed: int) -> None:
    score, gain = world(seed, 0.1)
    assert slope_test(score, -gain, DAY).p_value == pytest.approx(1.0 - slope_test(score, gain, DAY).p_value)


def test_without_a_slope_small_p_values_are_at_most_as_common_as_they_say() -> None:
    values = np.array([slope_test(*world(seed, 0.0), DAY).p_value for seed in range(400)])
    for level in (0.025, 0.1, 0.3):
        assert (values <= level).mean() <= level + 2.5 * np.sqrt(level * (1.0 - level) / len(values))


def test_a_planted_slope_has_a_small_p_value() -> None:
    assert slope_test(*world(1, 0.5), DAY).p_value < 0.01


def test_a_score_that_never_varies_or_too_few_days_prove_nothing() -> None:
    score, gain = world(1, 0.5)
    assert slope_test(np.zeros(ROWS), gain, DAY).p_value == 1.0
    assert slope_test(score, gain, np.arange(ROWS) // 240).p_value == 1.0


def test_a_line_without_noise_is_certain() -> None:
    score = np.tile([-1.0, 1.0], ROWS // 2)
    assert slope_test(score, score, DAY).p_value == 0.0
    assert slope_test(score, -score, DAY).p_value == 1.0


def test_the_interval_alone_is_the_same_interval() -> None:
    score, gain = world(2, 0.1)
    assert return_slope(score, gain, DAY) == slope_test(score, gain, DAY).slope
