"""Places, replacements and changes of the venue that could leave a position without its stop, made to happen there."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import Refused
from bn_ml.venue.errors import VenueError
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import (
    BANNED,
    LATE,
    ODD,
    TOO_MANY,
    before_first,
    cancel_by_hand,
    foreign_stop,
    labels,
    offered,
    state,
)

D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    return made


class TestPlaces:
    @pytest.mark.parametrize(
        ("theirs", "expected"), [(2, ["tp1", "tp2", "runner"]), (3, ["tp1", "runner"]), (4, ["runner"])]
    )
    def test_other_programs_stops_leave_fewer_tranches_that_cover_everything(
        self, world: MoneyWorld, theirs: int, expected: list[str]
    ) -> None:
        foreign_stop(world, *range(theirs))
        world.buy(AAA)
        assert labels(world) == expected
        assert world.covered()
        assert offered(world) == D("0.997")
        assert world.bot.orders.refusals_in_row == 0

    def test_without_a_place_for_one_stop_nothing_is_bought(self, world: MoneyWorld) -> None:
        foreign_stop(world, *range(5))
        report = world.buy(AAA)
        assert report.refusals["no_valid_stop"] == 1
        assert world.faults.sent.total() == 0

    def test_while_the_places_are_unknown_nothing_is_bought(self, world: MoneyWorld) -> None:
        world.faults.next("open_orders", Fault.TRANSIENT)
        report = world.buy(AAA)
        assert report.refusals["no_valid_stop"] == 1
        assert world.faults.sent.total() == 0

    @pytest.mark.parametrize(("theirs", "expected"), [(3, ["tp1", "runner"]), (4, ["runner"])])
    def test_places_lost_after_the_purchase_make_fewer_tranches_and_no_sale(
        self, world: MoneyWorld, theirs: int, expected: list[str]
    ) -> None:
        before_first(world, "create_oco", lambda: foreign_stop(world, *range(theirs)))
        world.buy(AAA)
        assert len(labels(world)) == len(expected)
        assert world.covered()
        assert offered(world) == D("0.997")
        assert world.held().legs == ()

    def test_no_place_at_all_waits_and_is_sold_only_after_thirty_seconds(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: foreign_stop(world, *range(5)))
        world.buy(AAA)
        for _ in range(6):
            world.look(5)
        assert world.held().legs == ()
        assert state(world) is ControlState.NORMAL
        world.look(5)
        assert world.last_closed().close_reason is ExitReason.PROTECTION_FAILED
        assert (state(world), world.bot.store.control().reason) == (ControlState.REDUCE_ONLY, "missing_stop")

    def test_a_place_that_becomes_free_in_time_is_used(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: foreign_stop(world, *range(5)))
        world.buy(AAA)
        world.look(5)
        world.bot.venue.cancel(AAA, "theirs-0", world.clock.now())
        world.look(10)
        assert world.covered()
        assert labels(world) == ["runner"]

    def test_a_symbol_without_lists_is_held_with_one_plain_stop(self, world: MoneyWorld) -> None:
        world.market.rule_changes = {"lists_allowed": False}
        world.buy(AAA)
        assert labels(world) == ["runner"]
        assert world.covered()
        world.move("102.5")
        assert world.held().stop > D("100.2")

    def test_a_list_limit_unknown_to_us_is_met_with_a_plain_stop(self, world: MoneyWorld) -> None:
        refuse_lists = Refused("Filter failure: MAX_NUM_ORDER_LISTS", -2010)

        def hook(called: str, client_ids: tuple[str, ...]) -> None:
            if called == "create_oco":
                raise refuse_lists

        world.faults.before_call = hook
        world.buy(AAA)
        assert labels(world) == ["runner"]
        assert world.covered()
        assert offered(world) == D("0.997")

    def test_a_symbol_that_takes_no_stops_is_not_bought(self, world: MoneyWorld) -> None:
        world.market.rule_changes = {"stops_allowed": False}
        assert world.buy(AAA).refusals["no_valid_stop"] == 1


class TestReplacing:
    def test_a_half_done_replacement_below_the_new_stop_is_sold(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before_first(world, "replace_order", lambda: world.market.move(AAA, "99.2"))
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        (leg,) = [leg for leg in world.held().legs if leg.quantity == D("0.200")]
        assert (leg.reason, leg.price) == (ExitReason.STOP_LOSS, D("99.19"))
        assert world.never_sent_twice()

    def test_a_half_done_replacement_is_placed_again_at_once(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        entry = world.bot.venue._entry
        real = entry.place

        def refusing(*arguments: object) -> object:
            entry.place = real  # type: ignore[method-assign]
            raise VenueError(-1013, "Filter failure: MAX_POSITION")

        def break_once() -> None:
            entry.place = refusing  # type: ignore[method-assign,assignment]

        before_first(world, "replace_order", break_once)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        assert world.covered()
        assert set(world.stops().values()) == {D("99.50")}
        assert world.held().legs == ()

    @pytest.mark.parametrize("error", [ODD, TOO_MANY, LATE, BANNED])
    def test_a_refused_replacement_keeps_the_old_stop(self, world: MoneyWorld, error: Refused) -> None:
        world.buy(AAA)

        def act() -> None:
            raise error

        before_first(world, "replace_order", act)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        assert world.covered()
        assert world.stops() == {"tp1": D("99.50"), "tp2": D("99.50"), "runner": D("98.50")}
        assert world.held().stop == D("98.50")
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        assert set(world.stops().values()) == {D("99.50")}
        assert world.held().stop == D("99.50")

    def test_a_full_quota_that_blocks_the_replacement_moves_the_stop_by_cancel_and_placing(
        self, world: MoneyWorld
    ) -> None:
        world.buy(AAA)
        foreign_stop(world, 1, 2)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        assert world.covered()
        assert world.stops() == {
            "tp1": D("99.50"),
            "tp2": D("99.50"),
            "runner": D("99.50"),
            "theirs-1": D(150),
            "theirs-2": D(150),
        }

    def test_a_symbol_without_cancel_replace_moves_its_stops_one_after_the_other(self, world: MoneyWorld) -> None:
        world.market.rule_changes = {"replace_allowed": False}
        world.buy(AAA)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        assert set(world.stops().values()) == {D("99.50")}
        assert "replace_order" not in [method for method, _ in world.faults.calls]

    def test_a_stop_that_triggers_before_the_replacement_arrives_stays_sold(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before_first(world, "replace_order", lambda: world.market.move(AAA, "98.4"))
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        world.look()
        closed = world.last_closed()
        assert sum(leg.quantity for leg in closed.legs) == D("0.997")
        assert world.bot.reconciler.differences() == {}

    def test_a_replacement_without_answer_is_resolved_before_anything_else(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("replace_order", Fault.LOST)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        sent = world.faults.sent.total()
        world.look(5)
        assert world.faults.sent.total() == sent
        world.look(5)
        assert world.covered()
        assert min(world.stops().values()) >= D("98.50")


class TestVenueChanges:
    def test_a_tick_changed_between_split_and_placement_is_met_at_the_second_try(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: world.market.rule_changes.update(tick=D("0.05")))
        world.buy(AAA)
        assert world.covered()
        targets = {item.intent.limit_price for item in world.live(Purpose.TARGET)}
        assert targets == {D("102.05"), D("103.55")}

    def test_a_coarser_step_leaves_no_more_than_a_step_without_a_stop(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: world.market.rule_changes.update(step=D("0.1")))
        world.buy(AAA)
        world.look(5)
        assert world.covered()
        assert offered(world) == D("0.9")
        world.market.rule_changes.update(step=D("0.001"))
        world.look(5)
        assert world.covered()
        assert offered(world) == D("0.997")

    def test_a_minimum_raised_between_split_and_placement_joins_tranches(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: world.market.rule_changes.update(min_notional=D(25)))
        world.buy(AAA)
        assert world.covered()
        assert labels(world) == ["tp1", "tp2"]
        assert offered(world) == D("0.997")

    def test_a_stop_that_found_no_buyer_for_a_part_has_the_part_sold(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.market.depth[AAA] = D(80)
        world.move("98.40")
        expired = [item for item in world.bot.store.recent_intents(50) if item.state is IntentState.EXPIRED]
        assert any(item.intent.purpose is Purpose.STOP and item.filled_quantity > 0 for item in expired)
        world.market.depth.clear()
        world.look(5)
        closed = world.last_closed()
        assert closed.close_reason is ExitReason.STOP_LOSS
        assert sum(leg.quantity for leg in closed.legs) == D("0.997")

    def test_an_expired_stop_is_placed_again_when_the_price_is_back_above_it(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.market.depth[AAA] = D(80)
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
        world.market.move(AAA, "98.40")
        world.bot.orders.refresh()
        world.market.depth.clear()
        world.move("99.50")
        assert world.covered()
        assert min(world.stops().values()) >= D("98.50")

    def test_a_whole_list_that_vanished_is_placed_again(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        gone = {item.intent.client_id for item in world.live()}
        cancel_by_hand(world)
        real = world.bot.paper.order_status
        world.bot.paper.order_status = (  # type: ignore[method-assign]
            lambda symbol, client_id: None if client_id in gone else real(symbol, client_id)
        )
        for _ in range(8):
            world.look(5)
        assert world.covered()
        assert not gone & {item.intent.client_id for item in world.live()}
        assert world.held().legs == ()
