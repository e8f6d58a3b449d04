"""The flat arrays answer as the libraries do, on holes, edges of float32 and extremes."""

from __future__ import annotations

import subprocess
import sys
import warnings

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from ml_engine.inference import CompactEnsemble, LinearMap, mixture, softmax, tempered
from tests.fakes.bundle_builders import COLUMNS, an_ensemble, members, training_rows

TOLERANCE = 1e-6
EQUAL = {"rf": 1 / 3, "xgb": 1 / 3, "lgb": 1 / 3}


def library(name: str, model: object, rows: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(model.predict_proba(rows), dtype=np.float64)  # type: ignore[attr-defined]


def worst_gap(ensemble: CompactEnsemble, models: dict[str, object], rows: np.ndarray) -> float:
    ours = ensemble.member_probabilities(rows)
    return max(float(np.abs(ours[name] - library(name, model, rows)).max()) for name, model in models.items())


def thresholds() -> list[float]:
    nodes = an_ensemble().forest.threshold
    return np.unique(nodes[np.isfinite(nodes)]).tolist()


def edge_values() -> st.SearchStrategy[float]:
    splits = st.sampled_from(thresholds())
    near = splits.map(lambda value: float(np.nextafter(np.float32(value), np.float32(np.inf))))
    below = splits.map(lambda value: float(np.nextafter(value, -np.inf)))
    special = st.sampled_from([0.0, -0.0, float("nan"), 1e-35, -1e-35, 1e-45, 3.0e38, -3.0e38, 1e-300, 16777217.0])
    return st.one_of(splits, near, below, special, st.floats(-5, 5, width=64))


ROWS = st.lists(st.lists(edge_values(), min_size=len(COLUMNS), max_size=len(COLUMNS)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_each_member_answers_like_its_library(rows: list[list[float]]) -> None:
    assert worst_gap(an_ensemble(), members(), np.array(rows)) <= TOLERANCE


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_a_row_alone_has_the_same_bits_as_in_a_batch(rows: list[list[float]]) -> None:
    batch = an_ensemble().probabilities(np.array(rows))
    alone = np.concatenate([an_ensemble().probabilities(np.array([row])) for row in rows])
    assert batch.tobytes() == alone.tobytes()


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_final_probabilities_are_a_distribution_without_zeros(rows: list[list[float]]) -> None:
    final = an_ensemble().probabilities(np.array(rows))
    assert np.abs(final.sum(axis=1) - 1.0).max() <= 1e-9
    assert (final > 0.0).all()


def test_a_long_batch_equals_its_rows_one_by_one() -> None:
    rows = training_rows(600, seed=11)[0]
    batch = an_ensemble().probabilities(rows)
    alone = np.concatenate([an_ensemble().probabilities(rows[place : place + 1]) for place in range(0, 600, 7)])
    assert batch[::7].tobytes() == alone.tobytes()


def test_members_trained_without_holes_meet_holes_like_their_libraries() -> None:
    models = members(holes=0.0)
    models = {name: models[name] for name in ("xgb", "lgb")}
    ensemble = CompactEnsemble.from_members(
        models, temperatures={}, weights={"xgb": 0.5, "lgb": 0.5}, final_map=LinearMap()
    )
    rows = training_rows(300, seed=5, holes=0.3)[0]
    assert worst_gap(ensemble, models, rows) <= TOLERANCE


def test_early_stopping_serves_the_best_round_only() -> None:
    rows, classes = training_rows(800)
    boosted = xgboost.XGBClassifier(
        n_estimators=80, max_depth=3, objective="multi:softprob", early_stopping_rounds=5, n_jobs=1, learning_rate=0.3
    ).fit(rows[:500], classes[:500], eval_set=[(rows[500:], classes[500:])], verbose=False)
    light = lightgbm.LGBMClassifier(n_estimators=80, num_leaves=8, n_jobs=1, verbose=-1, learning_rate=0.3).fit(
        rows[:500],
        classes[:500],
        eval_X=(rows[500:],),
        eval_y=(classes[500:],),
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
    )
    models = {"xgb": boosted, "lgb": light}
    ensemble = CompactEnsemble.from_members(
        models, temperatures={}, weights={"xgb": 0.5, "lgb": 0.5}, final_map=LinearMap()
    )
    assert ensemble.trees["xgb"] == 3 * (boosted.best_iteration + 1)
    assert ensemble.trees["lgb"] == 3 * light.best_iteration_
    assert worst_gap(ensemble, models, rows) <= TOLERANCE


def test_trees_that_never_split_are_reproduced() -> None:
    rows, classes = training_rows(200)
    models = {
        "rf": RandomForestClassifier(3, min_samples_leaf=150, n_jobs=1, random_state=1).fit(rows, classes),
        "lgb": lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=500, n_jobs=1, verbose=-1).fit(rows, classes),
        "xgb": xgboost.XGBClassifier(n_estimators=2, min_child_weight=1e6, objective="multi:softprob", n_jobs=1).fit(
            rows, classes
        ),
    }
    ensemble = CompactEnsemble.from_members(models, temperatures={}, weights=EQUAL, final_map=LinearMap())
    assert worst_gap(ensemble, models, rows) <= TOLERANCE


def test_extra_trees_are_read_like_a_random_forest() -> None:
    rows, classes = training_rows(400, holes=0.0)
    model = ExtraTreesClassifier(10, max_depth=6, n_jobs=1, random_state=1).fit(rows, classes)
    ensemble = CompactEnsemble.from_members({"rf": model}, temperatures={}, weights={"rf": 1.0}, final_map=LinearMap())
    assert worst_gap(ensemble, {"rf": model}, rows) <= TOLERANCE


def test_writing_and_reading_changes_no_bit() -> None:
    rows = training_rows(50, seed=2)[0]
    data = an_ensemble().to_bytes()
    again = CompactEnsemble.from_bytes(data)
    assert again.to_bytes() == data
    assert again.probabilities(rows).tobytes() == an_ensemble().probabilities(rows).tobytes()


@pytest.mark.parametrize("cut", [0, 7, 15, 40])
def test_a_truncated_block_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CompactEnsemble.from_bytes(an_ensemble().to_bytes()[:cut])


def test_a_member_with_other_classes_is_refused() -> None:
    rows, classes = training_rows(200, holes=0.0)
    model = RandomForestClassifier(2, n_jobs=1).fit(rows, classes > 1)
    with pytest.raises(ValueError, match="classes must be"):
        CompactEnsemble.from_members({"rf": model}, temperatures={}, weights={"rf": 1.0}, final_map=LinearMap())


@pytest.mark.parametrize(
    ("temperatures", "weights"),
    [({"rf": 0.0}, EQUAL), ({"rf": float("nan")}, EQUAL), ({}, {"rf": 0.9}), ({}, {"rf": -0.5, "xgb": 1.5})],
)
def test_impossible_temperatures_and_weights_are_refused(
    temperatures: dict[str, float], weights: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"temperature|weight"):
        CompactEnsemble.from_members(members(), temperatures=temperatures, weights=weights, final_map=LinearMap())


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="rows must be"):
        an_ensemble().probabilities(np.zeros((1, 5)))


@settings(max_examples=100, deadline=None)
@given(
    logits=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=5),
    temperature=st.floats(0.05, 20.0),
)
def test_softmax_and_temperature_keep_order_and_stay_distributions(
    logits: list[list[float]], temperature: float
) -> None:
    plain = softmax(np.array(logits))
    soft = tempered(plain, temperature)
    assert (soft > 0.0).all()
    assert np.abs(soft.sum(axis=1) - 1.0).max() <= 1e-9
    assert (np.argmax(soft, axis=1) == np.argmax(plain, axis=1)).all() or temperature > 1.0


def test_a_temperature_of_one_and_the_identity_map_change_nothing() -> None:
    plain = np.array([[0.2, 0.5, 0.3]])
    assert np.abs(tempered(plain, 1.0) - plain).max() < 1e-12
    assert np.abs(LinearMap().apply(plain) - plain).max() < 1e-12


def test_a_mixture_is_the_weighted_mean() -> None:
    parts = {"rf": np.array([[0.2, 0.5, 0.3]]), "lgb": np.array([[0.4, 0.4, 0.2]])}
    assert np.abs(mixture(parts, {"rf": 0.25, "lgb": 0.75}) - np.array([[0.35, 0.425, 0.225]])).max() < 1e-12


def test_inference_imports_no_training_library() -> None:
    code = (
        "import sys, ml_engine.predictor, ml_engine.bundle_store, scanner.multi_pair_scanner;"
        "heavy = {'sklearn', 'xgboost', 'lightgbm', 'optuna', 'joblib', 'pandas', 'scipy', 'torch'} & set(sys.modules);"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
