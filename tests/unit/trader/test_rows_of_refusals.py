"""Refusals in a row are ended by whatever the exchange takes next: an order, a list or a replacement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState, OrderIntent, Purpose, Replacement
from bn_ml.errors import OutcomeUnknown, Refused
from tests.fakes.told_exchange import OrderWorld, ended, order_world, resting
from trader.tranche_orders import TrancheOrders

D = Decimal


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = order_world(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def entry(world: OrderWorld) -> OrderIntent:
    """A position of two, after three refused sales."""
    bought = world.bought()
    world.exchange.answers.extend([Refused("no", -1013)] * 3)
    for _ in range(3):
        world.orders.send(world.sale(bought, "1"))
    assert world.orders.refusals_in_row == 3
    return bought


def a_list(world: OrderWorld, entry: OrderIntent) -> tuple[OrderIntent, OrderIntent]:
    target = replace(world.a_sale(entry, "1", Purpose.TARGET), list_id="l-1")
    stop = replace(world.a_sale(entry, "1"), list_id="l-1")
    world.orders.commit(target, stop)
    return target, stop


def test_a_list_that_is_taken_ends_it(world: OrderWorld, entry: OrderIntent) -> None:
    target, stop = a_list(world, entry)
    world.exchange.answers.append((resting(target), resting(stop)))
    assert {record.state for record in world.orders.send_oco(target, stop)} == {IntentState.OPEN}
    assert world.orders.refusals_in_row == 0


def test_a_replacement_that_is_taken_ends_it(world: OrderWorld, entry: OrderIntent) -> None:
    old = world.sale(entry, "1")
    world.exchange.answers.append(Refused("no", -1013))
    world.orders.book(resting(old))
    new = replace(world.a_sale(entry, "1"), replaces=old.client_id)
    world.orders.commit(new)
    world.exchange.answers.clear()
    world.exchange.answers.append(Replacement(ended(old), resting(new)))
    record = world.store.intent(old.client_id)
    assert record is not None
    assert world.orders.replace(record, new).state is IntentState.OPEN
    assert world.orders.refusals_in_row == 0


def test_a_replacement_of_which_only_the_cancel_was_done_is_one_refusal_again(
    world: OrderWorld, entry: OrderIntent
) -> None:
    old = world.sale(entry, "1")
    world.orders.book(resting(old))
    new = replace(world.a_sale(entry, "1"), replaces=old.client_id)
    world.orders.commit(new)
    world.exchange.answers.append(Replacement(ended(old), None, "Order would trigger immediately.", -2010))
    record = world.store.intent(old.client_id)
    assert record is not None
    assert world.orders.replace(record, new).state is IntentState.REFUSED
    assert world.orders.refusals_in_row == 1


@pytest.mark.parametrize("kind", ["order", "list"])
def test_an_answer_that_never_came_ends_nothing(world: OrderWorld, entry: OrderIntent, kind: str) -> None:
    world.exchange.answers.append(OutcomeUnknown("timed out"))
    if kind == "order":
        world.orders.send(world.sale(entry, "1"))
    else:
        world.orders.send_oco(*a_list(world, entry))
    assert world.orders.refusals_in_row == 3


@pytest.mark.parametrize("code", [-2014, -2015])
def test_a_refused_key_names_itself_as_the_cause_and_orders_as_who_found_it(world: OrderWorld, code: int) -> None:
    world.exchange.answers.append(Refused("Invalid API-key.", code))
    world.orders.send(world.buy())
    control = world.store.control()
    assert (control.state, control.reason, control.set_by) == (
        ControlState.REDUCE_ONLY,
        f"key_refused: {code} Invalid API-key.",
        "orders",
    )


def test_a_stop_without_a_clear_answer_is_not_taken_for_a_resting_one(world: OrderWorld) -> None:
    entry = world.bought()
    tranches = TrancheOrders(world.desk, world.orders)
    stop = world.sale(entry, "1")
    world.exchange.answers.append(OutcomeUnknown("timed out"))
    world.orders.send(stop)
    assert [item.state for item in tranches.live(entry.position_id, "tp1")] == [IntentState.UNKNOWN]
    assert tranches.stop_of(entry.position_id, "tp1") is None
    world.orders.book(resting(stop))
    found = tranches.stop_of(entry.position_id, "tp1")
    assert found is not None
    assert found.intent.client_id == stop.client_id
    assert tranches.stop_of(entry.position_id, "tp2") is None
