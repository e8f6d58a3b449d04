"""What happens between two steps of protecting a position: fills, doubts and missing facts at the worst moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import MarketDataError, OutcomeUnknown, Refused, StateError
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import heal, refuse
from trader.exit_pass import STOP_GRACE
from trader.refusals import Refusal
from trader.tranche_orders import StopTerms

D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    made.buy(AAA)
    return made


def before_first(world: MoneyWorld, method: str, act: object) -> None:
    left = [act]

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == method and left:
            left.pop()()  # type: ignore[operator]

    world.faults.before_call = hook


def stop_of(world: MoneyWorld, label: str) -> str:
    (record,) = (item for item in world.live(Purpose.STOP) if item.intent.tranche == label)
    return record.intent.client_id


def cancel_by_hand(world: MoneyWorld, *labels: str) -> None:
    for label in labels:
        world.bot.venue.cancel(AAA, stop_of(world, label), world.clock.now())
    world.bot.orders.refresh()


def test_a_position_sold_while_its_orders_are_cancelled_is_not_sold_again(world: MoneyWorld) -> None:
    before_first(world, "cancel_order", lambda: world.market.move(AAA, "98"))
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    assert world.last_closed().close_reason is ExitReason.STOP_LOSS
    assert not any(item.intent.purpose is Purpose.EXIT for item in world.bot.store.recent_intents(50))


def test_unknown_rules_make_nobody_wait_and_those_of_the_entry_serve(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    known = world.market.rules
    asked: list[Symbol] = []

    def missing(symbol: Symbol) -> object:
        asked.append(symbol)
        if len(asked) <= 2:
            raise MarketDataError("no rules")
        return known(symbol)

    world.market.rules = missing  # type: ignore[method-assign,assignment]
    world.bot.protection.ensure(world.held())
    assert world.covered()


def test_a_balance_that_cannot_be_read_waits(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    short = Refused("Account has insufficient balance for requested action.", -2010)

    def act() -> None:
        raise short

    before_first(world, "create_order", act)
    world.faults.next("balances", Fault.TRANSIENT)
    world.bot.protection.ensure(world.held())
    assert not world.covered()
    assert world.held().legs == ()
    world.look(5)
    assert world.covered()


def test_open_orders_that_cannot_be_read_leave_the_ladder_to_the_venue(new_world: NewWorld, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    world = new_world(tmp_path / "other", money_settings())
    world.start()
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=70))
    world.bot.orders.refresh()
    world.faults.next("open_orders", Fault.TRANSIENT)
    world.bot.protection.ensure(world.held())
    assert set(world.stops()) == {"tp1", "tp2", "runner"}


def test_a_neighbour_whose_cancel_is_unclear_is_joined_at_the_next_look(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    world.market.rule_changes.update(min_notional=D(25))
    world.faults.next("cancel_order", Fault.LOST, Fault.LOST)
    world.bot.protection.ensure(world.held())
    assert [item.label for item in world.held().tranches] == ["tp1", "tp2", "runner"]
    world.look(5)
    assert world.covered()
    assert [item.label for item in world.held().tranches] == ["tp1", "tp2"]


def test_a_neighbour_sold_while_it_is_cancelled_takes_nothing_over(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    world.market.rule_changes.update(min_notional=D(25))
    before_first(world, "cancel_order", lambda: world.market.move(AAA, "103.60"))
    world.bot.protection.ensure(world.held())
    assert world.held().tp2_hit
    world.look(5)
    sold = sum(leg.quantity for leg in world.last_closed().legs)
    assert sold == world.last_closed().initial_quantity
    assert world.bot.reconciler.differences() == {}


def test_a_stop_sold_before_the_second_refusal_gives_up_nothing(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    left = [1, 2]

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "create_order" and left:
            left.pop()
            if not left:
                held = world.held()
                world.bot.positions.write_off(held, world.clock.now())
            raise Refused("Filter failure: LOT_SIZE", -1013)

    world.faults.before_call = hook
    world.bot.protection.ensure(world.held())
    assert world.last_closed().close_reason is ExitReason.BELOW_MIN_SIZE
    assert not any(item.intent.purpose is Purpose.EXIT for item in world.bot.store.recent_intents(50))


def test_nothing_is_raised_while_the_symbol_is_halted(world: MoneyWorld) -> None:
    world.market.halted.add(AAA)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    world.bot.protection.give_up(world.held())
    assert set(world.stops().values()) == {D("98.50")}


def test_a_stop_is_raised_also_without_a_fresh_quote(world: MoneyWorld) -> None:
    world.bot.paper._max_quote_age = timedelta(hours=1)
    world.market.frozen_at[AAA] = world.clock.now()
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=60))
    world.bot.protection.raise_stops(world.held(), D("99.50"), D("0.01"))
    assert set(world.stops().values()) == {D("99.50")}
    world.bot.protection.raise_stops(world.held(), D("99.50"), D("0.01"))
    assert world.covered()


def test_a_replacement_refused_while_its_old_stop_is_unclear_is_left_for_the_next_look(world: MoneyWorld) -> None:
    runner = stop_of(world, "runner")

    def act() -> None:
        world.bot.venue.cancel(AAA, runner, world.clock.now())
        world.faults.next("order_status", Fault.TRANSIENT)

    before_first(world, "replace_order", act)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    for _ in range(3):
        world.look(5)
    assert world.covered()
    assert min(world.stops().values()) >= D("98.50")


def test_a_doubtful_order_keeps_what_is_bare_from_being_sold(world: MoneyWorld) -> None:
    cancel_by_hand(world, "tp1", "runner")
    world.faults.next("create_oco", Fault.LOST)
    world.faults.next("create_order", Fault.LOST)
    world.bot.protection.ensure(world.held())
    world.bot.protection.give_up(world.held())
    assert world.held().legs == ()


def test_a_doubtful_cancel_keeps_what_is_bare_from_being_sold(world: MoneyWorld) -> None:
    target = next(item for item in world.live(Purpose.TARGET) if item.intent.tranche == "tp1")
    world.market.depth[AAA] = D(50)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
    world.market.move(AAA, "102.04")
    world.bot.orders.refresh()
    assert not world.covered()
    world.faults.next("cancel_order", Fault.LOST)
    legs = len(world.held().legs)
    world.bot.protection.give_up(world.held())
    assert len(world.held().legs) == legs
    assert target.intent.client_id in {item.intent.client_id for item in world.live()}


def test_a_position_split_nowhere_is_given_up_as_a_whole(world: MoneyWorld) -> None:
    cancel_by_hand(world, "tp1", "tp2", "runner")
    world.bot.positions.save(replace(world.held(), tranches=()))
    world.bot.protection.give_up(world.held())
    assert world.last_closed().close_reason is ExitReason.PROTECTION_FAILED


def test_a_refused_last_sale_pauses(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")
    world.faults.next("create_order", Fault.REFUSED)
    world.bot.protection.give_up(world.held())
    sent = world.faults.sent.total()
    world.bot.protection.give_up(world.held())
    assert world.faults.sent.total() == sent


def test_a_closed_position_needs_nothing(world: MoneyWorld) -> None:
    held = world.held()
    world.bot.protection.close(held, ExitReason.TIME_STOP)
    sent = world.faults.sent.total()
    world.bot.protection.ensure(world.last_closed())
    world.bot.protection.raise_stops(world.last_closed(), D("99.50"))
    assert world.faults.sent.total() == sent


def test_an_order_for_a_position_that_was_never_opened_is_a_fault_of_the_books(world: MoneyWorld) -> None:
    tranches = world.bot.protection._tranches
    world.bot.orders._gate.require_room = lambda intent, means=None: None  # type: ignore[method-assign]
    nowhere = replace(world.held(), position_id="nowhere")
    with pytest.raises(StateError, match="no position nowhere"):
        tranches.place(nowhere, "runner", StopTerms(D(1), D(90)))
    tranches.raise_record("nowhere", "runner", D(91))
    assert tranches.settle("nowhere") is None


def test_a_part_too_small_to_sell_takes_the_position_along(world: MoneyWorld) -> None:
    closer = world.bot.protection._closer
    closer.sell(world.held(), D("0.0005"), ExitReason.STOP_LOSS, "runner")
    closed = world.last_closed()
    assert {leg.reason for leg in closed.legs} == {ExitReason.STOP_LOSS}


def test_the_grace_begins_with_the_loss_of_the_stop_and_not_with_the_entry(world: MoneyWorld) -> None:
    world.look(600)
    cancel_by_hand(world, "runner")
    world.faults.before_call = lambda method, ids: _refuse_stops(world, method, ids)
    world.look(5)
    assert world.bot.exits.missing_stops(world.clock.now()) == ()
    assert world.bot.exits.is_uncovered()
    for _ in range(int(STOP_GRACE.total_seconds()) // 5 + 1):
        world.look(5)
    assert [leg.reason for leg in world.held().legs] == [ExitReason.PROTECTION_FAILED]
    assert world.bot.store.control().state is ControlState.REDUCE_ONLY
    assert not world.bot.exits.is_uncovered()


def _refuse_stops(world: MoneyWorld, method: str, client_ids: tuple[str, ...]) -> None:
    record = world.bot.store.intent(client_ids[0]) if method in ("create_order", "create_oco") else None
    if record is not None and record.intent.purpose is not Purpose.EXIT:
        raise Refused("Too many new orders; current limit is 100 orders per 10 SECOND.", -1015)


def test_orders_that_came_too_late_again_and_again_are_waited_for_and_not_sold(world: MoneyWorld) -> None:
    cancel_by_hand(world, "runner")

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "create_order":
            raise Refused("Timestamp for this request is outside of the recvWindow.", -1021)

    world.faults.before_call = hook
    before = len(world.faults.calls)
    world.bot.protection.ensure(world.held())
    assert [method for method, _ in world.faults.calls[before:]] == ["create_order"] * 3
    assert world.held().legs == ()
    world.faults.before_call = lambda method, ids: None
    world.look(5)
    assert world.covered()


def test_a_slow_count_of_places_makes_the_quote_too_old_for_the_entry(new_world: NewWorld, tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    world = new_world(tmp_path / "slow", money_settings())
    world.start()

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "open_orders":
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=6))

    world.faults.before_call = hook
    assert world.buy(AAA).refusals["quote_stale"] == 1
    assert world.faults.sent.total() == 0


def test_no_place_for_the_last_stop_is_told_and_waits(new_world: NewWorld, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    world = new_world(tmp_path / "full", money_settings())
    world.market.rule_changes = {"lists_allowed": False}
    world.start()

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        record = world.bot.store.intent(client_ids[0]) if called == "create_order" else None
        if record is not None and record.intent.purpose is Purpose.STOP:
            raise Refused("Filter failure: EXCHANGE_MAX_NUM_ALGO_ORDERS", -2010)

    world.faults.before_call = hook
    world.buy(AAA)
    assert not world.covered()
    assert world.held().legs == ()
    world.faults.before_call = lambda method, ids: None
    world.look(5)
    assert world.covered()


def test_the_whole_position_sold_while_one_tranche_is_made_ready_is_not_placed_again(
    new_world: NewWorld, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    world = new_world(tmp_path / "small", money_settings(risk={"max_position_size_usdt": 7.0}))
    world.start()
    world.buy(AAA)
    world.market.depth[AAA] = D(5)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
    world.market.move(AAA, "103.60")
    world.bot.orders.refresh()
    world.market.depth.clear()
    assert not world.covered()
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
    world.bot.protection.ensure(world.held())
    assert world.live() == []
    assert world.last_closed().close_reason is ExitReason.TP2


def test_a_lone_tranche_without_a_place_for_its_list_goes_on_with_a_stop_alone(
    new_world: NewWorld, tmp_path: Path
) -> None:
    (tmp_path / "lone").mkdir()
    world = new_world(tmp_path / "lone", money_settings(risk={"max_position_size_usdt": 7.0}))
    world.start()

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "create_oco":
            raise Refused("Filter failure: MAX_NUM_ORDER_LISTS", -2010)

    world.faults.before_call = hook
    world.buy(AAA)
    assert [item.label for item in world.held().tranches] == ["runner"]
    assert world.covered()


def test_a_widening_whose_cancel_is_unclear_is_tried_again(world: MoneyWorld) -> None:
    runner = next(item for item in world.held().tranches if item.label == "runner")
    world.bot.venue.cancel(AAA, stop_of(world, "runner"), world.clock.now())
    world.bot.orders.refresh()
    world.bot.protection._tranches.place(world.held(), "runner", StopTerms(D("0.1"), runner.stop_price))
    assert world.covered()
    world.faults.next("cancel_order", Fault.LOST)
    world.look(5)
    assert sum(item.intent.quantity for item in world.live(Purpose.STOP)) == D("0.897")
    world.look(5)
    assert sum(item.intent.quantity for item in world.live(Purpose.STOP)) == D("0.997")


def test_a_time_that_never_began_does_not_end(world: MoneyWorld) -> None:
    bare = world.bot.protection._bare
    kept = world.bot.store.get("unprotected")
    bare.end("nowhere", "runner")
    assert world.bot.store.get("unprotected") == kept


def test_a_refused_close_of_what_was_sold_meanwhile_restores_nothing(world: MoneyWorld) -> None:
    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "create_order":
            world.bot.positions.write_off(world.held(), world.clock.now())
            raise Refused("Filter failure: LOT_SIZE", -1013)

    world.faults.before_call = hook
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    assert world.live() == []
    assert world.last_closed().close_reason is ExitReason.BELOW_MIN_SIZE


def test_a_replacement_refused_with_its_old_stop_neither_resting_nor_ended_waits(world: MoneyWorld) -> None:
    mover = world.bot.protection._mover
    runner = next(item for item in world.held().tranches if item.label == "runner")
    cancel_by_hand(world, "runner")
    world.faults.next("create_order", Fault.LOST)
    world.bot.protection.ensure(world.held())
    sent = world.faults.sent.total()
    mover._after_refusal(world.held(), runner, Refusal.INVALID)
    assert world.faults.sent.total() == sent


def test_a_stop_lost_from_a_full_quota_waits_while_the_others_stay_where_they_are(world: MoneyWorld) -> None:
    before = {item.intent.client_id for item in world.live() if item.intent.tranche != "runner"}
    refuse(world, Refused("Filter failure: MAX_NUM_ALGO_ORDERS", -2010))
    world.bot.venue.cancel(AAA, stop_of(world, "runner"), world.clock.now())
    world.look(10)
    world.look(10)
    assert {item.intent.client_id for item in world.live()} == before
    assert world.held().legs == ()
    heal(world)
    world.look(15)
    assert world.covered()


def test_what_finds_no_place_for_thirty_seconds_is_sold_and_no_more(world: MoneyWorld) -> None:
    before = {item.intent.client_id for item in world.live() if item.intent.tranche != "runner"}
    refuse(world, Refused("Filter failure: MAX_NUM_ALGO_ORDERS", -2010))
    world.bot.venue.cancel(AAA, stop_of(world, "runner"), world.clock.now())
    for _ in range(12):
        world.look(5)
    assert {item.intent.client_id for item in world.live()} == before
    assert [leg.reason for leg in world.held().legs] == [ExitReason.PROTECTION_FAILED]


def test_a_tranche_without_a_place_for_its_list_goes_on_without_its_target(world: MoneyWorld) -> None:
    refuse_lists = Refused("Filter failure: MAX_NUM_ORDER_LISTS", -2010)

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "create_oco":
            raise refuse_lists

    world.faults.before_call = hook
    world.bot.venue.cancel(AAA, stop_of(world, "tp2"), world.clock.now())
    world.look(5)
    assert world.covered()
    alone = next(item for item in world.held().tranches if item.label == "tp2")
    assert alone.target_price is None


def test_a_raised_stop_heard_of_too_late_is_never_placed_lower(world: MoneyWorld) -> None:
    world.faults.next("replace_order", Fault.UNHEARD)
    world.bot.protection.raise_stops(world.held(), Decimal("99.50"))
    raised = next(item for item in world.live() if item.intent.replaces)
    assert raised.state is IntentState.UNKNOWN
    world.bot.venue.cancel(AAA, raised.intent.client_id, world.clock.now())
    world.look(5)
    world.look(5)
    assert world.covered()
    assert set(world.stops().values()) == {Decimal("99.50")}


@pytest.mark.parametrize("reached", [0, 1, 2])
def test_a_close_given_up_at_an_unclear_cancel_leaves_the_stops_it_has_not_reached(
    world: MoneyWorld, reached: int
) -> None:
    labels = list(dict.fromkeys(item.intent.tranche for item in world.live(Purpose.STOP)))
    cancelled: list[str] = []

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == "cancel_order":
            record = world.bot.store.intent(client_ids[0])
            cancelled.append(record.intent.tranche if record is not None else "")
            if cancelled[-1] == labels[reached]:
                raise OutcomeUnknown("timed out")

    world.faults.before_call = hook
    world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
    assert list(dict.fromkeys(cancelled)) == labels[: reached + 1]
    assert set(world.stops()) == set(labels[reached:])
    assert not any(item.intent.purpose is Purpose.EXIT for item in world.bot.store.recent_intents(50))
    heal(world)
    world.look(5)
    assert world.covered()
