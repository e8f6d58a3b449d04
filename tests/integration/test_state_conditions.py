"""Conditions read from a real book: control states of other processes, unprotected time, synthetic prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import Alert
from bn_ml.domain.market import iso
from bn_ml.domain.orders import IntentState
from bn_ml.halting import commit_halt
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.state_conditions import StateConditions
from tests.fakes.alert_builders import CRITICAL, START, WARNING, at
from tests.fakes.book_builders import AT, BTC, an_intent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    book = StateStore(tmp_path / "bn_ml.db")
    yield book
    book.close()


@pytest.fixture
def watch(store: StateStore) -> StateConditions:
    """A watch on a book whose bot has started in NORMAL."""
    control = store.start_epoch(START, "start")
    conditions = StateConditions(StateReader(store.path))
    conditions.note_control(control.epoch, control.state.value, START)
    return conditions


def opened(alerts: object) -> list[Alert]:
    assert isinstance(alerts, list | tuple)
    return [alert for alert in alerts if not alert.ends]


def unprotected_since(store: StateStore, seconds: float | None) -> None:
    since = None if seconds is None else iso(at(seconds))
    store.put("unprotected", {"last_s": 0, "longest_s": 0, "count": 0, "since": since}, START)


def test_a_sound_book_says_nothing(watch: StateConditions) -> None:
    assert list(watch.alerts(at(100))) == []


def test_a_halt_of_another_process_is_told_once_it_was_seen_twice(store: StateStore, watch: StateConditions) -> None:
    commit_halt(store.path, "kill switch", at(5))
    looks = [opened(watch.alerts(at(seconds))) for seconds in (6, 9, 12)]
    assert [len(alerts) for alerts in looks] == [0, 1, 0]
    assert (looks[1][0].key, looks[1][0].level) == ("control:HALTED", CRITICAL)


def test_a_resume_by_another_process_ends_the_halt(store: StateStore, watch: StateConditions) -> None:
    commit_halt(store.path, "kill switch", at(5))
    for seconds in (6, 9):
        watch.alerts(at(seconds))
    with store.transaction():
        store.set_control(ControlState.NORMAL, "resumed: fine", "operator", at(20))
    watch.alerts(at(21))
    assert {alert.key for alert in watch.alerts(at(24)) if alert.ends} == {"control:HALTED", "control:REDUCE_ONLY"}


def test_a_state_the_bot_told_itself_is_not_told_again(store: StateStore, watch: StateConditions) -> None:
    with store.transaction():
        control = store.set_control(ControlState.REDUCE_ONLY, "disk", "engine", at(5))
    watch.note_control(control.epoch, "REDUCE_ONLY", at(5))
    assert [list(watch.alerts(at(seconds))) for seconds in (6, 9)] == [[], []]


@pytest.mark.parametrize(("lasted_s", "told"), [(10, False), (10.5, True)])
def test_a_position_without_its_stop_for_too_long_is_critical(
    store: StateStore, watch: StateConditions, lasted_s: float, told: bool
) -> None:
    unprotected_since(store, 100)
    assert bool(opened(watch.alerts(at(100 + lasted_s)))) is told


def test_it_is_told_once_and_ended_when_the_stop_rests(store: StateStore, watch: StateConditions) -> None:
    unprotected_since(store, 100)
    first, second = watch.alerts(at(120)), watch.alerts(at(123))
    unprotected_since(store, None)
    third = watch.alerts(at(126))
    assert [[(alert.key, alert.ends) for alert in alerts] for alerts in (first, second, third)] == [
        [("unprotected", False)],
        [],
        [("unprotected", True)],
    ]


def test_what_an_earlier_life_left_counts_from_the_start(store: StateStore, watch: StateConditions) -> None:
    unprotected_since(store, -5000)
    assert [bool(watch.alerts(at(seconds))) for seconds in (9, 11)] == [False, True]


@pytest.mark.parametrize(("source", "told"), [("binance", False), ("synthetic", False), ("synthetic_fallback", True)])
def test_prices_that_stand_in_for_real_ones_are_a_warning(
    store: StateStore, watch: StateConditions, source: str, told: bool
) -> None:
    with store.transaction():
        store.add_cycle(at=at(0), opportunities=0, opened_positions=0, data={"data_source": source})
    alerts = opened(watch.alerts(at(10)))
    assert [(alert.key, alert.level) for alert in alerts] == ([("synthetic_fallback", WARNING)] if told else [])


@pytest.mark.parametrize(("age_s", "told"), [(60, False), (60.5, True)])
def test_an_order_nobody_can_account_for_is_critical_after_a_minute(
    store: StateStore, watch: StateConditions, age_s: float, told: bool
) -> None:
    with store.transaction():
        store.add_intent(an_intent("bnml-7"), store.control().owner)
        store.update_intent("bnml-7", IntentState.UNKNOWN, reason="time-out", at=AT)
    alerts = opened(watch.alerts(AT + timedelta(seconds=age_s)))
    assert [(alert.key, alert.level, alert.symbol) for alert in alerts] == (
        [("unknown_order:bnml-7", CRITICAL, BTC)] if told else []
    )


def test_an_order_that_is_accounted_for_ends_it(store: StateStore, watch: StateConditions) -> None:
    with store.transaction():
        store.add_intent(an_intent("bnml-7"), store.control().owner)
        store.update_intent("bnml-7", IntentState.UNKNOWN, reason="time-out", at=AT)
    watch.alerts(AT + timedelta(seconds=100))
    with store.transaction():
        store.update_intent("bnml-7", IntentState.OPEN, exchange_id="1", at=AT)
    (end,) = watch.alerts(AT + timedelta(seconds=103))
    assert (end.ends, end.key) == (True, "unknown_order:bnml-7")


def test_a_book_that_is_not_there_or_not_begun_says_nothing(tmp_path: Path) -> None:
    absent = StateConditions(StateReader(tmp_path / "none.db"))
    assert list(absent.alerts(at(0))) == []
    absent.note_control(1, "NORMAL", START)
    assert list(absent.alerts(START + timedelta(days=1))) == []
