"""Going back: old content under a new version, pinned, verified, and whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.errors import ModelError
from bn_ml.settings import ModelSettings
from ml_engine.bundle_files import BundlePaths, stage
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from scripts.background import put_back
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, NOW, TRAINED_AT, a_bundle

ROOT = Path(__file__).resolve().parents[2]
LATER = TRAINED_AT + timedelta(days=9)


def a_store(folder: Path, keep_versions: int = 5) -> BundleStore:
    return BundleStore(folder, feature_hash=FEATURE_HASH, keep_versions=keep_versions)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """Versions 1 to 3, of which 3 serves."""
    made = a_store(tmp_path / "models")
    for name in ("first", "second", "third"):
        made.save(a_bundle(trained_by=name))
    return made


def spoil(folder: Path) -> None:
    path = folder / "reference.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_rollback_is_pinned_and_says_whose_content_it_is(store: BundleStore) -> None:
    back = store.rollback(BTC, LATER, reason="worse in service")
    pin = a_store(store.models_dir).load(BTC).metadata.pinned
    assert pin is not None
    assert (back.version, back.metadata.trained_by) == (4, "second")
    assert (pin.content_of, pin.instead_of, pin.at, pin.reason) == (2, 3, LATER, "worse in service")


def test_a_named_version_is_put_back(store: BundleStore) -> None:
    assert store.rollback(BTC, LATER, version=1).metadata.trained_by == "first"


def test_a_version_no_longer_kept_cannot_be_put_back(store: BundleStore) -> None:
    with pytest.raises(ModelError, match=r"version 9 is not kept, there are \[1, 2\]"):
        store.rollback(BTC, LATER, version=9)


def test_an_earlier_version_that_does_not_verify_is_passed_over(store: BundleStore) -> None:
    spoil(store.models_dir / ".versions" / BTC.key / "2")
    assert store.rollback(BTC, LATER).metadata.trained_by == "first"
    with pytest.raises(ModelError, match="differs from the manifest"):
        store.rollback(BTC, LATER, version=2)


def test_without_a_sound_earlier_version_nothing_changes(store: BundleStore) -> None:
    for version in ("1", "2"):
        spoil(store.models_dir / ".versions" / BTC.key / version)
    with pytest.raises(ModelError, match="no earlier version to return to that may serve; version 2: "):
        store.rollback(BTC, LATER)
    assert a_store(store.models_dir).load(BTC).version == 3


def test_versions_kept_count_after_a_rollback_too(tmp_path: Path) -> None:
    store = a_store(tmp_path, keep_versions=2)
    for name in ("first", "second", "third"):
        store.save(a_bundle(trained_by=name))
    store.rollback(BTC, LATER)
    assert [fact.version for fact in store.versions(BTC)] == [3, 4]


def test_a_save_after_a_rollback_is_no_longer_pinned(store: BundleStore) -> None:
    store.rollback(BTC, LATER)
    assert store.save(a_bundle()).metadata.pinned is None


def test_a_newer_version_that_does_not_verify_makes_way_for_the_one_in_service(store: BundleStore) -> None:
    bot = a_store(store.models_dir)
    predictor = MLEnsemblePredictor(ModelSettings(), bot, feature_hash=FEATURE_HASH)
    assert predictor.adopt(NOW) == ((BTC, 3),)
    store.save(a_bundle(trained_by="fourth"))
    spoil(store.models_dir / BTC.key)
    assert predictor.adopt(NOW) == ((BTC, "bundle_refused"),)
    assert predictor.bundle_at(BTC, NOW).version == 3
    put_back(bot, predictor, BTC, NOW)
    assert predictor.adopt(NOW) == ((BTC, 5),)
    served = predictor.bundle_at(BTC, NOW).metadata
    assert (served.trained_by, served.pinned is not None) == ("third", True)
    assert a_store(store.models_dir).load(BTC).version == 5


def test_a_version_spoilt_where_it_lies_goes_on_serving_from_memory(
    store: BundleStore, caplog: pytest.LogCaptureFixture
) -> None:
    bot = a_store(store.models_dir)
    predictor = MLEnsemblePredictor(ModelSettings(), bot, feature_hash=FEATURE_HASH)
    predictor.adopt(NOW)
    spoil(store.models_dir / BTC.key)
    put_back(bot, predictor, BTC, NOW)
    assert "no earlier version was put back" in caplog.text
    assert predictor.bundle_at(BTC, NOW).version == 3


def test_a_start_with_a_spoilt_bundle_returns_to_the_newest_sound_one(store: BundleStore) -> None:
    spoil(store.models_dir / BTC.key)
    bot = a_store(store.models_dir)
    predictor = MLEnsemblePredictor(ModelSettings(), bot, feature_hash=FEATURE_HASH)
    predictor.adopt(NOW)
    put_back(bot, predictor, BTC, NOW)
    assert predictor.adopt(NOW) == ((BTC, 4),)
    assert predictor.bundle_at(BTC, NOW).metadata.trained_by == "second"


def test_a_directory_that_cannot_be_written_whole_leaves_nothing_behind(tmp_path: Path) -> None:
    paths = BundlePaths(tmp_path)
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom bn_ml.domain.market import Symbol\n"
        "from ml_engine.bundle_files import BundlePaths, stage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"stage(BundlePaths(Path({str(tmp_path)!r})), Symbol('BTC/USDC'), {{'a': b'x' * 900, 'b': b'x' * 2000}})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert list((tmp_path / ".incoming").iterdir()) == []
    assert stage(paths, BTC, {"a": b"x"}).is_dir()
