"""The kill switch against a bot in a process of its own: running, deaf, stopped, dead, or with the book locked."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.processes import ProcessState, process_state
from bn_ml.state_reader import StateReader
from bn_ml.state_watch import BookView, BookWatch
from scripts.kill_switch_request import Outcome, Request
from scripts.kill_switch_session import Pull
from scripts.kill_switch_status import bot_state
from tests.fakes.kill_switch_bot import bot_process
from tests.fakes.money_world import AAA, BBB, MoneyWorld, money_settings

CLOCK = SystemClock()


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    settings = money_settings(storage={"sqlite_path": str(tmp_path / "bn_ml.db")})
    return Request(settings, {}, "tests", timeout_s=20.0, patience_s=0.4)


def abandoned(folder: Path) -> None:
    """A bot that bought, protected what it bought, and died."""
    world = MoneyWorld(folder)
    world.start()
    world.buy(AAA, BBB)
    world.look()
    world.close()


def book(request: Request) -> BookView:
    return BookWatch(request.path).look()


def sold(outcome: Outcome) -> dict[str, str]:
    return {str(item.symbol): format(item.sold, "f") for item in outcome.results}


def wait_for(pid: int, state: ProcessState) -> None:
    until = CLOCK.monotonic() + 5
    while process_state(pid) is not state:
        assert CLOCK.monotonic() < until
        CLOCK.sleep_until(CLOCK.now() + timedelta(milliseconds=5))


@contextmanager
def another_writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_running_bot_does_it_itself_and_lives_on(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "obedient") as bot:
        assert bot_state(request_, book(request_))["state"] == "alive"
        outcome = Pull(request_).run()
        assert outcome.code == 3
        assert outcome.done_by == f"the running bot (process {bot.pid})"
        assert process_state(bot.pid) is ProcessState.RUNNING
    assert sold(outcome) == {"AAA/USDC": "0.997", "BBB/USDC": "0.907"}
    assert [item.cancelled for item in outcome.results] == [5, 5]
    view = book(request_)
    assert (view.control.state, view.positions, view.orders) == (ControlState.HALTED, (), ())


def test_a_stopped_bot_is_replaced_at_once(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "obedient") as bot:
        os.kill(bot.pid, signal.SIGSTOP)
        wait_for(bot.pid, ProcessState.STOPPED)
        assert bot_state(request_, book(request_)) | {"beat": 0} == {"state": "stopped", "pid": bot.pid, "beat": 0}
        began = CLOCK.monotonic()
        outcome = Pull(replace(request_, patience_s=10.0)).run()
        assert CLOCK.monotonic() - began < 5
        assert bot.wait() == -signal.SIGKILL
    assert (outcome.code, outcome.done_by) == (3, "the kill switch")
    assert sold(outcome) == {"AAA/USDC": "0.997", "BBB/USDC": "0.907"}
    assert bot_state(request_, book(request_))["state"] == "dead"


def test_a_bot_that_goes_round_and_does_nothing_is_replaced(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "deaf") as bot:
        outcome = Pull(request_).run()
        assert bot.wait() == -signal.SIGKILL
    assert (outcome.code, outcome.done_by) == (3, "the kill switch")


def test_a_bot_stopped_inside_a_write_is_ended_and_its_write_forgotten(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "locking") as bot:
        os.kill(bot.pid, signal.SIGSTOP)
        wait_for(bot.pid, ProcessState.STOPPED)
        outcome = Pull(request_).run()
        assert bot.wait() == -signal.SIGKILL
    assert outcome.code == 3


def test_a_bot_that_keeps_the_book_locked_is_ended_after_the_patience(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "locking") as bot:
        outcome = Pull(request_).run()
        assert bot.wait() == -signal.SIGKILL
    assert outcome.code == 3


def test_a_dead_bot_needs_no_killing(request_: Request, tmp_path: Path) -> None:
    abandoned(tmp_path)
    outcome = Pull(request_).run()
    assert (outcome.code, outcome.done_by) == (3, "the kill switch")
    again = Pull(request_).run()
    assert (again.code, sold(again)) == (3, {"AAA/USDC": "0", "BBB/USDC": "0"})


def test_a_foreign_writer_is_waited_for_and_never_touched(request_: Request, tmp_path: Path) -> None:
    abandoned(tmp_path)
    with another_writer(request_.path) as connection:
        outcome = Pull(replace(request_, timeout_s=0.4)).run()
        assert (outcome.code, outcome.results) == (4, ())
        assert "locked" in outcome.notes[0]
        assert len(book(request_).positions) == 2
        connection.execute("ROLLBACK")
    assert Pull(request_).run().code == 3


def test_the_holder_of_a_lock_that_is_another_process_than_recorded_is_spared(
    request_: Request, tmp_path: Path
) -> None:
    with bot_process(tmp_path, "deaf") as bot:
        ProcessLock(request_.path).path.write_text('{"pid": 1, "started": "long ago"}')
        outcome = Pull(replace(request_, patience_s=0.2)).run()
        assert outcome.code == 4
        assert "cannot be told for sure" in outcome.notes[0]
        assert bot.poll() is None
        assert book(request_).control.state is ControlState.HALTED


def test_one_symbol_is_closed_and_entries_stop(request_: Request, tmp_path: Path) -> None:
    with bot_process(tmp_path, "obedient") as bot:
        outcome = Pull(replace(request_, symbol=AAA)).run()
        assert outcome.done_by == f"the running bot (process {bot.pid})"
    assert sold(outcome) == {"AAA/USDC": "0.997"}
    view = book(request_)
    assert view.control.state is ControlState.REDUCE_ONLY
    assert [item.symbol for item in view.positions] == [BBB]
    assert len(view.orders) == 5


def test_one_symbol_is_closed_without_a_bot(request_: Request, tmp_path: Path) -> None:
    abandoned(tmp_path)
    outcome = Pull(replace(request_, symbol=Symbol("BBB/USDC"))).run()
    assert (outcome.code, sold(outcome)) == (3, {"BBB/USDC": "0.907"})
    assert [item.symbol for item in book(request_).positions] == [AAA]
    kinds = [event.kind for event in StateReader(request_.path).events(kind="KillSwitchPulled")]
    assert kinds == ["KillSwitchPulled"]
