"""What keeps a bot alive without anybody looking: supervised workers, a watched loop, and a record of both."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import Event
from bn_ml.domain.market import iso
from bn_ml.ports import AlertSink, Clock, Worker
from bn_ml.state_store import StateStore
from monitoring.stall_watchdog import LIMIT_S, Stall, StallWatchdog
from monitoring.supervisor import Supervisor, WorkerHealth
from monitoring.thread_troubles import ThreadTroubles, Trouble
from trader.engine import ENGINE

log = logging.getLogger(__name__)

HEARTBEAT = "heartbeat"
RECORD_EVERY_S = 10.0
CHANGE_AFTER_S = 1.0
"""How soon after a record a changed one may follow."""


class Supervision:
    """Joins supervisor, watchdog and the hooks for uncaught exceptions; a `Background` and the beat of the loop.

    Alerts go to one sink; `last_words` is called with the alert of a stall and must have it on disk when it returns.
    """

    def __init__(
        self,
        clock: Clock,
        alerts: AlertSink,
        *,
        logs: Path,
        clean: Callable[[str], str],
        last_words: Callable[[Alert], None],
        stall_after_s: float = LIMIT_S,
    ) -> None:
        """Nothing runs before `watching`; dumps of a stall go into the folder `logs`."""
        self._clock = clock
        self._alerts = alerts
        self._clean = clean
        self._last_words = last_words
        self.supervisor = Supervisor(clock, alerts)
        self.troubles = ThreadTroubles(clean)
        self.troubles.tell(self._hear)
        self.watchdog = StallWatchdog(clock, logs, self._stalled, limit_s=stall_after_s)
        self._beat_s = float("-inf")
        self._workers: set[str] = set()
        self._record: HealthRecord | None = None
        self._store: StateStore | None = None
        self._epoch = 0

    def take(self, worker: Worker, *, needed: bool = True) -> None:
        """Take a worker over; the first one is stopped last, entries go on without one that is not `needed`."""
        self._workers.add(worker.name)
        self.supervisor.watch(worker, needed=needed)

    def attach(self, store: StateStore) -> None:
        """Name the book that keeps the record."""
        self._store = store
        self._epoch = store.control().epoch
        self._record = HealthRecord(store, self._clock, self._health, self.troubles)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Start the workers and watch them; the caller stops them with `stop`."""
        with self.troubles.heard():
            self.supervisor.start()
            yield

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Within the block the loop must show signs of life."""
        self.watchdog.start()
        try:
            yield
        finally:
            self.watchdog.stop()

    def stop(self, timeout_s: float) -> None:
        """Stop the workers, the first one last, each of the two groups within `timeout_s`."""
        self.supervisor.stop(timeout_s)

    def beat(self, step: str) -> None:
        """Take note that the loop lives, and keep the record when that is due; called by the loop."""
        self._beat_s = self._clock.monotonic()
        self.watchdog.beat(step)
        if self._record is not None:
            self._record.keep(step)

    def loop_age_s(self) -> float:
        """Give how long ago the loop last beat, seconds; infinite before it does."""
        return self._clock.monotonic() - self._beat_s

    def restarts_spent(self) -> bool:
        """Tell whether a needed worker is down for good."""
        return self.supervisor.restarts_spent()

    def collect(self, now: datetime) -> Sequence[Event]:
        """Give the workers a new budget when an operator has resumed trading; there is nothing to journal."""
        del now
        if self._store is None:
            return ()
        control = self._store.control()
        if control.epoch != self._epoch:
            self._epoch = control.epoch
            if control.state is ControlState.NORMAL and control.set_by != ENGINE:
                self.supervisor.renew()
        return ()

    def _health(self) -> tuple[WorkerHealth, ...]:
        """Give how the workers are, in words without secrets."""
        return tuple(replace(item, last_error=self._clean(item.last_error)) for item in self.supervisor.health())

    def _hear(self, trouble: Trouble) -> None:
        if trouble.where in self._workers:
            self.supervisor.hear(trouble)
            return
        title = f"uncaught exception in {trouble.where}"
        key = f"thread:{trouble.where}"
        self._alerts.offer(Alert(self._clock.now(), AlertLevel.WARNING, key, title, why=trouble.error))

    def _stalled(self, stall: Stall) -> None:
        title = f"the loop has stood still for {stall.idle_s:.0f} s at step {stall.step!r}; the process ends"
        told = Alert(
            self._clock.now(),
            AlertLevel.CRITICAL,
            "stall",
            title,
            why=f"all threads: {stall.dump}",
            next_action="a restart recovers; resting stops stay on the exchange",
        )
        self._last_words(told)
        log.critical("%s threads=%s", title, stall.dump)


class HealthRecord:
    """Keeps, for other processes, how the loop and its workers are: every 10 s, and a change a second later.

    It stands beside the number of the last cycle, which is the account's.
    """

    def __init__(
        self,
        store: StateStore,
        clock: Clock,
        health: Callable[[], tuple[WorkerHealth, ...]],
        troubles: ThreadTroubles,
    ) -> None:
        """Write into `store` what `health` and `troubles` tell."""
        self._store = store
        self._clock = clock
        self._health = health
        self._troubles = troubles
        self._written_s = float("-inf")
        self._written: object = None

    def keep(self, step: str) -> None:
        """Write the record when it is due."""
        health, passed_s = self._health(), self._clock.monotonic() - self._written_s
        mark = (self._troubles.count, [(item.name, item.alive, item.restarts, item.is_spent) for item in health])
        if passed_s < (RECORD_EVERY_S if mark == self._written else CHANGE_AFTER_S):
            return
        self._written_s, self._written = self._clock.monotonic(), mark
        now = self._clock.now()
        kept = self._store.get(HEARTBEAT)
        self._store.put(
            HEARTBEAT,
            {
                **(kept if isinstance(kept, Mapping) else {}),
                "health_at": iso(now),
                "pid": os.getpid(),
                "step": step,
                "epoch": self._store.control().epoch,
                "workers": {item.name: _plain(item) for item in health},
                "troubles": self._troubles.count,
                "last_trouble": next((f"{item.where}: {item.error}" for item in self._troubles.last[-1:]), ""),
            },
            now,
        )


def _plain(health: WorkerHealth) -> dict[str, object]:
    return {
        "alive": health.alive,
        "beat_age_s": round(health.beat_age_s, 1) if health.beat_age_s < float("inf") else None,
        "restarts": health.restarts,
        "restarts_left": health.restarts_left,
        "spent": health.is_spent,
        "needed": health.needed,
        "last_error": health.last_error,
    }
