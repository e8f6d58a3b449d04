"""Bundles that appear while the bot runs are adopted at the next cycle, bad ones refused, both as facts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.events import BundleAdopted, BundleRefused
from bn_ml.settings import ModelSettings
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from scripts.background import BundleAdoption
from scripts.model_records import ModelRecords
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, NOW, a_bundle


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "models", feature_hash=FEATURE_HASH)


def adoption(store: BundleStore, *, live: bool = True) -> BundleAdoption:
    reader = BundleStore(store.models_dir, feature_hash=FEATURE_HASH)
    return BundleAdoption(MLEnsemblePredictor(ModelSettings(), reader, feature_hash=FEATURE_HASH), live=live)


def test_nothing_new_is_no_fact(store: BundleStore) -> None:
    assert adoption(store).collect(NOW) == ()


def test_every_new_version_is_adopted_once(store: BundleStore) -> None:
    waiting = adoption(store)
    store.save(a_bundle())
    assert waiting.collect(NOW) == (BundleAdopted(NOW, BTC, 1),)
    later = NOW + timedelta(minutes=5)
    assert waiting.collect(later) == ()
    store.save(a_bundle())
    assert waiting.collect(later) == (BundleAdopted(later, BTC, 2),)


def test_a_damaged_bundle_is_refused_with_a_reason(store: BundleStore) -> None:
    waiting = adoption(store)
    store.save(a_bundle())
    metadata = store.models_dir / BTC.key / "metadata.json"
    metadata.write_text(metadata.read_text() + " ")
    (fact,) = waiting.collect(NOW)
    assert isinstance(fact, BundleRefused)
    assert fact.reason


def test_a_replay_adopts_nothing(store: BundleStore) -> None:
    waiting = adoption(store, live=False)
    store.save(a_bundle())
    assert waiting.collect(NOW) == ()


def test_the_figures_of_an_adopted_bundle_are_kept_once_even_over_restarts(store: BundleStore, tmp_path: Path) -> None:
    store.save(a_bundle())
    book = StateStore(tmp_path / "bn_ml.db")
    for _ in range(2):
        reader = BundleStore(store.models_dir, feature_hash=FEATURE_HASH)
        predictor = MLEnsemblePredictor(ModelSettings(), reader, feature_hash=FEATURE_HASH)
        assert len(BundleAdoption(predictor, live=True, records=ModelRecords(book)).collect(NOW)) == 1
    (row,) = StateReader(book.path).latest_metrics()
    assert (row.metrics["symbol"], row.metrics["version"]) == (str(BTC), 1)
    assert {"validation_metrics", "ensemble_weights", "tradable"} <= set(row.metrics)
    assert book.get("last_retrain_at") == row.metrics["trained_at"]
    book.close()
