"""A worker that is down for good reaches the loop: no entries, and who lifts that."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def test_a_worker_down_for_good_stops_entries_in_the_same_cycle(world: MoneyWorld) -> None:
    world.restarts_spent = True
    report = world.buy(AAA)
    assert (report.control.state, report.control.reason) == (ControlState.REDUCE_ONLY, "worker_restarts")
    assert world.bot.positions.open_positions() == ()


def test_what_is_held_is_still_protected_and_sold(world: MoneyWorld) -> None:
    world.buy(AAA)
    world.restarts_spent = True
    world.cycle()
    assert world.covered(AAA)
    world.move("90")
    assert world.bot.positions.open_positions() == ()


def test_a_worker_that_runs_again_does_not_lift_it_by_itself(world: MoneyWorld) -> None:
    world.restarts_spent = True
    world.cycle()
    world.restarts_spent = False
    assert world.cycle().control.state is ControlState.REDUCE_ONLY


def test_an_operator_lifts_it_once_the_worker_runs(world: MoneyWorld) -> None:
    world.restarts_spent = True
    world.cycle()
    world.restarts_spent = False
    world.bot.store.set_control(ControlState.NORMAL, "mended", "operator", world.clock.now())
    report = world.buy(BBB)
    assert report.control.state is ControlState.NORMAL
    assert [position.symbol for position in world.bot.positions.open_positions()] == [BBB]


def test_an_operator_who_lifts_it_too_early_does_not_let_an_entry_through(world: MoneyWorld) -> None:
    world.restarts_spent = True
    world.cycle()
    world.bot.store.set_control(ControlState.NORMAL, "mended", "operator", world.clock.now())
    assert world.buy(AAA).control.state is ControlState.REDUCE_ONLY
    assert world.bot.positions.open_positions() == ()


def test_the_health_of_workers_stays_beside_the_number_of_the_cycle_which_goes_on(world: MoneyWorld) -> None:
    store = world.bot.store
    store.put("heartbeat", {"workers": {"prices": {"alive": True}}}, world.clock.now())
    world.restart()
    assert [world.cycle().cycle, world.cycle().cycle] == [1, 2]
    kept = world.bot.store.get("heartbeat")
    assert isinstance(kept, dict)
    assert (kept["cycle"], kept["workers"]) == (2, {"prices": {"alive": True}})
    world.restart()
    assert world.cycle().cycle == 3


def longest_silence(world: MoneyWorld) -> timedelta:
    instants = [at for _, at in world.beats]
    return max(later - earlier for earlier, later in pairwise(instants))


def test_a_start_that_waits_for_the_exchange_shows_signs_of_life(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path)
    world.faults.next("open_orders", *[Fault.TRANSIENT] * 40)
    world.bot.engine.recover(lambda: False)
    assert [step for step, _ in world.beats] == ["recover"] * 41
    assert longest_silence(world) <= timedelta(seconds=5)


def test_a_loop_that_waits_for_its_next_scan_shows_signs_of_life_every_second(world: MoneyWorld) -> None:
    world.buy(AAA)
    world.bot.engine.run(lambda: False, max_cycles=2)
    assert {"cycle", "wait", "look"} <= {step for step, _ in world.beats}
    assert longest_silence(world) <= timedelta(seconds=1)
