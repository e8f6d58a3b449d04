"""Clocks reach what is slept for, never run backwards and wake when told to stop."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.clock import ScaledClock, SimulatedClock, SystemClock
from bn_ml.domain.market import EPOCH, iso

START = datetime(2023, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
QUARTER = timedelta(minutes=15)
seconds = st.integers(min_value=-(10**7), max_value=10**7)
steps = st.integers(min_value=1, max_value=10**6).map(lambda count: timedelta(seconds=count))


class Wall:
    """Wall seconds set by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Advancing(threading.Event):
    """An event whose waits let the hand-set wall pass."""

    def __init__(self, wall: Wall) -> None:
        super().__init__()
        self.wall = wall
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self.wall.at += timeout or 0.0
        return self.is_set()


@given(sleeps=st.lists(seconds, max_size=20), step=st.one_of(st.none(), steps))
def test_simulated_time_never_runs_backwards_and_reaches_what_is_slept_for(
    sleeps: list[int], step: timedelta | None
) -> None:
    clock = SimulatedClock(START, step)
    for offset in sleeps:
        before, wanted, passed = clock.now(), START + timedelta(seconds=offset), clock.monotonic()
        clock.sleep_until(wanted)
        assert clock.now() >= max(before, wanted)
        assert clock.monotonic() >= passed


@given(offset=st.integers(min_value=1, max_value=10**7), step=steps)
def test_simulated_sleep_ends_on_the_first_multiple_of_the_step(offset: int, step: timedelta) -> None:
    clock = SimulatedClock(START, step)
    wanted = START + timedelta(seconds=offset)
    clock.sleep_until(wanted)
    assert (clock.now() - EPOCH) % step == timedelta(0)
    assert timedelta(0) <= clock.now() - wanted < step


@given(offset=st.integers(min_value=1, max_value=10**7))
def test_simulated_sleep_without_a_step_ends_where_it_was_asked_to(offset: int) -> None:
    clock = SimulatedClock(START)
    clock.sleep_until(START + timedelta(seconds=offset))
    assert clock.now() == START + timedelta(seconds=offset)


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("03:14:59", "03:15:00"),
        ("03:15:00", "03:15:00"),
        ("03:15:01", "03:30:00"),
        ("03:04:05", "03:04:05"),
        ("03:00:00", "03:04:05"),
    ],
)
def test_simulated_clock_visits_bar_boundaries(wanted: str, reached: str) -> None:
    clock = SimulatedClock(START, QUARTER)
    clock.sleep_until(datetime.fromisoformat(f"2023-01-02T{wanted}+00:00"))
    assert iso(clock.now()) == f"2023-01-02T{reached}.000Z"


@given(
    speed=st.floats(min_value=0.01, max_value=10_000),
    passed=st.floats(min_value=0, max_value=10**5),
)
def test_scaled_time_is_wall_time_times_speed(speed: float, passed: float) -> None:
    wall = Wall()
    clock = ScaledClock(START, speed, wall=wall)
    wall.at += passed
    assert (clock.now() - START).total_seconds() == pytest.approx(passed * speed, rel=1e-6, abs=1e-4)


@given(speed=st.floats(min_value=0.5, max_value=3600), offset=st.integers(min_value=1, max_value=10**6))
def test_scaled_sleep_takes_the_scaled_wall_time(speed: float, offset: int) -> None:
    wall = Wall()
    stop = Advancing(wall)
    clock = ScaledClock(START, max(speed, offset / 1000), stop=stop, wall=wall)
    clock.sleep_until(START + timedelta(seconds=offset))
    assert clock.now() >= START + timedelta(seconds=offset)
    assert wall.at - 100 == pytest.approx(offset / max(speed, offset / 1000), rel=1e-3, abs=1e-3)
    assert max(stop.waits) <= 30


def test_set_stop_event_ends_every_real_sleep_at_once() -> None:
    stop = threading.Event()
    stop.set()
    clock = SystemClock(stop)
    clock.sleep_until(clock.now() + timedelta(days=1))
    ScaledClock(START, 1, stop=stop).sleep_until(START + timedelta(days=1))
    assert clock.now().utcoffset() == timedelta(0)


def test_stop_event_set_by_another_thread_wakes_a_sleeper() -> None:
    stop = threading.Event()
    clock = SystemClock(stop)
    sleeper = threading.Thread(target=clock.sleep_until, args=(clock.now() + timedelta(days=1),))
    sleeper.start()
    stop.set()
    sleeper.join(timeout=10)
    assert not sleeper.is_alive()


def test_system_clock_sleeps_until_the_instant() -> None:
    clock = SystemClock()
    wanted = clock.now() + timedelta(milliseconds=20)
    before = clock.monotonic()
    clock.sleep_until(wanted)
    assert clock.now() >= wanted
    assert clock.monotonic() >= before


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_scaled_clock_refuses_an_impossible_speed(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be positive"):
        ScaledClock(START, speed)


def test_simulated_clock_refuses_a_step_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="step must be positive"):
        SimulatedClock(START, timedelta(0))


def test_clocks_refuse_a_start_without_utc() -> None:
    with pytest.raises(ValueError, match="aware UTC"):
        SimulatedClock(START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="aware UTC"):
        ScaledClock(START.replace(tzinfo=None), 1)
