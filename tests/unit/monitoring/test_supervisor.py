"""Workers that die, hang, lie and recover under supervision."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from bn_ml.domain.alerts import AlertLevel
from monitoring.supervisor import HANGING_S, SETTLED_S, Supervisor, WorkerHealth
from monitoring.thread_troubles import Trouble
from tests.fakes.stream_server import until
from tests.fakes.workers import HandClock, RecordingAlerts, ScriptedWorker


class Watch:
    """A supervisor that looks every few ms at a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.alerts = RecordingAlerts()
        self.restarted: list[str] = []
        self.supervisor = Supervisor(self.clock, self.alerts, look_every_s=0.003)
        self.supervisor.restarted = self.restarted.append

    def over(self, *workers: ScriptedWorker) -> None:
        for worker in workers:
            self.supervisor.watch(worker)
        self.supervisor.start()

    def health(self, name: str = "prices") -> WorkerHealth:
        return next(item for item in self.supervisor.health() if item.name == name)

    def looks(self) -> None:
        """Let a few looks pass."""
        for _ in range(5):
            seen = self.supervisor.health()
            until(lambda seen=seen: self.supervisor.health() is not seen)  # type: ignore[misc]

    def exhaust(self, worker: ScriptedWorker) -> None:
        """Let a worker die after each start until nothing is left."""
        worker.dies_at_once = True
        worker.alive = False
        for _ in range(5):
            before = worker.starts
            self.looks()
            self.clock.pass_(20)
            until(lambda before=before: worker.starts > before)  # type: ignore[misc]
        self.looks()


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.supervisor.stop(1.0)


def test_every_worker_is_started_and_well(watch: Watch) -> None:
    one, other = ScriptedWorker("one"), ScriptedWorker("other")
    watch.over(one, other)
    assert [(item.name, item.alive, item.restarts, item.restarts_left) for item in watch.supervisor.health()] == [
        ("one", True, 0, 5),
        ("other", True, 0, 5),
    ]
    assert watch.alerts.offered == []


