"""Control states, reconciliation and the loop itself: what halts, what refuses entries only, and what goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.client_ids import make_client_id
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import BundleRefused, Event
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import Refused, StateError
from bn_ml.journal import export_journal
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, BTC, CCC, MoneyWorld, NewWorld, money_settings

D = Decimal
ORPHAN = make_client_id("bnml", "zzzzzz", 1)


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def state(world: MoneyWorld) -> ControlState:
    return world.bot.store.control().state


def halt(world: MoneyWorld, reason: str) -> None:
    world.bot.store.set_control(ControlState.HALTED, reason, "operator", world.clock.now())


def foreign_order(world: MoneyWorld, client_id: str, quantity: str = "0.2") -> None:
    intent = OrderIntent(
        client_id,
        AAA,
        Side.BUY,
        OrderType.LIMIT,
        D(quantity),
        Purpose.ENTRY,
        "nobody",
        world.clock.now(),
        limit_price=D(90),
        time_in_force=TimeInForce.GTC,
    )
    world.bot.paper.create_order(intent)


class TestReconciliation:
    def test_an_order_of_ours_without_an_intent_halts_and_is_named(self, world: MoneyWorld) -> None:
        foreign_order(world, ORPHAN)
        world.bot.reconciler.check()
        control = world.bot.store.control()
        assert (control.state, control.reason) == (ControlState.HALTED, f"orphan_order: {ORPHAN}")
        assert world.recorder.of("ControlChanged")[-1].state == "HALTED"

    def test_an_order_of_somebody_else_is_left_alone(self, world: MoneyWorld) -> None:
        foreign_order(world, "manual-1")
        world.bot.reconciler.check()
        assert state(world) is ControlState.NORMAL
        assert [order.client_id for order in world.bot.venue.open_orders()] == ["manual-1"]

    def test_a_balance_nobody_can_explain_halts_with_a_table(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.venue.deposit("AAA", D("0.5"))
        world.bot.venue.deposit("USDC", D(7))
        world.look(11)
        world.bot.reconciler.check()
        control = world.bot.store.control()
        assert control.state is ControlState.HALTED
        assert control.reason == "unexplained_balance: exchange minus ledger AAA +0.50000000, USDC +7.00000000" or (
            "AAA +0.5" in control.reason and "USDC +7" in control.reason
        )
        world.move("97")
        assert world.bot.positions.open_positions() == (), "stops at the exchange protect a halted book"

    def test_a_halt_by_reconciliation_sells_nothing(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.venue.deposit("USDC", D(7))
        world.look(11)
        world.bot.reconciler.check()
        assert state(world) is ControlState.HALTED
        world.look(60)
        assert world.covered()
        assert world.buy(BBB).refusals == {"control_state": 1}

    def test_a_fill_during_the_check_is_no_difference(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.market.move(AAA, "102.1")
        world.bot.reconciler.check()
        assert state(world) is ControlState.NORMAL
        assert world.held().tp1_hit

    def test_a_fill_booked_by_the_check_does_not_count_as_a_missing_stop(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.look(60)
        world.market.move(AAA, "102.1")
        world.bot.reconciler.check()
        assert world.bot.exits.missing_stops(world.clock.now()) == ()

    def test_nothing_is_compared_while_an_order_is_unknown(self, world: MoneyWorld) -> None:
        world.faults.next("create_order", Fault.UNHEARD)
        world.buy(AAA)
        world.bot.reconciler.check()
        assert state(world) is ControlState.NORMAL

    def test_it_compares_once_a_minute_and_again_soon_after_a_failed_look(self, world: MoneyWorld) -> None:
        def looks() -> int:
            return sum(method == "balances" for method, _ in world.faults.calls)

        world.bot.reconciler.check_if_due()
        before = looks()
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=59))
        world.bot.reconciler.check_if_due()
        assert looks() == before
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
        world.faults.next("open_orders", Fault.TRANSIENT)
        assert world.cycle().errors
        world.bot.reconciler.check_if_due()
        assert looks() == before + 1

    def test_a_restart_neither_opens_nor_closes(self, world: MoneyWorld) -> None:
        world.buy(AAA, BBB)
        before = (world.bot.positions.open_positions(), world.bot.orders.open_intents(), world.bot.engine.account())
        sent = world.faults.sent.total()
        world.restart()
        assert (world.bot.positions.open_positions(), world.bot.orders.open_intents()) == before[:2]
        assert world.bot.engine.account() == before[2]
        assert world.faults.sent.total() == sent

    def test_every_start_begins_a_new_epoch_in_the_state_that_was_left(self, world: MoneyWorld) -> None:
        halt(world, "orphan_order: x")
        before = world.bot.store.control()
        world.restart()
        after = world.bot.store.control()
        assert after.epoch == before.epoch + 1
        assert (after.state, after.reason, after.since) == (before.state, before.reason, before.since)

    def test_a_process_of_an_older_epoch_can_write_no_order(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.store.start_epoch(world.clock.now(), "another process")
        intent = world.live(Purpose.STOP)[0].intent
        with pytest.raises(StateError, match="owned by epoch"):
            world.bot.orders.commit(intent)

    def test_a_halt_by_another_process_leaves_the_book_to_its_owner(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        owner = world.bot.store.control().owner
        halted = world.bot.store.set_control(ControlState.HALTED, "kill_switch", "operator", world.clock.now())
        assert (halted.owner, halted.epoch > owner) == (owner, True)
        world.look()
        assert world.bot.positions.open_positions() == ()

    def test_a_fill_made_while_the_bot_was_dead_is_booked_and_the_rest_protected(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.clock.sleep_until(world.clock.now() + timedelta(minutes=10))
        world.market.move(AAA, "102.1", world.clock.now() - timedelta(minutes=5))
        world.restart()
        assert world.held().tp1_hit
        assert world.covered()
        assert world.bot.reconciler.differences() == {}

    def test_a_death_right_after_the_first_buy_keeps_the_opening_equity(self, world: MoneyWorld) -> None:
        world.scanner.want(AAA)
        world.faults.next("create_order", Fault.KILL_AFTER)
        assert not world.survive(world.cycle)
        account = world.bot.engine.account()
        assert account.day.opening_equity == 1000
        assert account.equity_peak >= 1000


class TestControlStates:
    def test_halted_refuses_entries_and_stops_but_not_exits(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        halt(world, "orphan_order: x")
        assert world.buy(BBB).refusals == {"control_state": 1}
        stop = world.live(Purpose.STOP)[0].intent
        with pytest.raises(Refused, match="HALTED"):
            world.bot.orders.commit(stop)
        world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
        assert world.bot.positions.open_positions() == ()

    def test_a_kill_switch_flattens_at_the_next_look(self, world: MoneyWorld) -> None:
        world.buy(AAA, BBB)
        halt(world, "kill_switch: operator")
        world.look()
        assert world.bot.positions.open_positions() == ()
        assert world.live() == []
        assert {item.close_reason for item in world.bot.store.closed_positions()} == {ExitReason.KILL_SWITCH}

    def test_reduce_only_refuses_entries_only(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.store.set_control(ControlState.REDUCE_ONLY, "clock", "operator", world.clock.now())
        stop = world.live(Purpose.STOP)[0]
        world.bot.venue.cancel(AAA, stop.intent.client_id, world.clock.now())
        assert world.buy(BBB).refusals == {"control_state": 1}
        assert world.covered()

    def test_stale_prices_reduce_and_fresh_ones_clear(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.market.down.add(BTC)
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=30))
        assert world.cycle().control.state is ControlState.NORMAL
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
        report = world.buy(BBB)
        assert (report.control.state, report.control.reason) == (ControlState.REDUCE_ONLY, "stale_prices")
        assert report.refusals == {"control_state": 1}
        world.market.down.clear()
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=120))
        assert world.cycle().control.state is ControlState.NORMAL
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=120))
        assert world.buy(BBB).opened == 1

    def test_a_drawdown_halts_and_flattens(self, new_world: NewWorld, tmp_path: Path) -> None:
        world = new_world(tmp_path, money_settings(risk={"max_drawdown_pct": 0.005}))
        world.start()
        world.buy(AAA, BBB, CCC)
        for symbol in (AAA, BBB):
            world.market.move(symbol, "96")
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=60))
        report = world.cycle()
        assert report.control.state is ControlState.HALTED
        assert report.control.reason.startswith("breaker_drawdown")
        assert any(item.breaker == "breaker_drawdown" for item in world.recorder.of("BreakerTripped"))
        assert [item.symbol for item in world.bot.positions.open_positions()] == [CCC]
        world.look()
        assert world.bot.positions.open_positions() == ()
        world.restart()
        assert state(world) is ControlState.HALTED

    def test_a_daily_loss_stops_entries_until_the_next_utc_day(self, new_world: NewWorld, tmp_path: Path) -> None:
        world = new_world(tmp_path, money_settings(risk={"max_loss_per_day": 0.005, "symbol_cooldown_min": 0}))
        world.start()
        world.buy(AAA, BBB)
        for symbol in (AAA, BBB):
            world.market.move(symbol, "97")
        world.look()
        world.clock.sleep_until(world.clock.now() + timedelta(minutes=5))
        report = world.buy(CCC)
        assert report.refusals == {"breaker_daily_loss": 1}
        assert report.control.state is ControlState.NORMAL
        midnight = datetime.fromisoformat("2023-06-11T00:00:00+00:00")
        world.clock.sleep_until(midnight - timedelta(seconds=1))
        assert world.buy(CCC).refusals == {"breaker_daily_loss": 1}
        world.clock.sleep_until(midnight)
        assert world.buy(CCC).opened == 1
        assert [item.breaker for item in world.recorder.of("BreakerCleared")] == ["breaker_daily_loss"]


class FailingBackground:
    def collect(self, now: datetime) -> Sequence[Event]:
        raise RuntimeError("the trainer broke")


class TellingBackground:
    def collect(self, now: datetime) -> Sequence[Event]:
        return (BundleRefused(now, AAA, "bundle_stale"),)


class TestEngine:
    def test_a_scanner_that_raises_ends_the_cycle_and_the_next_one_works(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.scanner.broken = True
        report = world.buy(BBB)
        assert report.opened == 0
        assert report.scan is None
        assert report.errors == ("scan: RuntimeError: the scanner broke",)
        assert world.recorder.of("CycleFailed")[-1].stage == "scan"
        world.scanner.broken = False
        assert world.buy(BBB).opened == 1

    def test_a_symbol_without_a_quote_is_skipped_and_the_others_are_bought(self, world: MoneyWorld) -> None:
        world.market.down.add(AAA)
        report = world.buy(AAA, BBB)
        assert (report.opened, report.refusals, report.errors) == (1, {"data_unavailable": 1}, ())

    def test_a_held_symbol_without_a_quote_keeps_its_last_mark(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before = world.bot.engine.account().equity
        world.market.down.add(AAA)
        report = world.cycle()
        assert report.errors == ()
        assert report.account.equity == before

    def test_a_watcher_that_raises_disturbs_nothing(self, new_world: NewWorld, tmp_path: Path) -> None:
        def broken(report: object) -> None:
            raise RuntimeError("the watcher broke")

        world = new_world(tmp_path, watchers=(broken,))
        world.start()
        assert world.buy(AAA).opened == 1
        assert len(world.reports) == 1

    def test_a_failing_background_costs_entries_but_never_the_exits(self, new_world: NewWorld, tmp_path: Path) -> None:
        world = new_world(tmp_path)
        world.start()
        world.buy(AAA)
        world._background = (FailingBackground(),)
        world.restart()
        world.market.move(AAA, "97")
        report = world.buy(BBB)
        assert report.opened == 0
        assert report.errors[0].startswith("adopt: RuntimeError")
        assert world.bot.positions.open_positions() == ()

    def test_what_background_work_tells_is_journaled(self, new_world: NewWorld, tmp_path: Path) -> None:
        world = new_world(tmp_path, background=(TellingBackground(),))
        world.start()
        world.cycle()
        assert "BundleRefused" in world.kinds()

    def test_an_exchange_away_ends_the_cycle_without_entries(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("open_orders", Fault.TRANSIENT)
        report = world.buy(BBB)
        assert report.opened == 0
        assert report.errors == ("manage: Transient: 503",)

    def test_books_that_cannot_be_written_leave_the_loop(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.store.close()
        with pytest.raises(StateError):
            world.cycle()

    def test_a_stop_between_scan_and_entries_opens_nothing(self, world: MoneyWorld) -> None:
        asked: list[bool] = []

        def wanted(now: datetime) -> list[str]:
            asked.append(True)
            return [AAA]

        world.scanner.wanted = wanted  # type: ignore[assignment]
        world.bot.engine.run(lambda: bool(asked))
        assert world.reports[-1].scan is not None
        assert world.reports[-1].opened == 0
        assert world.faults.sent == {}

    def test_the_loop_scans_on_whole_intervals_and_looks_in_between(self, world: MoneyWorld) -> None:
        world.scanner.want(AAA)
        world.bot.engine.run(lambda: False, max_cycles=3)
        times = [report.at for report in world.reports]
        assert [(at.minute, at.second) for at in times] == [(0, 0), (5, 0), (10, 0)]
        looks = sum(method == "open_orders" for method, _ in world.faults.calls)
        assert looks > 2 * (300 // 5 - 1)

    def test_recovery_waits_for_an_exchange_that_is_away(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("open_orders", Fault.TRANSIENT, Fault.TRANSIENT)
        before = world.clock.now()
        world.bot.engine.run(lambda: False, max_cycles=1)
        assert world.reports[-1].errors == ()
        assert world.clock.now() - before == timedelta(seconds=1 + 2)

    def test_a_stop_during_recovery_runs_no_cycle(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("open_orders", *[Fault.TRANSIENT] * 3)
        end = world.clock.now() + timedelta(seconds=8)
        world.bot.engine.run(lambda: world.clock.now() >= end)
        assert len(world.reports) == 1

    def test_cycle_numbers_go_on_after_a_restart(self, world: MoneyWorld) -> None:
        world.cycle()
        world.cycle()
        world.restart()
        assert world.cycle().cycle == 3

    def test_a_look_that_fails_is_recorded_and_the_loop_goes_on(self, world: MoneyWorld) -> None:
        world.scanner.want(AAA)
        world.faults.next("open_orders", Fault.NONE, Fault.NONE, Fault.TRANSIENT)
        world.bot.engine.run(lambda: False, max_cycles=2)
        assert [item.stage for item in world.recorder.of("CycleFailed")] == ["look"]
        assert world.reports[-1].errors == ()

    def test_the_same_story_gives_the_same_export(self, new_world: NewWorld, tmp_path: Path) -> None:
        digests = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            world = new_world(folder)
            world.start()
            world.buy(AAA, BBB)
            for price in ("102.1", "103.6", "101"):
                world.move(price)
            digests.append(export_journal(world.path, folder / "export.jsonl"))
        assert digests[0] == digests[1]
