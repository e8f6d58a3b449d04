"""One bot per database and one book per environment."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.book_identity import archive_folder, switch_book
from bn_ml.control import Holder, ProcessLock, is_tighter
from bn_ml.domain.account import ControlState
from bn_ml.errors import LockHeld, StateError
from bn_ml.processes import born
from bn_ml.schema import APPLICATION_ID
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, LATER, a_position, an_intent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bn_ml.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    store = StateStore(path)
    store.start_epoch(AT, "test")
    yield store
    store.close()


def test_a_second_holder_is_told_who_holds_the_lock(path: Path) -> None:
    lock = ProcessLock(path)
    assert not lock.is_held()
    assert lock.holder() == Holder(0, "unknown")
    with lock.acquire(AT):
        assert lock.is_held()
        assert ProcessLock(path).is_held()
        with pytest.raises(LockHeld, match=f"process {os.getpid()} started 2023-06-10T12:00:00.000Z"):
            ProcessLock(path).acquire(LATER)
    lock.release()
    assert not lock.is_held()
    ProcessLock(path).acquire(LATER).release()
    assert lock.holder() == Holder(os.getpid(), "2023-06-10T13:00:00.000Z", born(os.getpid()))


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    program = (
        "import sys\nfrom datetime import datetime, timezone\nfrom bn_ml.control import ProcessLock\n"
        "lock = ProcessLock(sys.argv[1]).acquire(datetime(2023, 6, 10, tzinfo=timezone.utc))\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(LockHeld, match=f"process {child.pid}"):
        ProcessLock(path).acquire(AT)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    ProcessLock(path).acquire(AT).release()


def test_control_states_are_ordered_by_strictness() -> None:
    assert is_tighter(ControlState.HALTED, ControlState.REDUCE_ONLY)
    assert not is_tighter(ControlState.NORMAL, ControlState.NORMAL)


def a_book(path: Path, mode: str, account: str = "main") -> StateStore:
    switch_book(path, mode, account, AT)
    store = StateStore(path)
    store.bind_book(mode, account, AT)
    store.start_epoch(AT, "bot")
    return store


def test_switching_the_environment_archives_one_book_and_restores_the_other(path: Path) -> None:
    for mode in ("paper", "live"):
        store = a_book(path, mode)
        store.put("mine", mode, AT)
        store.close()
    for mode in ("paper", "live", "live"):
        store = a_book(path, mode)
        assert store.get("mine") == mode
        store.close()
    assert len(list(archive_folder(path).iterdir())) == 1
    assert archive_folder(path).stat().st_mode & 0o777 == 0o700


def test_a_paper_book_with_an_open_position_may_be_archived(path: Path) -> None:
    store = a_book(path, "paper")
    store.save_position(a_position())
    store.close()
    done = switch_book(path, "live", "main", AT)
    assert done.archived is not None
    assert done.archived.exists()
    assert (done.restored, path.exists()) == (None, False)


@pytest.mark.parametrize("what", ["position", "order"])
def test_a_live_book_with_something_open_stays_in_place(path: Path, what: str) -> None:
    store = a_book(path, "live")
    if what == "position":
        store.save_position(a_position())
    else:
        store.add_intent(an_intent("bnml-1"), store.control().owner)
    store.close()
    with pytest.raises(StateError, match="live book of main has open positions"):
        switch_book(path, "paper", "main", AT)
    assert path.exists()
    assert not archive_folder(path).exists()


def test_a_crash_between_archiving_and_restoring_is_mended_by_the_next_switch(path: Path) -> None:
    a_book(path, "paper").close()
    a_book(path, "live").close()
    live = switch_book(path, "other", "main", LATER).archived
    assert live is not None
    assert not path.exists()
    assert switch_book(path, "live", "main", LATER).restored == live


def test_a_book_in_use_or_an_occupied_archive_is_not_moved(path: Path) -> None:
    store = a_book(path, "paper")
    with pytest.raises(StateError, match="another process still uses the database"):
        switch_book(path, "live", "main", AT)
    store.close()
    archived = switch_book(path, "live", "main", AT).archived
    assert archived is not None
    content = archived.read_bytes()
    path.write_bytes(content)
    with pytest.raises(StateError, match="exists already"):
        switch_book(path, "live", "main", AT)
    assert archived.read_bytes() == content


def test_an_archive_that_cannot_be_made_is_named(path: Path) -> None:
    a_book(path, "paper").close()
    archive_folder(path).write_text("in the way")
    with pytest.raises(StateError, match="cannot be moved there"):
        switch_book(path, "live", "main", AT)


def test_an_unbound_book_is_taken_as_it_is(store: StateStore, path: Path) -> None:
    store.close()
    done = switch_book(path, "live", "main", AT)
    assert (done.archived, done.restored) == (None, None)
    header = sqlite3.connect(path)
    assert header.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    header.close()
