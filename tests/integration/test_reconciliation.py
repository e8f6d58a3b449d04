"""Books against the account: what is ours, what is not, what nobody can explain, and what an operator accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bn_ml.client_ids import make_client_id
from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import OrderIntent, OrderStatus, OrderType, Purpose, Side, TimeInForce
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import Refused
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld
from tests.fakes.told_exchange import OrderWorld, a_trade, done, ended, order_world, report, resting
from trader.acceptance import accept_differences, is_accepted
from trader.exit_manager import ExitManager
from trader.position_manager import dust
from trader.protection import Protection
from trader.reconciliation import LONGEST_WAIT, Reconciler

D = Decimal
ORPHAN = make_client_id("bnml", "zzzzzz", 1)
NEARLY_OURS = ORPHAN[:-1] + ("0" if ORPHAN[-1] != "0" else "1")


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


@pytest.fixture
def told(tmp_path: Path) -> Iterator[OrderWorld]:
    made = order_world(tmp_path)
    made.exchange.held = {"USDC": D(1000)}
    yield made
    made.store.close()


def reconciler_of(told: OrderWorld) -> Reconciler:
    return Reconciler(told.desk, told.orders, Protection(told.desk, told.orders, ExitManager(told.desk.settings.risk)))


def wait(world: MoneyWorld | OrderWorld, seconds: float) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=seconds))


def check(world: MoneyWorld, seconds: float = 11) -> ControlState:
    """Let what moved come to rest, then compare."""
    wait(world, seconds)
    world.bot.reconciler.check()
    return world.bot.store.control().state


def verdict(world: MoneyWorld | OrderWorld) -> Any:
    store = world.bot.store if isinstance(world, MoneyWorld) else world.store
    return store.get("reconciliation")


def place(world: MoneyWorld, client_id: str, *, price: str = "90", side: Side = Side.BUY) -> None:
    intent = OrderIntent(
        client_id,
        AAA,
        side,
        OrderType.LIMIT,
        D("0.2"),
        Purpose.ENTRY,
        "nobody",
        world.clock.now(),
        limit_price=D(price),
        time_in_force=TimeInForce.GTC,
    )
    world.bot.paper.create_order(intent)


def take_away(world: MoneyWorld, asset: str, amount: str) -> None:
    world.bot.venue.state.account.move(asset, free=-D(amount))
    world.bot.venue.state.save()


def cancel_by_hand(world: MoneyWorld) -> None:
    for order in world.bot.venue.open_orders():
        if any(item.client_id == order.client_id for item in world.bot.venue.open_orders()):
            world.bot.venue.cancel(order.symbol, order.client_id, world.clock.now())


def resume(world: MoneyWorld) -> None:
    now = world.clock.now()
    accept_differences(world.bot.store, now)
    world.bot.store.set_control(ControlState.NORMAL, "resumed: known", "operator", now)


class TestOrdersOfOthers:
    def test_one_is_told_once_across_restarts_and_never_touched(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(50))
        world.bot.store.declare_foreign("USDC", D(50), world.clock.now(), "not ours")
        place(world, "manual-1")
        assert check(world) is ControlState.NORMAL
        world.restart()
        assert check(world) is ControlState.NORMAL
        assert [item.client_id for item in world.recorder.of("ForeignOrderSeen")] == ["manual-1"]
        assert verdict(world)["foreign_orders"] == ["manual-1"]
        assert [order.client_id for order in world.bot.venue.open_orders()] == ["manual-1"]

    def test_one_that_only_looks_like_ours_is_somebody_elses(self, world: MoneyWorld) -> None:
        place(world, NEARLY_OURS)
        assert check(world) is ControlState.NORMAL
        assert verdict(world)["foreign_orders"] == [NEARLY_OURS]

    def test_what_such_an_order_locks_counts_as_held(self, world: MoneyWorld) -> None:
        place(world, "manual-1")
        assert world.bot.paper.balances()["USDC"].locked > 0
        assert check(world) is ControlState.NORMAL

    def test_an_orphan_is_adopted_in_the_journal_once(self, world: MoneyWorld) -> None:
        place(world, ORPHAN)
        assert check(world) is ControlState.HALTED
        assert check(world, 60) is ControlState.HALTED
        (event,) = world.recorder.of("OrphanAdopted")
        assert (event.symbol, event.client_id, event.side, event.quantity) == (AAA, ORPHAN, "BUY", D("0.2"))
        assert verdict(world)["orphan_orders"] == [ORPHAN]
        assert [order.client_id for order in world.bot.venue.open_orders()] == [ORPHAN]

    def test_each_is_told_when_it_comes(self, world: MoneyWorld) -> None:
        another = make_client_id("bnml", "zzzzzz", 2)
        for orphan, manual in ((ORPHAN, "manual-1"), (another, "manual-2")):
            place(world, orphan)
            place(world, manual)
            check(world)
        assert [item.client_id for item in world.recorder.of("OrphanAdopted")] == [ORPHAN, another]
        assert [item.client_id for item in world.recorder.of("ForeignOrderSeen")] == ["manual-1", "manual-2"]

    def test_an_orphan_that_was_not_accepted_halts_again_after_a_resume(self, world: MoneyWorld) -> None:
        place(world, ORPHAN)
        check(world)
        world.bot.store.set_control(ControlState.NORMAL, "resumed: hm", "operator", world.clock.now())
        assert check(world, 60) is ControlState.HALTED

    def test_an_accepted_orphan_is_left_alone(self, world: MoneyWorld) -> None:
        place(world, ORPHAN)
        check(world)
        resume(world)
        assert check(world, 1) is ControlState.NORMAL
        assert not is_accepted(world.bot.store)
        world.restart()
        assert check(world, 60) is ControlState.NORMAL


class TestAmounts:
    def test_what_was_declared_foreign_explains_itself(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("BNB", D("0.5"))
        world.bot.store.declare_foreign("BNB", D("0.5"), world.clock.now(), "on the account before the first start")
        assert check(world) is ControlState.NORMAL
        assert verdict(world)["result"] == "equal"
        assert world.bot.reconciler.differences() == {}

    def test_fees_in_a_third_asset_move_it(self, told: OrderWorld) -> None:
        told.store.declare_foreign("BNB", D(1), told.clock.now(), "before")
        entry = told.buy()
        paid = a_trade(entry, "1", "2", fee=D("0.01"), fee_asset="BNB")
        told.exchange.answers.append(done(entry, paid))
        told.orders.send(entry)
        told.exchange.held = {"USDC": D(980), "AAA": D(2), "BNB": D("0.99")}
        assert reconciler_of(told).differences() == {}
        told.exchange.held["BNB"] = D(1)
        assert reconciler_of(told).differences() == {"BNB": D("0.01")}

    def test_the_table_tells_everything_that_may_explain_it(self, told: OrderWorld) -> None:
        entry = told.bought()
        stop = told.sale(entry, "2")
        told.exchange.answers.append(resting(stop))
        told.orders.send(stop)
        told.exchange.resting = [resting(stop)]
        told.exchange.made = [
            a_trade(entry, "1", "2"),
            a_trade(entry, "9", "0.5", "12", client_id="", order_id="77", side=Side.SELL),
        ]
        told.exchange.held = {"USDC": D(986), "AAA": D("1.5")}
        wait(told, 11)
        reconciler_of(told).check()
        assert told.store.control().reason == "unexplained_balance: exchange minus ledger AAA -0.5, USDC +6"
        shown = verdict(told)
        assert shown["result"] == "unexplained"
        assert shown["differences"][0] == {
            "asset": "AAA",
            "ledger": "2",
            "foreign": "0",
            "expected": "2",
            "exchange": "1.5",
            "difference": "-0.5",
            "own_open_orders": [stop.client_id],
            "unknown_trades": ["AAA/USDC 9 SELL 0.5 @ 12"],
        }
        told_of = [json.loads(row["payload"]) for row in journal(told, "BalanceUnexplained")]
        assert [item["asset"] for item in told_of] == ["AAA", "USDC"]
        assert told_of[0]["orders"] == [stop.client_id]
        assert told_of[0]["trades"] == ["AAA/USDC 9 SELL 0.5 @ 12"]

    def test_the_same_table_is_told_once(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(7))
        check(world)
        check(world, 60)
        assert len(world.recorder.of("BalanceUnexplained")) == 1
        world.bot.venue.deposit("USDC", D(1))
        check(world, 60)
        assert [item.difference for item in world.recorder.of("BalanceUnexplained")] == [7, 8]

    def test_a_resume_without_acceptance_halts_again(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(7))
        check(world)
        world.bot.store.set_control(ControlState.NORMAL, "resumed: hm", "operator", world.clock.now())
        assert check(world, 60) is ControlState.HALTED

    @pytest.mark.parametrize(("seconds", "halts"), [(9.9, False), (10, False), (10.001, True)])
    def test_an_asset_that_has_just_moved_is_left_for_the_next_check(
        self, world: MoneyWorld, seconds: float, *, halts: bool
    ) -> None:
        world.buy(AAA)
        world.bot.venue.deposit("AAA", D(1))
        assert check(world, seconds) is (ControlState.HALTED if halts else ControlState.NORMAL)
        assert verdict(world)["result"] == ("unexplained" if halts else "waiting")

    def test_a_check_that_left_something_open_comes_again_soon(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.venue.deposit("AAA", D(1))
        check(world, 1)
        wait(world, 9.999)
        world.bot.reconciler.check_if_due()
        assert world.bot.store.control().state is ControlState.NORMAL
        wait(world, 0.001)
        world.bot.reconciler.check_if_due()
        assert world.bot.store.control().state is ControlState.HALTED

    def test_an_asset_that_never_rests_is_compared_at_last(self, told: OrderWorld) -> None:
        reconciler = reconciler_of(told)
        told.exchange.held = {"USDC": D(1001)}
        since = told.clock.now()
        for number in range(100):
            told.exchange.answers.append(report(told.buy(f"b-{number}", "1"), OrderStatus.EXPIRED))
            told.orders.send(told.store.open_intents()[0].intent)
            wait(told, 8)
            reconciler.check_if_due()
            if told.store.control().state is ControlState.HALTED:
                break
        waited = told.clock.now() - since
        assert LONGEST_WAIT <= waited <= LONGEST_WAIT + timedelta(seconds=30)

    def test_other_assets_are_compared_while_one_order_is_unknown(self, world: MoneyWorld) -> None:
        world.faults.next("create_order", Fault.UNHEARD)
        world.faults.next("order_status", *[Fault.LAG] * 50)
        world.buy(AAA)
        world.bot.venue.deposit("USDC", D(7))
        assert check(world, 1) is ControlState.NORMAL
        world.bot.venue.deposit("BBB", D(7))
        assert check(world, 1) is ControlState.HALTED
        assert [row["asset"] for row in verdict(world)["differences"]] == ["BBB"]

    def test_a_trade_of_ours_that_no_order_told_of_is_found_and_booked(self, told: OrderWorld) -> None:
        entry = told.buy()
        told.exchange.answers.append(report(entry, OrderStatus.CANCELED, order_id="42"))
        told.orders.send(entry)
        told.exchange.made = [a_trade(entry, "5", "1", client_id="", order_id="42")]
        told.exchange.held = {"USDC": D(990), "AAA": D(1)}
        wait(told, 11)
        reconciler_of(told).check()
        assert told.store.control().state is ControlState.NORMAL
        assert told.orders.positions.open_positions()[0].remaining_quantity == 1

    def test_trades_are_read_back_to_the_oldest_unfinished_order(self, told: OrderWorld) -> None:
        entry = told.bought()
        stop = told.sale(entry, "2")
        told.exchange.answers.append(resting(stop))
        told.orders.send(stop)
        told.exchange.resting = [resting(stop)]
        told.exchange.made = [a_trade(stop, "7", "0.5", "9", at=told.clock.now() + timedelta(hours=1))]
        wait(told, 3 * 86_400)
        told.exchange.held = {"USDC": D("984.5"), "AAA": D("1.5")}
        reconciler_of(told).check()
        assert told.store.has_fill(AAA, "7")

    def test_a_start_reads_the_trades_of_the_last_day(self, told: OrderWorld) -> None:
        entry = told.buy()
        told.exchange.answers.append(report(entry, OrderStatus.CANCELED, order_id="42"))
        told.orders.send(entry)
        told.exchange.made = [a_trade(entry, "5", "1", client_id="", order_id="42")]
        told.exchange.held = {"USDC": D(990), "AAA": D(1)}
        reconciler_of(told).start()
        assert told.store.has_fill(AAA, "5")


def journal(told: OrderWorld, kind: str) -> list[Any]:
    return told.store.session.rows("SELECT payload FROM journal WHERE kind = ? ORDER BY id", (kind,))


class TestAcceptance:
    def test_a_surplus_is_foreign_from_then_on(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        held = world.held()
        world.bot.venue.deposit("AAA", D("0.5"))
        world.bot.venue.deposit("USDC", D(7))
        check(world)
        resume(world)
        assert check(world, 1) is ControlState.NORMAL
        assert world.bot.store.foreign_balances() == {"AAA": D("0.5"), "USDC": D(7)}
        assert [(item.asset, item.amount) for item in world.recorder.of("ForeignDeclared")] == [
            ("AAA", D("0.5")),
            ("USDC", D(7)),
        ]
        assert [row["asset"] for row in verdict(world)["accepted"]] == ["AAA", "USDC"]
        assert [item.asset for item in world.recorder.of("BalanceUnexplained")] == ["AAA", "USDC"] * 2
        assert world.held().remaining_quantity == held.remaining_quantity
        assert world.bot.reconciler.differences() == {}
        assert check(world, 60) is ControlState.NORMAL

    def test_an_acceptance_is_carried_out_at_once(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(7))
        check(world)
        resume(world)
        world.bot.reconciler.check_if_due()
        assert not is_accepted(world.bot.store)

    def test_what_comes_after_an_acceptance_halts_again(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(7))
        check(world)
        resume(world)
        check(world, 1)
        world.bot.venue.deposit("USDC", D(1))
        assert check(world, 60) is ControlState.HALTED

    def test_missing_cash_is_a_withdrawal_and_no_loss(self, world: MoneyWorld) -> None:
        world.cycle()
        take_away(world, "USDC", "40")
        check(world)
        resume(world)
        assert check(world, 1) is ControlState.NORMAL
        account = world.bot.engine.account()
        assert (account.equity, account.day.opening_equity, account.drawdown_frac) == (960, 960, 0)
        assert world.bot.store.ledger_balance("USDC") == 960
        world.restart()
        assert world.bot.engine.account().equity == 960

    def test_missing_cash_comes_out_of_what_was_declared_foreign_first(self, world: MoneyWorld) -> None:
        world.bot.venue.deposit("USDC", D(50))
        world.bot.store.declare_foreign("USDC", D(50), world.clock.now(), "not ours")
        take_away(world, "USDC", "30")
        check(world)
        resume(world)
        check(world, 1)
        assert world.bot.store.foreign_balances() == {"USDC": D(20)}
        assert world.bot.store.ledger_balance("USDC") == 1000
        take_away(world, "USDC", "30")
        check(world, 60)
        resume(world)
        check(world, 1)
        assert world.bot.store.foreign_balances() == {}
        assert world.bot.store.ledger_balance("USDC") == 990

    def test_a_part_of_a_position_that_is_gone_is_lost_and_the_rest_protected(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before = world.held()
        cancel_by_hand(world)
        take_away(world, "AAA", "0.4")
        world.bot.store.set_control(ControlState.HALTED, "operator at work", "operator", world.clock.now())
        world.look(11)
        check(world)
        fills = world.bot.store.fills_of_position(before.position_id)
        resume(world)
        assert check(world, 1) is ControlState.NORMAL
        held = world.held()
        assert held.remaining_quantity == before.remaining_quantity - D("0.4")
        leg = held.legs[-1]
        assert (leg.reason, leg.quantity) == (ExitReason.RECONCILED, D("0.4"))
        assert leg.pnl_quote < 0
        assert world.covered()
        assert world.bot.store.fills_of_position(before.position_id) == fills, "no fill is made up"
        assert world.bot.store.ledger_balance("AAA") == held.remaining_quantity
        (event,) = world.recorder.of("PositionReconciled")
        assert (event.missing, event.lost_quote) == (D("0.4"), -leg.pnl_quote)
        assert world.bot.reconciler.differences() == {}

    def test_a_position_that_is_gone_is_closed_as_reconciled(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before = world.held()
        world.bot.store.set_control(ControlState.HALTED, "operator at work", "operator", world.clock.now())
        cancel_by_hand(world)
        take_away(world, "AAA", str(before.remaining_quantity))
        world.look(11)
        check(world)
        resume(world)
        check(world, 1)
        closed = world.last_closed()
        assert (closed.close_reason, closed.realized_quote) == (ExitReason.RECONCILED, -before.cost_quote)
        assert closed.dust_quantity == 0
        assert world.recorder.of("PositionClosed")[-1].reason == "reconciled"
        assert world.bot.reconciler.differences() == {}
        assert world.bot.engine.account().statistics.losses == 1

    def test_orders_still_resting_are_ended_before_their_position_shrinks(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        before = world.held()
        world.bot.store.set_control(ControlState.HALTED, "operator at work", "operator", world.clock.now())
        runner = next(item for item in world.live() if item.intent.tranche == "runner")
        world.bot.venue.cancel(AAA, runner.intent.client_id, world.clock.now())
        take_away(world, "AAA", "0.1")
        world.look(11)
        check(world)
        resume(world)
        world.faults.next("cancel_order", Fault.LOST, Fault.LOST)
        check(world, 1)
        assert is_accepted(world.bot.store), "an unclear cancel puts it off"
        assert world.held().remaining_quantity == before.remaining_quantity
        check(world, 11)
        assert not is_accepted(world.bot.store)
        assert world.held().remaining_quantity == before.remaining_quantity - D("0.1")
        assert world.covered()
        assert world.bot.reconciler.differences() == {}

    def test_a_fill_brought_by_such_a_cancel_makes_another_table(self, told: OrderWorld) -> None:
        entry = told.bought()
        stop = told.sale(entry, "2")
        told.exchange.answers.append(resting(stop))
        told.orders.send(stop)
        told.exchange.resting = [resting(stop)]
        told.exchange.held = {"USDC": D(980), "AAA": D(1)}
        reconciler = reconciler_of(told)
        wait(told, 11)
        reconciler.check()
        assert told.store.control().state is ControlState.HALTED
        accept_differences(told.store, told.clock.now())
        told.exchange.answers.append(ended(stop, a_trade(stop, "7", "0.5", "9")))
        told.exchange.resting = []
        told.exchange.held = {"USDC": D("984.5"), "AAA": D("0.5")}
        reconciler.check()
        assert is_accepted(told.store)
        wait(told, 11)
        reconciler.check()
        assert not is_accepted(told.store)
        assert told.orders.positions.open_positions()[0].remaining_quantity == D("0.5")
        assert reconciler.differences() == {}

    def test_one_that_has_to_wait_is_tried_again_after_ten_seconds_and_not_before(self, world: MoneyWorld) -> None:
        def looks() -> int:
            return sum(method == "balances" for method, _ in world.faults.calls)

        world.buy(AAA)
        world.bot.venue.deposit("AAA", D(1))
        accept_differences(world.bot.store, world.clock.now())
        world.bot.reconciler.check_if_due()
        before = looks()
        wait(world, 9.999)
        world.bot.reconciler.check_if_due()
        assert looks() == before
        wait(world, 0.001)
        world.bot.reconciler.check_if_due()
        assert looks() > before
        wait(world, 10)
        world.bot.reconciler.check_if_due()
        assert world.bot.store.foreign_balances() == {"AAA": D(1)}

    def test_what_has_just_moved_is_accepted_once_it_rests(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        wait(world, 11)
        world.bot.venue.deposit("BNB", D(1))
        check(world)
        resume(world)
        world.market.move(AAA, "102.1")
        world.bot.venue.deposit("AAA", D(1))
        check(world, 1)
        assert world.bot.store.foreign_balances() == {"BNB": D(1)}
        assert is_accepted(world.bot.store)
        check(world)
        assert world.bot.store.foreign_balances() == {"AAA": D(1), "BNB": D(1)}
        assert not is_accepted(world.bot.store)

    def test_it_survives_a_death_at_every_commit(self, new_world: NewWorld, tmp_path: Path) -> None:
        number, survived = 0, False
        while not survived:
            number += 1
            folder = tmp_path / str(number)
            folder.mkdir()
            world = new_world(folder)
            world.start()
            world.bot.venue.deposit("USDC", D(7))
            check(world)
            resume(world)
            wait(world, 60)
            world.faults.kill_at_commit = world.faults.commits + number
            survived = world.survive(world.bot.reconciler.check)
            world.faults.heal()
            check(world, 60)
            assert world.bot.store.control().state is ControlState.NORMAL
            assert world.bot.store.foreign_balances() == {"USDC": D(7)}
            assert world.bot.reconciler.differences() == {}
        assert number > 1


class TestDust:
    def test_what_a_close_leaves_stays_in_the_books(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
        left = world.last_closed().dust_quantity
        assert left > 0
        assert dust(world.bot.store) == {"AAA": left}
        assert world.bot.store.ledger_balance("AAA") == left
        row = world.bot.store.session.rows("SELECT extra_json FROM positions WHERE symbol = 'AAA/USDC'")[0]
        assert D(str(json.loads(row["extra_json"])["dust_qty"])) == left
        assert check(world) is ControlState.NORMAL

    def test_a_later_position_sells_none_of_it(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
        old = dust(world.bot.store)["AAA"]
        wait(world, 7200)
        world.buy(AAA)
        position = world.held()
        world.bot.protection.close(position, ExitReason.KILL_SWITCH)
        closed = world.last_closed()
        fills = world.bot.store.fills_of_position(position.position_id)
        sold = sum(fill.quantity for fill in fills if fill.side is Side.SELL)
        assert sold <= position.initial_quantity
        assert dust(world.bot.store) == {"AAA": old + closed.dust_quantity}
        assert world.bot.store.ledger_balance("AAA") == old + closed.dust_quantity
        assert check(world) is ControlState.NORMAL

    def test_missing_dust_costs_no_position(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
        left = dust(world.bot.store)["AAA"]
        wait(world, 7200)
        world.buy(AAA)
        held = world.held()
        take_away(world, "AAA", str(left))
        check(world)
        resume(world)
        check(world, 1)
        assert world.held().remaining_quantity == held.remaining_quantity
        assert dust(world.bot.store) == {}
        assert world.bot.reconciler.differences() == {}


class RefusingProtection(Protection):
    """Can place nothing."""

    asked = 0

    def ensure(self, position: Position) -> None:
        self.asked += 1
        raise Refused("too many orders", -1015)


class TestStops:
    def test_one_that_cannot_be_placed_now_keeps_the_check_from_nothing(self, told: OrderWorld) -> None:
        told.bought()
        told.exchange.held = {"USDC": D(980), "AAA": D(2)}
        protection = RefusingProtection(told.desk, told.orders, ExitManager(told.desk.settings.risk))
        Reconciler(told.desk, told.orders, protection).check()
        assert verdict(told)["result"] == "equal"
        assert protection.asked == 1

    def test_a_halted_bot_places_none(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        world.bot.store.set_control(ControlState.HALTED, "operator at work", "operator", world.clock.now())
        sent = world.faults.sent.total()
        check(world, 60)
        assert world.faults.sent.total() == sent
        assert world.bot.store.control().reason == "operator at work"

    def test_a_position_that_is_being_closed_gets_none(self, world: MoneyWorld) -> None:
        world.buy(AAA, BBB)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        reason = "close_symbol AAA/USDC"
        world.bot.store.set_control(ControlState.REDUCE_ONLY, reason, "operator", world.clock.now())
        check(world, 1)
        assert {item.intent.symbol for item in world.live()} == {BBB}

    def test_a_check_gives_every_position_its_stop(self, world: MoneyWorld) -> None:
        world.buy(AAA, BBB)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        assert world.bot.reconciler.differences() == {}
        check(world, 1)
        assert world.covered(AAA)
        assert world.covered(BBB)

    def test_a_position_without_one_for_half_a_minute_stops_entries(self, world: MoneyWorld) -> None:
        world.buy(AAA)
        world.faults.next("create_oco", *[Fault.LOST] * 40)
        world.faults.next("create_order", *[Fault.LOST] * 40)
        cancel_by_hand(world)
        world.bot.orders.refresh()
        world.bot.reconciler.check()
        assert world.bot.store.control().state is ControlState.NORMAL
        wait(world, 30)
        world.bot.reconciler.check()
        assert world.bot.store.control().state is ControlState.NORMAL
        wait(world, 0.001)
        world.bot.reconciler.check()
        control = world.bot.store.control()
        assert (control.state, control.reason) == (ControlState.REDUCE_ONLY, "missing_stop: AAA/USDC")
