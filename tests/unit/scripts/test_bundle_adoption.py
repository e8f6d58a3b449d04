"""Bundles that appear while the bot runs are adopted at the next cycle, bad ones refused, both as facts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.events import BundleAdopted, BundleRefused
from bn_ml.settings import ModelSettings
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from scripts.background import BundleAdoption
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
