"""Workers, sinks and clocks for tests of supervision, moved by hand."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

from bn_ml.domain.alerts import Alert

START = datetime(2024, 3, 4, 12, 0, tzinfo=timezone.utc)


class HandClock:
    """A clock that moves when told to; both of its times move together."""

    def __init__(self) -> None:
        self._passed_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return self._passed_s

    def sleep_until(self, instant: datetime) -> None:
        self._passed_s = max((instant - START).total_seconds(), self._passed_s)

    def pass_(self, seconds: float) -> None:
        self._passed_s += seconds


class RecordingAlerts:
    """An alert sink that keeps what it is offered."""

    def __init__(self) -> None:
        self.offered: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.offered.append(alert)

    def titles(self) -> list[str]:
        return [alert.title for alert in self.offered]


class ScriptedWorker:
    """A worker that lives, dies, hangs and raises as the test says."""

    def __init__(self, name: str = "prices", *, stale_after_s: float = 10.0) -> None:
        self.name = name
        self.stale_after_s = stale_after_s
        self.alive = False
        self.age_s = 0.0
        self.dies_at_once = False
        self.failure: Exception | None = None
        self.calls: list[str] = []
        self.hang = threading.Event()
        self.hang.set()

    def start(self) -> None:
        self.calls.append("start")
        if self.failure is not None:
            raise self.failure
        self.alive = not self.dies_at_once

    def stop(self, timeout_s: float) -> None:
        del timeout_s
        self.calls.append("stop")
        self.hang.wait(20)
        self.alive = False

    def is_alive(self) -> bool:
        return self.alive

    def beat_age_s(self) -> float:
        return self.age_s

    @property
    def starts(self) -> int:
        return self.calls.count("start")
