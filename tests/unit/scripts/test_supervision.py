"""The record of loop and workers in the book, the operator's new budget, and the words of a stall."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.codecs import from_plain
from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.redaction import Redactor
from bn_ml.state_store import StateStore
from monitoring.stall_watchdog import Stall
from scripts.supervision import HEARTBEAT, Supervision
from tests.fakes.stream_server import until
from tests.fakes.workers import HandClock, RecordingAlerts, ScriptedWorker

SECRET = "s3cr3t-value"


class Kept:
    """A supervision over one worker whose record goes into a real book."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.alerts = RecordingAlerts()
        self.last_words: list[Alert] = []
        self.store = StateStore(folder / "bn_ml.db")
        self.worker = ScriptedWorker()
        self.supervision = Supervision(
            self.clock,
            self.alerts,
            logs=folder,
            clean=Redactor([SECRET]).clean,
            last_words=self.last_words.append,
        )
        self.supervision.supervisor._look_every_s = 0.003
        self.supervision.take(self.worker)
        self.supervision.attach(self.store)

    def record(self) -> dict[str, object]:
        found = self.store.get(HEARTBEAT)
        assert isinstance(found, dict)
        return found

    def worker_row(self) -> dict[str, object]:
        return from_plain(dict[str, dict[str, object]], self.record()["workers"])["prices"]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    with made.supervision.watching():
        yield made
    made.supervision.stop(1.0)
    made.store.close()


def test_readers_find_the_loop_and_every_worker(kept: Kept) -> None:
    kept.supervision.beat("wait")
    record = kept.record()
    assert set(record) == {"health_at", "pid", "step", "epoch", "workers", "troubles", "last_trouble"}
    assert (record["step"], record["troubles"]) == ("wait", 0)
    assert kept.worker_row() == {
        "alive": True,
        "beat_age_s": 0.0,
        "restarts": 0,
        "restarts_left": 5,
        "spent": False,
        "needed": True,
        "last_error": "",
    }


@pytest.mark.parametrize(("after_s", "written"), [(9.9, False), (10.0, True)])
def test_an_unchanged_record_is_written_every_ten_seconds(kept: Kept, after_s: float, written: bool) -> None:
    kept.supervision.beat("wait")
    first = kept.record()["health_at"]
    kept.clock.pass_(after_s)
    kept.supervision.beat("wait")
    assert (kept.record()["health_at"] != first) is written


def test_a_worker_that_went_down_is_shown_a_second_later(kept: Kept) -> None:
    kept.supervision.beat("wait")
    kept.worker.alive = False
    until(lambda: not kept.supervision.supervisor.health()[0].alive)
    kept.clock.pass_(0.9)
    kept.supervision.beat("wait")
    assert kept.worker_row()["alive"] is True
    kept.clock.pass_(0.1)
    kept.supervision.beat("wait")
    assert kept.worker_row()["alive"] is False


def test_no_secret_reaches_the_record(kept: Kept) -> None:
    kept.supervision.beat("wait")
    kept.worker.failure = OSError(f"refused {SECRET}")
    kept.worker.alive = False
    kept.worker.calls.clear()
    until(lambda: not kept.supervision.supervisor.health()[0].alive)
    kept.clock.pass_(1.0)
    until(lambda: kept.worker.starts == 1)
    until(lambda: "refused" in kept.supervision.supervisor.health()[0].last_error)
    kept.clock.pass_(1.0)
    kept.supervision.beat("wait")
    assert kept.worker_row()["last_error"] == "did not start: OSError: refused ***"


def test_a_thread_nobody_supervises_that_dies_is_told_and_recorded(kept: Kept) -> None:
    def fail() -> None:
        raise ValueError(f"no {SECRET}")

    thread = threading.Thread(target=fail, name="stray")
    thread.start()
    thread.join()
    kept.supervision.beat("wait")
    assert (kept.record()["troubles"], kept.record()["last_trouble"]) == (1, "stray: ValueError: no ***")
    (alert,) = kept.alerts.offered
    assert (alert.level, alert.key, alert.why) == (AlertLevel.WARNING, "thread:stray", "ValueError: no ***")


def spend(kept: Kept) -> None:
    kept.worker.dies_at_once = True
    kept.worker.alive = False
    for _ in range(60):
        seen = kept.supervision.supervisor.health()
        until(lambda seen=seen: kept.supervision.supervisor.health() is not seen)  # type: ignore[misc]
        kept.clock.pass_(10)
    until(kept.supervision.restarts_spent)


def test_an_operator_who_resumes_gives_the_workers_a_new_budget(kept: Kept) -> None:
    spend(kept)
    kept.store.set_control(ControlState.REDUCE_ONLY, "worker_restarts", "engine", kept.clock.now())
    assert kept.supervision.collect(kept.clock.now()) == ()
    assert kept.supervision.restarts_spent()
    kept.store.set_control(ControlState.NORMAL, "resumed: mended", "operator", kept.clock.now())
    kept.supervision.collect(kept.clock.now())
    assert not kept.supervision.restarts_spent()


def test_a_state_the_engine_lifts_by_itself_gives_no_new_budget(kept: Kept) -> None:
    spend(kept)
    kept.store.set_control(ControlState.REDUCE_ONLY, "stale_prices", "engine", kept.clock.now())
    kept.store.set_control(ControlState.NORMAL, "cleared: stale_prices", "engine", kept.clock.now())
    kept.supervision.collect(kept.clock.now())
    assert kept.supervision.restarts_spent()


def test_the_last_words_of_a_stalled_loop_name_step_and_threads(kept: Kept) -> None:
    kept.supervision._stalled(Stall("scan", 121.0, "logs/stall.txt"))
    (alert,) = kept.last_words
    assert alert.level is AlertLevel.CRITICAL
    assert alert.title == "the loop has stood still for 121 s at step 'scan'; the process ends"
    assert alert.why == "all threads: logs/stall.txt"
