"""Whose process it is: recognised before it is ended, and never another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

import pytest

from bn_ml import processes
from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.errors import LockHeld, StateError
from bn_ml.lock_takeover import end_holder, holder_state, is_proven
from bn_ml.processes import ProcessState, born, has_open, process_state
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BEAT, BookWatch
from scripts import kill_switch_status
from scripts.kill_switch_request import Request
from scripts.kill_switch_status import bot_state
from tests.fakes.book_builders import AT
from tests.fakes.money_world import money_settings
from tests.fakes.venue_world import StepClock

CLOCK = SystemClock()
HOLD = (
    "import sys\nfrom bn_ml.clock import SystemClock\nfrom bn_ml.control import ProcessLock\n"
    "lock = ProcessLock(sys.argv[1]).acquire(SystemClock().now())\nprint('held', flush=True)\nsys.stdin.read()"
)


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert cast(IO[str], process.stdout).readline().strip() == "held"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def lock(tmp_path: Path) -> ProcessLock:
    return ProcessLock(tmp_path / "bn_ml.db")


def test_the_holder_is_seen_proven_and_ended(lock: ProcessLock, tmp_path: Path) -> None:
    assert holder_state(lock) is ProcessState.GONE
    with holder(tmp_path / "bn_ml.db") as process:
        recorded = lock.holder()
        assert (recorded.pid, recorded.born) == (process.pid, born(process.pid))
        assert holder_state(lock) is ProcessState.RUNNING
        assert has_open(process.pid, lock.path) is True
        assert has_open(process.pid, tmp_path / "bn_ml.db") is False
        assert is_proven(lock, recorded)
        assert not is_proven(lock, replace(recorded, born=recorded.born + 1))
        assert not is_proven(lock, replace(recorded, pid=0))
        assert end_holder(lock, CLOCK) == recorded
        assert process.wait() == -9
    assert holder_state(lock) is ProcessState.GONE
    with pytest.raises(LockHeld, match="cannot be told for sure"):
        end_holder(lock, CLOCK)


def test_this_very_process_is_never_ended(lock: ProcessLock) -> None:
    with lock.acquire(AT), pytest.raises(LockHeld):
        end_holder(lock, CLOCK)


def test_a_holder_that_may_not_be_ended_or_does_not_let_go_is_told(
    lock: ProcessLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(pid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with holder(tmp_path / "bn_ml.db"):
        monkeypatch.setattr("bn_ml.lock_takeover.end_process", forbidden)
        with pytest.raises(LockHeld, match="run this as the bot's user"):
            end_holder(lock, CLOCK)
        monkeypatch.setattr("bn_ml.lock_takeover.end_process", lambda pid: None)
        with pytest.raises(LockHeld, match="still holds"):
            end_holder(lock, StepClock())


def test_a_lock_file_that_says_nothing_names_nobody(lock: ProcessLock) -> None:
    for text in ("", "[]", '{"pid": "x"}', '{"started": "now"}'):
        lock.path.write_text(text)
        assert lock.holder().pid == 0
    lock.path.write_text(json.dumps({"pid": 7, "started": "long ago"}))
    assert (lock.holder().pid, lock.holder().born) == (7, 0)


def test_a_held_lock_names_its_holder_and_is_freed(lock: ProcessLock) -> None:
    assert not lock.is_held()
    with lock.acquire(AT):
        assert lock.is_held()
        with pytest.raises(LockHeld, match=str(os.getpid())):
            ProcessLock(lock.path.with_suffix("")).acquire(AT)
    assert not lock.is_held()
    lock.release()


def test_a_lock_that_cannot_be_made_names_the_folder(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match="give the bot's user access"):
        ProcessLock(blocked / "bn_ml.db").acquire(AT)


def test_without_the_system_s_list_only_signals_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert process_state(os.getpid()) is ProcessState.RUNNING
    assert process_state(1) is ProcessState.RUNNING
    assert process_state(2**22 + 1) is ProcessState.GONE
    assert process_state(0) is ProcessState.GONE
    assert born(os.getpid()) == 0
    assert has_open(os.getpid(), tmp_path) is None

    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert process_state(1) is ProcessState.RUNNING


def test_a_descriptor_that_closes_while_it_is_looked_at_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    (folder / "3").write_text("no link")
    assert has_open(7, tmp_path / "x") is False


@pytest.mark.parametrize(("letter", "state"), [("T", "stopped"), ("t", "stopped"), ("Z", "zombie"), ("S", "running")])
def test_the_state_is_read_behind_any_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, letter: str, state: str
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) Z (b) {letter} " + " ".join(str(number) for number in range(1, 40)))
    assert process_state(7).value == state
    assert born(7) == 19


def test_a_loop_whose_beat_is_old_and_stands_still_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch_status, "SECOND_LOOK", timedelta(milliseconds=1))
    request = Request(money_settings(storage={"sqlite_path": str(tmp_path / "bn_ml.db")}), {}, "tests")
    store = StateStore(request.path)
    store.put(BEAT, {"pid": 1, "at": "2023-06-10T04:00:00Z", "step": "wait"}, AT)
    store.close()
    view = BookWatch(request.path).look()
    with ProcessLock(request.path).acquire(AT):
        assert bot_state(request, view)["state"] == "stuck"
        assert bot_state(request, replace(view, beat={"at": "2023-06-10T03:00:00Z"}))["state"] == "alive"
        assert bot_state(request, replace(view, beat={}))["state"] == "alive"
    assert bot_state(request, view)["state"] == "dead"
