"""What stands in the lock file, whatever stood there before, and which state permits what."""

from __future__ import annotations

import json
import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest

from bn_ml.control import Holder, ProcessLock, is_tighter, permits
from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import Purpose
from bn_ml.errors import LockHeld, StateError
from bn_ml.processes import born
from tests.fakes.book_builders import AT

ME = Holder(os.getpid(), "2023-06-10T12:00:00.000Z", born(os.getpid()))


def test_a_lock_file_says_only_who_holds_it_now(tmp_path: Path) -> None:
    path = tmp_path / "book.db.lock"
    path.write_text(json.dumps({"pid": 1, "started": "long ago", "born": 5, "more": "x" * 500}))
    with ProcessLock(tmp_path / "book.db").acquire(AT) as lock:
        assert json.loads(path.read_text()) == {"pid": ME.pid, "started": ME.started, "born": ME.born}
        assert lock.holder() == ME


def test_a_new_lock_file_and_its_folder_are_the_owner_s_alone(tmp_path: Path) -> None:
    with ProcessLock(tmp_path / "state" / "book.db").acquire(AT) as lock:
        assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(lock.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', '{"pid": 1}', '{"pid": "x", "started": "t"}', "null"])
def test_a_lock_file_that_cannot_be_read_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "book.db.lock").write_text(content)
    assert ProcessLock(tmp_path / "book.db").holder() == Holder(0, "unknown", 0)
    assert ProcessLock(tmp_path / "absent.db").holder() == Holder(0, "unknown", 0)


def test_a_lock_file_of_an_older_kind_names_its_process_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "book.db.lock").write_text('{"pid": 7, "started": "t"}')
    assert ProcessLock(tmp_path / "book.db").holder() == Holder(7, "t", 0)


def test_a_lock_is_held_until_it_is_released_and_by_one_alone(tmp_path: Path) -> None:
    one, other = ProcessLock(tmp_path / "book.db"), ProcessLock(tmp_path / "book.db")
    assert (one.is_held(), other.is_held(), one.path.exists()) == (False, False, False)
    one.release()
    one.acquire(AT)
    assert (one.is_held(), other.is_held()) == (True, True)
    with pytest.raises(LockHeld, match=f"process {ME.pid} started {ME.started}"):
        other.acquire(AT)
    # Having looked, or having been turned away, takes nothing from the holder.
    assert other.is_held()
    other.release()
    assert other.is_held()
    one.release()
    assert (one.is_held(), other.is_held(), one.path.exists()) == (False, False, True)
    with other.acquire(AT):
        assert one.is_held()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="give the bot's user access"):
        ProcessLock(tmp_path / "file" / "book.db").acquire(AT)


def test_each_state_permits_its_purposes() -> None:
    permitted = {state: {purpose for purpose in Purpose if permits(state, purpose)} for state in ControlState}
    assert permitted == {
        ControlState.NORMAL: set(Purpose),
        ControlState.REDUCE_ONLY: {Purpose.STOP, Purpose.TARGET, Purpose.EXIT},
        ControlState.HALTED: {Purpose.EXIT},
    }


def test_each_state_is_tighter_than_those_before_it_and_not_than_itself() -> None:
    order = (ControlState.NORMAL, ControlState.REDUCE_ONLY, ControlState.HALTED)
    for loose, tight in pairwise(order):
        assert is_tighter(tight, loose)
        assert not is_tighter(loose, tight)
        assert not is_tighter(tight, tight)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_being_turned_away_or_looking_leaves_no_file_open(tmp_path: Path) -> None:
    with ProcessLock(tmp_path / "book.db").acquire(AT):
        other = ProcessLock(tmp_path / "book.db")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(LockHeld):
                other.acquire(AT)
            assert other.is_held()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not other.is_held()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1