def test_a_dead_worker_is_started_again_after_a_wait_and_that_is_told(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    worker.alive = False
    watch.looks()
    assert (worker.starts, watch.health().alive) == (1, False)
    watch.clock.pass_(1.0)
    until(lambda: watch.health().alive)
    assert (worker.starts, watch.health().restarts, watch.restarted) == (2, 1, ["prices"])
    (alert,) = watch.alerts.offered
    assert (alert.level, alert.key) == (AlertLevel.WARNING, "worker:prices")
    assert alert.title == "worker prices is started again (1 of 5 restarts this hour)"
    assert alert.why == "its thread or process has ended"


@pytest.mark.parametrize(("age_s", "restarted"), [(9.9, False), (10.0, False), (10.1, True)])
def test_a_living_worker_without_a_beat_is_started_again(watch: Watch, age_s: float, restarted: bool) -> None:
    worker = ScriptedWorker(stale_after_s=10.0)
    watch.over(worker)
    watch.clock.pass_(20)
    worker.age_s = age_s
    watch.looks()
    watch.clock.pass_(2)
    watch.looks()
    assert worker.calls == (["start", "stop", "start"] if restarted else ["start"])
    worker.age_s = 0.0


def test_a_worker_that_has_just_been_started_needs_no_beat_yet(watch: Watch) -> None:
    worker = ScriptedWorker(stale_after_s=10.0)
    worker.age_s = float("inf")
    watch.over(worker)
    watch.clock.pass_(10)
    watch.looks()
    assert watch.health().alive
    assert worker.calls == ["start"]


def test_one_old_beat_is_no_reason_yet(watch: Watch) -> None:
    """A process that was frozen as a whole finds every beat old for a moment."""
    worker = ScriptedWorker()
    watch.over(worker)
    watch.clock.pass_(1000)
    seen = watch.supervisor.health()
    worker.age_s = 1000.0
    until(lambda: watch.supervisor.health() is not seen)
    worker.age_s = 0.0
    watch.looks()
    assert (worker.calls, watch.alerts.offered) == (["start"], [])


def test_after_five_restarts_it_stays_down_and_entries_stop(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    assert not watch.supervisor.restarts_spent()
    watch.exhaust(worker)
    assert watch.supervisor.restarts_spent()
    assert (watch.health().is_spent, watch.health().restarts, watch.health().restarts_left) == (True, 5, 0)
    watch.clock.pass_(600)
    watch.looks()
    assert worker.starts == 6
    last = watch.alerts.offered[-1]
    assert (last.level, last.title) == (AlertLevel.CRITICAL, "worker prices is down and its restarts are spent")
    assert "bnml-kill-switch --resume" in last.next_action
    assert len(watch.alerts.offered) == 6


def test_an_hour_later_it_is_tried_again(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    watch.exhaust(worker)
    worker.dies_at_once = False
    watch.clock.pass_(3600)
    until(lambda: watch.health().alive)
    assert not watch.supervisor.restarts_spent()


def test_an_operator_who_resumes_gives_a_new_budget_at_once(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    watch.exhaust(worker)
    worker.dies_at_once = False
    watch.supervisor.renew()
    assert not watch.supervisor.restarts_spent()
    watch.looks()
    watch.clock.pass_(1)
    until(lambda: watch.health().alive)
    assert not watch.supervisor.restarts_spent()


def test_a_worker_still_dying_after_the_operator_resumed_stops_entries_again(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    watch.exhaust(worker)
    watch.supervisor.renew()
    watch.exhaust(worker)
    assert watch.supervisor.restarts_spent()
    assert watch.health().restarts == 10


def test_a_worker_entries_do_not_need_never_stops_them(watch: Watch) -> None:
    worker = ScriptedWorker("dashboard")
    watch.supervisor.watch(worker, needed=False)
    watch.over()
    watch.exhaust(worker)
    assert watch.health("dashboard").is_spent
    assert not watch.supervisor.restarts_spent()
    assert watch.alerts.offered[-1].level is AlertLevel.WARNING


def test_the_incident_ends_when_it_has_been_well_for_a_while(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    worker.alive = False
    watch.looks()
    watch.clock.pass_(1)
    until(lambda: watch.health().alive)
    watch.clock.pass_(SETTLED_S - 1)
    watch.looks()
    assert len(watch.alerts.offered) == 1
    watch.clock.pass_(1)
    until(lambda: len(watch.alerts.offered) == 2)
    assert (watch.alerts.offered[1].ends, watch.alerts.offered[1].key) == (True, "worker:prices")


def test_a_worker_that_hangs_while_it_is_stopped_keeps_nobody_else_unwatched(watch: Watch) -> None:
    stuck, other = ScriptedWorker("stuck"), ScriptedWorker("other")
    watch.over(stuck, other)
    stuck.hang.clear()
    stuck.alive = other.alive = False
    watch.looks()
    watch.clock.pass_(1)
    until(lambda: watch.health("other").alive)
    assert stuck.calls == ["start", "stop"]
    watch.clock.pass_(HANGING_S + 1)
    until(lambda: "hangs" in watch.health("stuck").last_error)
    stuck.hang.set()


def test_a_worker_that_cannot_even_start_is_named_with_its_error(watch: Watch) -> None:
    worker = ScriptedWorker()
    worker.failure = OSError("no port")
    watch.over(worker)
    assert (watch.health().alive, watch.health().last_error) == (False, "did not start: OSError: no port")


def test_what_a_thread_died_of_is_named(watch: Watch) -> None:
    worker = ScriptedWorker()
    watch.over(worker)
    watch.supervisor.hear(Trouble("prices", "ZeroDivisionError: division by zero"))
    worker.alive = False
    until(lambda: not watch.health().alive)
    assert watch.health().last_error == "ZeroDivisionError: division by zero"


def test_a_worker_that_raises_when_asked_is_down_and_the_rest_is_watched(watch: Watch) -> None:
    class Liar(ScriptedWorker):
        def beat_age_s(self) -> float:
            raise RuntimeError("no idea")

    watch.over(Liar("liar"), ScriptedWorker("honest"))
    watch.looks()
    assert (watch.health("liar").alive, watch.health("honest").alive) == (False, True)
    assert "no idea" in watch.health("liar").last_error


def test_all_workers_are_stopped_at_once_and_the_first_one_last(watch: Watch) -> None:
    order: list[str] = []

    class Noted(ScriptedWorker):
        def stop(self, timeout_s: float) -> None:
            super().stop(timeout_s)
            order.append(self.name)

    stuck = ScriptedWorker("stuck")
    watch.over(Noted("alerts"), stuck, Noted("prices"))
    stuck.hang.clear()
    began = time.monotonic()
    watch.clock.pass_(0)
    stopping = threading.Thread(target=watch.supervisor.stop, args=(0.05,))
    stopping.start()
    until(lambda: order[:1] == ["prices"])
    watch.clock.pass_(1)
    stuck.hang.set()
    stopping.join(5)
    until(lambda: order == ["prices", "alerts"])
    assert time.monotonic() - began < 5
