"""A refused bundle is read again only when there is something new to judge."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from bn_ml.settings_model import ModelSettings
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_signing import key_file
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, TRAINED_AT, a_bundle, a_row


class CountingStore(BundleStore):
    """Counts how often a directory is read and verified."""

    reads = 0

    def _read(self, symbol: Symbol, path: Path) -> ModelBundle:
        self.reads += 1
        return super()._read(symbol, path)


def asked(store: BundleStore, days: float, *, times: int = 5) -> set[int | str]:
    """Give the answers to the same question: the version, or the reason of the refusal."""
    found: set[int | str] = set()
    for _ in range(times):
        try:
            found.add(store.as_of(BTC, TRAINED_AT + timedelta(days=days)).version)
        except ModelError as error:
            found.add(error.reason)
        store.poll_changes()
    return found


def test_a_refusal_costs_one_read_until_the_file_changes_or_another_version_is_valid(tmp_path: Path) -> None:
    writer = BundleStore(tmp_path, feature_hash=FEATURE_HASH, keep_versions=None)
    for day in range(2):
        writer.save(a_bundle(valid_from=TRAINED_AT + timedelta(days=day)))
    spoilt = tmp_path / ".versions" / BTC.key / "1" / "reference.npz"
    sound = spoilt.read_bytes()
    spoilt.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    store = CountingStore(tmp_path, feature_hash=FEATURE_HASH)
    assert asked(store, 0.5) == {"bundle_refused"}
    assert store.reads == 1
    assert asked(store, 1) == {2}
    assert asked(store, 0.5) == {"bundle_refused"}
    assert store.reads == 2
    spoilt.write_bytes(sound)
    assert asked(store, 0.5) == {1}
    assert asked(store, 0.5) == {1}
    assert store.reads == 3


def test_a_refused_signer_is_asked_again_once_its_key_is_there(tmp_path: Path) -> None:
    BundleStore(tmp_path, feature_hash=FEATURE_HASH).save(a_bundle())
    key = key_file(tmp_path, {})
    aside = key.rename(key.with_name("aside"))
    store = CountingStore(tmp_path, feature_hash=FEATURE_HASH)
    assert asked(store, 0) == {"bundle_refused"}
    aside.rename(key)
    assert asked(store, 0) == {1}
    assert store.reads == 2


def test_a_whole_replay_of_a_refused_bundle_reads_it_once(tmp_path: Path) -> None:
    BundleStore(tmp_path, feature_hash=FEATURE_HASH).save(a_bundle())
    (tmp_path / BTC.key / "reference.npz").write_bytes(b"x")
    counted = CountingStore(tmp_path, feature_hash=FEATURE_HASH)
    predictor = MLEnsemblePredictor(ModelSettings(), counted, as_of=True)
    told: list[tuple[Symbol, int | str]] = []
    reasons = set()
    for quarter in range(100):
        now = TRAINED_AT + timedelta(minutes=15 * quarter)
        told += predictor.adopt(now)
        reasons.add(predictor.signal(a_row(at=now), now).reason)
    assert told == [(BTC, "bundle_refused")]
    assert reasons == {"bundle_refused"}
    assert counted.reads == 1
