from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.errors import Transient
from bn_ml.weight import WeightMeter

START = datetime(2024, 3, 4, 12, 0, 10, tzinfo=timezone.utc)


def test_weight_within_the_share_is_spent_at_once() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.spend(70)
    assert clock.now() == START
    assert meter.used == 70


def test_weight_beyond_the_share_waits_for_the_next_minute() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.spend(70)
    meter.spend(1)
    assert clock.now() == START + timedelta(seconds=50)
    assert meter.used == 1


def test_what_others_at_the_same_address_used_counts() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.observe("70")
    meter.spend(1)
    assert clock.now() == START + timedelta(seconds=50)


def test_a_smaller_or_unreadable_count_changes_nothing() -> None:
    meter = WeightMeter(SimulatedClock(START), 0.7, limit=100)
    meter.spend(30)
    meter.observe("5")
    meter.observe("")
    assert meter.used == 30


def test_a_request_larger_than_the_whole_share_still_goes_out() -> None:
    clock = SimulatedClock(START)
    WeightMeter(clock, 0.1, limit=100).spend(80)
    assert clock.now() == START


def test_nothing_is_sent_during_a_ban() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7)
    assert meter.banned_until is None
    meter.ban(START + timedelta(seconds=30))
    assert meter.banned_until == START + timedelta(seconds=30)
    clock.sleep_until(START + timedelta(seconds=29))
    with pytest.raises(Transient, match="stay away until 2024-03-04T12:00:40"):
        meter.spend(1)
    clock.sleep_until(START + timedelta(seconds=30))
    meter.spend(1)
    assert meter.used == 1


def test_a_new_minute_begins_from_nothing() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.spend(60)
    clock.sleep_until(START + timedelta(minutes=1))
    assert meter.used == 0
