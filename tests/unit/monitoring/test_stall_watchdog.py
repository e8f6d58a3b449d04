"""How long a loop may show no sign of life, and what happens then."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from monitoring.stall_watchdog import IdleTime, Stall, StallWatchdog
from tests.fakes.stream_server import until


def test_idle_time_adds_up_while_nothing_changes() -> None:
    idle = IdleTime(turn_s=1.0)
    assert [idle.look(1, second) for second in (10.0, 11.0, 12.5)] == [0.0, 1.0, 2.5]


def test_any_change_begins_anew() -> None:
    idle = IdleTime(turn_s=1.0)
    idle.look((1, 5), 0.0)
    assert idle.look((1, 5), 1.0) == 1.0
    assert idle.look((1, 6), 2.0) == 0.0
    assert idle.look((1, 6), 3.0) == 1.0


def test_a_process_that_stood_still_as_a_whole_has_no_stalled_loop() -> None:
    idle = IdleTime(turn_s=1.0)
    idle.look(1, 0.0)
    assert idle.look(1, 3600.0) == 5.0


class Told:
    """What a watchdog did."""

    def __init__(self, folder: Path, *, limit_s: float = 0.1, hang: float = 0.0) -> None:
        self.stalls: list[Stall] = []
        self.left: list[int] = []
        self._hang_s = hang
        self.dog = StallWatchdog(SystemClock(), folder, self._tell, limit_s=limit_s, leave=self.left.append)

    def _tell(self, stall: Stall) -> None:
        self.stalls.append(stall)
        threading.Event().wait(self._hang_s)


def test_a_stalled_loop_is_dumped_told_and_left(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.dog.beat("scan")
    told.dog.start()
    until(lambda: told.left == [70])
    (stall,) = told.stalls
    assert (stall.step, stall.idle_s > 0.1) == ("scan", True)
    assert "test_stall_watchdog.py" in Path(stall.dump).read_text()


def test_beats_keep_it_away(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.dog.start()
    for _ in range(30):
        told.dog.beat("wait")
        threading.Event().wait(0.01)
    told.dog.stop()
    assert (told.left, list(tmp_path.iterdir())) == ([], [])


def test_another_sign_of_life_keeps_it_away_too(tmp_path: Path) -> None:
    told = Told(tmp_path)
    requests = iter(range(1_000_000))
    told.dog.heed(lambda: next(requests))
    told.dog.start()
    threading.Event().wait(0.3)
    told.dog.stop()
    assert told.left == []


def test_after_it_is_stopped_nothing_happens(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.dog.start()
    told.dog.stop()
    threading.Event().wait(0.2)
    assert (told.left, told.stalls) == ([], [])


def test_an_unwritable_folder_does_not_keep_the_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = Told(tmp_path / "missing")
    told.dog.start()
    until(lambda: told.left == [70])
    assert told.stalls[0].dump.startswith("standard error")
    assert "Thread" in capfd.readouterr().err


def test_whoever_is_told_and_hangs_does_not_keep_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.stall_watchdog.TELLING_S", 0.05)
    told = Told(tmp_path, hang=1.0)
    told.dog.start()
    until(lambda: told.left == [70])
