"""The venue's time: measured, carried on by monotonic time, measured again when it may be off."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from bn_ml.domain.market import from_ms, to_ms
from bn_ml.errors import Transient
from bn_ml.venue_clock import MEASURE_EVERY_S, RETRY_AFTER_S, TRIES, VenueClock

START = from_ms(1_700_000_000_000)


class Machine:
    """A machine whose wall clock can be set apart from its monotonic one."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 100.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep_until(self, instant: datetime) -> None:
        raise AssertionError("the venue's clock waits by itself")

    def pass_s(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def wait(self, seconds: float) -> bool:
        self.pass_s(seconds)
        return False


class Server:
    """Tells the venue's time over a line with scripted round trips; None is a call that fails."""

    def __init__(self, machine: Machine, *, ahead_s: float = 0.0, speed: float = 1.0) -> None:
        self.machine = machine
        self.ahead_s = ahead_s
        self.speed = speed
        self.trips: list[float | None] = []
        self.calls = 0

    def true_time(self) -> datetime:
        return START + timedelta(seconds=(self.machine.seconds - 100.0) * self.speed + self.ahead_s)

    def time(self) -> int:
        self.calls += 1
        trip = self.trips.pop(0) if self.trips else 0.0
        if trip is None:
            raise Transient("no answer")
        self.machine.pass_s(trip / 2)
        told = to_ms(self.true_time())
        self.machine.pass_s(trip / 2)
        return told


def measured(ahead_s: float = 7.0) -> tuple[VenueClock, Machine, Server]:
    machine = Machine()
    clock = VenueClock(machine, wait=machine.wait)
    server = Server(machine, ahead_s=ahead_s)
    clock.measure(server.time)
    return clock, machine, server


def off_s(clock: VenueClock, server: Server) -> float:
    return abs((clock.now() - server.true_time()).total_seconds())


def test_before_the_first_measurement_it_is_the_machine_s_time() -> None:
    machine = Machine()
    clock = VenueClock(machine)
    assert (clock.now(), clock.is_measured, clock.offset_s) == (START, False, None)


def test_half_the_round_trip_is_added_and_the_quickest_of_three_counts() -> None:
    machine = Machine()
    clock, server = VenueClock(machine), Server(machine, ahead_s=7.0)
    server.trips = [0.8, 0.2, 0.5]
    clock.measure(server.time)
    assert server.calls == TRIES
    assert off_s(clock, server) < 0.002
    assert clock.doubt_s == pytest.approx(0.1)
    assert clock.offset_s == pytest.approx(7.0, abs=0.002)


def test_a_wall_clock_that_is_set_changes_nothing() -> None:
    clock, machine, server = measured()
    machine.wall -= timedelta(hours=3)
    machine.pass_s(5)
    assert off_s(clock, server) < 0.002
    assert clock.offset_s == pytest.approx(3 * 3600 + 7, abs=0.002)


@pytest.mark.parametrize(("trips", "enough"), [([0.1, 0.1, None], True), ([0.1, None], False), ([None], False)])
def test_two_answers_are_enough_and_one_is_not(trips: list[float | None], enough: bool) -> None:
    machine = Machine()
    clock, server = VenueClock(machine), Server(machine, ahead_s=7.0)
    server.trips = trips
    if enough:
        clock.measure(server.time)
        assert off_s(clock, server) < 0.002
    else:
        with pytest.raises(Transient):
            clock.measure(server.time)
        assert (clock.now(), clock.is_measured) == (machine.now(), False)


def test_answers_that_contradict_each_other_move_nothing() -> None:
    clock, _, server = measured()
    told = iter([server.time() + 31_536_000_000, server.time(), server.time()])
    with pytest.raises(Transient, match="apart"):
        clock.measure(lambda: next(told))
    assert off_s(clock, server) < 0.002


@pytest.mark.parametrize(("passed_s", "again"), [(MEASURE_EVERY_S - 1, False), (MEASURE_EVERY_S, True)])
def test_it_is_measured_again_after_ten_minutes(passed_s: float, again: bool) -> None:
    clock, machine, server = measured()
    machine.pass_s(passed_s)
    assert clock.keep(server.time)
    assert server.calls == (2 * TRIES if again else TRIES)


@pytest.mark.parametrize(("step_s", "again"), [(0.9, False), (1.1, True), (-1.1, True)])
def test_it_is_measured_again_when_the_machine_s_clock_was_set(step_s: float, again: bool) -> None:
    clock, machine, server = measured()
    machine.wall += timedelta(seconds=step_s)
    clock.keep(server.time)
    assert server.calls == (2 * TRIES if again else TRIES)


def test_distrust_has_it_measured_at_once() -> None:
    clock, _, server = measured()
    server.ahead_s = 20.0
    clock.distrust()
    assert clock.offset_s is None
    assert clock.keep(server.time)
    assert off_s(clock, server) < 0.002


def test_a_failed_measurement_keeps_the_time_untrusted_and_is_repeated_after_ten_seconds() -> None:
    clock, machine, server = measured()
    machine.pass_s(MEASURE_EVERY_S)
    server.trips = [None]
    assert not clock.keep(server.time)
    assert off_s(clock, server) < 0.002
    machine.pass_s(RETRY_AFTER_S - 0.1)
    assert not clock.keep(server.time)
    assert server.calls == TRIES + 1
    machine.pass_s(0.1)
    assert clock.keep(server.time)
    assert clock.is_measured


def test_a_small_correction_never_turns_time_back() -> None:
    clock, machine, server = measured()
    before = clock.now()
    server.ahead_s -= 0.5
    clock.measure(server.time)
    assert clock.now() == before
    machine.pass_s(0.6)
    assert off_s(clock, server) < 0.002


def test_a_large_correction_is_taken_at_once() -> None:
    clock, _, server = measured()
    server.ahead_s -= 30
    clock.measure(server.time)
    assert off_s(clock, server) < 0.002


def test_sleeping_ends_by_the_venue_s_time() -> None:
    clock, machine, server = measured(ahead_s=-40.0)
    until = clock.now() + timedelta(seconds=90)
    clock.sleep_until(until)
    assert until <= clock.now() < until + timedelta(seconds=1)
    assert machine.seconds == pytest.approx(190.0, abs=0.01)
    assert off_s(clock, server) < 0.002
    clock.sleep_until(until)
    assert machine.seconds == pytest.approx(190.0, abs=0.01)


def test_sleeping_ends_early_when_told_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    machine = Machine()
    clock = VenueClock(machine, stop=stop)
    clock.sleep_until(START + timedelta(days=1))
    assert machine.seconds == 100.0


def test_a_faster_market_is_followed_and_waited_for_in_its_own_seconds() -> None:
    machine = Machine()
    clock = VenueClock(machine, speed=48.0, wait=machine.wait)
    server = Server(machine, speed=48.0)
    server.trips = [0.01, 0.002, 0.004]
    clock.measure(server.time)
    machine.pass_s(10)
    assert off_s(clock, server) < 0.002
    clock.sleep_until(clock.now() + timedelta(seconds=480))
    assert machine.seconds == pytest.approx(120.0, abs=0.1)
    assert clock.monotonic() == machine.seconds
    assert clock.speed == 48.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_must_be_positive(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        VenueClock(Machine(), speed=speed)
