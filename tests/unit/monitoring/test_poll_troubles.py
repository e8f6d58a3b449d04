"""How long a chat that cannot be read is left alone, and what is told of it, once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bn_ml.clock import SimulatedClock
from monitoring.poll_troubles import DOWN, SECOND_POLLER, TOKEN_REFUSED, Patience, PollTroubles
from monitoring.telegram_bot_api import BotApiDown, BotApiRefused, SecondPoller, TooManyRequests
from tests.fakes.book_builders import AT
from tests.fakes.telegram_chat import Alerts


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(AT)


@pytest.fixture
def alerts() -> Alerts:
    return Alerts()


@pytest.fixture
def troubles(alerts: Alerts, clock: SimulatedClock) -> PollTroubles:
    return PollTroubles(alerts, clock, Patience())


def pass_time(clock: SimulatedClock, seconds: float) -> None:
    clock.sleep_until(clock.now() + timedelta(seconds=seconds))


def test_the_wait_doubles_to_a_minute_and_begins_anew(troubles: PollTroubles) -> None:
    waits = [troubles.failed(BotApiDown("x")) for _ in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    troubles.worked()
    assert troubles.failed(BotApiDown("x")) == 1


@pytest.mark.parametrize(("after_s", "told"), [(299.9, False), (300.0, True)])
def test_an_outage_is_told_after_five_minutes_and_its_end(
    troubles: PollTroubles, alerts: Alerts, clock: SimulatedClock, after_s: float, *, told: bool
) -> None:
    troubles.failed(BotApiDown("x"))
    pass_time(clock, after_s)
    for _ in range(3):
        troubles.failed(BotApiDown("x"))
    assert alerts.names() == [DOWN] * told
    troubles.worked()
    assert [alert.ends for alert in alerts.told] == [False, True][: 2 * told]


@pytest.mark.parametrize(("wait_s", "told"), [(299.0, False), (300.0, True)])
def test_a_silence_asked_for_is_kept_and_a_long_one_told(
    troubles: PollTroubles, alerts: Alerts, wait_s: float, *, told: bool
) -> None:
    assert troubles.failed(TooManyRequests(wait_s)) == wait_s
    assert alerts.names() == [DOWN] * told


def test_a_second_poller_is_told_once_although_polls_work_in_between(
    troubles: PollTroubles, alerts: Alerts, clock: SimulatedClock
) -> None:
    waits = []
    for _ in range(5):
        waits.append(troubles.failed(SecondPoller("x")))
        pass_time(clock, 599)
        troubles.worked()
    assert waits == [15, 30, 60, 120, 120]
    assert alerts.names() == [SECOND_POLLER]
    pass_time(clock, 1)
    troubles.worked()
    assert [alert.ends for alert in alerts.told] == [False, True]
    assert troubles.failed(SecondPoller("x")) == 15


def test_a_refused_token_is_told_once(troubles: PollTroubles, alerts: Alerts) -> None:
    assert [troubles.failed(BotApiRefused(401, "x")) for _ in range(3)] == [60, 60, 60]
    assert alerts.names() == [TOKEN_REFUSED]
