"""The daily exchange: when it is due, how often it is tried, and what people are told."""

from __future__ import annotations

import threading
from datetime import datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.clock import SimulatedClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.errors import BnMlError, ConfigError
from scripts.model_sync_daemon import MOST_ATTEMPTS, SyncDaemon, SyncIncomplete, schedule_of

START = datetime(2023, 6, 1, 5, 0, tzinfo=timezone.utc)
LOOK = timedelta(seconds=30)


class Ears:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


class World:
    """A daemon at 06:00 UTC whose job fails as often as it is told to, and ends after a number of runs."""

    def __init__(self, failures: list[BnMlError | OSError], *, runs: int = 1) -> None:
        self.clock = SimulatedClock(START)
        self.stop = threading.Event()
        self.ears = Ears()
        self.runs: list[datetime] = []
        self._failures = list(failures)
        self._left = runs
        schedule = schedule_of("06:00", "UTC")
        self.daemon = SyncDaemon(self._job, schedule, clock=self.clock, alerts=self.ears, stop=self.stop, name="client")

    def _job(self) -> str:
        self.runs.append(self.clock.now())
        if self._failures:
            raise self._failures.pop(0)
        self._left -= 1
        if not self._left:
            self.stop.set()
        return "1 of 1 bundles adopted"

    def minutes(self) -> list[float]:
        return [(at - START).total_seconds() / 60 for at in self.runs]


def test_the_job_runs_every_day_at_its_time() -> None:
    world = World([], runs=3)
    world.daemon.run(at_once=False, look_every=LOOK)
    assert world.minutes() == [60, 60 + 1440, 60 + 2880]
    assert [alert.ends for alert in world.ears.alerts] == [True] * 3


def test_it_runs_at_the_start_as_well_when_asked_to() -> None:
    world = World([], runs=2)
    world.daemon.run(at_once=True, look_every=LOOK)
    assert world.minutes() == [0, 60]


def test_a_failure_is_tried_again_after_growing_pauses_and_told() -> None:
    world = World([BnMlError("remote away")] * 2)
    world.daemon.run(at_once=False, look_every=LOOK)
    assert world.minutes() == [60, 61, 65]
    first, second, end = world.ears.alerts
    assert (first.level, first.key, first.title) == (
        AlertLevel.WARNING,
        "model_sync:client",
        "model sync failed: client",
    )
    assert "remote away" in first.why
    assert first.next_action.startswith("tried again")
    assert second.key == end.key
    assert end.ends


def test_it_gives_up_after_some_attempts_until_the_next_day() -> None:
    world = World([OSError("disk full")] * MOST_ATTEMPTS)
    world.daemon.run(at_once=False, look_every=LOOK)
    assert world.minutes() == [60, 61, 65, 81, 145, 60 + 1440]
    assert "next try 2023-06-02T06:00" in world.ears.alerts[MOST_ATTEMPTS - 1].next_action


def test_what_was_refused_is_told_and_not_tried_again_before_the_next_day() -> None:
    world = World([SyncIncomplete("refused: BTC/USDC")])
    world.daemon.run(at_once=False, look_every=LOOK)
    assert world.minutes() == [60, 60 + 1440]
    assert "refused: BTC/USDC" in world.ears.alerts[0].why


def test_a_daemon_told_to_stop_does_not_begin() -> None:
    world = World([])
    world.stop.set()
    world.daemon.run(at_once=True, look_every=LOOK)
    assert world.runs == []


@pytest.mark.parametrize(
    ("zone", "day", "due"),
    [
        ("Europe/Paris", datetime(2023, 1, 10, tzinfo=timezone.utc), datetime(2023, 1, 10, 1, 30, tzinfo=timezone.utc)),
        ("Europe/Paris", datetime(2023, 7, 10, tzinfo=timezone.utc), datetime(2023, 7, 10, 0, 30, tzinfo=timezone.utc)),
        ("Europe/Paris", datetime(2023, 3, 26, tzinfo=timezone.utc), datetime(2023, 3, 26, 1, 30, tzinfo=timezone.utc)),
        (
            "Europe/Paris",
            datetime(2023, 10, 28, 12, tzinfo=timezone.utc),
            datetime(2023, 10, 29, 0, 30, tzinfo=timezone.utc),
        ),
        ("Asia/Tokyo", datetime(2023, 1, 10, tzinfo=timezone.utc), datetime(2023, 1, 10, 17, 30, tzinfo=timezone.utc)),
    ],
)
def test_the_time_is_that_of_the_clocks_in_the_zone(zone: str, day: datetime, due: datetime) -> None:
    assert schedule_of("02:30", zone).after(day) == due


@given(
    at=st.times(),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    now=st.timedeltas(timedelta(0), timedelta(days=2500)).map(lambda later: START + later),
)
def test_a_schedule_is_due_once_a_day_and_always_later(at: time, zone: str, now: datetime) -> None:
    schedule = schedule_of(f"{at:%H:%M}", zone)
    first = schedule.after(now)
    second = schedule.after(first)
    assert now < first <= now + timedelta(hours=26)
    assert timedelta(hours=22) <= second - first <= timedelta(hours=26)


@pytest.mark.parametrize(("at", "zone"), [("25:00", "UTC"), ("6", "UTC"), ("06:00", "Nowhere/Land"), ("06:00", "../x")])
def test_a_schedule_that_cannot_be_is_refused(at: str, zone: str) -> None:
    with pytest.raises(ConfigError):
        schedule_of(at, zone)
