"""Figures about forecasts and trades against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference_log_loss
from sklearn.metrics import roc_auc_score

from ml_engine import metrics
from ml_engine.calibration import FittedMap
from ml_engine.ensemble import Admission
from ml_engine.evidence import ExpectedValueLine, expected_value_line, return_slope, scores
from ml_engine.fitting import Vote
from ml_engine.inference import LinearMap
from ml_engine.outlier import training_region
from ml_engine.overfitting import deflated_sharpe, overfitting_probability
from ml_engine.training_report import Gates, judge


def a_forecast(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    forecast = generator.dirichlet((2.0, 4.0, 2.0), rows)
    labels = (generator.random((rows, 1)) > np.cumsum(forecast, axis=1)[:, :2]).sum(axis=1)
    return forecast, labels


def test_log_loss_is_the_librarys() -> None:
    forecast, labels = a_forecast()
    assert metrics.log_loss(forecast, labels) == pytest.approx(reference_log_loss(labels, forecast))


def test_direction_auc_is_the_librarys_on_buy_and_sell_rows() -> None:
    forecast, labels = a_forecast()
    score = np.round(forecast[:, 2] - forecast[:, 0], 1)
    moved = labels != 1
    assert metrics.direction_auc(score, labels) == pytest.approx(roc_auc_score(labels[moved] == 2, score[moved]))


def test_the_class_shares_have_no_skill_against_themselves() -> None:
    _, labels = a_forecast()
    losses = metrics.prior_losses(metrics.class_shares(labels), labels)
    estimate = metrics.skill(losses, losses, np.arange(len(labels)) // 96, seed=1)
    assert (estimate.value, estimate.lower, estimate.upper) == (0.0, 0.0, 0.0)


def test_a_good_forecast_has_skill_above_zero_with_its_bound() -> None:
    forecast, labels = a_forecast(3_000)
    prior = metrics.prior_losses(metrics.class_shares(labels), labels)
    estimate = metrics.skill(metrics.row_losses(forecast, labels), prior, np.arange(3_000) // 96, seed=1)
    assert 0.0 < estimate.lower < estimate.value < estimate.upper


def test_calibration_error_of_a_true_forecast_is_its_noise_floor() -> None:
    forecast, labels = a_forecast(2_000)
    floor = metrics.calibration_floor(forecast, seed=2)
    assert metrics.calibration_error(forecast, labels) == pytest.approx(floor, abs=0.01)
    assert metrics.calibration_error(np.roll(forecast, 1, axis=1), labels) > 4 * floor


def test_precision_and_recall_stand_beside_the_base_rate() -> None:
    forecast = np.array([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    score = metrics.class_scores(forecast, np.array([2, 1, 2, 0]))["BUY"]
    assert (score.precision, score.recall, score.f1, score.base_rate) == (0.5, 0.5, 0.5, 0.5)


def test_money_never_holds_two_positions_at_once() -> None:
    t0 = np.arange(10) * 100
    figures = metrics.money(np.arange(10), np.full(10, 0.01), (t0, t0 + 250), round_trip=0.003, seed=1)
    assert figures.trades == 4
    assert figures.net_return == pytest.approx(0.007)
    assert figures.net_total == pytest.approx(0.028)


def test_no_entry_earns_nothing_and_beats_nobody() -> None:
    t0 = np.arange(10) * 100
    figures = metrics.money(np.empty(0, dtype=np.int64), np.full(10, 0.01), (t0, t0), round_trip=0.003, seed=1)
    assert (figures.trades, figures.net_total, figures.random_entry_p) == (0, 0.0, 1.0)


def test_the_slope_of_a_planted_line_is_found_with_its_bound() -> None:
    generator = np.random.default_rng(5)
    score = generator.normal(size=4_000)
    slope = return_slope(score, 0.3 * score + generator.normal(size=4_000), np.arange(4_000) // 96)
    assert slope.lower < 0.3 < slope.upper
    assert slope.lower > 0.2


def test_one_wild_day_does_not_prove_a_slope() -> None:
    generator = np.random.default_rng(7)
    score, gain, day = generator.normal(size=2_880), generator.normal(size=2_880), np.arange(2_880) // 96
    wild = day == 11
    score[wild], gain[wild] = score[wild] + 5.0, gain[wild] + 5.0
    assert return_slope(score, gain, day).value > 0.3
    assert return_slope(score, gain, day).lower < 0.0


def test_a_score_that_never_varies_proves_nothing() -> None:
    slope = return_slope(np.zeros(500), np.ones(500), np.arange(500) // 96)
    assert slope.lower == float("-inf")


def test_unrelated_returns_open_the_slope_test_at_most_as_often_as_promised() -> None:
    opened = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        score = np.repeat(generator.normal(size=240), 12)
        gain = np.convolve(generator.normal(size=2_880 + 95), np.ones(96) / 96, mode="valid")
        opened += return_slope(score, gain, np.arange(2_880) // 96).lower > 0
    assert opened <= 18


def test_the_expected_value_line_never_slopes_down() -> None:
    generator = np.random.default_rng(6)
    score = generator.normal(size=2_000)
    down = expected_value_line(score, -score, np.arange(2_000) // 96, seed=1)
    up = expected_value_line(score, 0.5 * score + 1.0, np.arange(2_000) // 96, seed=1)
    assert down.slope == 0.0
    assert min(down.slopes) >= 0.0
    assert (up.slope, up.intercept) == (pytest.approx(0.5), pytest.approx(1.0))
    assert up.lower(2.0) == pytest.approx(2.0)


def test_a_score_is_the_lean_times_the_width() -> None:
    assert scores(np.array([[0.2, 0.3, 0.5]]), np.array([0.01])) == pytest.approx([0.003])


@pytest.mark.parametrize(("trials", "expected"), [(1, 0.993), (40, 0.299), (1000, 0.024)])
def test_the_deflated_sharpe_ratio_has_its_known_values(trials: int, expected: float) -> None:
    found = deflated_sharpe(1.8 / 252**0.5, 504, skew=-0.6, kurtosis=7.5, trials=trials, variance=1.0 / 252)
    assert found == pytest.approx(expected, abs=0.005)


def test_choosing_among_noise_is_overfitting_half_of_the_time() -> None:
    worlds = [np.random.default_rng(seed).normal(size=(320, 20)) for seed in range(20)]
    found = [overfitting_probability(world, blocks=8) for world in worlds]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_a_verdict_names_every_closed_half_with_its_bound() -> None:
    region = training_region(np.random.default_rng(1).normal(size=(50, 2)))
    line = ExpectedValueLine(0.0, 0.0, (0.0,), (0.0,))
    gates = Gates(metrics.Estimate(0.4, 0.0, 0.8), line, region, 3.0)
    vote = Vote({}, {}, FittedMap("none", LinearMap(), 499, ""), (Admission("rf", True, 1.0, 1.1, 1.0, ""),))
    verdict = judge(metrics.Estimate(0.01, 0.0, 0.02), gates, vote, calibrate_rows=499)
    assert not verdict.tradable
    assert [reason.split(",")[0] for reason in verdict.reasons] == [
        "no_skill: report-block skill +0.0100",
        "no_skill: slope of trade return +0.400",
        "no_skill: trade return does not rise with the score on the calibrate block",
        "no_skill: 499 calibrate rows",
    ]


def test_a_verdict_is_tradable_when_every_bound_is_just_above_zero() -> None:
    region = training_region(np.random.default_rng(1).normal(size=(50, 2)))
    gates = Gates(metrics.Estimate(0.4, 1e-9, 0.8), ExpectedValueLine(0.0, 1e-9, (0.0,), (0.0,)), region, 3.0)
    vote = Vote({}, {}, FittedMap("none", LinearMap(), 500, ""), (Admission("rf", True, 1.0, 1.1, 1.0, ""),))
    assert judge(metrics.Estimate(0.01, 1e-9, 0.02), gates, vote, calibrate_rows=500).tradable
