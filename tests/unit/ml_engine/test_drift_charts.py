"""Charts, their limits, and the statistics of columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.settings_model import DriftSettings
from data_manager.bars import FloatArray
from ml_engine.drift_charts import (
    COVERAGE_P,
    LEAST_COVERAGE_OUTCOMES,
    SLACK,
    Coverage,
    Cusum,
    Standard,
    adverse_returns,
    bin_shares,
    binomial_tail,
    coverage_floor,
    distance,
    distance_p_value,
    excess_losses,
    running_maxima,
    stability_index,
)
from ml_engine.drift_reference import (
    LEAST_OUTCOMES,
    LIMIT_DAYS,
    Outcomes,
    Reference,
    chart_arrays,
    column_arrays,
    limits_by_length,
    window_moves,
)
from ml_engine.drift_triggers import Ended, Triggers
from tests.fakes.bar_builders import some_bars

PRIOR = np.array([0.3, 0.4, 0.3])
finite = st.floats(-5, 5)


@given(st.lists(finite, min_size=1, max_size=60), st.floats(-1, 1), st.floats(0.1, 3))
def test_the_running_sum_of_bars_is_the_one_of_paths(values: list[float], mean: float, deviation: float) -> None:
    chart = Cusum(Standard(mean, deviation), 1e9)
    levels = []
    for value in values:
        chart.follow(value)
        levels.append(chart.value)
    scaled = (np.array(values) - mean) / deviation
    assert running_maxima(scaled[None, :])[0, -1] == pytest.approx(max(levels), abs=1e-9)
    assert min(levels) >= 0.0


def test_usual_values_never_sum_up() -> None:
    chart = Cusum(Standard(1.0, 2.0), 3.0)
    for _ in range(100):
        chart.follow(1.0 + 2.0 * SLACK)
    assert chart.value == 0.0


@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_tail_is_the_exact_binomial(pair: tuple[int, int]) -> None:
    hits, count = pair
    tail = binomial_tail(hits, count)
    assert 0.0 < tail <= 1.0 + 1e-12
    step = math.comb(count, hits) * 0.8**hits * 0.2 ** (count - hits)
    assert tail - (binomial_tail(hits - 1, count) if hits else 0.0) == pytest.approx(step, rel=1e-6, abs=1e-15)


def test_coverage_alarms_beyond_its_limit_and_not_at_the_last_usual_number() -> None:
    count = 130
    most = max(hits for hits in range(count) if binomial_tail(hits, count) < COVERAGE_P)
    for hits, too_few in ((most, True), (most + 1, False)):
        chart = Coverage.of(0.3, count)
        for place in range(count):
            chart.follow(0.3 if place < hits else 0.2999)
        assert (chart.p_value < COVERAGE_P) is too_few


def test_coverage_says_nothing_of_a_few_outcomes() -> None:
    chart = Coverage.of(0.3, 130)
    for _ in range(LEAST_COVERAGE_OUTCOMES - 1):
        chart.follow(0.0)
    assert chart.p_value == 1.0
    chart.follow(0.0)
    assert chart.p_value < COVERAGE_P


@given(st.lists(st.floats(0, 1), min_size=10, max_size=200))
def test_four_fifths_of_what_was_said_reach_the_floor(said: list[float]) -> None:
    floor = coverage_floor(np.array(said))
    assert np.mean(np.array(said) >= floor) >= 0.8


def test_excess_loss_is_zero_for_the_class_shares_and_rises_when_the_outcome_was_unlikely() -> None:
    said = np.array([PRIOR, [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    excess = excess_losses(said, np.array([0, 1, 2]), PRIOR)
    assert excess == pytest.approx([0.0, math.log(0.4 / 0.8), math.log(0.3 / 0.1)])


def test_a_position_along_the_forecast_loses_when_the_market_goes_against_it() -> None:
    said = np.array([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.4, 0.2, 0.4], [0.1, 0.2, 0.7]])
    against = adverse_returns(said, np.array([-0.01, -0.01, -0.01, 9.0]), np.full(4, 0.005), 4)
    assert against == pytest.approx([1.0, -1.0, 0.0, -3.0], abs=1e-4)


def charts(**parts: FloatArray) -> Triggers:
    arrays = {f"drift_{name}": values for name, values in parts.items()}
    return Triggers.of(Reference.of(arrays), DriftSettings(), PRIOR.tolist(), 9.6)


@pytest.mark.parametrize("part", ["loss", "return"])
def test_a_chart_trips_beyond_its_limit_and_begins_anew(part: str) -> None:
    at_limit = {part: np.array([0.0, 1.0]), f"{part}_limits": np.full(len(LIMIT_DAYS), 2.0)}
    triggers = charts(**at_limit)
    bad = Ended((0.05, 0.05, 0.9), 0, -2.0)
    assert triggers.follow(bad) is None
    tripped = triggers.follow(bad)
    assert tripped is not None
    assert (tripped.kind, tripped.limit) == (part, 2.0)
    assert tripped.score > 2.0
    assert triggers.scores()[part].score == 0.0


def test_a_configured_limit_wins_over_the_resampled_one() -> None:
    arrays = {"drift_loss": np.array([0.0, 1.0]), "drift_loss_limits": np.full(len(LIMIT_DAYS), 2.0)}
    settings = DriftSettings(loss_cusum_threshold=7.5)
    triggers = Triggers.of(Reference.of(arrays), settings, PRIOR.tolist(), 9.6)
    assert triggers.scores()["loss"].limit == 7.5


def test_rarer_false_alarms_need_a_higher_limit() -> None:
    generator = np.random.default_rng(1)
    arrays = {
        "drift_loss": np.array([0.0, 1.0]),
        "drift_loss_limits": limits_by_length(generator.normal(size=300), steps_per_day=9.6, seed=1),
    }
    limits = [
        Triggers.of(Reference.of(arrays), DriftSettings(false_alarm_days=days), PRIOR.tolist(), 9.6)
        .scores()["loss"]
        .limit
        for days in (5, 30, 90)
    ]
    assert limits == sorted(limits)
    assert limits[0] < limits[2]


def test_quiet_outcomes_raise_false_alarms_about_as_rarely_as_asked() -> None:
    generator = np.random.default_rng(3)
    seen = generator.normal(size=500)
    arrays = {"drift_loss_limits": limits_by_length(seen, steps_per_day=9.6, seed=1)}
    reference = Reference.of({**arrays, "drift_loss": np.array([0.0, 1.0])}).loss
    assert reference is not None
    limit, days = reference.limit(30.0), 120
    quiet = running_maxima(generator.normal(size=(400, round(days * 9.6))))[:, -1]
    assert 0.2 < float((quiet > limit).mean()) < 0.7


def outcomes(count: int) -> Outcomes:
    generator = np.random.default_rng(5)
    said = generator.dirichlet([3, 4, 3], count)
    return Outcomes(said, generator.integers(0, 3, count), PRIOR, generator.normal(0, 0.01, count),
                    np.full(count, 0.003), 10)  # fmt: skip


def test_too_few_outcomes_leave_no_chart() -> None:
    assert chart_arrays(outcomes(LEAST_OUTCOMES - 1), steps_per_day=9.6, seed=1) == {}
    arrays = chart_arrays(outcomes(LEAST_OUTCOMES), steps_per_day=9.6, seed=1)
    assert set(arrays) == {
        "drift_loss", "drift_loss_limits", "drift_return", "drift_return_limits", "drift_coverage_floor",
    }  # fmt: skip


def test_unknown_moves_and_answers_are_left_out() -> None:
    whole = outcomes(100)
    said, moves = whole.probabilities.copy(), whole.moves.copy()
    said[:5], moves[90:] = np.nan, np.nan
    holed = Outcomes(said, whole.labels, PRIOR, moves, whole.volatility, 10)
    arrays = chart_arrays(holed, steps_per_day=9.6, seed=1)
    assert all(np.isfinite(values).all() for values in arrays.values())


def test_the_same_seed_gives_the_same_limits() -> None:
    first, second = (chart_arrays(outcomes(100), steps_per_day=9.6, seed=7) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_moves_run_from_the_next_open_to_the_close_of_the_last_bar() -> None:
    bars = some_bars(200)
    t0 = bars.close_time[[95, 96, 150, 189, 190]]
    moves, volatility = window_moves(bars, t0, 10)
    assert np.isnan(moves[[0, 4]]).all()
    assert moves[2] == bars.close[160] / bars.open[151] - 1.0
    assert volatility[1] == pytest.approx(np.diff(np.log(bars.close[:97])).std())
    assert np.isfinite(moves[3])


def test_shares_of_bins_add_up_and_leave_unknown_values_out() -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3))
    rows[::7, 1] = np.nan
    rows[:, 2] = np.nan
    edges = np.nanquantile(rows[:, :1], np.linspace(0.1, 0.9, 9), axis=0).T.repeat(3, axis=0)
    shares = bin_shares(rows, edges)
    assert shares[0] == pytest.approx(np.full(10, 0.1), abs=1e-9)
    assert shares[1].sum() == pytest.approx(1.0)
    assert np.isnan(shares[2]).all()


@given(st.lists(st.floats(0.01, 1), min_size=10, max_size=10))
def test_a_distribution_does_not_stray_from_itself(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    even = np.full(10, 0.1)
    assert stability_index(shares, shares) == 0.0
    assert distance(shares, shares) == 0.0
    assert stability_index(shares, even) >= 0.0
    assert distance(shares, even) == pytest.approx(distance(even, shares))


def test_the_p_value_falls_with_distance_and_rows() -> None:
    assert distance_p_value(0.0, 64) == 1.0
    assert distance_p_value(0.24, 64) == pytest.approx(2 * math.exp(-2 * 64 * 0.24**2))
    assert distance_p_value(0.3, 64) < distance_p_value(0.24, 64) < distance_p_value(0.24, 32)


def test_a_slow_column_is_allowed_to_stray_further_than_an_even_one() -> None:
    generator = np.random.default_rng(2)
    slow = np.cumsum(generator.normal(size=6000)) / 30
    arrays = column_arrays(np.column_stack([generator.normal(size=6000), slow]), window=64)
    assert arrays["drift_psi_limits"][1] > 3 * arrays["drift_psi_limits"][0]
    assert arrays["drift_ks_limits"][1] > 2 * arrays["drift_ks_limits"][0]
    read = Reference.of(arrays).columns
    assert read is not None
    assert (read.window, read.edges.shape, read.shares.shape) == (64, (2, 9), (2, 10))


def test_a_bundle_without_references_has_no_charts() -> None:
    reference = Reference.of({})
    assert (reference.loss, reference.adverse, reference.coverage_floor, reference.columns) == (None,) * 4
    assert charts().follow(Ended((0.1, 0.1, 0.8), 0, -3.0)) is None
