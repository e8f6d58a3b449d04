"""The thread that makes backups: when it does, what it tells, and that it ends at once when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml import backup_worker
from bn_ml.backup import make_backup
from bn_ml.backup_store import BackupStore
from bn_ml.backup_worker import BackupWorker
from bn_ml.clock import SimulatedClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import BackupFailed, BackupMade, BundleAdopted, CycleStarted
from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from scripts.backup_records import BackupRecords
from tests.fakes.backup_builders import NOW, Office, an_office

PATIENCE_S = 20.0


class Bell:
    """Keeps what people were told."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


class HandClock(SimulatedClock):
    """Time that passes when a test says so, whatever thread reads it."""

    def advance(self, **by: float) -> None:
        self.sleep_until(self.now() + timedelta(**by))


class Bench:
    """A worker over a real folder, on a clock moved by hand."""

    def __init__(self, folder: Path, **backup: object) -> None:
        self.office: Office = an_office(folder)
        self.clock, self.bell = HandClock(NOW), Bell()
        tree = {
            "storage": {
                "sqlite_path": str(self.office.book),
                "min_free_disk_mb": 0,
                "backup": {"base_dir": str(self.office.backups.base), **backup},
            },
            "monitoring": {"metrics_dir": str(folder / "metrics"), "logs_dir": str(folder / "logs")},
            "model": {"models_dir": str(folder / "models")},
        }
        self.settings = Settings.from_mapping(tree)
        self.worker = BackupWorker(self.settings, self.clock, self.bell, wake_s=0.005)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the thread; every look of it is a few milliseconds away."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.005)):
            if condition():
                return
            pause.wait(0.005)
        raise AssertionError(f"never happened: {self.worker.status()}")

    def looked(self) -> None:
        """Wait until the thread has looked at the clock once more."""
        self.clock.advance(seconds=1)
        self.until(lambda: self.worker.beat_age_s() == 0)

    @property
    def ids(self) -> list[str]:
        return [backup.backup_id for backup in self.office.backups.backups()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.worker.stop(PATIENCE_S)


def test_the_first_backup_comes_a_minute_after_the_start_and_the_next_an_hour_later(bench: Bench) -> None:
    bench.worker.start()
    bench.until(lambda: bench.worker.status().next_due_at is not None)
    bench.clock.advance(seconds=58)
    bench.looked()
    assert bench.ids == []
    bench.clock.advance(seconds=1)
    bench.until(lambda: bench.worker.status().count == 1)
    assert bench.ids == ["20260302T120100Z"]
    assert bench.worker.status().next_due_at == NOW + timedelta(minutes=61)
    bench.clock.advance(seconds=3598)
    bench.looked()
    assert len(bench.ids) == 1
    bench.clock.advance(seconds=1)
    bench.until(lambda: bench.worker.status().count == 2)
    assert bench.bell.alerts == []


def test_a_restart_goes_on_where_the_backups_on_disk_end(bench: Bench) -> None:
    make_backup(bench.office.sources, bench.office.backups, NOW - timedelta(minutes=20))
    bench.worker.start()
    bench.until(lambda: bench.worker.status().count == 1)
    status = bench.worker.status()
    assert (status.last_id, status.next_due_at) == ("20260302T114000Z", NOW + timedelta(minutes=40))


@pytest.mark.parametrize("age", [timedelta(hours=5), timedelta(hours=-5)])
def test_an_overdue_backup_and_one_from_the_future_are_followed_by_one_in_a_minute(
    bench: Bench, age: timedelta
) -> None:
    make_backup(bench.office.sources, bench.office.backups, NOW - age)
    bench.worker.start()
    bench.until(lambda: bench.worker.status().next_due_at == NOW + timedelta(seconds=60))


def test_a_changed_bundle_asks_for_a_backup_and_many_share_one(bench: Bench) -> None:
    bench.worker.start()
    bench.worker.emit(BundleAdopted(NOW, Symbol("BTC/USDC"), 2))
    bench.until(lambda: bench.worker.status().count == 1)
    for name in ("ETH/USDC", "SOL/USDC"):
        bench.worker.emit(BundleAdopted(NOW, Symbol(name), 2))
    bench.worker.emit(CycleStarted(NOW, 1))
    bench.looked()
    assert len(bench.ids) == 1
    bench.clock.advance(seconds=599)
    bench.until(lambda: bench.worker.status().count == 2)
    bench.looked()
    assert len(bench.ids) == 2


def test_a_failure_is_told_with_its_cause_and_its_end_once(bench: Bench) -> None:
    bench.office.book.rename(bench.office.folder / "away.db")
    bench.worker.start()
    bench.worker.request()
    bench.until(lambda: bool(bench.worker.status().last_error))
    (alert,) = bench.bell.alerts
    assert (alert.level, alert.ends) == (AlertLevel.WARNING, False)
    assert "no database yet" in alert.why
    assert "no backup yet" in alert.why
    assert bench.worker.status().next_due_at == NOW + timedelta(minutes=5)
    (bench.office.folder / "away.db").rename(bench.office.book)
    bench.clock.advance(minutes=5)
    bench.until(lambda: bench.worker.status().count == 1)
    bench.clock.advance(hours=1)
    bench.until(lambda: bench.worker.status().count == 2)
    assert [item.ends for item in bench.bell.alerts] == [False, True]
    assert {item.key for item in bench.bell.alerts} == {"backups"}
    assert [type(event) for event in bench.worker.news()] == [BackupFailed, BackupMade, BackupMade]
    assert bench.worker.news() == ()


def test_a_backup_somebody_else_makes_puts_the_own_one_off_without_an_alert(bench: Bench) -> None:
    with BackupStore(bench.office.backups.base).reading():
        bench.worker.start()
        bench.worker.request()
        bench.until(lambda: bench.worker.status().next_due_at == NOW + timedelta(minutes=5))
    assert (bench.bell.alerts, bench.worker.status().last_error, bench.worker.news()) == ([], "", ())


def test_a_folder_that_cannot_be_read_is_a_failure_and_not_the_end_of_the_thread(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.office.backups.base.write_text("a file")
    bench.worker.start()
    bench.until(lambda: len(bench.bell.alerts) == 1)
    assert "storage.backup.base_dir" in bench.bell.alerts[0].why
    assert bench.worker.is_alive()
    bench.worker.stop(PATIENCE_S)


def test_old_backups_go_as_the_settings_say(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep_last=2, keep_daily=0)
    for hours in range(-5, 0):
        bench.office.backup(hours)
    bench.worker.start()
    bench.worker.request()
    bench.until(lambda: bench.worker.status().last_attempt_at is not None)
    assert bench.ids == ["20260302T110000Z", "20260302T120000Z"]
    bench.worker.stop(PATIENCE_S)


def test_a_backup_made_by_a_clock_set_back_is_not_deleted_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep_last=1, keep_daily=0)
    bench.office.backup(5)
    bench.worker.start()
    bench.worker.request()
    bench.until(lambda: bench.worker.status().last_attempt_at is not None)
    assert bench.ids == ["20260302T120000Z", "20260302T170000Z"]
    bench.worker.stop(PATIENCE_S)


def test_it_ends_in_the_middle_of_a_backup_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_it, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> object:
        at_it.set()
        assert go_on.wait(PATIENCE_S)
        return real(path)

    real = backup_worker_facts()
    monkeypatch.setattr("bn_ml.backup.book_facts", slow)
    bench.worker.start()
    bench.worker.request()
    assert at_it.wait(PATIENCE_S)
    bench.worker.stop(0.01)
    assert bench.worker.is_alive()
    go_on.set()
    bench.until(lambda: not bench.worker.is_alive())
    assert [path.name for path in bench.office.backups.base.iterdir()] == [".lock"]
    assert bench.worker.news() == ()


def test_a_stuck_thread_is_replaced_and_its_backup_is_never_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_it, go_on = threading.Event(), threading.Event()
    real = backup_worker_facts()

    def slow_once(path: Path) -> object:
        if not at_it.is_set():
            at_it.set()
            assert go_on.wait(PATIENCE_S)
        return real(path)

    monkeypatch.setattr("bn_ml.backup.book_facts", slow_once)
    bench.worker.start()
    bench.worker.request()
    assert at_it.wait(PATIENCE_S)
    bench.clock.advance(seconds=bench.worker.stale_after_s)
    assert bench.worker.beat_age_s() >= bench.worker.stale_after_s
    bench.worker.start()
    bench.until(lambda: bench.worker.beat_age_s() == 0)
    go_on.set()
    bench.until(lambda: [thread.name for thread in threading.enumerate()].count("backups") == 1)
    assert bench.ids == []
    bench.clock.advance(minutes=5)
    bench.until(lambda: bench.worker.status().count == 1)


def test_an_unexpected_error_ends_the_thread_for_the_supervisor_to_see(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("unheard of")

    monkeypatch.setattr(backup_worker, "make_backup", broken)
    bench.worker.start()
    bench.worker.request()
    bench.until(lambda: not bench.worker.is_alive())
    assert "the backups ended unexpectedly" in caplog.text


def test_the_loop_keeps_the_state_of_backups_for_readers_when_it_changes(bench: Bench) -> None:
    store = StateStore(bench.office.book)
    records = BackupRecords(store, bench.worker)
    bench.worker.start()
    bench.worker.request()
    bench.until(lambda: bench.worker.status().count == 1)
    (event,) = records.collect(NOW)
    assert isinstance(event, BackupMade)
    kept = store.get("backup_status")
    assert isinstance(kept, dict)
    assert (kept["enabled"], kept["last_id"], kept["last_error"]) == (True, "20260302T120000Z", "")
    assert kept["last_backup_at"] == kept["last_attempt_at"] == "2026-03-02T12:00:00.000Z"
    assert kept["last_restore"] is None
    changed = written_at(store)
    assert records.collect(NOW + timedelta(hours=1)) == ()
    assert written_at(store) == changed
    store.close()


def written_at(store: StateStore) -> datetime | str:
    return str(store.session.rows("SELECT updated_at FROM kv_state WHERE key = 'backup_status'")[0][0])


def backup_worker_facts() -> Callable[[Path], object]:
    from bn_ml.backup import book_facts

    return book_facts
