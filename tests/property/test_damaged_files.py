"""A book file damaged anywhere: mended and halted, refused with its fix, or what was damaged was nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import ControlState
from bn_ml.errors import StateError
from tests.fakes.damaged_shelf import Shelf

PLACES = st.floats(0, 1, exclude_max=True)
DAMAGES = st.one_of(
    st.tuples(st.just("flip"), st.lists(st.tuples(PLACES, st.integers(1, 255)), min_size=1, max_size=60)),
    st.tuples(st.just("head"), st.lists(st.tuples(st.integers(0, 99), st.integers(1, 255)), min_size=1, max_size=4)),
    st.tuples(st.just("cut"), PLACES),
    st.tuples(st.just("zeros"), st.tuples(PLACES, st.integers(16, 50_000))),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    made = Shelf(tmp_path_factory.mktemp("whole"))
    made.begin()
    made.backup()
    made.go_on()
    return made


def damaged(content: bytes, damage: tuple[str, object]) -> bytes:
    kind, how = damage
    changed = bytearray(content)
    if kind == "cut":
        return content[: int(how * len(content))]  # type: ignore[operator]
    if kind == "zeros":
        place, length = how  # type: ignore[misc]
        start = int(place * len(content))
        changed[start : start + length] = bytes(len(changed[start : start + length]))
        return bytes(changed)
    for place, change in how:  # type: ignore[attr-defined]
        changed[int(place * len(content)) if kind == "flip" else place] ^= change
    return bytes(changed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=DAMAGES)
def test_no_damage_makes_a_bot_forget_what_it_holds(
    whole: Shelf, damage: tuple[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("damaged")
    shelf = Shelf(folder)
    shutil.copytree(whole.folder, folder, dirs_exist_ok=True)
    shelf.path.write_bytes(damaged(whole.path.read_bytes(), damage))
    refused = ""
    try:
        store = shelf.open()
    except StateError as error:
        refused = str(error)
    if refused:
        assert str(shelf.path) in refused
    else:
        state, orders = store.control().state, store.session.rows("SELECT count(*) FROM intents")[0][0]
        held = store.session.rows("SELECT count(*) FROM position_book WHERE status = 'OPEN'")[0][0]
        store.close()
        assert (state, orders, held) in ((ControlState.NORMAL, 2, 1), (ControlState.HALTED, 1, 1))
        assert bool(list(shelf.path.parent.glob("replaced/*"))) == (state is ControlState.HALTED)
    shutil.rmtree(folder)
