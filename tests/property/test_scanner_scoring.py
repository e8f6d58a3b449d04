"""Scores stay within 0 and 10, never fall when evidence rises, and meet their named points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.settings import ScoreWeights
from scanner.scoring import MOMENTUM, TECHNICAL, Reading, Scorecard, composite, ml_score

SHARE = st.floats(0.0, 1.0)
VALUE = st.one_of(st.floats(-500, 500), st.just(float("nan")))
COLUMNS = tuple(item.column for item in (*TECHNICAL, *MOMENTUM))


@given(one=SHARE, two=SHARE, base=SHARE, threshold=st.floats(0.34, 0.95))
def test_the_model_score_never_falls_with_probability(one: float, two: float, base: float, threshold: float) -> None:
    low, high = sorted((one, two))
    first, second = (ml_score(p, base_rate=base, threshold=threshold) for p in (low, high))
    assert 0.0 <= first <= second <= 10.0


@pytest.mark.parametrize(
    ("p_buy", "score"),
    [(0.0, 0.0), (0.22, 0.0), (0.32, 3.0), (0.42, 6.0), (0.71, 8.0), (1.0, 10.0)],
)
def test_the_model_score_meets_its_named_points(p_buy: float, score: float) -> None:
    assert ml_score(p_buy, base_rate=0.22, threshold=0.42) == pytest.approx(score)


@pytest.mark.parametrize(("p_buy", "score"), [(0.5, 0.0), (0.75, 8.0), (1.0, 10.0)])
def test_a_base_rate_above_the_threshold_leaves_the_upper_part(p_buy: float, score: float) -> None:
    assert ml_score(p_buy, base_rate=0.5, threshold=0.42) == pytest.approx(score)


@given(values=st.lists(VALUE, min_size=len(COLUMNS), max_size=len(COLUMNS)))
def test_card_scores_stay_in_range(values: list[float]) -> None:
    for readings in (TECHNICAL, MOMENTUM):
        assert 0.0 <= Scorecard.of(readings, COLUMNS).score(values) <= 10.0


@given(
    values=st.lists(VALUE, min_size=len(COLUMNS), max_size=len(COLUMNS)),
    place=st.integers(0, len(COLUMNS) - 1),
    rise=st.floats(0, 50),
)
def test_better_evidence_never_lowers_a_score(values: list[float], place: int, rise: float) -> None:
    if math.isnan(values[place]):
        return
    item = next(item for item in (*TECHNICAL, *MOMENTUM) if item.column == COLUMNS[place])
    better = list(values)
    better[place] += math.copysign(rise, item.reach)
    for readings in (TECHNICAL, MOMENTUM):
        card = Scorecard.of(readings, COLUMNS)
        assert card.score(better) >= card.score(values) - 1e-9


def test_absent_and_unknown_columns_leave_a_neutral_score() -> None:
    assert Scorecard.of(TECHNICAL, ("other",)).score([1.0]) == 5.0
    assert Scorecard.of([Reading("a", 0.0, 1.0)], ("a",)).score([float("nan")]) == 5.0


@pytest.mark.parametrize(
    ("value", "score"), [(-9.0, 0.0), (-1.0, 0.0), (0.0, 5.0), (0.5, 7.5), (1.0, 10.0), (9.0, 10.0)]
)
def test_a_reading_is_straight_and_clipped(value: float, score: float) -> None:
    assert Scorecard.of([Reading("a", 0.0, 1.0)], ("a",)).score([value]) == score


@given(ml=st.floats(0, 10), technical=st.floats(0, 10), momentum=st.floats(0, 10))
def test_the_composite_is_the_weighted_sum(ml: float, technical: float, momentum: float) -> None:
    score = composite(ml=ml, technical=technical, momentum=momentum, weights=ScoreWeights())
    assert score == pytest.approx(min(10.0, 0.5 * ml + 0.3 * technical + 0.2 * momentum))
    assert 0.0 <= score <= 10.0
