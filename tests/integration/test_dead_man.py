"""The ping that must stop when the loop is stuck."""

from __future__ import annotations

import pytest

from bn_ml.clock import SystemClock
from monitoring.dead_man import DeadMan
from tests.fakes.alert_receivers import WebReceiver
from tests.fakes.stream_server import until

CLOCK = SystemClock()


class Loop:
    """A loop whose beat is as old as a test says."""

    age_s = 0.0

    def __call__(self) -> float:
        return self.age_s


def nap(seconds: float) -> None:
    from datetime import timedelta

    CLOCK.sleep_until(CLOCK.now() + timedelta(seconds=seconds))


def test_it_pings_while_the_loop_is_well_and_stops_when_it_is_stuck() -> None:
    loop = Loop()
    with WebReceiver() as receiver:
        watch = DeadMan(f"{receiver.url}/ping/uuid", 0.02, CLOCK, loop)
        watch.start()
        until(lambda: watch.pings >= 3)
        loop.age_s = 121.0
        nap(0.1)
        before = len(receiver.posts)
        nap(0.2)
        assert len(receiver.posts) == before
        loop.age_s = 120.0
        until(lambda: len(receiver.posts) > before)
        watch.stop(2)
        assert not watch.is_alive()
    assert {(posted.method, posted.path) for posted in receiver.posts} == {("GET", "/ping/uuid")}


def test_it_pings_no_more_often_than_asked() -> None:
    with WebReceiver() as receiver:
        watch = DeadMan(receiver.url, 60, CLOCK, Loop())
        watch.start()
        until(lambda: watch.pings == 1)
        nap(0.2)
        watch.stop(2)
    assert len(receiver.posts) == 1


def test_a_failing_service_is_told_once_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    with WebReceiver(answers=[(500, b"", {})] * 4) as receiver:
        watch = DeadMan(f"{receiver.url}/planted-uuid", 0.02, CLOCK, Loop())
        watch.start()
        until(lambda: watch.pings >= 1)
        watch.stop(2)
    assert len(caplog.records) == 1
    assert "planted" not in caplog.text


def test_without_an_address_there_is_no_thread_and_nothing_to_watch() -> None:
    watch = DeadMan("", 60, CLOCK, Loop())
    watch.start()
    assert (watch.is_wanted, watch.is_alive(), watch.beat_age_s()) == (False, True, 0.0)
    watch.stop(1)


def test_an_address_that_must_not_be_used_is_told(caplog: pytest.LogCaptureFixture) -> None:
    watch = DeadMan("http://example.org/x", 60, CLOCK, Loop())
    watch.start()
    assert "https://" in watch.problem
    assert "BNML_HEARTBEAT_URL" in caplog.text
