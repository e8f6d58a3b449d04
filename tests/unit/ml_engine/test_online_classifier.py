"""The online model gives the numbers of the library it stands for."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier

from ml_engine.online_classifier import FirstScaler, OnlineLogistic


@pytest.mark.parametrize("alpha", [5e-4, 1e-2])
def test_learns_the_weights_of_one_ordered_pass_of_the_library(alpha: float) -> None:
    generator = np.random.default_rng(3)
    rows, labels = generator.normal(size=(120, 6)), generator.integers(0, 3, 120)
    labels[:3] = [0, 1, 2]
    ours = OnlineLogistic(3, 6, alpha)
    for row, label in zip(rows, labels, strict=True):
        ours.learn(row, int(label))
    theirs = SGDClassifier(
        loss="log_loss", penalty="l2", alpha=alpha, average=True, max_iter=1, shuffle=False, tol=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(rows, labels)
    expected = theirs.predict_proba(rows[:20])
    assert np.abs(np.array([ours.probabilities(row) for row in rows[:20]]) - expected).max() < 1e-8


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.integers(0, 2)), max_size=30))
def test_always_gives_a_distribution_and_goes_on_from_what_was_written(samples: list[tuple[float, float, int]]) -> None:
    model = OnlineLogistic(3, 2, 5e-4)
    for first, second, label in samples:
        model.learn(np.array([first, second]), label)
    again = OnlineLogistic.of(json.loads(json.dumps(model.as_dict())))
    vector = np.array([0.5, -1.5])
    assert model.probabilities(vector).sum() == pytest.approx(1.0)
    model.learn(vector, 1)
    again.learn(vector, 1)
    assert np.array_equal(model.mean_weights, again.mean_weights)
    assert np.array_equal(model.probabilities(vector), again.probabilities(vector))


def test_refuses_a_state_of_other_shapes_or_numbers() -> None:
    content = OnlineLogistic(3, 2, 5e-4).as_dict()
    with pytest.raises(ValueError, match="weights of"):
        OnlineLogistic.of({**content, "n_inputs": 4, "samples": 1})
    with pytest.raises(ValueError, match="finite"):
        OnlineLogistic.of({**content, "intercepts": [float("nan"), 0.0, 0.0]})
    with pytest.raises(TypeError, match="count"):
        OnlineLogistic.of({**content, "samples": -1})
    with pytest.raises(TypeError, match="number"):
        OnlineLogistic.of({**content, "alpha": "x"})
    with pytest.raises(ValueError, match="alpha"):
        OnlineLogistic(3, 2, 0.0)


def test_the_scaler_learns_from_the_first_vectors_only() -> None:
    scaler = FirstScaler(2, needed=3)
    with pytest.raises(ValueError, match="0 of 3"):
        scaler.scaled((1.0, 1.0))
    for value in (0.0, 1.0, 2.0):
        scaler.see((value, 7.0))
    before = scaler.scaled((1.0, 7.0)).tolist()
    scaler.see((1000.0, 1000.0))
    assert scaler.scaled((1.0, 7.0)).tolist() == before == [0.0, 0.0]
    assert scaler.scaled((1e9, 7.0))[0] == 8.0
