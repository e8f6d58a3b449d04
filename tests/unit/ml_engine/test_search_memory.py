"""What is searched over, and how long what was found is remembered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from ml_engine import models
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.metrics import money
from ml_engine.overfitting import UNTUNED, Luck, overfitting_probability
from ml_engine.tuning_memory import (
    hpo_part,
    is_reusable,
    luck_of,
    previous_search,
    reused,
    search_key,
    trials_part,
)
from ml_engine.tuning_records import COMPLETE, PRUNED, Decision, Trial, Tuned, sharpe_variance
from ml_engine.tuning_space import SPACE, Choice, Span, grid, nearest
from tests.fakes.training_builders import a_model

AT = 1_700_000_000_000
WEEK_MS = 7 * 86_400_000


def a_search(**changes: object) -> Tuned:
    found = Tuned(
        backend="optuna",
        objective="log_loss",
        parameters={"lgb": {"num_leaves": 6, "learning_rate": 0.04}, "rf": {"max_features": "sqrt"}},
        decisions={"lgb": Decision("lgb", True, "better", 0.002, 0.001, 15), "rf": Decision("rf", False, "no")},
        count=50,
        score_variance=1e-5,
        sharpe_variance=0.01,
        best_score=0.93,
        pbo={"lgb": 0.25, "rf": 0.75},
        searched_at=AT,
        key="k",
        trials=(Trial("lgb", 0, {}, COMPLETE, 0.93, 0.0, 4),),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def a_bundle(hpo: Mapping[str, JsonValue], trials: Mapping[str, JsonValue]) -> BundleMetadata:
    """The parts of a bundle's metadata that remember a search."""
    return BundleMetadata.model_construct(hpo=hpo, trials=trials)


def test_a_search_is_read_back_from_the_metadata_as_it_was() -> None:
    found = a_search()
    kept = previous_search(a_bundle(hpo_part(found, ""), trials_part(found)))
    assert kept == replace(found, trials=())


def test_a_search_without_a_finished_trial_is_read_back_too() -> None:
    found = a_search(best_score=math.nan, trials=())
    kept = previous_search(a_bundle(hpo_part(found, ""), trials_part(found)))
    assert kept is not None
    assert math.isnan(kept.best_score)


@pytest.mark.parametrize(
    "broken", [{"found": 3}, {"decision": None}, {"searched_at": "yesterday"}, {"found": {"other": {"x": 1}}}]
)
def test_a_search_that_cannot_be_understood_is_as_good_as_none(broken: dict[str, JsonValue]) -> None:
    part = {**hpo_part(a_search(), ""), **broken}
    assert previous_search(a_bundle(part, trials_part(a_search()))) is None


def test_a_bundle_without_a_search_says_so_and_counts_one_trial() -> None:
    part = hpo_part(None, "fixed parameters")
    assert part == {"trials": 0, "best_score": None, "note": "fixed parameters"}
    assert trials_part(None)["count"] == 1
    assert previous_search(a_bundle(part, trials_part(None))) is None


@pytest.mark.parametrize(("age_ms", "young"), [(-1, False), (0, True), (WEEK_MS - 1, True), (WEEK_MS, False)])
def test_a_winner_is_reused_for_less_than_a_week(age_ms: int, young: bool) -> None:
    assert is_reusable(a_search(), at=AT + age_ms, key="k") is young
    assert not is_reusable(a_search(), at=AT + age_ms, key="other")


def test_what_was_reused_says_so_and_keeps_its_luck() -> None:
    again = reused(a_search())
    assert hpo_part(again, "")["reused"] is True
    assert hpo_part(again, "")["searched_at"] == hpo_part(a_search(), "")["searched_at"]
    assert trials_part(again) == trials_part(a_search())
    assert luck_of(again) == luck_of(a_search())


