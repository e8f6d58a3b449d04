"""Resting stops and targets: placed for every tranche, raised one at a time, put back after faults and deaths."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import IntentState, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import MarketDataError
from tests.fakes.faulty_exchange import Fault, Killed
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld, money_settings

NOTHING = Decimal(0)
D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def uncovered_tranches(world: MoneyWorld) -> int:
    """Tranches of the open position, as far as they hold anything, whose stop does not rest at the venue."""
    position = world.held()
    resting = {order.client_id for order in world.bot.venue.open_orders(AAA) if order.stop_price or order.trails}
    store = world.bot.store
    count = 0
    for tranche in position.tranches:
        records = [store.intent(client_id) for client_id in tranche.client_ids]
        sold = sum((item.filled_quantity for item in records if item is not None), D(0))
        count += sold < tranche.quantity and not resting & set(tranche.client_ids)
    return count


def watch_uncovered(world: MoneyWorld) -> list[int]:
    seen: list[int] = []
    world.faults.before_call = lambda method, ids: seen.append(uncovered_tranches(world))
    return seen


def test_three_tranches_each_get_a_stop_and_two_get_a_target(world: MoneyWorld) -> None:
    world.buy(AAA)
    orders = {
        (item.intent.tranche, item.intent.purpose): (item.intent.quantity, item.intent.stop_price)
        for item in world.live()
    }
    assert orders == {
        ("tp1", Purpose.TARGET): (D("0.498"), None),
        ("tp1", Purpose.STOP): (D("0.498"), D("98.50")),
        ("tp2", Purpose.TARGET): (D("0.299"), None),
        ("tp2", Purpose.STOP): (D("0.299"), D("98.50")),
        ("runner", Purpose.STOP): (D("0.200"), D("98.50")),
    }


@pytest.mark.parametrize(
    ("size", "labels"),
    [("40", ["tp1", "tp2", "runner"]), ("20", ["tp1", "tp2"]), ("11", ["tp1", "runner"]), ("7", ["tp2"])],
)
def test_a_small_position_has_fewer_tranches_that_still_cover_it(
    new_world: NewWorld, tmp_path: Path, size: str, labels: list[str]
) -> None:
    world = new_world(tmp_path, money_settings(risk={"max_position_size_usdt": float(size)}))
    world.start()
    world.buy(AAA)
    position = world.held()
    assert [tranche.label for tranche in position.tranches] == labels
    assert sum(tranche.quantity for tranche in position.tranches) == D("0.001") * int(
        position.remaining_quantity * 1000
    )
    assert all(tranche.quantity * tranche.stop_price >= 5 for tranche in position.tranches)
    assert world.covered()


def test_a_price_already_below_the_stop_at_placement_sells_at_market(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    world.move("98")
    assert world.bot.positions.open_positions() == ()
    closed = world.last_closed()
    assert closed.close_reason is ExitReason.STOP_LOSS
    assert {leg.price for leg in closed.legs} == {D("97.99")}
    assert "create_oco" not in [method for method, _ in world.faults.calls]


def test_a_target_already_reached_at_placement_is_taken_and_the_rest_protected(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    world.move("102.5")
    position = world.held()
    assert position.tp1_hit
    assert not position.tp2_hit
    assert position.legs[0].reason is ExitReason.TP1
    world.look()
    assert world.covered()
    assert set(world.stops()) == {"tp2", "runner"}


def test_a_list_refused_once_is_tried_again(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.REFUSED)
    world.buy(AAA)
    assert world.covered()
    assert world.held().legs == ()


def test_a_list_refused_twice_sells_that_tranche_and_protects_the_others(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.REFUSED, Fault.REFUSED)
    world.buy(AAA)
    position = world.held()
    assert [(leg.reason, leg.quantity) for leg in position.legs] == [(ExitReason.PROTECTION_FAILED, D("0.498"))]
    world.look()
    assert world.covered()
    assert set(world.stops()) == {"tp2", "runner"}


def test_a_stop_never_accepted_is_placed_again_after_the_receive_window(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.LOST)
    world.buy(AAA)
    assert not world.covered()
    world.look(4)
    assert not world.covered()
    world.look(1)
    assert world.covered()
    assert world.never_sent_twice()


def test_a_partly_filled_target_ends_its_stop_and_the_rest_is_covered_again(world: MoneyWorld) -> None:
    world.buy(AAA)
    world.market.depth[AAA] = D(50)
    world.move("102.2")
    position = world.held()
    (target,) = (item for item in world.bot.store.recent_intents(50) if item.filled_quantity and item.intent.tranche)
    assert target.intent.purpose is Purpose.TARGET
    assert 0 < target.filled_quantity < target.intent.quantity
    assert target.state is IntentState.CANCELED
    assert position.legs[0].reason is ExitReason.TP1
    world.market.depth.clear()
    world.look(0)
    live = world.bot.orders.open_of(position.position_id)
    offered = sum(item.intent.quantity for item in live if item.intent.purpose is Purpose.STOP)
    held = world.bot.positions.position(position.position_id)
    assert held is not None
    if held.is_open:
        assert world.covered()
        assert offered == D("0.001") * int(held.remaining_quantity * 1000)
    assert world.bot.reconciler.differences() == {}


def bare_with_a_partly_filled_target(world: MoneyWorld) -> None:
    """The target of the first tranche has sold a part, which ended its stop; we know, and have done nothing yet."""
    world.buy(AAA)
    world.market.depth[AAA] = D(50)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
    world.market.move(AAA, "102.04")
    world.bot.orders.refresh()
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
    world.market.depth.clear()
    assert len(world.held().legs) == 1
    assert not world.covered()


def test_a_target_that_fills_while_it_is_cancelled_stays_sold(world: MoneyWorld) -> None:
    bare_with_a_partly_filled_target(world)
    world.bot.protection.ensure(world.held())
    position = world.held()
    fills = world.bot.store.fills_of_position(position.position_id)
    sold = sum(fill.quantity for fill in fills if fill.side is Side.SELL)
    assert sold == D("0.498")
    assert position.remaining_quantity == position.initial_quantity - sold
    assert {leg.reason for leg in position.legs} == {ExitReason.TP1}
    assert [tranche.label for tranche in position.tranches] == ["tp2", "runner"]
    assert world.covered()


def test_what_a_target_leaves_below_the_minimum_joins_the_next_tranche(world: MoneyWorld) -> None:
    world.buy(AAA)
    world.market.depth[AAA] = D(96)
    world.move("102.04")
    world.market.depth.clear()
    world.look()
    position = world.held()
    assert {leg.reason for leg in position.legs} == {ExitReason.TP1}
    assert sum(leg.quantity for leg in position.legs) == D("0.470")
    assert [(item.label, item.quantity) for item in position.tranches] == [("tp2", D("0.327")), ("runner", D("0.200"))]
    assert world.covered()
    assert sum(item.intent.quantity for item in world.live(Purpose.STOP)) == D("0.527")
    world.move("103.60")
    assert [leg.quantity for leg in world.held().legs if leg.reason is ExitReason.TP2] == [D("0.327")]


def test_a_target_whose_cancel_is_unclear_is_left_until_the_next_look(world: MoneyWorld) -> None:
    bare_with_a_partly_filled_target(world)
    world.market.move(AAA, "101")
    sent = world.faults.sent.total()
    world.faults.next("cancel_order", Fault.LOST)
    world.bot.protection.ensure(world.held())
    assert world.faults.sent.total() == sent
    world.look()
    assert world.covered()


def test_raising_a_stop_leaves_at_most_one_tranche_without_one_at_any_call(world: MoneyWorld) -> None:
    world.buy(AAA)
    seen = watch_uncovered(world)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    assert max(seen) == 1
    assert world.stops() == {"tp1": D("99.50"), "tp2": D("99.50"), "runner": D("99.50")}
    assert world.held().stop == D("99.50")
    assert world.covered()


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("create_oco", Fault.LOST),
        ("create_oco", Fault.UNHEARD),
        ("cancel_order", Fault.LOST),
        ("cancel_order", Fault.UNHEARD),
        ("order_status", Fault.TRANSIENT),
    ],
)
def test_raising_stops_over_a_bad_line_never_bares_two_tranches(world: MoneyWorld, method: str, fault: Fault) -> None:
    world.buy(AAA)
    seen = watch_uncovered(world)
    world.faults.next(method, fault)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    assert max(seen) <= 1
    for _ in range(4):
        world.look(5)
    assert world.covered()
    assert max(seen) <= 1
    assert min(world.stops().values()) >= D("98.50")
    assert world.never_sent_twice()


def test_a_tranche_bare_already_is_covered_before_another_ones_stop_is_moved(world: MoneyWorld) -> None:
    world.buy(AAA)
    runner = next(item for item in world.live() if item.intent.tranche == "runner")
    world.bot.venue.cancel(AAA, runner.intent.client_id, world.clock.now())
    world.bot.orders.refresh()
    seen = watch_uncovered(world)
    world.bot.protection.raise_stops(world.held(), D("99.50"))
    assert max(seen) == 1
    assert set(world.stops().values()) == {D("99.50")}


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER])
@pytest.mark.parametrize(("method", "number"), [("cancel_order", 0), ("create_oco", 0), ("create_oco", 1)])
def test_a_death_while_a_stop_is_moved_is_recovered_with_every_stop_resting(
    world: MoneyWorld, method: str, number: int, fault: Fault
) -> None:
    world.buy(AAA)
    world.faults.next(method, *[Fault.NONE] * number, fault)
    assert not world.survive(lambda: world.bot.protection.raise_stops(world.held(), D("99.50")))
    world.look(10)
    assert world.covered()
    assert min(world.stops().values()) >= D("98.50")
    assert world.never_sent_twice()
    assert world.bot.reconciler.differences() == {}


def test_a_death_at_any_commit_while_stops_are_moved_leaves_them_resting(new_world: NewWorld, tmp_path: Path) -> None:
    for after in (False, True):
        for number in range(1, 40):
            folder = tmp_path / f"{after}-{number}"
            folder.mkdir()
            world = new_world(folder)
            world.start()
            world.buy(AAA)
            world.faults.kill_after_commit = after
            world.faults.kill_at_commit = world.faults.commits + number
            lived = world.survive(lambda w=world: w.bot.protection.raise_stops(w.held(), D("99.50")))
            world.faults.heal()
            world.look(10)
            assert world.covered()
            assert world.held().stop >= D("98.50")
            assert world.never_sent_twice()
            world.bot.store.close()
            if lived:
                break
        assert number > 10


def test_stops_never_move_down_along_a_rising_and_falling_price(world: MoneyWorld) -> None:
    world.buy(AAA)
    lowest = D(0)
    for price in ("101", "102.5", "103", "102.8", "103.4", "103.2", "103.45", "103.1"):
        world.move(price, seconds=61)
        assert world.held().stop >= lowest
        assert min(world.stops().values()) >= lowest
        lowest = world.held().stop
    assert lowest > D("102")


def test_a_leg_cancelled_by_hand_is_placed_again(world: MoneyWorld) -> None:
    world.buy(AAA)
    target = next(item for item in world.live(Purpose.TARGET) if item.intent.tranche == "tp1")
    world.bot.venue.cancel(AAA, target.intent.client_id, world.clock.now())
    assert not world.covered()
    world.look()
    assert world.covered()
    assert set(world.stops()) == {"tp1", "tp2", "runner"}


def test_a_stop_raised_above_the_price_sells_instead_of_resting(world: MoneyWorld) -> None:
    world.buy(AAA)
    world.bot.protection.raise_stops(world.held(), D("100.50"))
    assert world.bot.positions.open_positions() == ()


def test_a_position_too_small_to_protect_is_sold(world: MoneyWorld) -> None:
    world.faults.before_call = lambda method, ids: world.market.depth.update({AAA: D("10.4")})
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    world.faults.before_call = lambda method, ids: None
    world.move("101")
    closed = world.last_closed()
    assert closed.close_reason is ExitReason.BELOW_MIN_SIZE
    assert closed.legs[0].price == D("100.99")
    assert closed.dust_quantity == D("0.000949")
    assert world.bot.reconciler.differences() == {}


def test_one_symbols_trouble_does_not_keep_the_others_from_being_looked_at(world: MoneyWorld) -> None:
    world.buy(AAA, BBB)
    stop = next(item for item in world.live(Purpose.STOP) if item.intent.symbol == AAA)
    world.bot.venue.cancel(AAA, stop.intent.client_id, world.clock.now())
    ensure = world.bot.protection.ensure

    def failing(position: Position, wanted: Decimal = NOTHING) -> None:
        if position.symbol == AAA:
            raise MarketDataError("gone in between")
        ensure(position, wanted)

    world.bot.protection.ensure = failing  # type: ignore[method-assign]
    before = world.held(BBB).max_price_seen
    world.move("100.9", BBB)
    assert world.held(BBB).max_price_seen > before


def test_a_start_without_a_quote_for_what_is_held_protects_it_later(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.KILL_AFTER)
    with pytest.raises(Killed):
        world.buy(AAA)
    world.market.down.add(AAA)
    world.restart()
    world.market.down.clear()
    world.look(5)
    assert world.covered()


def test_the_time_of_the_first_full_protection_is_kept(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.LOST)
    world.buy(AAA)
    assert world.held().protected_at is None
    world.look(9)
    first = world.held().protected_at
    assert first == world.clock.now()
    world.look(60)
    assert world.held().protected_at == first
    assert world.kinds().count("PositionProtected") == 1


def test_a_stop_is_not_replaced_more_often_than_the_settings_allow(new_world: NewWorld, tmp_path: Path) -> None:
    settings = money_settings(exchange={"orders": {"stop_replace_min_interval_sec": 60}})
    world = new_world(tmp_path, settings)
    world.market.rule_changes = {"trailing_allowed": False}
    world.start()
    world.buy(AAA)
    world.move("102.5")
    first = world.stops()
    world.move("103.2", seconds=59)
    assert world.stops() == first
    world.look(1)
    assert min(world.stops().values()) > min(first.values())
    assert world.held().stop_replaced_at == world.clock.now()
    assert world.clock.now() - world.held().opened_at == timedelta(seconds=65)
