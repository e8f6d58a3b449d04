"""Alarms on what is far out of its usual range: rare on heavy-tailed noise, certain on jumps and shifts, told once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol
from monitoring.anomalies import (
    CALM_LENGTH,
    CYCLE_TIME,
    EQUITY,
    LEAST_HISTORY,
    MOST_HISTORY,
    MOST_SERIES,
    SLIPPAGE,
    SPREAD,
    AnomalyWatch,
    Observation,
    RobustSeries,
    SeriesRule,
)

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")
BARE = SeriesRule("bare", "bare", "{:.3f}", 1e-9, "")
MONTH = 30 * 288
Noise = Callable[[np.random.Generator, int], np.ndarray]


class Told:
    """Keeps what people were told."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


def onsets(values: Sequence[float], rule: SeriesRule = BARE) -> int:
    series, begun = RobustSeries(rule), 0
    for value in values:
        verdict = series.take(value)
        begun += verdict is not None and verdict.changed and verdict.anomalous
    return begun


def warmed(rule: SeriesRule, scale: float, *, centre: float = 0.0, seed: int = 1) -> RobustSeries:
    series = RobustSeries(rule)
    for value in np.random.default_rng(seed).normal(centre, scale, 500):
        series.take(float(value))
    assert not series.anomalous
    return series


def autocorrelated(generator: np.random.Generator, count: int) -> np.ndarray:
    values = generator.standard_t(4, count)
    for place in range(1, count):
        values[place] += 0.7 * values[place - 1]
    return values


NOISES: dict[str, Noise] = {
    "normal": lambda generator, count: generator.normal(size=count),
    "student with 3 degrees": lambda generator, count: generator.standard_t(3, count),
    "laplace": lambda generator, count: generator.laplace(size=count),
    "lognormal": lambda generator, count: generator.lognormal(size=count),
    "autocorrelated": autocorrelated,
}


@pytest.mark.parametrize("noise", NOISES)
def test_noise_raises_at_most_one_alarm_in_thirty_days_of_values_five_minutes_apart(noise: str) -> None:
    months = [onsets(NOISES[noise](np.random.default_rng(seed), MONTH).tolist()) for seed in range(2)]
    assert sum(months) <= len(months)


@pytest.mark.parametrize("jump", [12.0, 20.0, 100.0])
def test_a_jump_beyond_anything_seen_is_told_at_once(jump: float) -> None:
    series = warmed(BARE, 1.0)
    verdict = series.take(jump)
    assert verdict is not None
    assert (verdict.anomalous, verdict.changed) == (True, True)
    assert verdict.score == pytest.approx(jump, rel=0.15)


def test_a_lasting_shift_is_told_at_its_third_value() -> None:
    series = warmed(BARE, 1.0)
    verdicts = [series.take(7.5) for _ in range(3)]
    assert [verdict.anomalous for verdict in verdicts if verdict] == [False, False, True]


def test_a_single_value_within_what_was_seen_is_no_jump() -> None:
    series = warmed(BARE, 1.0)
    for value in (6.5, 0.0, 0.0, 9.0):
        verdict = series.take(value)
        assert verdict is not None
        assert not verdict.anomalous


def test_only_high_values_count_unless_both_sides_do() -> None:
    assert warmed(BARE, 1.0).take(-50.0).anomalous is False  # type: ignore[union-attr]
    assert warmed(replace(BARE, both_sides=True), 1.0).take(-50.0).anomalous is True  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rule", "usual", "inside", "outside"),
    [(SLIPPAGE, 0.0, 0.0039, 0.0041), (EQUITY, 0.0, 0.0159, -0.0161), (SPREAD, 0.001, 0.0073, 0.0075)],
)
def test_a_series_that_never_moves_is_alarmed_beyond_the_floor_only(
    rule: SeriesRule, usual: float, inside: float, outside: float
) -> None:
    for value, alarmed in ((usual, False), (inside, False), (outside, True)):
        series = RobustSeries(rule)
        for _ in range(LEAST_HISTORY):
            assert series.take(usual) is None
        verdict = series.take(value)
        assert verdict is not None
        assert verdict.anomalous is alarmed


def test_it_ends_after_some_values_in_a_row_within_the_range() -> None:
    series = warmed(BARE, 1.0)
    series.take(100.0)
    calm = [series.take(0.0) for _ in range(CALM_LENGTH)]
    assert [verdict.changed for verdict in calm if verdict] == [False] * (CALM_LENGTH - 1) + [True]
    assert not series.anomalous