def test_settings_that_change_what_is_searched_change_the_key_and_others_do_not() -> None:
    plain = a_model()

    def key(**changes: object) -> str:
        model = a_model(**changes)
        return search_key(model, models.recipe(model, quick=False))

    assert key() == search_key(plain, models.recipe(plain, quick=False))
    assert key(hpo={"parallel": 4}) == key()
    assert key(min_train_rows=900) == key()
    for changes in ({"hpo": {"rf_trials": 9}}, {"xgb": {"max_depth": 4}}, {"labeling": {"horizon_bars": 8}}):
        assert key(**changes) != key()


def test_a_search_has_as_much_luck_as_trials_and_none_without_one() -> None:
    assert luck_of(None) == UNTUNED
    assert (luck_of(a_search()).trials, luck_of(a_search()).variance) == (50, 0.01)
    assert luck_of(a_search(sharpe_variance=0.0)).variance is None


def test_only_finished_trials_with_enough_trades_have_a_ratio() -> None:
    trials = [
        Trial("rf", n, {}, state, 1.0, 0.0, 4, sharpe=ratio, trades=trades)
        for n, (state, ratio, trades) in enumerate(
            [(COMPLETE, 0.1, 10), (COMPLETE, 0.3, 11), (COMPLETE, 9.0, 9), (PRUNED, 9.0, 50)]
        )
    ]
    assert sharpe_variance(trials) == pytest.approx(0.02)


def test_the_probability_that_the_choice_was_luck_is_the_members_mean() -> None:
    assert a_search().mean_pbo == pytest.approx(0.5)
    assert a_search(pbo={}).mean_pbo is None


@given(member=st.sampled_from(sorted(SPACE)), share=st.floats(0.0, 1.0))
def test_every_point_of_the_space_is_inside_its_bounds(member: str, share: float) -> None:
    point = {name: dimension.at(share) for name, dimension in SPACE[member].items()}
    assert nearest(member, point) == point
    for name, dimension in SPACE[member].items():
        if isinstance(dimension, Choice):
            assert point[name] in dimension.values
        else:
            assert dimension.low <= point[name] <= dimension.high


def test_values_outside_the_space_are_moved_to_its_nearest_point() -> None:
    point = nearest("rf", {"max_depth": 30, "min_samples_leaf": 1, "max_features": "log2", "n_estimators": 300})
    assert point == {"max_depth": 9, "min_samples_leaf": 40, "max_features": "sqrt", "max_samples": 0.4}


@pytest.mark.parametrize("member", sorted(SPACE))
def test_the_grid_is_fixed_distinct_and_covers_each_dimension(member: str) -> None:
    points = grid(member, 15)
    assert points == grid(member, 15)
    assert len({tuple(point.items()) for point in points}) == 15
    for name, dimension in SPACE[member].items():
        if isinstance(dimension, Span):
            places = sorted(float(point[name]) for point in points)
            assert places[0] <= dimension.at(0.2)
            assert places[-1] >= dimension.at(0.8)


def test_the_best_of_many_trials_is_believed_less() -> None:
    generator = np.random.default_rng(5)
    gross = 0.004 + generator.normal(0.0, 0.01, 200)
    t0 = AT + np.arange(200, dtype=np.int64) * 900_000
    every = np.arange(0, 200, 2)

    def believed(luck: Luck) -> float:
        return money(every, gross, (t0, t0 + 900_000), round_trip=0.003, seed=1, luck=luck).dsr

    assert believed(UNTUNED) > believed(Luck(10, 0.01)) > believed(Luck(1_000, 0.01)) > 0.0
    assert believed(Luck(10)) == pytest.approx(believed(Luck(10, 1.0 / 99)))
    assert believed(Luck(1, 0.01)) == believed(UNTUNED)


@pytest.mark.parametrize("by_mean", [False, True])
def test_choosing_among_noise_is_luck_half_of_the_time_and_a_real_winner_is_none(by_mean: bool) -> None:
    worlds = [np.random.default_rng(seed).normal(size=(320, 12)) for seed in range(20)]
    found = [overfitting_probability(world, by_mean=by_mean) for world in worlds]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)
    better = worlds[0].copy()
    better[:, 4] += 1.0
    assert overfitting_probability(better, by_mean=by_mean) == 0.0
