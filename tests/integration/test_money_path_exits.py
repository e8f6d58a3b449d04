"""Exits through the whole money path, in the specified order, gaps and markets that do not answer included."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import MarketDataError
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, CAPITAL, MoneyWorld, NewWorld, money_settings

D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    return opened(new_world, tmp_path)


def opened(new_world: NewWorld, folder: Path, **sections: dict[str, object]) -> MoneyWorld:
    made = new_world(folder, money_settings(**sections))
    made.start()
    made.buy(AAA)
    return made


def closed_by(world: MoneyWorld) -> ExitReason | None:
    assert world.bot.positions.open_positions() == ()
    assert world.live() == []
    assert world.bot.reconciler.differences() == {}
    return world.last_closed().close_reason


def test_a_resting_stop_sells_everything_at_the_stop(world: MoneyWorld) -> None:
    world.move("98.50")
    assert closed_by(world) is ExitReason.STOP_LOSS
    assert {leg.price for leg in world.last_closed().legs} == {D("98.49")}


def test_a_price_just_above_the_stop_sells_nothing(world: MoneyWorld) -> None:
    world.move("98.51")
    assert world.held().legs == ()
    assert world.covered()


def test_a_gap_through_the_stop_is_sold_at_the_quote_and_not_at_the_level(world: MoneyWorld) -> None:
    world.move("95")
    assert closed_by(world) is ExitReason.STOP_LOSS
    assert {leg.price for leg in world.last_closed().legs} == {D("94.99")}


def test_a_position_whose_stop_was_lost_is_closed_at_market_when_the_price_is_below_it(world: MoneyWorld) -> None:
    for record in world.live(Purpose.STOP):
        world.bot.venue.cancel(AAA, record.intent.client_id, world.clock.now())
    world.move("98")
    assert closed_by(world) is ExitReason.STOP_LOSS


def test_the_first_target_sells_half_and_lifts_the_stop_over_break_even_with_fees(world: MoneyWorld) -> None:
    world.move("102.04")
    position = world.held()
    assert position.tp1_hit
    assert [(leg.reason, leg.quantity, leg.price) for leg in position.legs] == [
        (ExitReason.TP1, D("0.498"), D("102.02"))
    ]
    paid_back = position.cost_quote / position.initial_quantity / D("0.999")
    assert position.stop >= paid_back
    assert position.trailing_active
    world.move("100.30")
    assert closed_by(world) is ExitReason.TRAILING_STOP
    assert world.last_closed().realized_quote > 0


def test_break_even_alone_returns_what_was_paid(new_world: NewWorld, tmp_path: Path) -> None:
    world = opened(new_world, tmp_path, risk={"trailing_enabled": False})
    world.move("102.04")
    position = world.held()
    assert position.stop == D("100.22")
    rest_cost = position.cost_open_quote
    proceeds = position.remaining_quantity * position.stop * D("0.999")
    assert proceeds >= rest_cost
    assert proceeds - rest_cost < D("0.01")


def test_both_targets_and_the_trailing_stop_tell_the_whole_story(world: MoneyWorld) -> None:
    for price in ("102.1", "103.6", "104.5", "103.4"):
        world.move(price, seconds=61)
    assert closed_by(world) is ExitReason.TRAILING_STOP
    position = world.last_closed()
    assert [leg.reason for leg in position.legs] == [ExitReason.TP1, ExitReason.TP2, ExitReason.TRAILING_STOP]
    assert sum(leg.quantity for leg in position.legs) + position.dust_quantity == position.initial_quantity
    cash = world.bot.store.ledger_balances()["USDC"]
    assert cash == CAPITAL - position.cost_quote + position.proceeds_quote
    assert world.bot.engine.account().quote_total == cash
    assert abs(cash - CAPITAL - position.realized_quote) < D("1e-12")
    assert position.dust_quantity == D("0.000002")


def test_a_jump_over_both_targets_takes_both(world: MoneyWorld) -> None:
    world.move("104")
    assert [leg.reason for leg in world.held().legs] == [ExitReason.TP1, ExitReason.TP2]
    assert set(world.stops()) == {"runner"}
    assert world.covered()


def test_a_loss_beyond_the_hard_drawdown_closes_before_a_wider_stop(new_world: NewWorld, tmp_path: Path) -> None:
    world = opened(new_world, tmp_path, risk={"max_position_drawdown_pct": 0.01})
    world.move("99.01")
    assert world.held().legs == ()
    world.move("99.00")
    assert closed_by(world) is ExitReason.HARD_DRAWDOWN


def test_the_stop_comes_before_the_hard_drawdown(world: MoneyWorld) -> None:
    for record in world.live(Purpose.STOP):
        world.bot.venue.cancel(AAA, record.intent.client_id, world.clock.now())
    world.move("90")
    assert closed_by(world) is ExitReason.STOP_LOSS


@pytest.mark.parametrize(("short_s", "is_open"), [(1, True), (0, False)])
def test_the_time_stop_closes_at_its_limit_and_not_before(world: MoneyWorld, short_s: int, is_open: bool) -> None:
    world.look(24 * 3600 - short_s)
    assert bool(world.bot.positions.open_positions()) is is_open
    if not is_open:
        assert closed_by(world) is ExitReason.TIME_STOP


def test_the_stop_comes_before_the_time_stop(world: MoneyWorld) -> None:
    for record in world.live(Purpose.STOP):
        world.bot.venue.cancel(AAA, record.intent.client_id, world.clock.now())
    world.move("98", seconds=25 * 3600)
    assert closed_by(world) is ExitReason.STOP_LOSS


@pytest.mark.parametrize("wanted", [True, False])
def test_a_sell_signal_closes_only_when_the_settings_ask_for_it(
    new_world: NewWorld, tmp_path: Path, wanted: bool
) -> None:
    world = opened(new_world, tmp_path, risk={"sell_signal_exit": wanted})
    world.scanner.disliked = (AAA,)
    world.cycle()
    world.cycle()
    if wanted:
        assert closed_by(world) is ExitReason.SELL_SIGNAL
    else:
        assert world.covered()


def test_what_is_less_than_a_step_is_dust_and_closes(world: MoneyWorld) -> None:
    world.move("98")
    position = world.last_closed()
    assert position.dust_quantity == D("0.000002")
    assert position.remaining_quantity == 0
    assert world.bot.store.ledger_balances()["AAA"] == D("0.000002")


def test_a_rest_below_the_minimum_is_written_off_and_stays_in_the_ledger(world: MoneyWorld) -> None:
    world.market.depth[AAA] = D("187.8")
    world.move("97")
    world.market.depth.clear()
    assert closed_by(world) is ExitReason.BELOW_MIN_SIZE
    assert world.last_closed().dust_quantity == world.bot.store.ledger_balances()["AAA"] > D("0.001")
    assert sum(leg.pnl_quote for leg in world.last_closed().legs) == world.last_closed().realized_quote


def test_a_stale_quote_closes_nothing_on_our_side(world: MoneyWorld) -> None:
    world.market.frozen_at[AAA] = world.clock.now()
    world.look(24 * 3600)
    assert world.covered()
    world.market.frozen_at.clear()
    world.look(5)
    assert closed_by(world) is ExitReason.TIME_STOP


def test_a_halted_symbol_blocks_the_sale_until_it_trades_again(world: MoneyWorld) -> None:
    world.market.halted.add(AAA)
    world.move("97")
    position = world.held()
    assert position.close_blocked_reason == "symbol_not_trading"
    assert position.remaining_quantity == position.initial_quantity
    assert world.bot.reconciler.differences() == {}
    world.market.halted.clear()
    world.look(5)
    assert closed_by(world) is ExitReason.STOP_LOSS


def test_a_block_is_forgotten_once_orders_are_taken_again(world: MoneyWorld) -> None:
    world.market.halted.add(AAA)
    world.look(24 * 3600)
    assert world.held().close_blocked_reason is not None
    world.market.halted.clear()
    world.market.depth[AAA] = D(60)
    world.look(5)
    assert world.held().legs
    assert world.held().close_blocked_reason is None


def test_an_exit_whose_answer_was_lost_is_found_and_not_repeated(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    world.look(24 * 3600)
    assert [item.state for item in world.live()] == [IntentState.UNKNOWN]
    world.look(5)
    assert closed_by(world) is ExitReason.TIME_STOP
    assert world.never_sent_twice()


def test_an_exit_that_never_arrived_is_tried_again_with_a_new_order(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.LOST)
    world.look(24 * 3600)
    world.look(4)
    assert world.bot.positions.open_positions()
    world.look(1)
    assert closed_by(world) is ExitReason.TIME_STOP
    assert world.never_sent_twice()


def test_a_cancel_that_stays_unclear_delays_the_sale_and_never_sells_twice(world: MoneyWorld) -> None:
    world.faults.next("cancel_order", Fault.LOST, Fault.LOST)
    world.look(24 * 3600)
    assert world.covered()
    world.look(5)
    assert closed_by(world) is ExitReason.TIME_STOP


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER])
@pytest.mark.parametrize("method", ["cancel_order", "create_order"])
def test_a_death_during_a_sale_is_finished_after_the_restart(world: MoneyWorld, method: str, fault: Fault) -> None:
    world.faults.next(method, fault)
    assert not world.survive(lambda: world.look(24 * 3600))
    world.look(5)
    world.look(5)
    world.look(5)
    assert closed_by(world) is ExitReason.TIME_STOP
    assert world.never_sent_twice()


def test_the_highest_price_between_two_looks_moves_the_trailing_stop(world: MoneyWorld) -> None:
    world.look(5)
    start = world.clock.now()
    for seconds, price in ((70, "103"), (130, "103.5"), (150, "102.8")):
        world.market.move(AAA, price, start + timedelta(seconds=seconds))
    world.look(180)
    assert world.held().max_price_seen == D("103.5")
    assert world.held().stop == D("102.46")


def test_a_flatten_needs_no_quote(world: MoneyWorld) -> None:
    world.bot.store.set_control(ControlState.HALTED, "kill_switch: operator", "operator", world.clock.now())
    real = world.market.quote

    def missing_once(symbol: Symbol) -> Quote:
        world.market.quote = real  # type: ignore[method-assign]
        raise MarketDataError(f"{symbol}: no data")

    for record in world.live():
        world.bot.orders.cancel(record)
    world.market.quote = missing_once  # type: ignore[method-assign]
    world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
    assert closed_by(world) is ExitReason.KILL_SWITCH


def test_a_winner_and_a_loser_are_counted_as_such(world: MoneyWorld) -> None:
    world.buy(BBB)
    world.move("104")
    world.move("101")
    world.move("97", BBB)
    statistics = world.bot.engine.account().statistics
    assert (statistics.closed, statistics.wins, statistics.losses) == (2, 1, 1)
    assert BBB in world.bot.engine.account().cooldown_until
    assert AAA not in world.bot.engine.account().cooldown_until


def test_nothing_is_placed_for_a_position_whose_sale_is_unknown(world: MoneyWorld) -> None:
    for record in world.live():
        world.bot.orders.cancel(record)
    world.faults.next("create_order", Fault.LOST)
    world.move("98")
    (sale,) = world.live()
    assert (sale.intent.purpose, sale.state) == (Purpose.EXIT, IntentState.UNKNOWN)
    sent = world.faults.sent.total()
    world.move("100", seconds=4)
    assert world.faults.sent.total() == sent
    world.look(5)
    assert world.covered()


def test_targets_and_the_close_are_told_in_the_log(world: MoneyWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.buy(AAA)
    caplog.set_level(logging.INFO, logger="trader.position_manager")
    world.move("102.5")
    world.move("90")
    lines = [record.getMessage() for record in caplog.records if record.name == "trader.position_manager"]
    assert [line.split(" symbol=AAA/USDC ")[0] for line in lines] == ["target reached", "closed"]
    assert "target=tp1" in lines[0]
    assert "pnl=" in lines[1]
