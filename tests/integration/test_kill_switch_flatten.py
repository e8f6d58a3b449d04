"""Cancel and sell: on real books and the paper exchange, with faults on the line, and never more than is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import Balance
from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.domain.orders import IntentState, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import MarketDataError, Transient
from bn_ml.halting import commit_halt
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, CCC, MoneyWorld, money_settings
from tests.fakes.scripted_market import ScriptedMarket
from tests.fakes.venue_world import request, rules
from trader.flatten import NOT_IN_WALLET, NOT_TRADING, UNCLEAR, Flattener, is_told_too_small


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoneyWorld]:
    made = MoneyWorld(tmp_path)
    made.start()
    made.buy(AAA, BBB)
    made.look()
    yield made
    made.close()


def flattener(world: MoneyWorld, scope: Callable[[Symbol], bool] = lambda symbol: True) -> Flattener:
    """As a fresh process would be: halted, owner of the book."""
    commit_halt(world.path, "tests", world.clock.now())
    bot = world.restart() if not scope(CCC) else world.bot
    return Flattener(bot.desk, bot.orders, scope)


def pause(world: MoneyWorld, seconds: float) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=seconds))


def test_one_pass_cancels_and_sells_everything(world: MoneyWorld) -> None:
    assert flattener(world).run_pass().is_flat
    assert world.bot.venue.open_orders() == ()
    assert world.bot.store.open_positions() == ()
    closed = world.bot.store.closed_positions()
    assert [item.close_reason for item in closed] == [ExitReason.KILL_SWITCH] * 2
    assert world.never_sent_twice()


def test_cancels_of_a_symbol_come_before_its_sale_and_other_symbols_wait(world: MoneyWorld) -> None:
    world.faults.calls.clear()
    flattener(world).run_pass()
    methods = [method for method, _ in world.faults.calls if method in ("cancel_order", "create_order")]
    assert methods == ["cancel_order"] * 3 + ["create_order"] + ["cancel_order"] * 3 + ["create_order"]
    assert world.faults.calls[0][0] == "cancel_order"


def test_only_the_scope_is_flat(world: MoneyWorld) -> None:
    remains = flattener(world, lambda symbol: symbol == AAA).run_pass()
    assert remains.is_flat
    assert [item.symbol for item in world.bot.store.open_positions()] == [BBB]
    assert {order.symbol for order in world.bot.venue.open_orders()} == {BBB}


def test_orders_and_holdings_of_others_are_left_alone(world: MoneyWorld) -> None:
    world.bot.venue.deposit("AAA", Decimal(5))
    foreign = request(Side.SELL, OrderType.LIMIT, "2", client_id="web_1", price="150", symbol=AAA)
    other_book = request(Side.SELL, OrderType.LIMIT, "1", client_id="bnml-zzzzzz-1a", price="160", symbol=AAA)
    for order in (foreign, other_book):
        world.bot.venue.place(order, world.clock.now())
    assert flattener(world).run_pass().is_flat
    assert [order.client_id for order in world.bot.venue.open_orders()] == ["web_1", "bnml-zzzzzz-1a"]
    assert world.bot.venue.balances()["AAA"].total == Decimal("5.000002")


def test_an_order_of_this_book_that_it_forgot_is_cancelled(world: MoneyWorld) -> None:
    stray = world.bot.store.next_client_id()
    world.bot.venue.deposit("CCC", Decimal(1))
    world.bot.venue.set_rules(world.market.rules(CCC))
    world.bot.venue.on_quote(world.market.quote(CCC))
    order = request(Side.SELL, OrderType.LIMIT, "1", client_id=stray, price="150", symbol=CCC)
    world.bot.venue.place(order, world.clock.now())
    work = flattener(world)
    assert not work.run_pass().is_flat
    assert work.run_pass().is_flat
    assert world.bot.venue.open_orders() == ()


def test_no_more_is_sold_than_the_wallet_holds(world: MoneyWorld) -> None:
    work = flattener(world)
    for order in world.bot.venue.open_orders(AAA):
        if order.is_open and world.bot.venue.find(AAA, client_id=order.client_id).is_open:  # type: ignore[union-attr]
            world.bot.venue.cancel(AAA, order.client_id, world.clock.now())
    world.bot.venue.state.account.move("AAA", free=-Decimal("0.4"))
    assert work.run_pass().why == {AAA: "sold in part"}
    remains = work.run_pass()
    assert remains.is_flat
    assert dict(remains.why) == {AAA: NOT_IN_WALLET}
    assert [(item.symbol, item.remaining_quantity) for item in world.bot.store.open_positions()] == [
        (AAA, Decimal("0.400002"))
    ]
    assert work.run_pass().is_flat


def test_a_symbol_that_does_not_trade_keeps_its_stops(world: MoneyWorld) -> None:
    world.market.halted.add(AAA)
    remains = flattener(world).run_pass()
    assert dict(remains.why) == {AAA: NOT_TRADING}
    assert not remains.is_flat
    assert remains.is_final
    assert {order.symbol for order in world.bot.venue.open_orders()} == {AAA}
    world.market.halted.clear()
    assert Flattener(world.bot.desk, world.bot.orders).run_pass().is_flat


def test_an_unheard_sale_is_found_and_not_repeated(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.next("create_order", Fault.UNHEARD)
    assert work.run_pass().is_flat
    assert world.never_sent_twice()


def test_a_lost_sale_is_sent_anew_only_when_it_can_no_longer_arrive(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.next("create_order", Fault.LOST)
    assert work.run_pass().why == {AAA: UNCLEAR}
    pause(world, 3)
    assert work.run_pass().why[AAA] == UNCLEAR
    pause(world, 6)
    work.run_pass()
    assert work.run_pass().is_flat
    assert world.never_sent_twice()


def test_a_cancel_without_answer_is_asked_for_again(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.next("cancel_order", Fault.LOST, Fault.LOST)
    assert set(work.run_pass().why) == {AAA}
    assert work.run_pass().is_flat


def test_a_refused_sale_is_told_and_tried_again(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.next("create_order", Fault.REFUSED)
    assert "NOTIONAL" in work.run_pass().why[AAA]
    assert [item.symbol for item in world.bot.store.open_positions()] == [AAA]
    assert work.run_pass().is_flat


@pytest.mark.parametrize(("minimum", "expected"), [("49", False), ("50", True), ("60", True), ("99", True)])
def test_the_exchange_is_believed_that_little_is_too_little(minimum: str, expected: bool) -> None:
    refusal = "-1013 Filter failure: NOTIONAL"
    found = is_told_too_small(refusal, Decimal("99.5"), replace(rules(), min_notional=Decimal(minimum)))
    assert found is expected
    assert not is_told_too_small("-2010 insufficient balance", Decimal(1), rules())


def test_what_is_refused_as_too_small_and_may_be_so_is_written_off(world: MoneyWorld) -> None:
    world.market.rule_changes["min_notional"] = Decimal(60)
    world.faults.next("create_order", Fault.REFUSED)
    work = flattener(world)
    assert work.run_pass().is_flat
    assert {item.close_reason for item in world.bot.store.closed_positions()} == {
        ExitReason.BELOW_MIN_SIZE,
        ExitReason.KILL_SWITCH,
    }


def test_what_was_too_small_from_the_start_is_written_off(world: MoneyWorld) -> None:
    world.market.rule_changes["min_notional"] = Decimal(500)
    assert flattener(world).run_pass().is_flat
    assert [item.dust_quantity for item in world.bot.store.closed_positions()] == [
        Decimal("0.997002"),
        Decimal("0.907092"),
    ]


def test_a_position_larger_than_the_largest_order_is_sold_in_parts(world: MoneyWorld) -> None:
    world.market.rule_changes["market_max_quantity"] = Decimal("0.6")
    work = flattener(world)
    assert work.run_pass().why == {AAA: "sold in part", BBB: "sold in part"}
    assert work.run_pass().is_flat


def test_a_rest_too_small_to_sell_is_written_off(world: MoneyWorld) -> None:
    world.market.rule_changes["market_max_quantity"] = Decimal("0.95")
    assert flattener(world).run_pass().is_flat
    assert world.bot.store.closed_positions()[0].dust_quantity == Decimal("0.047002")


def test_an_entry_that_rests_is_cancelled(tmp_path: Path) -> None:
    world = MoneyWorld(tmp_path, money_settings(exchange={"orders": {"entry_type": "limit"}}))
    world.start()
    world.faults.before_call = lambda method, ids: world.market.move(AAA, "101")
    world.buy(AAA)
    assert [item.state for item in world.live(Purpose.ENTRY)] == [IntentState.OPEN]
    work = flattener(world)
    while not work.run_pass().is_flat:
        pause(world, 1)
    assert world.bot.store.open_positions() == ()
    assert world.bot.venue.open_orders() == ()
    world.close()


def test_rules_that_cannot_be_had_are_those_of_the_entry(world: MoneyWorld) -> None:
    class Ignorant(ScriptedMarket):
        def rules(self, symbol: Symbol) -> MarketRules:
            raise MarketDataError(f"{symbol}: unknown")

    commit_halt(world.path, "tests", world.clock.now())
    desk = replace(world.bot.desk, market=Ignorant(world.clock, {}))
    assert Flattener(desk, world.bot.orders).run_pass().is_flat


def test_a_stop_that_filled_while_nobody_looked_needs_no_sale(world: MoneyWorld) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(minutes=2))
    world.market.move(AAA, "90")
    assert flattener(world).run_pass().is_flat
    sold = [record.intent for record in world.bot.store.recent_intents(5) if record.intent.purpose is Purpose.EXIT]
    assert {intent.symbol for intent in sold} <= {AAA, BBB}
    assert world.bot.store.open_positions() == ()


def test_an_order_the_book_believes_ended_is_ended_and_what_it_held_is_sold(world: MoneyWorld) -> None:
    lone = next(
        item.intent for item in world.live(Purpose.STOP) if item.intent.symbol == AAA and not item.intent.list_id
    )
    world.bot.store.update_intent(lone.client_id, IntentState.CANCELED, at=world.clock.now())
    bot = world.restart()
    commit_halt(world.path, "tests", world.clock.now())
    work = Flattener(bot.desk, bot.orders)
    assert work.run_pass().why == {AAA: f"order {lone.client_id} was still open"}
    assert work.run_pass().is_flat
    assert bot.venue.open_orders() == ()


def test_a_stray_that_the_exchange_will_not_cancel_is_told(world: MoneyWorld) -> None:
    stray = world.bot.store.next_client_id()
    world.bot.venue.deposit("AAA", Decimal(1))
    world.bot.venue.place(
        request(Side.SELL, OrderType.LIMIT, "1", client_id=stray, price="150", symbol=AAA), world.clock.now()
    )
    work = flattener(world)
    world.faults.next("cancel_order", *[Fault.NONE] * 6, Fault.REFUSED)
    assert "Filter failure" in work.run_pass().why[AAA]
    work.run_pass()
    assert work.run_pass().is_flat


def test_an_exchange_that_is_away_changes_nothing_and_is_waited_for(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.calls.clear()
    world.faults.next("cancel_order", *[Fault.LOST] * 2)
    world.faults.next("open_orders", Fault.TRANSIENT)
    with pytest.raises(Transient):
        work.run_pass()
    assert len(world.bot.store.open_positions()) == 2
    assert len([method for method, _ in world.faults.calls if method == "cancel_order"]) == 2
    assert work.run_pass().is_flat


def test_an_entry_that_still_rests_is_ended_and_what_it_bought_sold(tmp_path: Path) -> None:
    world = MoneyWorld(tmp_path)
    world.start()
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    assert [item.state for item in world.live(Purpose.ENTRY)] == [IntentState.UNKNOWN]
    work = flattener(world)
    while not work.run_pass().is_flat:
        pause(world, 1)
    assert world.bot.store.open_positions() == ()
    assert world.bot.venue.balances().get("AAA", Balance("AAA", Decimal(0))).total < Decimal("0.001")
    world.close()
