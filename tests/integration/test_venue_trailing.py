"""Stops that the venue trails by itself: handed over after the first target, followed in our record, never lower."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings

D = Decimal
FAULTS = [
    (method, fault)
    for method in ("replace_order", "cancel_order", "create_oco")
    for fault in (Fault.LOST, Fault.UNHEARD, Fault.REFUSED)
    if (method, fault) != ("cancel_order", Fault.REFUSED)
]


def bought(new_world: NewWorld, folder: Path, *, trails: bool = True) -> MoneyWorld:
    made = new_world(folder, money_settings())
    made.market.rule_changes = {"trailing_allowed": trails}
    made.start()
    made.buy(AAA)
    return made


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    return bought(new_world, tmp_path)


def calls(world: MoneyWorld, since: int) -> list[str]:
    return [method for method, _ in world.faults.calls[since:]]


def test_after_the_first_target_the_venue_trails_what_is_left(world: MoneyWorld) -> None:
    world.move("102.04")
    assert world.trailing() == {"tp2", "runner"}
    stops = [item.intent for item in world.live(Purpose.STOP)]
    assert {(item.trailing_bp, item.stop_price) for item in stops} == {(100, None)}
    assert world.covered()
    position = world.held()
    assert position.stop == D("100.76")
    assert position.stop_replaced_at == world.clock.now()


def test_the_lone_stop_is_handed_over_in_one_request_and_the_pair_by_cancel_and_placing(world: MoneyWorld) -> None:
    before = len(world.faults.calls)
    world.move("102.04")
    sent = [name for name in calls(world, before) if name not in ("open_orders", "order_status", "balances")]
    assert sent == ["cancel_order", "create_oco", "replace_order"]
    (runner,) = (item for item in world.live(Purpose.STOP) if item.intent.tranche == "runner")
    old = world.bot.store.intent(runner.intent.replaces)
    assert old is not None
    assert (old.intent.tranche, old.state) == ("runner", IntentState.CANCELED)


def test_from_then_on_nothing_is_replaced_while_the_price_rises(world: MoneyWorld) -> None:
    world.move("102.04")
    sent = world.faults.sent.total()
    stops = [world.held().stop]
    for price in ("102.5", "102.9", "102.6", "103.3"):
        world.move(price, seconds=61)
        stops.append(world.held().stop)
        assert world.stops()["runner"] >= world.held().stop
    assert world.faults.sent.total() == sent
    assert stops == sorted(stops)
    assert world.held().stop == D("102.26")


def test_the_venue_sells_by_itself_while_nobody_looks(world: MoneyWorld) -> None:
    world.move("102.04")
    world.look()
    start = world.clock.now()
    for seconds, price in ((70, "103.4"), (130, "102.4"), (200, "101")):
        world.market.move(AAA, price, start + timedelta(seconds=seconds))
    world.look(400)
    closed = world.last_closed()
    assert closed.close_reason is ExitReason.TRAILING_STOP
    assert {leg.reason for leg in closed.legs} == {ExitReason.TP1, ExitReason.TRAILING_STOP}
    assert {leg.price for leg in closed.legs if leg.reason is ExitReason.TRAILING_STOP} <= {D("102.36"), D("102.35")}
    assert world.bot.reconciler.differences() == {}


def test_the_second_target_is_still_taken_beside_a_trailing_stop(world: MoneyWorld) -> None:
    world.move("102.04")
    world.move("103.6")
    assert [leg.reason for leg in world.held().legs] == [ExitReason.TP1, ExitReason.TP2]
    assert world.trailing() == {"runner"}
    assert world.covered()


def test_a_symbol_that_takes_no_trailing_orders_is_trailed_by_replacing(new_world: NewWorld, tmp_path: Path) -> None:
    world = bought(new_world, tmp_path, trails=False)
    world.move("102.04")
    assert world.trailing() == set()
    assert set(world.stops().values()) == {D("101.01")}
    world.move("103", seconds=61)
    assert set(world.stops().values()) == {D("101.97")}
    assert world.covered()


def test_a_price_well_below_its_high_gets_a_fixed_stop_first(world: MoneyWorld) -> None:
    world.look()
    start = world.clock.now()
    world.market.move(AAA, "103.4", start + timedelta(seconds=70))
    world.market.move(AAA, "102.8", start + timedelta(seconds=90))
    world.look(180)
    assert world.held().tp1_hit
    assert world.trailing() == set()
    assert set(world.stops().values()) == {D("102.36")}
    world.move("103.45", seconds=61)
    assert world.trailing() == set()
    world.move("103.49", seconds=61)
    assert set(world.stops()) <= {"runner", "tp2"}
    assert world.held().stop >= D("102.36")


@pytest.mark.parametrize(("method", "fault"), FAULTS)
def test_a_fault_while_stops_are_handed_over_never_lowers_or_loses_one(
    world: MoneyWorld, method: str, fault: Fault
) -> None:
    world.faults.next(method, fault)
    world.move("102.04")
    lowest = min(world.stops().values())
    assert lowest >= D("98.50")
    for _ in range(16):
        world.look(5)
        stops = world.stops()
        assert min(stops.values()) >= world.held().stop
        lowest = max(lowest, min(stops.values()))
    assert world.covered()
    world.move("102.5", seconds=61)
    assert world.trailing() == {"tp2", "runner"}
    assert world.never_sent_twice()
    assert world.bot.reconciler.differences() == {}


def test_a_handed_over_stop_lost_at_the_venue_comes_back_fixed_and_is_handed_over_again(world: MoneyWorld) -> None:
    world.move("102.04")
    world.look()
    (runner,) = (item for item in world.live(Purpose.STOP) if item.intent.tranche == "runner")
    world.bot.venue.cancel(AAA, runner.intent.client_id, world.clock.now())
    world.look(5)
    assert world.covered()
    assert world.stops()["runner"] == D("101.01")
    world.move("102.5", seconds=61)
    assert world.trailing() == {"tp2", "runner"}


def test_a_restart_goes_on_with_the_trailing_orders_as_they_are(world: MoneyWorld) -> None:
    world.move("102.04")
    world.move("102.5")
    sent, stop = world.faults.sent.total(), world.held().stop
    world.restart()
    world.move("102.9")
    assert world.faults.sent.total() == sent
    assert world.held().stop > stop
    assert world.trailing() == {"tp2", "runner"}


def test_trailing_that_begins_with_a_gain_hands_over_all_three_tranches(new_world: NewWorld, tmp_path: Path) -> None:
    risk = {"trailing_after": "pct", "trailing_activation_pct": 0.01}
    world = new_world(tmp_path, money_settings(risk=risk))
    world.start()
    world.buy(AAA)
    world.move("101.5")
    assert world.trailing() == {"tp1", "tp2", "runner"}
    assert not world.held().tp1_hit
    world.move("102.04")
    assert world.held().tp1_hit
    assert world.trailing() == {"tp2", "runner"}


@pytest.mark.parametrize(("age_s", "handed"), [(1.9, True), (2.0, True), (2.1, False), (6.0, False)])
def test_an_older_quote_raises_the_stop_and_hands_nothing_over(
    new_world: NewWorld, tmp_path: Path, age_s: float, handed: bool
) -> None:
    world = bought(new_world, tmp_path)
    world.market.move(AAA, "102.04")
    world.market.frozen_at[AAA] = world.clock.now()
    world.look(seconds=age_s)
    assert bool(world.trailing()) is handed
    assert world.covered()
    before = world.stops()
    del world.market.frozen_at[AAA]
    world.move("103", seconds=61)
    assert world.trailing() == {"tp2", "runner"}
    assert all(world.stops()[label] >= level for label, level in before.items())
