"""Entries through the whole money path: each outcome of a buy leaves the right books, and none is sent twice."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState, OrderIntent, OrderStatus, Purpose
from bn_ml.domain.positions import ExitReason
from tests.fakes.faulty_exchange import Fault, Killed
from tests.fakes.money_world import AAA, BBB, CAPITAL, CCC, MoneyWorld, NewWorld, money_settings
from trader.entry_plan import load_plan
from trader.gate import Means


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def entry(world: MoneyWorld) -> IntentState:
    (record,) = (item for item in world.bot.store.recent_intents(50) if item.intent.purpose is Purpose.ENTRY)
    return record.state


def books_are_right(world: MoneyWorld) -> None:
    bot = world.bot
    assert bot.reconciler.differences() == {}
    assert world.never_sent_twice()
    assert bot.store.open_positions() == bot.positions.open_positions()
    assert bot.orders.open_intents() == bot.store.open_intents()
    for position in bot.positions.open_positions():
        fills = bot.store.fills_of_position(position.position_id)
        bought = sum(fill.quantity - fill.fee for fill in fills if fill.side.value == "BUY")
        sold = sum(fill.quantity for fill in fills if fill.side.value == "SELL")
        assert position.remaining_quantity == bought - sold


def test_a_buy_opens_a_protected_position(world: MoneyWorld) -> None:
    report = world.buy(AAA)
    assert (report.opened, report.errors) == (1, ())
    position = world.held()
    assert entry(world) is IntentState.FILLED
    assert position.entry_price == Decimal("100.01")
    assert (position.stop, position.target_1, position.target_2) == (
        Decimal("98.50"),
        Decimal("102.02"),
        Decimal("103.52"),
    )
    assert sum(tranche.quantity for tranche in position.tranches) == Decimal("0.997")
    assert [tranche.label for tranche in position.tranches] == ["tp1", "tp2", "runner"]
    assert position.protected_at == world.clock.now()
    assert load_plan(world.bot.store, position.position_id).score == 8.0
    assert world.covered()
    books_are_right(world)


def test_a_buy_over_several_levels_averages_what_was_paid(world: MoneyWorld) -> None:
    world.faults.before_call = lambda method, ids: setattr(world.market, "turnover", Decimal(2_000_000))
    world.buy(AAA)
    fills = world.bot.store.fills_of_position(world.held().position_id)
    assert [str(fill.price) for fill in fills] == ["100.01", "100.03"]
    assert entry(world) is IntentState.FILLED
    assert world.kinds().count("PositionOpened") == 1
    paid = sum(fill.quote_quantity for fill in fills)
    received = sum(fill.quantity - fill.fee for fill in fills)
    position = world.held()
    assert position.cost_quote == paid
    assert position.initial_quantity == received
    assert abs(position.entry_price - sum(f.price * (f.quantity - f.fee) for f in fills) / received) < Decimal("1e-20")
    books_are_right(world)


def test_a_partly_filled_ioc_is_a_position_of_what_was_filled(world: MoneyWorld) -> None:
    # The judged quote is deep; when the order arrives the book has thinned out.
    world.faults.before_call = lambda method, ids: world.market.depth.update({AAA: Decimal(40)})
    assert world.buy(AAA).opened == 1
    assert entry(world) is IntentState.EXPIRED
    position = world.held()
    assert Decimal(0) < position.initial_quantity < Decimal("0.3")
    assert world.covered()
    assert sum(tranche.quantity for tranche in position.tranches) <= position.remaining_quantity
    books_are_right(world)


def test_a_buy_that_finds_nothing_leaves_no_position(world: MoneyWorld) -> None:
    world.faults.before_call = lambda method, ids: world.market.move(AAA, "101")
    assert world.buy(AAA).opened == 0
    assert entry(world) is IntentState.EXPIRED
    assert world.bot.positions.open_positions() == ()
    assert world.bot.keeper._book is not None
    assert world.bot.keeper._book.day.planned_loss == 0
    books_are_right(world)


def test_a_refused_buy_leaves_only_its_intent(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.REFUSED)
    report = world.buy(AAA)
    assert report.opened == 0
    assert entry(world) is IntentState.REFUSED
    assert world.bot.positions.open_positions() == ()
    assert world.recorder.of("OrderRejected")[0].reason.startswith("-1013")
    books_are_right(world)
    assert world.buy(AAA).opened == 1


def test_a_buy_whose_answer_was_lost_is_found_and_protected_at_the_next_look(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    assert world.buy(AAA).opened == 0
    assert entry(world) is IntentState.UNKNOWN
    assert world.bot.positions.open_positions() == ()
    world.look(5)
    assert entry(world) is IntentState.FILLED
    assert world.covered()
    assert world.kinds().count("PositionOpened") == 1
    books_are_right(world)


def test_an_order_that_is_not_found_at_first_stays_unknown_until_it_is(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    world.buy(AAA)
    world.faults.next("order_status", Fault.LAG, Fault.LAG)
    world.look(2)
    world.look(2)
    assert entry(world) is IntentState.UNKNOWN
    world.look(2)
    assert entry(world) is IntentState.FILLED
    assert world.covered()
    books_are_right(world)


@pytest.mark.parametrize(("seconds", "state"), [(8.0, IntentState.UNKNOWN), (8.001, IntentState.NEVER_ACCEPTED)])
def test_an_order_never_found_is_given_up_only_after_the_exchange_cannot_accept_it(
    world: MoneyWorld, seconds: float, state: IntentState
) -> None:
    world.faults.next("create_order", Fault.LOST)
    world.buy(AAA)
    world.look(seconds)
    assert entry(world) is state
    assert world.bot.positions.open_positions() == ()
    books_are_right(world)


def test_an_unknown_order_reserves_its_money_and_stops_entries_on_every_symbol(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.LOST)
    report = world.buy(AAA, BBB, CCC)
    assert report.opened == 0
    assert report.refusals == {"symbol_frozen": 2}
    reserved = world.bot.orders.open_intents()[0].intent.reserved_quote
    assert world.bot.engine.account().exposure == reserved > 0
    world.look(9)
    assert world.buy(BBB).opened == 1


def test_an_open_order_is_never_called_unaccepted_because_a_query_did_not_find_it(world: MoneyWorld) -> None:
    world.buy(AAA)
    record = world.live(Purpose.STOP)[0]
    world.clock.sleep_until(world.clock.now() + timedelta(minutes=1))
    world.faults.next("order_status", Fault.LAG)
    assert world.bot.orders.resolve(record).state is IntentState.OPEN
    assert world.covered()


def test_an_unknown_order_seen_among_the_open_ones_is_open_whatever_a_lagging_query_says(world: MoneyWorld) -> None:
    world.faults.next("create_oco", Fault.UNHEARD)
    world.buy(AAA)
    world.faults.next("order_status", Fault.LAG, Fault.LAG)
    world.look(30)
    assert world.covered()
    assert all(count == 1 for count in world.faults.sent.values())


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER])
def test_a_death_around_the_send_is_recovered_without_a_second_send(world: MoneyWorld, fault: Fault) -> None:
    world.faults.next("create_order", fault)
    assert not world.survive(lambda: world.buy(AAA))
    if fault is Fault.KILL:
        assert entry(world) is IntentState.UNKNOWN
        world.look(9)
        assert entry(world) is IntentState.NEVER_ACCEPTED
        assert world.bot.positions.open_positions() == ()
    else:
        assert entry(world) is IntentState.FILLED
        assert world.covered()
    books_are_right(world)


def test_a_death_before_or_after_any_commit_of_an_entry_loses_and_doubles_nothing(
    new_world: NewWorld, tmp_path: Path
) -> None:
    commits = 0
    for after in (False, True):
        for number in range(1, 60):
            folder = tmp_path / f"{after}-{number}"
            folder.mkdir()
            world = new_world(folder)
            world.start()
            world.faults.kill_after_commit = after
            world.faults.kill_at_commit = world.faults.commits + number
            if world.survive(lambda world=world: world.buy(AAA)):
                commits = number - 1
                world.bot.store.close()
                break
            world.faults.heal()
            world.look(9)
            books_are_right(world)
            assert world.bot.store.control().state is ControlState.NORMAL
            assert all(world.covered(item.symbol) for item in world.bot.positions.open_positions())
            world.bot.store.close()
    assert commits > 12


def test_a_halt_committed_by_another_process_while_a_buy_is_judged_refuses_it_and_the_bot_goes_on(
    world: MoneyWorld,
) -> None:
    commit = world.bot.orders.commit
    store = world.bot.store

    def late(*intents: OrderIntent, means: Means | None = None) -> None:
        store.set_control(ControlState.HALTED, "kill_switch", "operator", world.clock.now())
        commit(*intents, means=means)

    world.bot.orders.commit = late  # type: ignore[method-assign]
    report = world.buy(AAA)
    assert (report.opened, report.errors, report.refusals) == (0, (), {"control_state": 1})
    assert world.faults.sent == {}
    assert world.cycle().refusals == {}


def test_an_order_of_an_older_life_is_never_sent_again(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.KILL)
    with pytest.raises(Killed):
        world.buy(AAA)
    epoch = world.bot.store.control().epoch
    world.restart()
    assert world.bot.store.control().epoch == epoch + 1
    assert world.faults.sent == {}
    (record,) = world.bot.orders.open_intents()
    assert record.epoch == epoch


@pytest.fixture
def patient(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    """A world whose entries rest."""
    made = new_world(tmp_path, money_settings(exchange={"orders": {"entry_type": "limit", "limit_timeout_sec": 30}}))
    made.start()
    return made


@pytest.mark.parametrize(("seconds", "resting"), [(29, 1), (30, 0)])
def test_a_resting_entry_is_cancelled_after_its_time(patient: MoneyWorld, seconds: int, resting: int) -> None:
    patient.faults.before_call = lambda method, ids: patient.market.move(AAA, "101")
    patient.buy(AAA)
    patient.look(seconds)
    assert len(patient.live(Purpose.ENTRY)) == len(patient.bot.venue.open_orders()) == resting
    books_are_right(patient)


def test_a_resting_entry_that_bought_a_part_is_ended_so_that_the_part_gets_its_stop(patient: MoneyWorld) -> None:
    patient.faults.before_call = lambda method, ids: patient.market.depth.update({AAA: Decimal(40)})
    patient.buy(AAA)
    patient.faults.before_call = lambda method, ids: None
    (record,) = patient.live(Purpose.ENTRY)
    assert 0 < record.filled_quantity < record.intent.quantity
    patient.market.move(AAA, "101")
    patient.look(5)
    assert patient.live(Purpose.ENTRY) == []
    assert patient.covered()
    books_are_right(patient)


def test_a_halt_ends_resting_entries_at_once(patient: MoneyWorld) -> None:
    patient.faults.before_call = lambda method, ids: patient.market.move(AAA, "101")
    patient.buy(AAA)
    assert patient.live(Purpose.ENTRY)
    patient.bot.store.set_control(ControlState.HALTED, "orphan_order: x", "reconciliation", patient.clock.now())
    patient.look(1)
    assert patient.live() == []
    books_are_right(patient)


def test_reports_told_twice_change_nothing(world: MoneyWorld) -> None:
    world.buy(AAA)
    before = (world.held(), world.bot.store.ledger_balances(), world.bot.engine.account().quote_total)
    (record,) = (item for item in world.bot.store.recent_intents(50) if item.intent.purpose is Purpose.ENTRY)
    report = world.bot.paper.order_status(AAA, record.intent.client_id)
    assert report is not None
    assert report.status is OrderStatus.FILLED
    world.bot.orders.book(report)
    assert (world.held(), world.bot.store.ledger_balances(), world.bot.engine.account().quote_total) == before
    assert world.kinds().count("PositionOpened") == 1


def test_cash_follows_the_ledger(world: MoneyWorld) -> None:
    world.buy(AAA, BBB)
    account = world.bot.engine.account()
    assert account.quote_total == world.bot.store.ledger_balances()["USDC"] < CAPITAL


def test_a_cycle_tells_the_refusals_of_one_rule_in_one_line(
    new_world: NewWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = new_world(tmp_path, money_settings(risk={"max_open_positions": 1}))
    world.start()
    world.buy(AAA)
    caplog.set_level(logging.INFO)
    world.buy(BBB, CCC)
    refused = [record.getMessage() for record in caplog.records if "entry refused" in record.getMessage()]
    (line,) = refused
    assert line.startswith("entry refused rule=max_open_positions ")
    assert [f"symbol={symbol} " in line for symbol in (BBB, CCC)] == [True, True]


def test_a_buy_the_venue_would_refuse_for_its_price_is_not_sent(world: MoneyWorld) -> None:
    world.market.rule_changes = {"bid_multiplier_up": Decimal("1.00001")}
    report = world.buy(AAA)
    assert (report.opened, report.refusals) == (0, {"price_band": 1})
    assert world.faults.sent == {}
    assert world.bot.store.recent_intents(1) == ()
    assert [item.rule for item in world.recorder.of("RiskRefused")] == ["price_band"]


def test_a_quote_that_grew_old_while_the_venue_was_asked_opens_nothing(world: MoneyWorld) -> None:
    world.cycle()

    def slow(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "open_orders":
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=6))

    world.faults.before_call = slow
    report = world.buy(AAA)
    assert (report.opened, report.refusals) == (0, {"quote_stale": 1})
    assert world.faults.sent == {}


def test_the_win_rate_shown_is_that_of_the_last_day(world: MoneyWorld) -> None:
    def win_rate() -> object:
        state = world.bot.store.get("account_state")
        assert isinstance(state, dict)
        return state["current_win_rate_24h"]

    world.buy(AAA)
    world.move("104")
    world.bot.protection.close(world.held(), ExitReason.KILL_SWITCH)
    world.cycle()
    assert win_rate() == 1
    world.clock.sleep_until(world.clock.now() + timedelta(hours=24, seconds=60))
    world.cycle()
    assert win_rate() == 0
