"""Balances, limits, refused sales and lost time while a position is protected, made to happen at the venue."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import MarketDataError, Refused, Unreachable
from bn_ml.venue.orders import OrderRequest
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import (
    BANNED,
    LATE,
    ODD,
    TOO_MANY,
    before_first,
    cancel_by_hand,
    foreign_sale,
    foreign_stop,
    heal,
    offered,
    refuse,
    state,
)
from trader.unprotected import KEY

D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path, money_settings())
    made.start()
    return made


class TestBalances:
    def test_what_another_program_locks_is_covered_once_it_is_free_again(self, world: MoneyWorld) -> None:
        before_first(world, "create_oco", lambda: foreign_sale(world, "0.3"))
        world.buy(AAA)
        assert offered(world) <= D("0.697")
        assert world.held().legs == ()
        world.bot.venue.cancel(AAA, "theirs", world.clock.now())
        for _ in range(4):
            world.look(5)
        assert world.covered()
        assert offered(world) == D("0.997")
        assert world.never_sent_twice()

    def test_a_stop_for_what_is_free_is_widened_when_the_rest_comes_back(self, world: MoneyWorld) -> None:
        foreign_stop(world, *range(4))
        before_first(world, "create_order", lambda: None)
        heal(world)

        def lock_some(called: str, client_ids: tuple[str, ...]) -> None:
            record = world.bot.store.intent(client_ids[0]) if called == "create_order" else None
            if record is not None and record.intent.purpose is Purpose.STOP:
                heal(world)
                foreign_sale(world, "0.3")

        world.faults.before_call = lock_some
        world.buy(AAA)
        assert offered(world) == D("0.697")
        for seconds in (5, 1):
            world.look(seconds)
            assert offered(world) == D("0.697")
        world.bot.venue.cancel(AAA, "theirs", world.clock.now())
        for _ in range(3):
            world.look(5)
        assert offered(world) == D("0.997")

    def test_a_position_sold_by_hand_halts_and_is_never_sold_by_us(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        cancel_by_hand(world)
        by_hand = OrderRequest(AAA, Side.SELL, OrderType.MARKET, "hand", D("0.997"))
        world.bot.venue.place(by_hand, world.clock.now())
        world.look(5)
        assert world.live() == []
        assert not any(fill.side is Side.SELL for fill in world.bot.store.fills_of_position(world.held().position_id))
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=61))
        world.bot.reconciler.check_if_due()
        world.look(5)
        world.bot.reconciler.check()
        assert state(world) is ControlState.HALTED
        assert world.held().legs == ()

    def test_a_sale_of_more_than_is_free_sells_what_is_free(self, world: MoneyWorld) -> None:
        world.buy(AAA)

        def lock_some(called: str, client_ids: tuple[str, ...]) -> None:
            if called == "create_order":
                heal(world)
                foreign_sale(world, "0.3")

        world.faults.before_call = lock_some
        world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
        assert [leg.quantity for leg in world.held().legs] == [D("0.697")]
        world.bot.venue.cancel(AAA, "theirs", world.clock.now())
        world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
        assert world.last_closed().close_reason is ExitReason.TIME_STOP


class TestPassingTrouble:
    @pytest.mark.parametrize("error", [TOO_MANY, LATE, BANNED])
    def test_limits_and_clock_are_waited_out_and_nothing_is_sold(self, world: MoneyWorld, error: Refused) -> None:
        refuse(world, error)
        world.buy(AAA)
        for _ in range(4):
            world.look(5)
        assert world.held().legs == ()
        heal(world)
        world.look(10)
        assert world.covered()
        assert world.held().legs == ()

    @pytest.mark.parametrize("times", [1, 2])
    def test_a_stop_that_came_too_late_is_placed_again_at_once(self, world: MoneyWorld, times: int) -> None:
        left = [LATE] * times

        def hook(called: str, client_ids: tuple[str, ...]) -> None:
            if called == "create_oco" and left:
                raise left.pop()

        world.faults.before_call = hook
        world.buy(AAA)
        assert world.covered()
        assert world.held().legs == ()

    def test_a_sale_that_came_too_late_is_sent_again_at_once(self, world: MoneyWorld) -> None:
        world.buy(AAA)

        def act() -> None:
            raise LATE

        before_first(world, "create_order", act)
        world.look(24 * 3600)
        assert world.last_closed().close_reason is ExitReason.TIME_STOP

    def test_bars_that_cannot_be_read_stop_nothing_while_the_quote_is_fresh(self, world: MoneyWorld) -> None:
        world.buy(AAA)

        def broken(*arguments: object) -> None:
            raise MarketDataError("no bars")

        world.market.path = broken  # type: ignore[method-assign,assignment]
        world.bot.paper._try_up_to_date = lambda symbol: None  # type: ignore[method-assign]
        cancel_by_hand(world)
        world.bot.paper._bring_up_to_date = lambda symbol, now: True  # type: ignore[method-assign]
        world.look(5)
        assert world.covered()
        world.look(24 * 3600)
        assert world.last_closed().close_reason is ExitReason.TIME_STOP

    def test_urgent_looks_ask_only_for_doubtful_orders(self, world: MoneyWorld) -> None:
        world.faults.next("create_oco", Fault.UNHEARD)
        world.buy(AAA)
        before = len(world.faults.calls)
        world.bot.exits.run(urgent=True)
        assert {method for method, _ in world.faults.calls[before:]} == {"order_status"}
        assert world.covered()

    def test_waiting_does_not_send_an_order_at_every_look(self, world: MoneyWorld) -> None:
        refuse(world, TOO_MANY)
        world.buy(AAA)
        before = sum(method == "create_oco" for method, _ in world.faults.calls)
        for _ in range(20):
            world.look(1)
        assert sum(method == "create_oco" for method, _ in world.faults.calls) - before <= 4

    def test_thirty_seconds_without_a_stop_on_a_reachable_exchange_sell_and_end_entries(
        self, world: MoneyWorld
    ) -> None:
        refuse(world, TOO_MANY)
        world.buy(AAA)
        for _ in range(6):
            world.look(5)
        assert world.held().legs == ()
        assert world.bot.exits.missing_stops(world.clock.now()) == ()
        world.look(5)
        assert world.last_closed().close_reason is ExitReason.PROTECTION_FAILED
        assert (state(world), world.bot.store.control().set_by) == (ControlState.REDUCE_ONLY, "engine")
        assert world.bot.reconciler.differences() == {}

    def test_while_the_sale_is_refused_too_it_is_tried_on_and_the_stop_comes_first_when_it_can(
        self, world: MoneyWorld
    ) -> None:
        refuse(world, TOO_MANY, sales=True)
        world.buy(AAA)
        for _ in range(12):
            world.look(5)
        assert world.held().legs == ()
        assert world.bot.exits.missing_stops(world.clock.now()) == (AAA,)
        assert state(world) is ControlState.REDUCE_ONLY
        heal(world)
        world.look(10)
        assert world.covered()

    def test_time_while_the_exchange_is_away_does_not_count(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        cancel_by_hand(world)
        world.bot.orders.refresh()

        def away(called: str, client_ids: tuple[str, ...]) -> None:
            raise Unreachable("no route")

        world.faults.before_call = away
        for _ in range(12):
            with contextlib.suppress(Unreachable):
                world.look(5)
        heal(world)
        for _ in range(4):
            world.look(5)
        assert world.covered()
        assert world.held().legs == ()
        assert state(world) is ControlState.NORMAL

    def test_a_stop_is_placed_also_without_a_price(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        quote = world.market.quote(AAA)
        world.bot.paper._max_quote_age = timedelta(hours=1)
        world.market.frozen_at[AAA] = quote.at
        world.look(45)
        assert world.covered()

    def test_a_stop_refused_as_triggered_although_our_price_is_above_it_is_sold_as_a_stop(
        self, world: MoneyWorld
    ) -> None:
        refuse(world, Refused("Order would trigger immediately.", -2010))
        world.buy(AAA)
        closed = world.last_closed()
        assert {leg.reason for leg in closed.legs} == {ExitReason.STOP_LOSS}

    def test_a_target_refused_as_crossing_although_our_price_is_below_it_is_taken(self, world: MoneyWorld) -> None:
        refuse(world, Refused("Order would immediately match and take.", -2010))
        world.buy(AAA)
        reasons = {leg.reason for leg in world.last_closed().legs}
        assert {ExitReason.TP1, ExitReason.TP2} <= reasons

    def test_a_symbol_closed_by_the_venue_before_our_rules_know_it_is_waited_for(self, world: MoneyWorld) -> None:
        refuse(world, Refused("Market is closed.", -1013))
        world.buy(AAA)
        assert world.held().legs == ()
        heal(world)
        world.look(5)
        assert world.covered()


class TestCloses:
    def test_a_refused_sale_gets_its_stop_back_and_is_tried_again(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("create_order", Fault.REFUSED)
        world.look(24 * 3600)
        assert world.covered()
        assert set(world.stops().values()) == {D("98.50")}
        assert world.held().close_blocked_reason == "-1013 Filter failure: NOTIONAL"
        world.look(5)
        assert world.last_closed().close_reason is ExitReason.TIME_STOP
        assert world.never_sent_twice()

    def test_a_sale_refused_again_and_again_stays_stopped_in_between(self, world: MoneyWorld) -> None:
        world.buy(AAA)

        def no_sales(called: str, client_ids: tuple[str, ...]) -> None:
            record = world.bot.store.intent(client_ids[0]) if called == "create_order" else None
            if record is not None and record.intent.purpose is Purpose.EXIT:
                raise ODD

        world.faults.before_call = no_sales
        world.look(24 * 3600)
        for _ in range(8):
            assert world.covered()
            world.look(5)
        sales = [item for item in world.bot.store.recent_intents(200) if item.intent.purpose is Purpose.EXIT]
        assert 2 <= len(sales) <= 6
        assert world.bot.reconciler.differences() == {}

    def test_a_stop_that_comes_back_is_never_lower_than_the_highest_before(self, world: MoneyWorld) -> None:
        world.market.rule_changes = {"trailing_allowed": False}
        world.buy(AAA)
        world.move("102.04")
        highest = max(world.stops().values())
        world.faults.next("create_order", Fault.REFUSED)
        world.look(24 * 3600)
        assert min(world.stops().values()) >= highest

    @pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNHEARD])
    def test_a_sale_without_answer_is_resolved_and_the_position_not_sold_twice(
        self, world: MoneyWorld, fault: Fault
    ) -> None:
        world.buy(AAA)
        world.faults.next("create_order", fault)
        world.look(24 * 3600)
        for _ in range(4):
            world.look(5)
        closed = world.last_closed()
        assert sum(leg.quantity for leg in closed.legs) == D("0.997")
        assert world.never_sent_twice()

    def test_a_halted_bot_that_flattens_tries_its_sale_at_every_look(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.store.set_control(ControlState.HALTED, "kill_switch: operator", "operator", world.clock.now())
        world.faults.next("create_order", Fault.REFUSED, Fault.REFUSED)
        for _ in range(3):
            world.look(1)
        assert world.last_closed().close_reason is ExitReason.KILL_SWITCH

    def test_a_sale_beyond_the_largest_market_order_goes_in_parts(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.market.rule_changes = {"market_max_quantity": D("0.4")}
        world.look(24 * 3600)
        for _ in range(4):
            world.look(5)
        closed = world.last_closed()
        assert [leg.quantity for leg in closed.legs] == [D("0.400"), D("0.400"), D("0.197")]
        assert {leg.reason for leg in closed.legs} == {ExitReason.TIME_STOP}


class TestUnprotectedTime:
    def slow(self, world: MoneyWorld) -> None:
        """Every call takes a second."""

        def hook(called: str, client_ids: tuple[str, ...]) -> None:
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))

        world.faults.before_call = hook

    def test_it_runs_from_the_fill_to_the_last_stop(self, world: MoneyWorld) -> None:
        self.slow(world)
        world.buy(AAA)
        kept = world.bot.store.get(KEY)
        assert kept == {"count": 3, "last_s": 3.0, "longest_s": 3.0, "since": None}

    def test_a_stop_replaced_in_one_request_is_never_missing(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        self.slow(world)
        world.bot.protection.raise_stops(world.held(), D("99.50"))
        kept = world.bot.store.get(KEY)
        assert kept == {"count": 2, "last_s": 3.0, "longest_s": 3.0, "since": None}

    def test_it_is_told_while_it_lasts_and_kept_over_restarts(self, world: MoneyWorld) -> None:
        refuse(world, TOO_MANY)
        world.buy(AAA)
        begun = world.held().opened_at
        world.look(5)
        kept = world.bot.store.get(KEY)
        assert isinstance(kept, dict)
        assert kept["since"] == begun.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        world.restart()
        heal(world)
        world.look(5)
        kept = world.bot.store.get(KEY)
        assert isinstance(kept, dict)
        assert kept["since"] is None
        assert kept["longest_s"] >= 5

    def test_a_position_that_closes_ends_it(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        refuse(world, TOO_MANY)
        world.look(5)
        world.bot.protection.close(world.held(), ExitReason.TIME_STOP)
        world.look(5)
        kept = world.bot.store.get(KEY)
        assert isinstance(kept, dict)
        assert kept["since"] is None
