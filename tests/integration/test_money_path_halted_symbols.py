"""A symbol that does not trade or gives no quote: nothing is sent in vain and nothing is told over and over."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import Purpose
from bn_ml.domain.positions import ExitReason
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld, money_settings
from trader.close_blocks import NOT_TRADING
from trader.exit_pass import TELL_AGAIN

D = Decimal
LOOK_S = 5
LOOKS = 40


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    made.buy(AAA)
    return made


def told(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if what in record.getMessage()]


def looks(world: MoneyWorld, count: int = LOOKS) -> None:
    for _ in range(count):
        world.look(LOOK_S)


def only_closed(world: MoneyWorld) -> ExitReason | None:
    assert world.bot.positions.open_positions() == ()
    assert world.live() == []
    assert world.bot.reconciler.differences() == {}
    return world.last_closed().close_reason


def test_a_due_exit_of_a_halted_symbol_sends_nothing_until_it_trades_again(
    world: MoneyWorld, caplog: pytest.LogCaptureFixture
) -> None:
    sent, resting = world.faults.sent.total(), world.stops()
    world.market.halted.add(AAA)
    world.look(24 * 3600)
    looks(world)
    assert world.faults.sent.total() == sent
    assert world.stops() == resting
    assert world.held().close_blocked_reason == NOT_TRADING
    assert world.bot.orders.refusals_in_row == 0
    assert len(told(caplog, "symbol does not trade")) == 1
    world.market.halted.clear()
    world.look(LOOK_S)
    assert only_closed(world) is ExitReason.TIME_STOP


def test_a_lost_stop_is_not_placed_while_the_symbol_is_halted(world: MoneyWorld) -> None:
    for record in world.live(Purpose.STOP):
        world.bot.venue.cancel(AAA, record.intent.client_id, world.clock.now())
    sent = world.faults.sent.total()
    world.market.halted.add(AAA)
    looks(world)
    assert world.faults.sent.total() == sent
    assert world.held().close_blocked_reason == NOT_TRADING
    world.market.halted.clear()
    world.look(LOOK_S)
    assert world.covered()
    assert world.held().close_blocked_reason is None


def test_a_stop_is_not_raised_while_the_symbol_is_halted(world: MoneyWorld) -> None:
    before = world.stops()
    world.market.halted.add(AAA)
    world.market.move(AAA, "101.9")
    looks(world)
    assert world.stops() == before
    assert world.covered()
    world.market.halted.clear()
    world.look(LOOK_S)
    assert world.covered()
    assert world.held().close_blocked_reason is None


def test_a_block_is_kept_over_a_restart_and_then_forgotten(world: MoneyWorld) -> None:
    world.market.halted.add(AAA)
    world.look(LOOK_S)
    world.restart()
    assert world.held().close_blocked_reason == NOT_TRADING
    world.market.halted.clear()
    world.look(LOOK_S)
    assert world.held().close_blocked_reason is None
    assert world.covered()


def test_flattening_sells_what_trades_and_waits_for_what_is_halted(world: MoneyWorld) -> None:
    world.buy(BBB)
    world.market.halted.add(AAA)
    sent = world.faults.sent.total()
    world.bot.store.set_control(ControlState.HALTED, "kill_switch: operator", "operator", world.clock.now())
    looks(world, 3)
    assert [item.symbol for item in world.bot.positions.open_positions()] == [AAA]
    assert world.faults.sent.total() == sent + 1
    assert world.held().close_blocked_reason == NOT_TRADING
    world.market.halted.clear()
    world.look(LOOK_S)
    assert only_closed(world) is ExitReason.KILL_SWITCH


def test_an_outage_is_told_once_per_ten_minutes_and_symbol(world: MoneyWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.buy(BBB)
    world.look(LOOK_S)
    caplog.set_level(logging.WARNING)
    caplog.clear()
    for symbol in (AAA, BBB):
        world.market.frozen_at[symbol] = world.clock.now() - timedelta(hours=1)
    looks(world, int(TELL_AGAIN.total_seconds()) // LOOK_S)
    lines = told(caplog, "no client-side exit")
    assert len(lines) == 2
    assert {str(symbol) for symbol in (AAA, BBB) if any(f"symbol={symbol}" in line for line in lines)} == {AAA, BBB}
    world.look(LOOK_S)
    assert len(told(caplog, "no client-side exit")) == 4
