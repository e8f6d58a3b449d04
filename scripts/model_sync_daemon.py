"""Model exchange every day at one time: tried again after a failure, people told when it stays one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import iso
from bn_ml.errors import BnMlError, ConfigError
from bn_ml.ports import AlertSink, Clock
from scripts.training_command import Interrupted

log = logging.getLogger("bnml.model_sync")

MOST_ATTEMPTS = 5
FIRST_PAUSE = timedelta(minutes=1)
PAUSE_GROWS = 4

Job = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Once a day at `at` of the clocks in `zone`; where they are set forward over it, at the same length of day."""

    at: time
    zone: tzinfo

    def after(self, instant: datetime) -> datetime:
        """Give the first time due after an instant; aware UTC."""
        day = instant.astimezone(self.zone).date() - timedelta(days=1)
        while True:
            due = datetime.combine(day, self.at, tzinfo=self.zone).astimezone(timezone.utc)
            if due > instant:
                return due
            day += timedelta(days=1)


def schedule_of(at: str, zone: str) -> Schedule:
    """Read a schedule; raises `ConfigError` for a zone nobody knows or a text that is no time of day.

    >>> schedule_of("06:00", "UTC").after(datetime(2023, 6, 1, 6, tzinfo=timezone.utc)).isoformat()
    '2023-06-02T06:00:00+00:00'
    """
    try:
        moment = datetime.strptime(at, "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone
    except ValueError:
        raise ConfigError([f'--at: {at!r} is not a time of day; write "HH:MM"']) from None
    if zone == "UTC":
        return Schedule(moment, timezone.utc)
    try:
        return Schedule(moment, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError([f"model_sync.timezone: {zone!r} is not known; write a name such as Europe/Paris"]) from None


class SyncIncomplete(BnMlError):
    """The exchange came to its end and some of it was refused or failed: doing it again at once would not help."""


class SyncDaemon:
    """Runs one job daily until it is told to stop. Used by one thread; `stop` may be set from a signal."""

    def __init__(
        self, job: Job, schedule: Schedule, *, clock: Clock, alerts: AlertSink, stop: threading.Event, name: str
    ) -> None:
        """`job` does the exchange and says in a sentence what became of it; it raises `BnMlError` or `OSError`."""
        self._job = job
        self._schedule = schedule
        self._clock = clock
        self._alerts = alerts
        self._stop = stop
        self._name = name

    def run(self, *, at_once: bool, look_every: timedelta) -> None:
        """Go on until told to stop, beginning with a run when `at_once`; looks at the clock every `look_every`."""
        clock = self._clock
        due = clock.now() if at_once else self._schedule.after(clock.now())
        while not self._stop.is_set():
            log.info("next run role=%s at=%s", self._name, iso(due))
            self._wait(due, look_every)
            if self._stop.is_set():
                return
            self.attempt(look_every)
            due = self._schedule.after(clock.now())

    def attempt(self, look_every: timedelta) -> bool:
        """Run the job, again after growing pauses while it fails; tells whether it was done."""
        pause = FIRST_PAUSE
        for number in range(1, MOST_ATTEMPTS + 1):
            try:
                said = self._job()
            except SyncIncomplete as error:
                self._failed(error, MOST_ATTEMPTS)
                return False
            except (BnMlError, OSError) as error:
                self._failed(error, number)
            else:
                log.info("done role=%s %s", self._name, said)
                self._tell(f"model sync works again: {self._name}", ends=True)
                return True
            if number < MOST_ATTEMPTS:
                self._wait(self._clock.now() + pause, look_every)
                pause *= PAUSE_GROWS
            if self._stop.is_set():
                break
        return False

    def _wait(self, until: datetime, look_every: timedelta) -> None:
        """Wait in short steps, so that a clock that was set is noticed."""
        while not self._stop.is_set() and self._clock.now() < until:
            self._clock.sleep_until(min(until, self._clock.now() + look_every))

    def _failed(self, error: Exception, number: int) -> None:
        log.error("failed role=%s attempt=%s of %s: %s", self._name, number, MOST_ATTEMPTS, error)
        self._tell(f"model sync failed: {self._name}", why=f"{error!s:.300}", attempt=number)

    def _tell(self, title: str, *, why: str = "", attempt: int = 0, ends: bool = False) -> None:
        again = "tried again" if attempt < MOST_ATTEMPTS else f"next try {iso(self._schedule.after(self._clock.now()))}"
        self._alerts.offer(
            Alert(
                self._clock.now(),
                AlertLevel.INFO if ends else AlertLevel.WARNING,
                f"model_sync:{self._name}",
                title,
                why=why,
                next_action="" if ends else f"{again}; the bundles in service stay",
                ends=ends,
            )
        )


def stopped_by_signal(stop: threading.Event) -> Callable[[int, object], None]:
    """Give a signal handler: the first signal ends waits and the step under way, orderly."""

    def handler(number: int, frame: object) -> None:
        del number, frame
        stop.set()
        raise Interrupted

    return handler
