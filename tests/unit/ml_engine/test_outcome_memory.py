"""What followed what was said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_engine.outcome_memory import BEARISH, BULLISH, LEAST_OUTCOMES, NEUTRAL, OutcomeMemory, outcome_of

FORECAST = np.array([0.1, 0.8, 0.1])


@pytest.mark.parametrize(
    ("move", "outcome"),
    [(0.004, NEUTRAL), (0.0041, BULLISH), (-0.004, NEUTRAL), (-0.0041, BEARISH), (0.0, NEUTRAL)],
)
def test_a_move_counts_only_beyond_the_band(move: float, outcome: int) -> None:
    assert outcome_of(move, 0.004) == outcome


def test_shares_of_the_third_need_enough_outcomes_in_it() -> None:
    memory = OutcomeMemory()
    for number in range(3 * LEAST_OUTCOMES - 1):
        memory.take(number / 100.0, NEUTRAL, None)
    assert memory.shares_near(0.0) is None
    memory.take(2.0, BULLISH, None)
    assert memory.shares_near(0.0) == (0.0, 1.0, 0.0)
    top = memory.shares_near(3.0)
    assert top is not None
    assert top[BULLISH] == pytest.approx(1 / LEAST_OUTCOMES)


def test_the_gain_is_measured_before_the_outcome_joins_the_shares() -> None:
    memory = OutcomeMemory()
    memory.take(0.0, NEUTRAL, FORECAST)
    assert memory.gains == [pytest.approx(math.log(0.8) - math.log(1 / 3))]


def test_the_bound_opens_for_a_model_that_knows_and_stays_shut_for_one_that_guesses() -> None:
    knowing, guessing = OutcomeMemory(), OutcomeMemory()
    generator = np.random.default_rng(5)
    for outcome in generator.integers(0, 3, 200):
        sure = np.full(3, 0.1)
        sure[outcome] = 0.8
        knowing.take(0.0, int(outcome), sure)
        guessing.take(0.0, int(outcome), generator.dirichlet((1.0, 1.0, 1.0)))
    assert knowing.gain_bound() > 0.5
    assert guessing.gain_bound() < 0.0
    assert OutcomeMemory().gain_bound() == -math.inf


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 2)), max_size=40))
def test_comes_back_from_plain_values(outcomes: list[tuple[float, int]]) -> None:
    memory = OutcomeMemory()
    for score, outcome in outcomes:
        memory.take(score, outcome, FORECAST)
    again = OutcomeMemory.of(memory.as_dict())
    assert (again.scores, again.outcomes, again.gains) == (memory.scores, memory.outcomes, memory.gains)


@pytest.mark.parametrize(
    "content",
    [
        {"scores": [0.1], "outcomes": [], "gains": []},
        {"scores": [0.1], "outcomes": [5], "gains": []},
        {"scores": [float("inf")], "outcomes": [1], "gains": []},
    ],
)
def test_refuses_what_does_not_fit(content: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"outcome|finite"):
        OutcomeMemory.of(content)
    with pytest.raises(TypeError):
        OutcomeMemory.of({"scores": "x", "outcomes": [], "gains": []})
