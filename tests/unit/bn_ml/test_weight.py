from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.errors import Transient, Unreachable
from bn_ml.weight import EDGE, WeightMeter, retry_after_s

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
    meter.observe("70", clock.now())
    meter.spend(1)
    assert clock.now() == START + timedelta(seconds=50)


def test_a_smaller_or_unreadable_count_changes_nothing() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.spend(30)
    meter.observe("5", clock.now())
    meter.observe("", clock.now())
    assert meter.used == 30


def test_a_count_told_across_the_end_of_a_minute_is_not_charged_to_the_next() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    sent_at = clock.now()
    clock.sleep_until(START + timedelta(seconds=53))
    meter.observe("60", sent_at)
    assert meter.used == 0
    meter.observe("60", clock.now())
    assert meter.used == 60


def test_a_count_told_at_the_edge_of_a_minute_may_be_of_the_one_before() -> None:
    minute = START + timedelta(seconds=50)
    clock = SimulatedClock(minute)
    meter = WeightMeter(clock, 0.7, limit=1000)
    meter.spend(80)
    meter.observe("700", clock.now())
    assert meter.used == 80
    clock.sleep_until(minute + EDGE)
    meter.observe("700", clock.now() - timedelta(microseconds=1))
    assert meter.used == 80
    meter.observe("700", clock.now())
    assert meter.used == 700


def test_should_the_clocks_be_farther_apart_the_newest_count_holds() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=1000)
    meter.spend(80)
    meter.observe("600", clock.now())
    clock.sleep_until(START + timedelta(milliseconds=20))
    meter.spend(80)
    meter.observe("80", clock.now())
    assert meter.used == 160


def test_an_answer_that_comes_after_a_newer_one_never_lowers_the_count() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=1000)
    meter.spend(10)
    meter.spend(10)
    meter.observe("500", clock.now())
    meter.observe("300", clock.now() - timedelta(seconds=1))
    assert meter.used == 500
    meter.observe("510", clock.now() - timedelta(seconds=1))
    assert meter.used == 510
    meter.observe("300", clock.now())
    assert meter.used == 300


def test_looks_at_the_whole_account_leave_the_last_weight_to_single_orders() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.5, limit=200)
    meter.spend_on_orders(75, patience=timedelta(0))
    with pytest.raises(Unreachable, match="used up"):
        meter.spend_on_orders(21, patience=timedelta(0))
    meter.spend_on_orders(20, patience=timedelta(0))
    with pytest.raises(Unreachable, match="used up"):
        meter.spend_on_orders(6, patience=timedelta(0))
    for weight in (1, 4):
        meter.spend_on_orders(weight, patience=timedelta(0))
    assert (meter.used, clock.now()) == (100, START)
    with pytest.raises(Unreachable, match="used up"):
        meter.spend_on_orders(1, patience=timedelta(0))


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


def test_scans_stop_before_the_part_kept_back_and_orders_do_not() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.5, limit=200, kept_back=0.2)
    meter.spend(80)
    meter.spend_on_orders(15, patience=timedelta(0))
    meter.spend_on_orders(5, patience=timedelta(0))
    assert (clock.now(), meter.used) == (START, 100)
    with pytest.raises(Unreachable, match="used up"):
        meter.spend_on_orders(1, patience=timedelta(seconds=49))
    assert clock.now() == START
    meter.spend_on_orders(1, patience=timedelta(seconds=50))
    assert clock.now() == START + timedelta(seconds=50)


def test_orders_stay_away_during_a_ban_too() -> None:
    meter = WeightMeter(SimulatedClock(START), 0.7)
    meter.ban(START + timedelta(seconds=30))
    with pytest.raises(Unreachable, match="stay away"):
        meter.spend_on_orders(1, patience=timedelta(hours=1))


def test_a_shorter_ban_never_ends_a_longer_one() -> None:
    meter = WeightMeter(SimulatedClock(START), 0.7)
    meter.ban(START + timedelta(seconds=300))
    meter.ban(START + timedelta(seconds=30))
    assert meter.banned_until == START + timedelta(seconds=300)


class StoppedClock(SimulatedClock):
    def sleep_until(self, instant: datetime) -> None:
        """Return at once, as a clock told to stop does."""


def test_waiting_for_weight_ends_when_told_to_stop() -> None:
    meter = WeightMeter(StoppedClock(START), 0.7, limit=100)
    meter.spend(70)
    with pytest.raises(Unreachable, match="stopped while waiting"):
        meter.spend(70)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 1.0),
        ("-5", 1.0),
        ("0.2", 1.0),
        ("", 60.0),
        ("nan", 60.0),
        ("inf", 60.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0),
        ("999999999", 259_200.0),
        ("1e9999", 259_200.0),
    ],
)
def test_how_long_to_stay_away_is_read_within_reason(header: str, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_every_request_and_every_wait_for_weight_is_a_sign_of_life() -> None:
    clock = SimulatedClock(START)
    meter = WeightMeter(clock, 0.7, limit=100)
    meter.spend(70)
    seen = meter.asked
    meter.spend(1)
    assert (seen, meter.asked) == (1, 3)
    meter.ban(clock.now() + timedelta(hours=1))
    with pytest.raises(Unreachable):
        meter.spend_on_orders(1, patience=timedelta(seconds=1))
    assert meter.asked == 4
