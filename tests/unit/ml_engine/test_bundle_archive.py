"""Packing and unpacking bundles: the same bytes for the same bundles, whole or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.archive_shape import MAX_FILES
from ml_engine.bundle_adoption import ADOPTED, PINNED, UP_TO_DATE, adopt, adopt_all, bundle_directories
from ml_engine.bundle_archive import pack, unpack
from ml_engine.bundle_signing import local_public_key
from ml_engine.bundle_store import BundleStore
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, NOW, a_bundle

ETH = Symbol("ETH/USDC")


def a_shelf(folder: Path, *symbols: Symbol, **options: object) -> BundleStore:
    store = BundleStore(folder, feature_hash=FEATURE_HASH, **options)  # type: ignore[arg-type]
    for symbol in symbols:
        store.save(a_bundle(symbol=symbol, model_key=symbol.key), {"rf.joblib": b"for users" * 100})
    return store


def key_of(store: BundleStore) -> str:
    return local_public_key(store.models_dir / ".keys" / "signing.key")


def a_client(folder: Path, trainer: BundleStore) -> BundleStore:
    return a_shelf(folder, trusted_keys=[key_of(trainer)])


def test_what_is_packed_is_adopted_elsewhere_byte_for_byte(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC, ETH)
    packed = pack(trainer.models_dir, trainer.symbols(), tmp_path / "out" / "models.zip", [key_of(trainer)])
    assert (packed.symbols, packed.files, packed.left_out) == ((BTC, ETH), 14, {})
    assert packed.sha256 == hashlib.sha256(packed.path.read_bytes()).hexdigest()
    assert packed.size == packed.path.stat().st_size
    client = a_client(tmp_path / "client", trainer)
    directories = unpack(packed.path, tmp_path / "arrived", [key_of(trainer)])
    assert [item.result for item in adopt_all(client, directories)] == [ADOPTED, ADOPTED]
    for symbol in (BTC, ETH):
        ours, theirs = trainer.models_dir / symbol.key, client.models_dir / symbol.key
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {p.name: p.read_bytes() for p in theirs.iterdir()}


def test_the_same_bundles_give_the_same_archive(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC, ETH)
    first = pack(trainer.models_dir, (BTC, ETH), tmp_path / "a.zip", [key_of(trainer)])
    second = pack(trainer.models_dir, (ETH, BTC), tmp_path / "b.zip", [key_of(trainer)])
    assert first.sha256 == second.sha256


def test_a_bundle_that_does_not_verify_is_left_out_with_its_reason(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC, ETH)
    (trainer.models_dir / ETH.key / "rf.joblib").write_bytes(b"spoilt")
    packed = pack(trainer.models_dir, (BTC, ETH), tmp_path / "a.zip", [key_of(trainer)])
    assert packed.symbols == (BTC,)
    assert "rf.joblib" in packed.left_out[ETH]


def test_nothing_to_pack_leaves_the_earlier_archive(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    target = tmp_path / "a.zip"
    target.write_bytes(b"earlier")
    with pytest.raises(ModelError) as error:
        pack(trainer.models_dir, (ETH,), target, [key_of(trainer)])
    assert error.value.reason == "no_bundle"
    assert target.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "trainer"]


def test_an_archive_holds_as_many_bundles_as_200_files_allow(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC, ETH)
    crowd = {f"f{number:03}.joblib": b"x" for number in range(MAX_FILES - 7 - 6)}
    trainer.save(a_bundle(), crowd)
    packed = pack(trainer.models_dir, (BTC, ETH), tmp_path / "a.zip", [key_of(trainer)])
    assert (packed.files, packed.left_out) == (MAX_FILES, {})
    assert len(unpack(packed.path, tmp_path / "arrived", [key_of(trainer)])) == 2
    trainer.save(a_bundle(), {**crowd, "one_more.joblib": b"x"})
    packed = pack(trainer.models_dir, (BTC, ETH), tmp_path / "a.zip", [key_of(trainer)])
    assert list(packed.left_out) == [ETH]


def test_content_that_shrinks_suspiciously_is_stored_so_that_it_can_be_read_back(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer")
    trainer.save(a_bundle(), {"rf.joblib": bytes(1 << 20)})
    packed = pack(trainer.models_dir, (BTC,), tmp_path / "a.zip", [key_of(trainer)])
    with zipfile.ZipFile(packed.path) as archive:
        assert archive.getinfo("models/BTC_USDC/rf.joblib").compress_type == zipfile.ZIP_STORED
    assert unpack(packed.path, tmp_path / "arrived", [key_of(trainer)])


@pytest.mark.parametrize(("folder", "fits"), [("models", True), ("/models/", True), ("", False), ("models/x", False)])
def test_bundles_are_looked_for_in_one_folder_of_the_archive(tmp_path: Path, folder: str, fits: bool) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    packed = pack(trainer.models_dir, (BTC,), tmp_path / "a.zip", [key_of(trainer)])
    if fits:
        assert unpack(packed.path, tmp_path / "arrived", [key_of(trainer)], folder=folder)
    else:
        with pytest.raises(ModelError):
            unpack(packed.path, tmp_path / "arrived", [key_of(trainer)], folder=folder)


def test_an_archive_as_large_as_allowed_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    packed = pack(trainer.models_dir, (BTC,), tmp_path / "a.zip", [key_of(trainer)])
    with zipfile.ZipFile(packed.path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    assert unpack(packed.path, tmp_path / "arrived", [key_of(trainer)], max_bytes=unpacked)
    with pytest.raises(ModelError, match="once unpacked"):
        unpack(packed.path, tmp_path / "again", [key_of(trainer)], max_bytes=unpacked - 1)


def test_a_bundle_is_adopted_once_and_a_version_never_goes_back(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    client = a_client(tmp_path / "client", trainer)
    (directory,) = bundle_directories(trainer.models_dir)
    assert adopt(client, directory).result == ADOPTED
    assert adopt(client, directory).result == UP_TO_DATE
    assert client.load(BTC).version == 1


def test_a_version_put_back_stays_until_it_is_given_up_by_name(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    client = a_client(tmp_path / "client", trainer)
    directory = trainer.models_dir / BTC.key
    adopt(client, directory)
    trainer.save(a_bundle(trained_by="second"))
    adopt(client, directory)
    client.rollback(BTC, NOW)
    for _ in range(2):
        trainer.save(a_bundle(trained_by="fourth"))
    assert adopt(client, directory).result == PINNED
    assert client.load(BTC).metadata.trained_by == "tests"
    assert adopt(client, directory, over_pins=True).result == ADOPTED
    assert client.load(BTC).version == 4


def test_a_comparison_made_elsewhere_does_not_release_a_version_put_back_here(tmp_path: Path) -> None:
    trainer = a_shelf(tmp_path / "trainer", BTC)
    client = a_client(tmp_path / "client", trainer)
    directory = trainer.models_dir / BTC.key
    adopt(client, directory)
    trainer.save(a_bundle())
    adopt(client, directory)
    pinned = client.rollback(BTC, NOW).version
    trainer.save(a_bundle())
    trainer.save(a_bundle(challenge={"champion_version": pinned, "compared": True}))
    assert adopt(client, directory).result == PINNED
