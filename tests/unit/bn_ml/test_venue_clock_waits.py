"""How the venue's clock waits: in short naps, as a set clock or a new measurement may move the end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from test_venue_clock import START, Machine, Server

from bn_ml.venue_clock import VenueClock


@pytest.mark.parametrize(
    ("seconds", "speed", "naps"),
    [(29.5, 1.0, [29.5]), (30.0, 1.0, [30.0]), (75.0, 1.0, [30.0, 30.0, 15.0]), (75.0, 2.5, [30.0]), (0.0, 1.0, [])],
)
def test_no_nap_is_longer_than_thirty_real_seconds(seconds: float, speed: float, naps: list[float]) -> None:
    machine = Machine()
    taken: list[float] = []

    def wait(nap: float) -> bool:
        taken.append(nap)
        return machine.wait(nap)

    clock = VenueClock(machine, wait=wait, speed=speed)
    clock.sleep_until(clock.now() + timedelta(seconds=seconds))
    assert taken == naps
    assert clock.now() == START + timedelta(seconds=seconds)


def test_a_measurement_during_a_wait_moves_its_end() -> None:
    machine = Machine()
    server = Server(machine, ahead_s=20.0)
    taken: list[float] = []

    def wait(nap: float) -> bool:
        taken.append(nap)
        machine.pass_s(nap)
        if len(taken) == 1:
            clock.measure(server.time)
        return False

    clock = VenueClock(machine, wait=wait)
    clock.sleep_until(START + timedelta(seconds=60))
    assert taken == [30.0, 10.0]


def test_the_age_and_the_doubt_of_a_measurement_are_told() -> None:
    machine = Machine()
    server = Server(machine, ahead_s=2.0)
    server.trips = [0.4, 0.2, 0.6]
    clock = VenueClock(machine, wait=machine.wait)
    assert (clock.offset_s, clock.doubt_s) == (None, float("inf"))
    clock.measure(server.time)
    assert clock.doubt_s == pytest.approx(0.1)
    # The quickest answer was the second: what came after it counts as its age.
    assert clock.age_s == pytest.approx(0.6)
    assert clock.offset_s == pytest.approx(2.0, abs=0.1)
    machine.pass_s(5)
    assert clock.age_s == pytest.approx(5.6)


@pytest.mark.parametrize(("passed_s", "asked"), [(9.9, 1), (10.0, 2), (10.1, 2)])
def test_a_failed_measurement_is_repeated_after_ten_seconds(passed_s: float, asked: int) -> None:
    machine = Machine()
    server = Server(machine)
    server.trips = [None, None]
    clock = VenueClock(machine, wait=machine.wait)
    assert not clock.keep(server.time)
    machine.pass_s(passed_s)
    clock.keep(server.time)
    assert server.calls == asked


@pytest.mark.parametrize(("passed_s", "again"), [(599.9, False), (600.0, True)])
def test_a_measurement_serves_for_ten_minutes(passed_s: float, again: bool) -> None:
    machine = Machine()
    server = Server(machine)
    clock = VenueClock(machine, wait=machine.wait)
    assert clock.keep(server.time)
    calls = server.calls
    machine.pass_s(passed_s)
    assert clock.keep(server.time)
    assert (server.calls > calls) is again
