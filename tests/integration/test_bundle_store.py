"""Bundles on disk: nothing that differs from what was signed is ever served."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from datetime import timedelta
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.bundle import CORE_FILES, MANIFEST_FILE, SIGNATURE_FILE, Manifest, core_files, manifest_of
from ml_engine.bundle_publishing import Asked, choose_vector_rows, publish
from ml_engine.bundle_signing import ensure_key, local_public_key, sign
from ml_engine.bundle_store import BundleStore
from tests.fakes.bundle_builders import (
    BTC,
    COLUMNS,
    FEATURE_HASH,
    TRAINED_AT,
    a_bundle,
    an_ensemble,
    members,
    metadata_fields,
    training_rows,
)

ALL_FILES = (*CORE_FILES, MANIFEST_FILE, SIGNATURE_FILE, "rf.joblib")


def reason_of(error: pytest.ExceptionInfo[ModelError]) -> str:
    return error.value.reason


def a_store(folder: Path, **options: object) -> BundleStore:
    return BundleStore(folder, feature_hash=FEATURE_HASH, **options)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    made = a_store(tmp_path / "models")
    made.save(a_bundle(), {"rf.joblib": b"for users"})
    return made


def refused(store: BundleStore, symbol: Symbol = BTC) -> str:
    with pytest.raises(ModelError) as error:
        a_store(store.models_dir).load(symbol)
    return reason_of(error)


def test_a_saved_bundle_is_loaded_as_it_was(store: BundleStore) -> None:
    loaded = a_store(store.models_dir).load(BTC)
    rows = training_rows(20, seed=9)[0]
    assert loaded.version == 1
    assert loaded.metadata == a_bundle(version=1).metadata
    assert loaded.ensemble.probabilities(rows).tobytes() == an_ensemble().probabilities(rows).tobytes()
    assert store.symbols() == (BTC,)


def test_a_symbol_without_directory_has_no_bundle(tmp_path: Path) -> None:
    store = a_store(tmp_path / "absent")
    with pytest.raises(ModelError) as error:
        store.load(BTC)
    assert reason_of(error) == "no_bundle"
    assert store.symbols() == ()


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_flipped_byte_anywhere_refuses_the_bundle(store: BundleStore, name: str) -> None:
    path = store.models_dir / BTC.key / name
    content = bytearray(path.read_bytes())
    places = sorted({0, len(content) // 3, len(content) // 2, len(content) - 1})
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        assert refused(store) == "bundle_refused", place


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(ALL_FILES), share=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_any_flipped_bit_refuses_the_bundle(store: BundleStore, name: str, share: float, bit: int) -> None:
    path = store.models_dir / BTC.key / name
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[int(share * len(content))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        assert refused(store) == "bundle_refused"
    finally:
        path.write_bytes(content)
    assert a_store(store.models_dir).load(BTC).version == 1


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_truncated_or_longer_file_refuses_the_bundle(store: BundleStore, name: str) -> None:
    path = store.models_dir / BTC.key / name
    content = path.read_bytes()
    for changed in (content[:-1], b"", content + b"\n"):
        path.write_bytes(changed)
        assert refused(store) == "bundle_refused"


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_missing_file_refuses_the_bundle(store: BundleStore, name: str) -> None:
    (store.models_dir / BTC.key / name).unlink()
    assert refused(store) == "bundle_refused"


def test_an_extra_file_directory_or_link_refuses_the_bundle(store: BundleStore) -> None:
    folder = store.models_dir / BTC.key
    (folder / "extra.txt").write_text("x")
    assert refused(store) == "bundle_refused"
    (folder / "extra.txt").unlink()
    (folder / "more").mkdir()
    assert refused(store) == "bundle_refused"
    (folder / "more").rmdir()
    content = (folder / "rf.joblib").read_bytes()
    (store.models_dir / "elsewhere").write_bytes(content)
    (folder / "rf.joblib").unlink()
    (folder / "rf.joblib").symlink_to(store.models_dir / "elsewhere")
    assert refused(store) == "bundle_refused"


def test_a_bundle_of_another_symbol_is_refused(store: BundleStore) -> None:
    shutil.copytree(store.models_dir / BTC.key, store.models_dir / "ETH_USDC")
    assert refused(store, Symbol("ETH/USDC")) == "bundle_refused"


def test_a_bundle_of_other_features_is_refused(store: BundleStore) -> None:
    with pytest.raises(ModelError) as error:
        BundleStore(store.models_dir, feature_hash="e" * 64).load(BTC)
    assert reason_of(error) == "feature_mismatch"


def test_an_unknown_signer_is_refused_until_its_key_is_trusted(store: BundleStore, tmp_path: Path) -> None:
    other_key = tmp_path / "other.key"
    foreign = BundleStore(store.models_dir, signing_key=other_key)
    with pytest.raises(ModelError) as error:
        foreign.load(BTC)
    assert reason_of(error) == "bundle_refused"
    public = local_public_key(store.models_dir / ".keys" / "signing.key")
    assert BundleStore(store.models_dir, signing_key=other_key, trusted_keys=[public]).load(BTC).version == 1
    assert BundleStore(store.models_dir, signing_key=other_key, trusted_keys=[public]).verify(BTC) == public


def test_a_manifest_signed_again_over_changed_files_is_refused_for_its_signer(
    store: BundleStore, tmp_path: Path
) -> None:
    folder = store.models_dir / BTC.key
    thief = ensure_key(tmp_path / "thief.key")
    (folder / SIGNATURE_FILE).write_bytes(sign(thief, (folder / MANIFEST_FILE).read_bytes()))
    assert refused(store) == "bundle_refused"


def signed_by_hand(store: BundleStore, files: dict[str, bytes], manifest: Manifest) -> None:
    folder = store.models_dir / BTC.key
    shutil.rmtree(folder)
    folder.mkdir()
    content = manifest.to_bytes()
    key = ensure_key(store.models_dir / ".keys" / "signing.key")
    for name, data in {**files, MANIFEST_FILE: content, SIGNATURE_FILE: sign(key, content)}.items():
        (folder / name).write_bytes(data)


def test_vectors_that_are_not_reproduced_refuse_a_well_signed_bundle(store: BundleStore) -> None:
    bundle = a_bundle(version=2)
    bundle.vectors.final[32, 1] += 2e-6
    files = core_files(bundle)
    signed_by_hand(store, files, manifest_of(bundle.metadata, files))
    assert refused(store) == "bundle_refused"


@pytest.mark.parametrize("row", [3, 32])
def test_every_vector_is_checked_when_a_bundle_is_saved_installed_or_verified(
    store: BundleStore, tmp_path: Path, row: int
) -> None:
    bundle = a_bundle(version=2)
    bundle.vectors.final[row, 1] += 2e-6
    files = core_files(bundle)
    signed_by_hand(store, files, manifest_of(bundle.metadata, files))
    for act in (
        lambda: store.verify(BTC),
        lambda: store.save(bundle),
        lambda: BundleStore(tmp_path / "x", signing_key=store.models_dir / ".keys" / "signing.key").install(
            store.models_dir / BTC.key
        ),
    ):
        with pytest.raises(ModelError) as error:
            act()
        assert reason_of(error) == "bundle_refused"


def test_vectors_within_tolerance_serve(store: BundleStore) -> None:
    bundle = a_bundle(version=2)
    bundle.vectors.final[32, 1] += 0.5e-6
    files = core_files(bundle)
    signed_by_hand(store, files, manifest_of(bundle.metadata, files))
    assert a_store(store.models_dir).load(BTC).version == 2


def test_another_schema_version_is_refused(store: BundleStore) -> None:
    bundle = a_bundle(version=2, schema_version=2)
    files = core_files(bundle)
    signed_by_hand(store, files, manifest_of(bundle.metadata, files))
    assert refused(store) == "bundle_refused"


def test_metadata_that_contradicts_the_manifest_is_refused(store: BundleStore) -> None:
    bundle = a_bundle(version=2)
    files = core_files(bundle)
    manifest = manifest_of(a_bundle(version=3).metadata, files)
    signed_by_hand(store, files, manifest)
    assert refused(store) == "bundle_refused"


def test_a_member_with_a_vote_that_is_not_there_refuses_the_bundle(tmp_path: Path) -> None:
    bundle = a_bundle(ensemble_weights={"rf": 0.5, "xgb": 0.2, "lgb": 0.2, "lstm": 0.1})
    with pytest.raises(ModelError) as error:
        a_store(tmp_path).save(bundle)
    assert reason_of(error) == "bundle_refused"
    assert not (tmp_path / BTC.key).exists()


@pytest.mark.parametrize("shift", [timedelta(0), timedelta(minutes=1)])
def test_a_bundle_valid_before_its_labels_end_cannot_exist(shift: timedelta) -> None:
    with pytest.raises(ValueError, match="label_end"):
        a_bundle(label_end=TRAINED_AT + shift)


def test_unknown_metadata_is_refused() -> None:
    with pytest.raises(ValueError, match="surprise"):
        a_bundle(surprise=1)


def test_versions_grow_and_old_ones_are_kept_up_to_the_limit(store: BundleStore) -> None:
    for _ in range(4):
        store.save(a_bundle())
    assert store.load(BTC).version == 5
    assert [fact.version for fact in store.versions(BTC)] == [3, 4, 5]


def test_an_older_version_put_back_by_hand_is_refused(store: BundleStore) -> None:
    store.save(a_bundle())
    folder = store.models_dir / BTC.key
    shutil.rmtree(folder)
    shutil.copytree(store.models_dir / ".versions" / BTC.key / "1", folder)
    with pytest.raises(ModelError) as error:
        store.load(BTC)
    assert reason_of(error) == "bundle_refused"
    assert refused(store) == "bundle_refused"


def test_a_rollback_serves_old_content_under_a_new_version(store: BundleStore) -> None:
    store.save(a_bundle(trained_by="second"), {"rf.joblib": b"second"})
    back = store.rollback(BTC, TRAINED_AT + timedelta(days=9))
    loaded = a_store(store.models_dir).load(BTC)
    assert (back.version, loaded.version, loaded.metadata.trained_by) == (3, 3, "tests")
    assert loaded.metadata.valid_from == TRAINED_AT + timedelta(days=9)
    assert (store.models_dir / BTC.key / "rf.joblib").read_bytes() == b"for users"


def test_as_of_gives_the_highest_version_valid_then(tmp_path: Path) -> None:
    store = a_store(tmp_path, keep_versions=None)
    for day in range(5):
        store.save(a_bundle(valid_from=TRAINED_AT + timedelta(days=day)))
    at = TRAINED_AT + timedelta(days=2)
    assert store.as_of(BTC, at).version == 3
    assert store.as_of(BTC, at - timedelta(milliseconds=1)).version == 2
    assert store.as_of(BTC, at + timedelta(days=99)).version == 5
    with pytest.raises(ModelError) as error:
        store.as_of(BTC, TRAINED_AT - timedelta(milliseconds=1))
    assert reason_of(error) == "no_bundle"


def test_as_of_refuses_a_damaged_version_instead_of_an_older_one(tmp_path: Path) -> None:
    store = a_store(tmp_path, keep_versions=None)
    store.save(a_bundle())
    store.save(a_bundle())
    (tmp_path / BTC.key / "reference.npz").write_bytes(b"x")
    with pytest.raises(ModelError) as error:
        store.as_of(BTC, TRAINED_AT)
    assert reason_of(error) == "bundle_refused"


def test_changes_are_told_once(store: BundleStore) -> None:
    reader = a_store(store.models_dir)
    assert reader.poll_changes() == (BTC,)
    assert reader.poll_changes() == ()
    store.save(a_bundle())
    assert reader.poll_changes() == (BTC,)
    shutil.rmtree(store.models_dir / BTC.key)
    assert reader.poll_changes() == (BTC,)
    assert reader.poll_changes() == ()


def test_a_half_written_save_disturbs_nobody(store: BundleStore) -> None:
    part = store.models_dir / ".incoming" / f"{BTC.key}.part"
    part.mkdir(parents=True, exist_ok=True)
    (part / "ensemble.bin").write_bytes(b"half")
    assert a_store(store.models_dir).load(BTC).version == 1
    assert a_store(store.models_dir).symbols() == (BTC,)
    assert store.save(a_bundle()).version == 2
    assert a_store(store.models_dir).load(BTC).version == 2


def test_a_crash_between_the_two_renames_loses_no_bundle(store: BundleStore) -> None:
    store.save(a_bundle())
    waiting = store.models_dir / ".incoming" / BTC.key
    (store.models_dir / BTC.key).rename(waiting)
    reader = a_store(store.models_dir)
    assert reader.symbols() == (BTC,)
    assert reader.load(BTC).version == 2
    assert store.save(a_bundle()).version == 3
    assert a_store(store.models_dir).load(BTC).version == 3
    assert [fact.version for fact in store.versions(BTC)] == [1, 2, 3]


def test_a_reader_during_saves_always_sees_a_whole_bundle(store: BundleStore) -> None:
    reader = a_store(store.models_dir)
    seen: list[int] = []
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(reader.load(BTC).version)
            except ModelError as error:
                failures.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(12):
        store.save(a_bundle())
    done.set()
    thread.join()
    assert failures == []
    assert seen == sorted(seen)
    assert reader.load(BTC).version == 13


def test_the_private_key_is_only_for_its_owner_and_kept(store: BundleStore) -> None:
    path = store.models_dir / ".keys" / "signing.key"
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.save(a_bundle())
    assert path.read_bytes() == before


def test_a_broken_signing_key_is_an_error_not_a_new_key(store: BundleStore) -> None:
    (store.models_dir / ".keys" / "signing.key").write_text("nonsense")
    with pytest.raises(ModelError):
        store.save(a_bundle())
    assert refused(store) == "bundle_refused"


def test_a_bundle_from_elsewhere_is_installed_once(store: BundleStore, tmp_path: Path) -> None:
    public = local_public_key(store.models_dir / ".keys" / "signing.key")
    target = a_store(tmp_path / "other", trusted_keys=[public])
    assert target.install(store.models_dir / BTC.key).version == 1
    assert a_store(tmp_path / "other", trusted_keys=[public]).load(BTC).version == 1
    assert (tmp_path / "other" / BTC.key / "rf.joblib").read_bytes() == b"for users"
    with pytest.raises(ModelError) as error:
        target.install(store.models_dir / BTC.key)
    assert reason_of(error) == "bundle_refused"


@pytest.mark.parametrize("name", ["../evil", "metadata.json", ".hidden", "manifest.sig"])
def test_attachments_cannot_take_other_names(store: BundleStore, name: str) -> None:
    with pytest.raises(ModelError):
        store.save(a_bundle(), {name: b"x"})
    assert store.load(BTC).version == 1


def test_publishing_writes_what_joblib_users_expect(tmp_path: Path) -> None:
    rows = training_rows(300, seed=4)[0]
    optional = np.array([False] * 4 + [True] * 2)
    chosen = choose_vector_rows(rows, optional=optional, seed=1, borders=rows[:10])
    saved = publish(
        a_store(tmp_path),
        a_bundle().metadata,
        members=members(),
        ensemble=an_ensemble(),
        asked=Asked(chosen),
        reference=a_bundle().reference,
    )
    assert saved.vectors.rows.shape == (256, len(COLUMNS))
    for name in ("rf", "xgb", "lgb"):
        model = joblib.load(tmp_path / BTC.key / f"{name}.joblib")
        assert len(model.feature_importances_) == len(COLUMNS)
    assert a_store(tmp_path).load(BTC).version == 1


def test_publishing_refuses_arrays_that_differ_from_the_library(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        publish(
            a_store(tmp_path),
            a_bundle().metadata,
            members={**members(), "rf": members(seed=8)["rf"]},
            ensemble=an_ensemble(),
            asked=Asked(training_rows(64)[0]),
            reference={},
        )
    assert reason_of(error) == "bundle_refused"
    assert not (tmp_path / BTC.key).exists()


def test_the_same_content_gives_the_same_bytes() -> None:
    assert core_files(a_bundle()) == core_files(a_bundle())


def test_metadata_survives_json(store: BundleStore) -> None:
    metadata = a_bundle(**{"gaps": {"holes": [1, 2]}, "hpo": {"trials": 3, "best_score": None}}).metadata
    assert type(metadata).model_validate_json(metadata.to_bytes()) == metadata
    assert os.path.getsize(store.models_dir / BTC.key / "metadata.json") > 500
    assert set(metadata_fields()) <= set(type(metadata).model_fields)
