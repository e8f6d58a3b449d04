"""Pauses and kills from afar against the real money path: what they stop, what they leave alone, who ends them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.control import is_tighter
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.orders import Purpose
from bn_ml.errors import StateError
from bn_ml.halting import PAUSED, BookBusy, commit_halt, commit_pause
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from scripts.accounts import heed_halt_marker
from scripts.remote_requests import RemoteRequests
from tests.fakes.book_builders import AT, LATER
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path / "bn_ml.db")
    made.start_epoch(AT, "start")
    yield made
    made.close()


def door(world: MoneyWorld) -> RemoteRequests:
    return RemoteRequests(world.path, world.clock)


def test_a_pause_stops_entries_and_leaves_what_is_held_protected(world: MoneyWorld) -> None:
    world.buy(AAA)
    assert door(world).pause("anna").is_committed
    world.buy(BBB)
    world.look()
    assert [str(item.symbol) for item in world.bot.positions.open_positions()] == ["AAA/USDC"]
    assert world.covered(AAA)


def test_a_kill_sells_everything_and_cancels_every_order(world: MoneyWorld) -> None:
    world.buy(AAA, BBB)
    done = door(world).kill("anna")
    assert (done.is_committed, done.state) == (True, "HALTED")
    world.look(1)
    assert world.bot.positions.open_positions() == ()
    assert world.live() == []
    world.buy(AAA)
    assert world.live(Purpose.ENTRY) == []


def test_a_kill_that_a_stuck_bot_never_saw_is_done_after_its_next_start(world: MoneyWorld) -> None:
    world.buy(AAA)
    door(world).kill("anna")
    world.restart()
    world.cycle()
    assert world.bot.positions.open_positions() == ()
    assert world.bot.store.control().state is ControlState.HALTED


def test_the_bot_never_takes_a_pause_back_by_itself(world: MoneyWorld) -> None:
    """Not even one that was laid over a cause that passes by itself."""
    world.banned_until = world.clock.now() + timedelta(seconds=30)
    assert world.cycle().control.reason == "api_ban"
    door(world).pause("anna")
    assert world.bot.store.control().reason == "api_ban, paused"
    world.banned_until = None
    for _ in range(3):
        world.clock.sleep_until(world.clock.now() + timedelta(minutes=5))
        assert world.cycle().control.state is ControlState.REDUCE_ONLY
    assert world.restart().store.control().state is ControlState.REDUCE_ONLY


def test_a_pause_is_written_once_and_a_halt_stays_as_it_is(store: StateStore) -> None:
    first = commit_pause(store.path, "anna", AT)
    assert first == Control(2, ControlState.REDUCE_ONLY, PAUSED, AT, "anna", owner=1)
    assert commit_pause(store.path, "bert", LATER) == first
    halted = commit_halt(store.path, "bert", LATER)
    assert (halted.state, halted.reason) == (ControlState.HALTED, "paused, kill_switch: bert")
    assert commit_pause(store.path, "anna", LATER) == halted
    assert store.control() == halted
    assert len(StateReader(store.path).events(kind="ControlChanged")) == 2


def test_a_pause_keeps_the_instant_and_the_symbols_to_close(store: StateStore) -> None:
    commit_halt(store.path, "me", AT, symbol=AAA)
    paused = commit_pause(store.path, "anna", LATER)
    assert (paused.reason, paused.since, paused.epoch) == ("close_symbol AAA/USDC, paused", AT, 3)


def test_a_pause_needs_a_book_that_can_be_written(store: StateStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(BookBusy):
            commit_pause(store.path, "anna", AT, busy_s=0.01)
    with pytest.raises(StateError, match="there is no book"):
        commit_pause(tmp_path / "none.db", "anna", AT)
    assert not (tmp_path / "none.db").exists()


def test_a_request_waits_for_another_writer(store: StateStore) -> None:
    writer = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: writer.execute("ROLLBACK"))
    release.start()
    assert RemoteRequests(store.path, SimulatedClock(LATER)).pause("anna").is_committed
    release.join()
    writer.close()


def test_an_owed_kill_survives_the_end_of_the_process(store: StateStore) -> None:
    asked = RemoteRequests(store.path, SimulatedClock(LATER), attempts=1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert not asked.kill("anna").is_committed
        assert not asked.pause("anna").is_committed
        assert asked.retry() is None
        assert asked.is_owed
    heed_halt_marker(store, LATER)
    assert store.control().state is ControlState.HALTED
    assert "kill_switch: anna" in store.control().reason


def test_requests_meet_a_bot_that_writes_all_the_time_and_nothing_is_lost(store: StateStore) -> None:
    """The bot takes its own causes back meanwhile; a pause in force must not go with them."""
    over, breath, done = threading.Event(), threading.Event(), []

    def ask() -> None:
        remote = RemoteRequests(store.path, SimulatedClock(LATER))
        done.extend([remote.pause("anna"), remote.kill("anna")])
        over.set()

    asking = threading.Thread(target=ask)
    asking.start()
    seen = [store.control()]
    while not over.is_set() or len(seen) < 50:
        with store.transaction():
            control = store.control()
            if control.state is ControlState.NORMAL:
                store.set_control(ControlState.REDUCE_ONLY, "disk", "engine", AT)
            elif control.set_by == "engine":
                store.set_control(ControlState.NORMAL, "cleared: disk", "engine", AT)
        seen.append(store.control())
        breath.wait(0.001)
    asking.join()
    assert all(item.is_committed for item in done)
    asked = [item for item in seen if item.set_by == "anna"]
    assert seen[-1].state is ControlState.HALTED
    assert not any(is_tighter(former.state, later.state) for former, later in pairwise(asked))
    assert seen[seen.index(asked[0]) :] == asked
