"""Archives from elsewhere: none that is not exactly what a trusted machine signed is loaded, and no code of it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.errors import ModelError
from ml_engine.bundle_adoption import ADOPTED, adopt_all
from ml_engine.bundle_archive import unpack
from ml_engine.bundle_store import BundleStore
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, a_bundle
from tests.fakes.hostile_archives import KEY, Workshop, all_cases, entries_of, zipped

CASES = all_cases()


class Receiver:
    """A machine with a bundle in service that is offered archives."""

    def __init__(self, folder: Path) -> None:
        self.shop = Workshop.at(folder)
        self.store = BundleStore(
            folder / "models",
            feature_hash=FEATURE_HASH,
            trusted_keys=[self.shop.public],
            signing_key=folder / "own.key",
        )
        self.store.save(a_bundle())
        self.store.save(a_bundle())
        self.arrivals = folder / "arrivals"

    def offer(self, content: bytes) -> int:
        """Give how many bundles were adopted; nothing may be left behind by an archive that is refused."""
        archive = self.shop.folder / "archive.zip"
        archive.write_bytes(content)
        before = set(self.files())
        try:
            bundles = unpack(archive, self.arrivals, [self.shop.public], max_bytes=8 << 20)
        except ModelError as error:
            left = set(self.files()) - before
            return 0 if error.reason == "bundle_refused" and not left else -1
        taken = adopt_all(self.store, bundles)
        for bundle in bundles:
            for file in bundle.iterdir():
                file.unlink()
            bundle.rmdir()
        self.arrivals.rmdir()
        return sum(item.result == ADOPTED for item in taken)

    def files(self) -> Iterator[str]:
        for folder, _, names in os.walk(self.shop.folder):
            yield from (f"{folder}/{name}" for name in names)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    return Receiver(tmp_path_factory.mktemp("receiver"))


def test_there_are_at_least_60_hostile_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_hostile_archive_loads_nothing_and_runs_nothing(receiver: Receiver, name: str) -> None:
    assert receiver.offer(CASES[name](receiver.shop)) == 0
    assert not receiver.shop.canary.exists()
    assert receiver.store.load(BTC).version == 2
    assert not list(receiver.shop.folder.parent.rglob("evil"))


def test_the_sound_archive_the_cases_are_made_from_is_adopted(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    assert receiver.offer(zipped(entries_of(receiver.shop.sound()))) == 1
    assert receiver.store.load(BTC).version == 5
    assert (receiver.store.models_dir / KEY / "rf.joblib").read_bytes() == receiver.shop.bomb
    assert not receiver.shop.canary.exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9999), bit=st.integers(0, 7))
def test_an_archive_with_any_bit_flipped_loads_nothing_or_exactly_what_was_signed(
    receiver: Receiver, share: float, bit: int
) -> None:
    content = bytearray(zipped(entries_of(receiver.shop.sound(version=2))))
    content[int(share * len(content))] ^= 1 << bit
    assert receiver.offer(bytes(content)) == 0
    assert not receiver.shop.canary.exists()
    assert receiver.store.load(BTC).version == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.floats(0, 1), length=st.integers(0, 400), put=st.binary(max_size=400), name=st.text(max_size=30))
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_archives_with_pieces_replaced_or_strange_names_load_nothing(
    receiver: Receiver, start: float, length: int, put: bytes, name: str
) -> None:
    whole = zipped(entries_of(receiver.shop.sound()))
    place = int(start * len(whole))
    cut = whole[:place] + put + whole[place + length :]
    if cut != whole:
        assert receiver.offer(cut) == 0
    encodable = name.encode("utf-8", "ignore").decode()
    assert receiver.offer(zipped([*entries_of(receiver.shop.sound()), (f"models/{KEY}/{encodable}", b"x")])) == 0
    assert not receiver.shop.canary.exists()
