"""The logistic anchor: unknown values are filled and flagged, its numbers answer as scikit-learn does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_engine.linear_fitting import FittedAnchor, fit_anchor
from ml_engine.linear_member import LinearMember
from ml_engine.standardising import WIDEST, Standardiser, weighted_sums
from tests.fakes.bundle_builders import training_rows

EDGES = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320, 4.999, 5.001])


def an_anchor(holes: float = 0.05) -> FittedAnchor:
    rows, classes = training_rows(holes=holes)
    return fit_anchor(rows, classes, np.ones(len(rows)), c=0.1, max_iter=1000)


ANCHOR = an_anchor()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.one_of(EDGES, st.floats(-8, 8)), min_size=6, max_size=6), min_size=1, max_size=9))
def test_its_numbers_answer_as_the_library_and_alone_as_in_a_batch(rows: list[list[float]]) -> None:
    values, member = np.array(rows), ANCHOR.exported()
    batch = member.predict_proba(values)
    assert np.abs(batch - ANCHOR.predict_proba(values)).max() <= 1e-6
    alone = np.concatenate([member.predict_proba(values[place : place + 1]) for place in range(len(values))])
    assert batch.tobytes() == alone.tobytes()


def test_an_unknown_value_is_the_train_median_with_its_flag_raised() -> None:
    rows = np.array([[1.0, np.nan], [3.0, 10.0], [8.0, 20.0], [5.0, 60.0]])
    inputs = Standardiser.of(rows)
    assert inputs.median.tolist() == [4.0, 20.0]
    assert inputs.flagged.tolist() == [1]
    known, unknown = inputs.apply(np.array([[4.0, 20.0], [4.0, np.nan]]))
    assert known[:2].tolist() == unknown[:2].tolist()
    assert known[2] < 0.0 < unknown[2]


def test_a_column_known_throughout_training_gets_no_flag_and_its_median_when_it_is_unknown_later() -> None:
    inputs = Standardiser.of(np.array([[1.0], [2.0], [6.0]]))
    assert inputs.width == 1
    assert inputs.apply(np.array([[np.nan]])).tolist() == inputs.apply(np.array([[2.0]])).tolist()


def test_columns_never_known_or_constant_say_nothing() -> None:
    prepared = Standardiser.of(np.array([[np.nan, 7.0], [np.nan, 7.0]])).apply(np.array([[np.nan, 7.0], [3.0, 7.0]]))
    assert prepared[:, 1].tolist() == [0.0, 0.0]
    assert np.isfinite(prepared).all()


@pytest.mark.parametrize(("value", "shown"), [(4.99, 4.99), (5.0, 5.0), (5.01, WIDEST), (-5.01, -WIDEST)])
def test_values_count_up_to_five_deviations(value: float, shown: float) -> None:
    inputs = Standardiser(np.zeros(1), np.zeros(0, dtype=np.int64), np.zeros(1), np.ones(1))
    assert inputs.apply(np.array([[value]])).tolist() == [[shown]]


def test_the_same_rows_give_the_same_numbers() -> None:
    one, other = an_anchor().exported().arrays(), an_anchor().exported().arrays()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_numbers_that_do_not_fit_together_are_refused() -> None:
    arrays = ANCHOR.exported().arrays()
    with pytest.raises(ValueError, match="coefficients are"):
        LinearMember.of({**arrays, "coefficients": arrays["coefficients"][1:]})


def test_a_regression_that_never_saw_a_class_is_refused() -> None:
    rows, classes = training_rows()
    two = fit_anchor(rows, np.minimum(classes, 1), np.ones(len(rows)), c=0.1, max_iter=1000)
    with pytest.raises(ValueError, match="classes must be 0, 1, 2"):
        replace(two).exported()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 9))
def test_sums_do_not_depend_on_the_rows_beside_them(rows: int, columns: int, outputs: int) -> None:
    generator = np.random.default_rng(rows * columns)
    values, weights = generator.normal(size=(rows, columns)), generator.normal(size=(columns, outputs))
    together = weighted_sums(values, weights)
    assert np.allclose(together, values @ weights)
    apart = np.concatenate([weighted_sums(values[place : place + 1], weights) for place in range(rows)])
    assert together.tobytes() == apart.tobytes()
