"""How often and how soon a failed read is repeated, while trading and at a start."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.errors import Transient, Unreachable
from bn_ml.patience import SHORT_BAN, Failure, Patience
from bn_ml.settings import ExchangeSettings
from tests.fakes.live_orders import NOW

BROKEN = Transient("broken")


def a_patience(**settings: float) -> tuple[Patience, SimulatedClock]:
    clock = SimulatedClock(NOW)
    chosen = {"retry_attempts": 3, "retry_backoff_sec": 0.5, "timeout_ms": 1000, **settings}
    return Patience(clock, ExchangeSettings.model_validate(chosen)), clock


def a_start(**settings: float) -> tuple[Patience, SimulatedClock]:
    patience, clock = a_patience(**settings)
    patience.begin_start()
    return patience, clock


def waited_s(patience: Patience, clock: SimulatedClock, failure: Failure) -> float:
    before = clock.now()
    patience.wait(failure)
    return (clock.now() - before).total_seconds()


def gives_up(patience: Patience, failure: Failure, within_s: float = 60) -> bool:
    try:
        patience.wait(failure, within_s=within_s)
    except Transient as error:
        return error is failure.error
    return False


def test_while_trading_waits_double_and_end_with_the_attempts() -> None:
    patience, clock = a_patience()
    assert [waited_s(patience, clock, Failure(BROKEN, attempt, 0)) for attempt in range(3)] == [0.5, 1, 2]
    assert gives_up(patience, Failure(BROKEN, 3, 0))


@pytest.mark.parametrize(("spent_s", "is_over"), [(0.99, False), (1.0, True), (1.01, True)])
def test_while_trading_a_read_takes_no_longer_than_it_may(spent_s: float, is_over: bool) -> None:
    patience, _ = a_patience()
    assert gives_up(patience, Failure(BROKEN, 0, spent_s), within_s=1) is is_over


def test_while_trading_no_ban_is_waited_for() -> None:
    patience, clock = a_patience()
    assert gives_up(patience, Failure(Unreachable("banned"), 0, 0, NOW + timedelta(seconds=1)))
    assert clock.now() == NOW


def test_at_a_start_the_first_repeats_come_at_once_and_the_last_as_slowly_as_while_trading() -> None:
    patience, clock = a_start()
    waits = [waited_s(patience, clock, Failure(BROKEN, attempt, 0)) for attempt in (*range(8), 500)]
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])


@pytest.mark.parametrize(("attempts", "longest_s"), [(0, 0), (1, 2), (3, 7), (10, 1 + 10 * 256)])
def test_a_start_gives_up_after_a_time_out_and_every_attempts_longest_wait(attempts: int, longest_s: float) -> None:
    patience, _ = a_start(retry_attempts=attempts)
    assert patience.start_s == longest_s
    assert gives_up(patience, Failure(BROKEN, 3, longest_s))
    assert attempts == 0 or not gives_up(patience, Failure(BROKEN, 3, longest_s - 0.001))


def test_a_start_with_short_waits_still_waits_a_second_at_last() -> None:
    patience, clock = a_start(retry_attempts=1, retry_backoff_sec=0.05)
    waits = [waited_s(patience, clock, Failure(BROKEN, attempt, 0)) for attempt in range(10)]
    assert waits == pytest.approx([0.005 * 2**attempt for attempt in range(8)] + [1, 1])


@pytest.mark.parametrize("error", [BROKEN, Unreachable("asked to stay away")])
@pytest.mark.parametrize(
    ("left", "is_waited_for"),
    [
        (timedelta(milliseconds=1), True),
        (SHORT_BAN, True),
        (SHORT_BAN + timedelta(milliseconds=1), False),
        (timedelta(days=2), False),
    ],
)
def test_a_start_waits_for_the_end_of_a_short_ban_only(error: Transient, left: timedelta, is_waited_for: bool) -> None:
    patience, clock = a_start()
    assert gives_up(patience, Failure(error, 0, 0, NOW + left)) is not is_waited_for
    assert clock.now() == (NOW + left if is_waited_for else NOW)


def test_a_ban_that_is_over_says_nothing_of_the_failure_at_hand() -> None:
    patience, clock = a_start()
    assert waited_s(patience, clock, Failure(BROKEN, 0, 0, NOW)) == pytest.approx(0.05)
    assert gives_up(patience, Failure(Unreachable("no weight left"), 0, 0, NOW))


def test_a_start_that_is_over_is_patient_no_more() -> None:
    patience, clock = a_start()
    assert patience.is_start
    patience.end_start()
    assert not patience.is_start
    assert waited_s(patience, clock, Failure(BROKEN, 0, 0)) == 0.5


class StoppedClock(SimulatedClock):
    """A clock whose sleeps were told to end."""

    def sleep_until(self, instant: datetime) -> None:
        """Return at once."""


@pytest.mark.parametrize("starting", [True, False])
def test_a_wait_that_was_told_to_stop_repeats_nothing(starting: bool) -> None:
    patience = Patience(StoppedClock(NOW), ExchangeSettings())
    if starting:
        patience.begin_start()
    assert gives_up(patience, Failure(BROKEN, 0, 0))
