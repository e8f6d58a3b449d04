"""Final maps: the library's answers, distributions everywhere, and headers that come back as they went."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator

from bn_ml.errors import ModelError
from data_manager.bars import FloatArray, IntArray
from ml_engine.bundle_metadata import CalibrationPart
from ml_engine.calibration import ISOTONIC_ROWS, fit_map
from ml_engine.final_maps import FinalMap, LinearMap, PiecewiseMap, SigmoidMap, read_map
from ml_engine.inference import CompactEnsemble
from tests.fakes.bundle_builders import members, training_rows

EVEN = ((0.0, 0.5, 1.0), (0.0, 0.4, 1.0))
MAPS: dict[str, FinalMap] = {
    "linear": LinearMap.of([[1.1, 0.05, 0.0], [0.0, 0.95, 0.02], [0.03, 0.0, 1.05]], [0.02, -0.01, 0.0]),
    "sigmoid": SigmoidMap.of([-4.0, -3.0, -5.0], [1.0, 1.5, 2.0]),
    "piecewise": PiecewiseMap.of([EVEN, ((0.2, 0.4, 0.41), (0.0, 0.1, 0.9)), ((0.3,), (0.25,))]),
}
shares = st.floats(0.0, 1.0)


@pytest.fixture(scope="module")
def world() -> tuple[RandomForestClassifier, FloatArray, IntArray]:
    """A forest fitted on some rows, and many rows it never saw."""
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(ISOTONIC_ROWS + 6_000, 3))
    labels = np.digitize(rows[:, 0] + generator.normal(size=len(rows)), [-0.8, 0.8]).astype(np.int64)
    forest = RandomForestClassifier(12, max_depth=4, random_state=0, n_jobs=1).fit(rows[:2_000], labels[:2_000])
    return forest, rows[2_000:], labels[2_000:]


@pytest.mark.parametrize(("method", "rows"), [("isotonic", ISOTONIC_ROWS), ("sigmoid", 700)])
def test_maps_by_name_give_what_the_library_gives(
    world: tuple[RandomForestClassifier, FloatArray, IntArray], method: str, rows: int
) -> None:
    forest, values, labels = world
    library = CalibratedClassifierCV(FrozenEstimator(forest), method=method).fit(values[:rows], labels[:rows])
    own = fit_map(forest.predict_proba(values[:rows]), labels[:rows], method=method)
    expected = library.predict_proba(values)
    assert np.abs(own.map.apply(forest.predict_proba(values)) - expected).max() < 1e-6
    assert (own.method, own.rows) == (method, rows)


def test_isotonic_is_refused_one_row_below_its_limit(
    world: tuple[RandomForestClassifier, FloatArray, IntArray],
) -> None:
    forest, values, labels = world
    few = ISOTONIC_ROWS - 1
    with pytest.raises(ModelError, match=r"at least 20000 calibrate rows, got 19999") as refusal:
        fit_map(forest.predict_proba(values[:few]), labels[:few], method="isotonic")
    assert refusal.value.reason == "calibration_failed"


def test_auto_never_picks_isotonic_however_many_rows(
    world: tuple[RandomForestClassifier, FloatArray, IntArray],
) -> None:
    forest, values, labels = world
    assert fit_map(forest.predict_proba(values), labels, method="auto").method == "dirichlet"


@pytest.mark.parametrize("name", MAPS)
@given(one=shares, two=shares, three=shares)
def test_every_row_becomes_a_distribution_without_a_zero(name: str, one: float, two: float, three: float) -> None:
    total = one + two + three
    row = np.array([[one, two, three]]) / total if total > 1e-6 else np.array([[0.0, 0.0, 1.0]])
    mapped = MAPS[name].apply(row)
    assert (mapped > 0.0).all()
    assert abs(float(mapped.sum()) - 1.0) < 1e-9


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_class_never_falls_when_its_probability_rises(name: str, place: int) -> None:
    rising = np.linspace(0.0, 1.0, 300)
    rows = np.repeat(((1.0 - rising) / 2.0)[:, None], 3, axis=1)
    rows[:, place] = rising
    if name == "linear":
        mapped = MAPS[name].apply(rows)[:, place]
        assert (np.diff(mapped) >= -1e-12).all()
        return
    # One against the rest: with the other classes held, only the class's own curve moves.
    held = np.full((300, 3), 0.3)
    held[:, place] = rising
    assert (np.diff(MAPS[name].apply(held)[:, place]) >= -1e-12).all()


@pytest.mark.parametrize("name", MAPS)
def test_a_row_alone_and_in_a_batch_have_the_same_bits(name: str) -> None:
    rows = np.random.default_rng(3).dirichlet((2.0, 4.0, 2.0), 500)
    together = MAPS[name].apply(rows)
    alone = np.concatenate([MAPS[name].apply(rows[place : place + 1]) for place in range(len(rows))])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_comes_back_from_its_header_as_it_went(name: str) -> None:
    header = json.loads(json.dumps(MAPS[name].header()))
    assert header["kind"] == name
    assert read_map(header) == MAPS[name]


@pytest.mark.parametrize("name", MAPS)
def test_the_inference_file_carries_every_kind_of_map(name: str) -> None:
    ensemble = CompactEnsemble.from_members(
        {"lgb": members()["lgb"]}, temperatures={}, weights={"lgb": 1.0}, final_map=MAPS[name]
    )
    rows = training_rows(40, seed=4)[0]
    again = CompactEnsemble.from_bytes(ensemble.to_bytes())
    assert again.final_map == MAPS[name]
    assert np.array_equal(again.probabilities(rows), ensemble.probabilities(rows))


@pytest.mark.parametrize("name", MAPS)
def test_the_metadata_describe_every_kind_of_map(name: str) -> None:
    part = CalibrationPart.model_validate({"method": "any", "rows": 1, **MAPS[name].header()})
    again = CalibrationPart.model_validate_json(part.model_dump_json())
    assert read_map(again.model_dump()) == MAPS[name]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({"kind": "spline"}, "unknown kind"),
        ({}, "unknown kind"),
        ({"kind": "linear", "matrix": [[1.0]], "bias": [0.0]}, "shape"),
        ({"kind": "linear", "matrix": [[1.0, 0.0, 0.0]] * 3}, "incomplete"),
        ({"kind": "linear", "matrix": [[float("nan"), 0.0, 0.0]] * 3, "bias": [0.0] * 3}, "finite"),
        ({"kind": "sigmoid", "slopes": [-1.0, 0.1, -1.0], "intercepts": [0.0] * 3}, "no class may fall"),
        ({"kind": "sigmoid", "slopes": [-1.0] * 3, "intercepts": [0.0, float("inf"), 0.0]}, "finite"),
        ({"kind": "piecewise", "knots": [[0.1, 0.1]] * 3, "levels": [[0.0, 1.0]] * 3}, "rise strictly"),
        ({"kind": "piecewise", "knots": [[]] * 3, "levels": [[]] * 3}, "rise strictly"),
        ({"kind": "piecewise", "knots": [[0.1, 0.2]] * 3, "levels": [[0.5, 0.4]] * 3}, "never fall"),
        ({"kind": "piecewise", "knots": [[0.1, 0.2]] * 3, "levels": [[0.5, 1.1]] * 3}, "within"),
        ({"kind": "piecewise", "knots": [[0.1, 0.2]] * 2, "levels": [[0.5, 1.0]] * 2}, "needs 3 curves"),
        ({"kind": "piecewise", "knots": 3, "levels": [[0.5, 1.0]] * 3}, "incomplete"),
    ],
)
def test_a_header_that_describes_no_map_is_refused(header: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_map(header)  # type: ignore[arg-type]
