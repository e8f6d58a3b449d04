"""A backup put in place after anything may have happened: equal books trade on, all others are halted and explained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from bn_ml.client_ids import is_client_id
from bn_ml.domain.account import ControlState
from tests.fakes.money_world import AAA, BBB
from tests.fakes.outside_world import OutsideWorld

Step = tuple[str, int]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("buy"), st.sampled_from([0, 1])),
        st.tuples(st.just("move"), st.integers(85, 115)),
        st.tuples(st.just("wait"), st.integers(5, 7200)),
    ),
    max_size=6,
)


def happen(world: OutsideWorld, steps: Sequence[Step]) -> None:
    for kind, value in steps:
        if kind == "buy":
            world.buy((AAA, BBB)[value])
        elif kind == "move":
            for symbol in (AAA, BBB):
                world.move(str(value), symbol)
        else:
            world.look(value)


@example(before=[("wait", 30)], after=[("buy", 1), ("move", 85)])
@settings(max_examples=15, deadline=None)
@given(before=STEPS, after=STEPS)
def test_a_restored_book_trades_only_when_it_equals_the_exchange(before: list[Step], after: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = OutsideWorld(Path(folder))
        try:
            world.start()
            happen(world, before)
            world.look(30)
            was = world.bot.store.control().state
            backup = world.backup()
            happen(world, after)
            late = world.bot.store.control().state
            world.restore(backup)
            world.look(30)
            world.bot.reconciler.check()
            store = world.bot.store
            control = store.control()
            resting = [order.client_id for order in world.bot.venue.open_orders() if is_client_id(order.client_id)]
            strays = [name for name in resting if store.intent(name) is None]
            event(f"{control.state.value} {'strays' if strays else ''} {'differs' if world.differences() else ''}")
            if world.differences() or strays:
                assert control.state is ControlState.HALTED
                assert all(name in control.reason for name in strays)
                assert all(asset in control.reason for asset in world.differences())
            else:
                assert control.state is late, (was, late)
                assert (
                    all(world.covered(position.symbol) for position in store.open_positions())
                    or control.state is ControlState.HALTED
                )
            assert all(amount >= Decimal(0) for amount in store.ledger_balances().values())
            assert world.never_sent_twice()
        finally:
            world.close()
