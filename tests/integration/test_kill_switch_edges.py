"""Stops that fill while they are cancelled, doubts that resolve themselves, and a lock that is slow to go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, cast

import pytest
from test_kill_switch_emergency import VenueMemory

from bn_ml.control import Holder, ProcessLock
from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.domain.orders import OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import LockHeld, MarketDataError
from bn_ml.halting import commit_halt
from bn_ml.lock_takeover import LET_GO_S, end_holder, is_proven
from bn_ml.processes import born
from bn_ml.side_journal import SideJournal
from bn_ml.state_watch import BookWatch
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, CCC, MoneyWorld
from tests.fakes.venue_world import StepClock, request
from trader.emergency import Emergency, EmergencyParts
from trader.flatten import NOT_IN_WALLET, UNCLEAR, Flattener
from trader.kill_switch import FLAT, NOT_FLAT, Holdings, exit_code, holdings, symbol_results
from trader.position_manager import dust


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoneyWorld]:
    made = MoneyWorld(tmp_path)
    made.start()
    made.buy(AAA, BBB)
    made.look()
    yield made
    made.close()


def flattener(world: MoneyWorld) -> Flattener:
    commit_halt(world.path, "tests", world.clock.now())
    return Flattener(world.bot.desk, world.bot.orders)


def test_a_stop_that_fills_while_it_is_cancelled_needs_no_sale_and_is_booked_once(world: MoneyWorld) -> None:
    work = flattener(world)
    left = [lambda: world.market.move(AAA, "98")]

    def falls(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "cancel_order" and left:
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=1))
            left.pop()()

    world.faults.before_call = falls
    assert work.run_pass().is_flat
    closed = {item.symbol: item for item in world.bot.store.closed_positions()}
    assert closed[AAA].close_reason is ExitReason.STOP_LOSS
    assert {leg.reason for leg in closed[AAA].legs} == {ExitReason.STOP_LOSS}
    assert world.bot.store.open_positions() == ()
    exits = [item.intent for item in world.bot.store.recent_intents(30) if item.intent.purpose is Purpose.EXIT]
    assert [intent.symbol for intent in exits] == [BBB]
    assert dust(world.bot.store) == {item.symbol.base: item.dust_quantity for item in closed.values()}


def test_cancels_that_were_done_unheard_are_told_as_unclear_and_then_sold(world: MoneyWorld) -> None:
    work = flattener(world)
    world.faults.next("cancel_order", *[Fault.UNHEARD] * 2)
    first = work.run_pass()
    assert first.why == {AAA: UNCLEAR}
    assert (first.is_flat, first.is_final) == (False, False)
    assert work.run_pass().is_flat


def test_what_is_not_in_the_wallet_at_all_is_not_offered(world: MoneyWorld) -> None:
    work = flattener(world)
    for order in world.bot.venue.open_orders(AAA):
        if any(item.client_id == order.client_id for item in world.bot.venue.open_orders(AAA)):
            world.bot.venue.cancel(AAA, order.client_id, world.clock.now())
    account = world.bot.venue.state.account
    account.move("AAA", free=-world.bot.venue.balances()["AAA"].free)
    world.bot.venue.state.save()
    assert "AAA" not in world.bot.desk.exchange.balances()
    remains = work.run_pass()
    assert remains.why == {AAA: NOT_IN_WALLET}
    exits = [item.intent for item in world.bot.store.recent_intents(30) if item.intent.purpose is Purpose.EXIT]
    assert [intent.symbol for intent in exits] == [BBB]


def test_money_of_the_book_is_no_holding_and_what_is_out_of_scope_is_none(world: MoneyWorld) -> None:
    view = BookWatch(world.path).look()
    all_of_it = holdings(view, "USDC", lambda symbol: True)
    assert set(all_of_it.ledger) == {AAA, BBB}
    assert all_of_it.dust == {}
    one = holdings(view, "USDC", lambda symbol: symbol == AAA)
    assert set(one.ledger) == {AAA}
    assert {item.symbol for item in one.positions} == {AAA}
    assert {item.intent.symbol for item in one.orders} == {AAA}
    none = holdings(view, "USDC", lambda symbol: symbol == CCC)
    assert (none.positions, none.orders, none.ledger) == ([], [], {})
    assert exit_code(symbol_results(none, none, fills=(), finished=(), why={}), none) == FLAT
    assert exit_code(symbol_results(one, one, fills=(), finished=(), why={}), one) == NOT_FLAT


class _NoHistory:
    def fills(self, symbol: Symbol) -> tuple[()]:
        return ()


def test_a_symbol_of_which_nothing_is_ours_needs_no_filters_to_be_flat(tmp_path: Path) -> None:
    def unknown(symbol: Symbol) -> MarketRules:
        raise MarketDataError(f"{symbol}: unknown")

    world = MoneyWorld(tmp_path)
    try:
        world.start()
        world.bot.venue.deposit("AAA", Decimal(5))
        parts = EmergencyParts(
            world.bot.desk.exchange,
            _NoHistory(),
            unknown,
            world.clock,
            SideJournal(world.path),
            timedelta(seconds=5),
        )
        work = Emergency(parts, (AAA, BBB))
        assert not work.is_done
        assert work.run_pass()
        assert (work.is_done, work.results()) == (True, ())
        assert world.bot.venue.balances()["AAA"].total == 5
    finally:
        world.close()


def test_nothing_and_less_than_nothing_is_no_dust() -> None:
    ledger = {AAA: Decimal(0), BBB: Decimal("-0.5"), CCC: Decimal("0.001")}
    assert Holdings((), (), ledger).dust == {CCC: Decimal("0.001")}


def test_a_sale_without_a_book_is_noted_as_such_before_it_is_sent(world: MoneyWorld) -> None:
    notes = SideJournal(world.path)
    seen: list[tuple[str, str, int]] = []

    def looks(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "create_order":
            (intent,) = notes.story().unsettled
            seen.append((intent.position_id, intent.reason, int(intent.client_id == client_ids[0])))

    world.faults.before_call = looks
    parts = EmergencyParts(
        world.bot.desk.exchange,
        VenueMemory(world.bot.venue),
        world.market.rules,
        world.clock,
        notes,
        timedelta(seconds=5),
    )
    assert Emergency(parts, (AAA, BBB)).run_pass()
    assert seen == [("emergency", "kill_switch", 1)] * 2
    assert notes.story().unsettled == ()


def test_what_was_refused_once_and_sold_then_has_nothing_left_to_tell(world: MoneyWorld) -> None:
    parts = EmergencyParts(
        world.bot.desk.exchange,
        VenueMemory(world.bot.venue),
        world.market.rules,
        world.clock,
        SideJournal(world.path),
        timedelta(seconds=5),
    )
    world.faults.next("create_order", Fault.REFUSED)
    work = Emergency(parts, (AAA, BBB))
    assert not work.run_pass()
    assert [bool(item.why) for item in work.results()] == [True, False]
    assert work.run_pass()
    assert [item.why for item in work.results()] == ["", ""]


def test_what_was_bought_late_is_found_also_where_no_order_had_to_be_cancelled(world: MoneyWorld) -> None:
    for order in world.bot.venue.open_orders():
        if any(item.client_id == order.client_id for item in world.bot.venue.open_orders()):
            world.bot.venue.cancel(order.symbol, order.client_id, world.clock.now())
    parts = EmergencyParts(
        world.bot.desk.exchange,
        VenueMemory(world.bot.venue),
        world.market.rules,
        world.clock,
        SideJournal(world.path),
        timedelta(seconds=5),
    )
    work = Emergency(parts, (AAA, BBB))
    assert work.run_pass()
    late = request(Side.BUY, OrderType.MARKET, "0.5", client_id=world.bot.store.next_client_id(), symbol=AAA)
    world.bot.venue.place(late, world.clock.now())
    work.look_again()
    assert work.run_pass()
    assert next(item.sold for item in work.results()) > Decimal("1.4")
    assert {item.symbol: item.cancelled for item in work.results()} == {AAA: 0, BBB: 0}


class _SlowLock(ProcessLock):
    """A lock the system frees only after it was looked at so many times."""

    looks = 0

    def is_held(self) -> bool:
        self.looks -= 1
        return self.looks >= 0


def test_without_the_system_s_list_only_a_recorded_birth_proves_a_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bn_ml.lock_takeover.has_open", lambda pid, path: None)
    lock, parent = ProcessLock(tmp_path / "bn_ml.db"), os.getppid()
    assert is_proven(lock, Holder(parent, "then", born(parent)))
    assert not is_proven(lock, Holder(parent, "then", 0))
    assert not is_proven(lock, Holder(parent, "then", born(parent) + 1))
    assert not is_proven(lock, Holder(os.getpid(), "then", born(os.getpid())))
    assert not is_proven(lock, Holder(0, "then", 0))


@pytest.mark.parametrize(("looks", "frees"), [(1, True), (990, True), (1010, False)])
def test_a_lock_may_take_a_while_to_go(tmp_path: Path, looks: int, frees: bool) -> None:
    hold = (
        "import sys\nfrom bn_ml.clock import SystemClock\nfrom bn_ml.control import ProcessLock\n"
        "lock = ProcessLock(sys.argv[1]).acquire(SystemClock().now())\nprint('held', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "bn_ml.db")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert cast(IO[str], process.stdout).readline().strip() == "held"
        lock, clock = _SlowLock(tmp_path / "bn_ml.db"), StepClock()
        lock.looks = looks
        began = clock.now()
        if frees:
            assert end_holder(lock, clock).pid == process.pid
        else:
            with pytest.raises(LockHeld, match="still holds"):
                end_holder(lock, clock)
        waited_s = (clock.now() - began).total_seconds()
        assert waited_s == pytest.approx(min(looks * 0.005, LET_GO_S), abs=0.02)
    finally:
        process.kill()
        process.communicate()
