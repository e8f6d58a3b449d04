"""When the venue as a whole counts as away, and how its return is noticed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import from_ms
from bn_ml.errors import Transient, Unreachable
from bn_ml.outage import FAILED_READS, PAUSE, OutageWatch

START = from_ms(1_700_000_000_000)


class Venue:
    """Answers pings or does not, and counts them."""

    def __init__(self) -> None:
        self.up = False
        self.pings = 0

    def ping(self) -> None:
        self.pings += 1
        if not self.up:
            raise Transient("no answer")


def watched(failures: int) -> tuple[OutageWatch, Venue, SimulatedClock]:
    venue, clock = Venue(), SimulatedClock(START)
    watch = OutageWatch(clock, venue.ping)
    for _ in range(failures):
        watch.failed()
    return watch, venue, clock


def test_fewer_failures_than_three_ask_nothing() -> None:
    watch, venue, _ = watched(FAILED_READS - 1)
    watch.require()
    assert venue.pings == 0


def test_three_failures_in_a_row_need_a_ping_once_in_five_seconds() -> None:
    watch, venue, clock = watched(FAILED_READS)
    for _ in range(4):
        with pytest.raises(Unreachable):
            watch.require()
    assert venue.pings == 1
    clock.sleep_until(START + PAUSE - timedelta(milliseconds=1))
    with pytest.raises(Unreachable):
        watch.require()
    assert venue.pings == 1
    clock.sleep_until(START + PAUSE)
    with pytest.raises(Unreachable):
        watch.require()
    assert venue.pings == 2


def test_a_venue_that_answers_the_ping_lets_the_read_through() -> None:
    watch, venue, _ = watched(FAILED_READS)
    venue.up = True
    watch.require()
    watch.failed()
    watch.require()
    assert venue.pings == 1


def test_an_answer_in_between_begins_the_count_anew() -> None:
    watch, venue, _ = watched(FAILED_READS - 1)
    watch.answered()
    for _ in range(FAILED_READS - 1):
        watch.failed()
    watch.require()
    assert venue.pings == 0
