"""A training that searches: what was found is shipped, written down, and reused by the next one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from bn_ml.domain.market import from_ms
from bn_ml.settings import RiskSettings
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.trainer import EnsembleTrainer, Trained
from ml_engine.training_bundle import metadata_of
from ml_engine.tuning_memory import previous_search
from tests.fakes.training_builders import a_model, a_sample, planted_rows

MODEL = a_model(
    rf={"n_estimators": 15},
    hpo={"rf_trials": 2, "xgb_trials": 2, "lgb_trials": 3, "max_splits": 2, "max_samples": 1_200},
)
ROWS = 3_500


def train(phases: list[str], **options: object) -> Trained:
    trainer = EnsembleTrainer(MODEL, RiskSettings())
    return trainer.train_on(a_sample(planted_rows(ROWS)), tell=phases.append, **options)  # type: ignore[arg-type]


def metadata(trained: Trained) -> BundleMetadata:
    end = from_ms(trained.sample.data_end)
    return metadata_of(trained, MODEL, RiskSettings(), trained_at=end + timedelta(hours=1), trained_by="test")


@pytest.fixture(scope="module")
def first() -> tuple[Trained, list[str]]:
    phases: list[str] = []
    return train(phases), phases


def test_the_search_is_a_step_of_its_own_between_columns_and_fit(first: tuple[Trained, list[str]]) -> None:
    _, phases = first
    searched = [place for place, phase in enumerate(phases) if phase.startswith("search")]
    assert phases.index("columns") < searched[0]
    assert searched[-1] < phases.index("fit")


def test_members_are_grown_with_what_was_found(first: tuple[Trained, list[str]]) -> None:
    trained, _ = first
    assert trained.tuned is not None
    for member, changes in trained.tuned.parameters.items():
        assert changes.items() <= trained.shipped.parameters.values[member].items()


def test_the_bundle_tells_the_search_and_how_much_luck_it_had(first: tuple[Trained, list[str]]) -> None:
    trained, _ = first
    written = metadata(trained)
    assert trained.tuned is not None
    assert written.hpo["trials"] == written.trials["count"] == trained.tuned.count >= 7
    assert written.hpo["best_score"] == trained.tuned.best_score
    decision = written.hpo["decision"]
    assert isinstance(decision, Mapping)
    assert set(decision) >= {"rf", "xgb", "lgb"}
    assert written.validation_metrics["pbo"] == trained.tuned.mean_pbo
    untuned = EnsembleTrainer(MODEL, RiskSettings(), hpo=False).train_on(trained.sample)
    assert untuned.search_note == "fixed parameters"
    assert metadata(untuned).trials["count"] == 1


def test_the_next_training_reuses_a_young_winner_and_gives_the_same_bytes(first: tuple[Trained, list[str]]) -> None:
    trained, _ = first
    phases: list[str] = []
    again = train(phases, previous=previous_search(metadata(trained)))
    assert not any(phase.startswith("search") for phase in phases)
    assert again.tuned is not None
    assert again.tuned.reused
    assert again.ensemble.to_bytes() == trained.ensemble.to_bytes()
    assert again.money == trained.money
