"""The metrics file is replaced whole, beside the loop, and nothing that happens to it reaches the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.ports import Worker
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.metrics_export import MetricsExport
from tests.fakes.prometheus_text import read_text

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    store = StateStore(tmp_path / "bn_ml.db")
    store.bind_book("paper", "paper", AT)
    store.close()
    return tmp_path / "bn_ml.db"


@pytest.fixture
def exports() -> Iterator[list[MetricsExport]]:
    started: list[MetricsExport] = []
    yield started
    for export in started:
        export.stop(5)
        assert not export.is_alive()


def waits_for(happened: Callable[[], bool]) -> bool:
    paused = threading.Event()
    return any(happened() or paused.wait(0.02) for _ in range(500))


def test_a_cycle_has_the_file_written(state: Path, tmp_path: Path, exports: list[MetricsExport]) -> None:
    looked: list[datetime] = []
    export = MetricsExport(tmp_path / "metrics", StateReader(state), SystemClock(), chores=(looked.append,))
    worker: Worker = export
    worker.start()
    exports.append(export)
    export.wake()
    assert waits_for(lambda: len(looked) == 1)
    assert "bnml_open_positions" in read_text(export.path.read_text())
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["bnml.prom"]


def test_waking_a_worker_that_hangs_returns_at_once(state: Path, tmp_path: Path, exports: list[MetricsExport]) -> None:
    goes_on, hung = threading.Event(), threading.Event()

    def hang(now: datetime) -> None:
        hung.set()
        goes_on.wait(10)

    export = MetricsExport(tmp_path, StateReader(state), SystemClock(), chores=(hang,))
    export.start()
    exports.append(export)
    export.wake()
    assert hung.wait(5)
    clock = SystemClock()
    began = clock.monotonic()
    for _ in range(1_000):
        export.wake()
    assert clock.monotonic() - began < 0.5
    assert export.beat_age_s() >= 0
    goes_on.set()


def test_a_chore_that_fails_stops_neither_the_others_nor_the_next_turn(
    state: Path, tmp_path: Path, exports: list[MetricsExport], caplog: pytest.LogCaptureFixture
) -> None:
    turns: list[int] = []

    def fail(now: datetime) -> None:
        turns.append(1)
        raise RuntimeError("broken")

    others: list[datetime] = []
    export = MetricsExport(tmp_path, StateReader(state), SystemClock(), chores=(fail, others.append))
    export.start()
    exports.append(export)
    export.wake()
    assert waits_for(lambda: len(turns) == 1)
    export.wake()
    assert waits_for(lambda: len(others) == 2)
    assert len(turns) == 2
    assert export.is_alive()
    assert waits_for(lambda: "a step beside the metrics failed" in caplog.text)


def test_it_takes_its_file_away_when_it_ends_and_can_be_started_again(
    state: Path, tmp_path: Path, exports: list[MetricsExport]
) -> None:
    export = MetricsExport(tmp_path, StateReader(state), SystemClock())
    assert not export.is_alive()
    assert export.beat_age_s() == float("inf")
    export.start()
    export.wake()
    assert waits_for(export.path.exists)
    export.stop(5)
    assert not export.is_alive()
    assert not export.path.exists()
    export.start()
    exports.append(export)
    export.wake()
    assert waits_for(export.path.exists)
    assert export.beat_age_s() < 5


def test_a_folder_that_cannot_be_written_is_told_once(
    state: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    export = MetricsExport(tmp_path / "taken", StateReader(state), SystemClock())
    export.write()
    export.write()
    assert caplog.text.count("export not written") == 1
