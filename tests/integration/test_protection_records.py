"""What protection writes down of its orders, what a look reads of the market, and what a refused sale does not send."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Bar, Symbol
from bn_ml.domain.orders import OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import Refused
from bn_ml.state_reader import StateReader
from bn_ml.venue.orders import OrderRequest
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import before_first, foreign_sale, foreign_stop, heal, offered
from trader.acceptance import accept_differences
from trader.position_manager import dust
from trader.unprotected import KEY

D = Decimal
TOO_LITTLE = Refused("Account has insufficient balance for requested action.", -2010)


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    made.buy(AAA)
    return made


def exits(world: MoneyWorld) -> list[Decimal]:
    found = world.bot.store.recent_intents(50)
    return [item.intent.quantity for item in found if item.intent.purpose is Purpose.EXIT]


def test_each_tranche_names_the_orders_that_protect_it(world: MoneyWorld) -> None:
    live = {item.intent.client_id: item.intent for item in world.live()}
    pairs = {item.label: item for item in world.held().tranches}
    for label in ("tp1", "tp2"):
        stop, target = live[pairs[label].stop_client_id], live[pairs[label].target_client_id]
        assert (stop.purpose, target.purpose) == (Purpose.STOP, Purpose.TARGET)
        assert (stop.tranche, target.tranche) == (label, label)
        assert stop.list_id == target.list_id == pairs[label].list_id
        assert set(pairs[label].client_ids) == {stop.client_id, target.client_id}
    runner = pairs["runner"]
    assert live[runner.stop_client_id].purpose is Purpose.STOP
    assert (runner.target_client_id, runner.list_id, runner.client_ids) == ("", "", (runner.stop_client_id,))


def test_a_sell_signal_closes_the_symbol_it_is_about_and_no_other(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings(risk={"sell_signal_exit": True}))
    world.start()
    world.buy(AAA, BBB)
    world.bot.exits.run(frozenset({AAA}))
    assert [item.symbol for item in world.bot.positions.open_positions()] == [BBB]
    assert world.last_closed().close_reason is ExitReason.SELL_SIGNAL


def test_a_sale_of_all_belongs_to_no_tranche_and_carries_its_reason(world: MoneyWorld) -> None:
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    (sale,) = (item.intent for item in world.bot.store.recent_intents(50) if item.intent.purpose is Purpose.EXIT)
    assert (sale.tranche, sale.reason, sale.type, sale.side) == ("", "time_stop", OrderType.MARKET, Side.SELL)
    assert (sale.reference_price, sale.list_id, sale.replaces) == (D("99.99"), None, "")


def test_each_closed_bar_is_read_once(world: MoneyWorld) -> None:
    asked: list[tuple[datetime, datetime]] = []
    whole = world.market.path

    def path(symbol: Symbol, since: datetime, until: datetime) -> list[Bar]:
        asked.append((since, until))
        return list(whole(symbol, since, until))

    world.market.path = path  # type: ignore[method-assign, assignment]
    for _ in range(4):
        world.look(90)
    # The venue reads them first, for its own orders.
    ours = asked[1::2]
    assert ours[0][0] == world.held().opened_at
    for (_, until), (since, _) in pairwise(ours):
        assert until - timedelta(minutes=1) < since <= until


@pytest.mark.parametrize("locked", [None, "0.995"])
def test_a_sale_refused_for_its_balance_is_not_sent_again_where_nothing_else_is_free(
    world: MoneyWorld, locked: str | None
) -> None:
    def refuses(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "create_order":
            heal(world)
            if locked is not None:
                foreign_sale(world, locked)
            raise TOO_LITTLE

    world.faults.before_call = refuses
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    assert exits(world) == [D("0.997")]
    assert world.held().legs == ()
    assert world.held().close_blocked_reason == "-2010 Account has insufficient balance for requested action."


def test_the_time_without_a_stop_runs_from_the_cancel_that_widens_it(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    before_first(world, "create_oco", lambda: foreign_sale(world, "0.3"))
    world.buy(AAA)
    for _ in range(3):
        world.look(5)
    world.bot.venue.cancel(AAA, "theirs", world.clock.now())

    def slow(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "cancel_order":
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=3))

    world.faults.before_call = slow
    for _ in range(4):
        world.look(5)
    assert offered(world) == D("0.997")
    told = record(world)
    assert (told["last_s"], told["longest_s"], told["count"], told["since"]) == (3.0, 20.0, 2, None)


@pytest.mark.parametrize("level", ["99.00", "99.50"])
def test_each_tranche_records_the_level_its_stop_was_raised_to(world: MoneyWorld, level: str) -> None:
    world.bot.protection.raise_stops(world.held(), D(level))
    held = world.held()
    assert world.stops() == dict.fromkeys(("tp1", "tp2", "runner"), D(level))
    assert {item.label: item.stop_price for item in held.tranches} == world.stops()
    assert held.stop == D(level)
    (moved,) = world.recorder.of("StopMoved")
    assert (moved.position_id, moved.symbol) == (held.position_id, AAA)


def test_one_stop_of_three_that_was_raised_is_recorded_and_the_lowest_is_the_position_s(world: MoneyWorld) -> None:
    world.faults.next("replace_order", Fault.REFUSED)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    held = world.held()
    assert {item.label: item.stop_price for item in held.tranches} == world.stops()
    assert held.stop == min(world.stops().values())


def test_a_halt_that_flattens_does_not_wait_for_the_pause_after_a_refused_sale(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.REFUSED)
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    assert len(exits(world)) == 1
    world.bot.store.set_control(ControlState.HALTED, "kill_switch: operator", "operator", world.clock.now())
    world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
    assert world.last_closed().close_reason is ExitReason.KILL_SWITCH
    assert len(exits(world)) == 2


def test_a_position_closed_by_the_stop_that_trailing_asks_for_stays_closed(world: MoneyWorld) -> None:
    for seconds, price in ((1, "102.50"), (3, "100.50")):
        world.market.move(AAA, price, world.clock.now() + timedelta(seconds=seconds))
    world.look(61)
    closed = world.last_closed()
    assert (closed.symbol, closed.tp1_hit, closed.close_reason) == (AAA, True, ExitReason.TRAILING_STOP)
    assert world.bot.positions.open_positions() == world.bot.store.open_positions() == ()
    assert world.bot.venue.open_orders(AAA) == ()
    world.look(5)
    assert len(world.bot.store.closed_positions()) == 1


def test_stops_that_rest_at_the_wanted_level_already_are_left_alone(world: MoneyWorld) -> None:
    before = world.held()
    world.faults.calls.clear()
    for level in ("98.50", "90.00"):
        world.bot.protection.raise_stops(world.held(), D(level))
    assert world.held().stop_replaced_at is None
    assert world.held() == before
    assert not {method for method, _ in world.faults.calls} & {"cancel_order", "replace_order", "create_order"}


def test_a_write_off_is_done_whole_or_not_at_all(new_world: NewWorld, tmp_path: Path) -> None:
    for number in range(1, 12):
        for after in (False, True):
            world = new_world(tmp_path / f"{number}-{after}", money_settings())
            world.start()
            world.buy(AAA)
            for order in world.bot.venue.open_orders(AAA):
                if any(item.client_id == order.client_id for item in world.bot.venue.open_orders(AAA)):
                    world.bot.venue.cancel(AAA, order.client_id, world.clock.now())
            world.bot.orders.refresh()
            world.faults.kill_at_commit, world.faults.kill_after_commit = world.faults.commits + number, after
            lived = world.survive(lambda w=world: w.bot.positions.write_off(w.held(), w.clock.now()))  # type: ignore[misc]
            world.faults.heal()
            closed = world.bot.store.closed_positions()
            assert dust(world.bot.store) == ({"AAA": D("0.997002")} if closed else {})
            told = StateReader(world.path).events(kind="PositionClosed")
            assert len(told) == len(closed) == 1 - len(world.bot.store.open_positions())
            if lived:
                return
    raise AssertionError("a write-off never ended")


def test_what_is_given_up_is_no_longer_without_its_stop(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    before_first(world, "create_oco", lambda: foreign_stop(world, *range(5)))
    world.buy(AAA)
    for _ in range(7):
        assert record(world)["since"] is not None
        world.look(5)
    assert world.last_closed().close_reason is ExitReason.PROTECTION_FAILED
    assert record(world)["since"] is None


def record(world: MoneyWorld) -> dict[str, object]:
    kept = world.bot.store.get(KEY)
    assert isinstance(kept, dict)
    return kept


def test_dust_that_is_gone_costs_a_later_position_neither_quantity_nor_orders(world: MoneyWorld) -> None:
    world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
    left = dust(world.bot.store)["AAA"]
    world.clock.sleep_until(world.clock.now() + timedelta(hours=2))
    world.buy(AAA)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=11))
    resting = {order.client_id for order in world.bot.venue.open_orders(AAA)}
    world.bot.venue.state.account.move("AAA", free=-left)
    world.bot.venue.state.save()
    accept_differences(world.bot.store, world.clock.now())
    world.bot.reconciler.check()
    assert dust(world.bot.store) == {}
    assert {order.client_id for order in world.bot.venue.open_orders(AAA)} == resting


def test_one_position_of_several_without_its_stop_is_urgent(world: MoneyWorld) -> None:
    world.buy(BBB)
    assert not world.bot.exits.is_uncovered()
    for order in world.bot.venue.open_orders(BBB):
        if any(item.client_id == order.client_id for item in world.bot.venue.open_orders(BBB)):
            world.bot.venue.cancel(BBB, order.client_id, world.clock.now())
    world.bot.orders.refresh()
    assert world.bot.exits.is_uncovered()
    world.look(1)
    assert not world.bot.exits.is_uncovered()


def test_an_amount_nobody_can_explain_is_compared_three_times_before_it_counts(world: MoneyWorld) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=11))
    world.bot.venue.deposit("USDC", D(5))
    world.faults.calls.clear()
    world.bot.reconciler.check()
    assert [method for method, _ in world.faults.calls].count("balances") == 3
    (told,) = world.recorder.of("BalanceUnexplained")
    assert (told.asset, told.difference) == ("USDC", 5)


def test_what_is_written_off_has_no_tranches_left(world: MoneyWorld) -> None:
    held = world.held()
    assert held.tranches
    world.bot.positions.write_off(replace(held), world.clock.now())
    assert world.last_closed().tranches == ()


def test_orders_of_others_are_told_with_their_side_and_quantity(world: MoneyWorld) -> None:
    order = OrderRequest(AAA, Side.BUY, OrderType.LIMIT_MAKER, "theirs", D("0.2"), price=D(50))
    world.bot.venue.place(order, world.clock.now())
    world.bot.reconciler.check()
    (seen,) = world.recorder.of("ForeignOrderSeen")
    assert (seen.symbol, seen.client_id, seen.side, seen.quantity) == (AAA, "theirs", "BUY", D("0.2"))