def test_a_new_level_becomes_the_usual_one() -> None:
    series = warmed(BARE, 1.0)
    for value in np.random.default_rng(2).normal(30.0, 1.0, 2 * MOST_HISTORY):
        series.take(float(value))
    assert not series.anomalous
    verdict = series.take(30.0)
    assert verdict is not None
    assert verdict.usual == pytest.approx(30.0, abs=0.2)


@given(st.lists(st.floats(), max_size=150))
@settings(max_examples=30)
def test_no_value_whatever_breaks_a_series(values: list[float]) -> None:
    for rule in (BARE, CYCLE_TIME, EQUITY):
        series = RobustSeries(rule)
        for value in (*([1.0] * LEAST_HISTORY), *values):
            verdict = series.take(value)
            assert verdict is None or not math.isnan(verdict.score)


def test_people_are_told_when_it_begins_and_when_it_is_over() -> None:
    told = Told()
    watch = AnomalyWatch(told)
    watch.remember([Observation(SPREAD, 0.001, BTC)] * LEAST_HISTORY)
    for minute, value in enumerate((0.001, 0.05, 0.05, 0.001, 0.001, 0.001)):
        watch.take([Observation(SPREAD, value, BTC)], AT + timedelta(minutes=minute))
    begun, ended = told.alerts
    assert (begun.level, begun.key, begun.ends, begun.symbol) == (
        AlertLevel.WARNING,
        "anomaly_spread:BTC/USDC",
        False,
        BTC,
    )
    assert begun.title == "spread of BTC/USDC is far beyond its usual range: 5.0000%, usual 0.1000%"
    assert "against the last 101 values" in begun.why
    assert (ended.key, ended.ends, ended.at) == (begun.key, True, AT + timedelta(minutes=5))


def test_a_history_taken_up_tells_nobody() -> None:
    told = Told()
    AnomalyWatch(told).remember([*([Observation(EQUITY, 0.0)] * 200), Observation(EQUITY, 0.5)])
    assert told.alerts == []


def test_no_more_series_are_kept_than_there_is_room_for() -> None:
    watch = AnomalyWatch(Told())
    watch.take([Observation(SPREAD, 0.001, Symbol(f"A{n}/USDC")) for n in range(MOST_SERIES + 50)], AT)
    assert len(watch._series) == MOST_SERIES


@pytest.mark.parametrize(("value", "alarmed"), [(5.999, False), (6.0, True), (6.001, True)])
def test_a_run_counts_from_a_score_of_six(value: float, alarmed: bool) -> None:
    series = RobustSeries(replace(BARE, floor=1.0))
    for _ in range(LEAST_HISTORY):
        series.take(0.0)
    verdicts = [series.take(value) for _ in range(3)]
    assert [verdict.anomalous for verdict in verdicts if verdict] == [False, False, alarmed]


@pytest.mark.parametrize(("value", "alarmed"), [(8.999, False), (9.0, True), (9.001, True)])
def test_a_jump_lies_three_times_as_far_as_anything_in_the_history(value: float, alarmed: bool) -> None:
    series = RobustSeries(replace(BARE, floor=1.0))
    for place in range(LEAST_HISTORY):
        series.take(3.0 if place == 7 else 0.0)
    verdict = series.take(value)
    assert verdict is not None
    assert verdict.anomalous is alarmed


@pytest.mark.parametrize(("value", "alarmed"), [(7.999, False), (8.0, True), (8.001, True)])
def test_a_jump_counts_from_a_score_of_eight(value: float, alarmed: bool) -> None:
    series = RobustSeries(replace(BARE, floor=1.0))
    for _ in range(LEAST_HISTORY):
        series.take(0.0)
    verdict = series.take(value)
    assert verdict is not None
    assert verdict.anomalous is alarmed


def test_two_high_values_with_a_usual_one_between_are_no_run() -> None:
    series = RobustSeries(replace(BARE, floor=1.0))
    for _ in range(LEAST_HISTORY):
        series.take(0.0)
    for value in (6.5, 6.5, 0.0, 6.5, 6.5):
        verdict = series.take(value)
        assert verdict is not None
        assert not verdict.anomalous
