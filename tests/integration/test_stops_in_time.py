"""No stop waits for a later look when an earlier instant already tells that it is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.orders import IntentState, Purpose
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings
from tests.fakes.told_exchange import order_world
from trader.engine import JUST_AFTER
from trader.unprotected import half_over


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    return made


def test_a_stop_that_never_arrived_is_placed_again_the_instant_nobody_can_accept_it(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.LOST)
    world.scanner.want(AAA)
    begun = world.clock.now()

    def over() -> bool:
        held = world.bot.positions.open_positions()
        return bool(held and world.covered()) or world.clock.now() > begun + timedelta(seconds=30)

    world.bot.engine.run(over)
    orders = world.bot.store.intents_of(world.held().position_id)
    lost = [item for item in orders if item.state is IntentState.NEVER_ACCEPTED]
    assert {item.intent.purpose for item in lost} == {Purpose.STOP, Purpose.TARGET}
    deadline = max(item.deadline for item in lost)
    assert world.clock.now() <= deadline + JUST_AFTER
    assert world.covered()


def test_both_legs_of_a_list_are_awaited(tmp_path: Path) -> None:
    world = order_world(tmp_path)
    entry = world.bought()
    first = world.a_sale(entry, "1", Purpose.STOP, list_id="bnml-list")
    later = replace(
        world.a_sale(entry, "1", Purpose.TARGET, list_id="bnml-list"),
        created_at=first.created_at + timedelta(milliseconds=4),
    )
    world.orders.commit(later, first)
    records = world.orders.open_of(entry.position_id)
    assert len({item.deadline for item in records}) == 2
    assert world.orders.next_deadline(world.clock.now()) == max(item.deadline for item in records)
    world.store.close()


def test_without_doubt_the_loop_glances_once_a_second(world: MoneyWorld) -> None:
    world.buy(AAA)
    assert world.bot.orders.next_deadline(world.clock.now()) is None


@pytest.mark.parametrize("cancelled", [Purpose.TARGET, Purpose.STOP])
def test_a_list_that_ended_in_one_leg_covers_nothing(world: MoneyWorld, cancelled: Purpose) -> None:
    world.buy(AAA)
    first = world.live(cancelled)[0]
    world.faults.next("order_status", Fault.LAG)
    world.bot.orders.cancel(first)
    left = [item for item in world.live() if item.intent.list_id == first.intent.list_id]
    assert [item.state for item in left] == [IntentState.OPEN]
    assert world.bot.exits.is_uncovered()
    world.bot.exits.run(urgent=True)
    assert world.covered()


LEGS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from([Purpose.STOP, Purpose.TARGET])))


@given(legs=LEGS)
def test_only_legs_without_their_other_leg_are_over(
    legs: list[tuple[str, Purpose]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = order_world(tmp_path_factory.mktemp("lists"))
    entry = world.bought()
    base = world.store.intent(entry.client_id)
    assert base is not None
    live = [
        replace(base, intent=replace(base.intent, client_id=f"o{place}", list_id=name or None, purpose=purpose))
        for place, (name, purpose) in enumerate(legs)
    ]
    over = {item.intent.client_id for item in half_over(live)}
    names = [name for name, _ in legs]
    assert over == {f"o{place}" for place, name in enumerate(names) if name and names.count(name) == 1}
    world.store.close()
