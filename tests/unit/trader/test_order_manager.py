"""Orders against everything an exchange may say of them: booked as told, doubted when it does not add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState, OrderIntent, OrderStatus, OrderType, Purpose, Replacement
from bn_ml.domain.positions import PositionStatus
from bn_ml.errors import OutcomeUnknown, Refused, StateError, Transient, Unreachable
from bn_ml.settings import Settings
from tests.fakes.told_exchange import RULES, OrderWorld, a_trade, done, ended, order_world, report, resting
from trader.entry_plan import EntryPlan, save_plan
from trader.gate import LimitReached
from trader.position_manager import dust

D = Decimal


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = order_world(tmp_path)
    yield made
    made.store.close()


def wait(world: OrderWorld, seconds: float) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=seconds))


def state(world: OrderWorld, client_id: str) -> IntentState:
    record = world.store.intent(client_id)
    assert record is not None
    return record.state


def events(world: OrderWorld, kind: str) -> int:
    return int(world.store.session.rows("SELECT count(*) FROM journal WHERE kind = ?", (kind,))[0][0])


def overfilled(world: OrderWorld) -> list[tuple[str, str]]:
    rows = world.store.session.rows("SELECT payload FROM journal WHERE kind = 'OrderOverfilled' ORDER BY id")
    told = [json.loads(row["payload"]) for row in rows]
    return [(str(item["asked"]), str(item["filled"])) for item in told]


class TestAnswers:
    def test_a_filled_order_is_a_position(self, world: OrderWorld) -> None:
        intent = world.bought()
        assert state(world, intent.client_id) is IntentState.FILLED
        (position,) = world.orders.positions.open_positions()
        assert (position.remaining_quantity, world.orders.open_intents()) == (2, ())

    @pytest.mark.parametrize(
        ("code", "counted"), [(-1013, 1), (-2010, 1), (-2015, 1), (0, 0), (-1003, 0), (-1015, 0), (-1021, 0)]
    )
    def test_only_refusals_of_the_order_itself_count(self, world: OrderWorld, code: int, counted: int) -> None:
        intent = world.buy()
        world.exchange.answers.append(Refused("no", code))
        assert world.orders.send(intent).state is IntentState.REFUSED
        assert world.orders.refusals_in_row == counted

    def test_an_accepted_order_ends_the_row_of_refusals(self, world: OrderWorld) -> None:
        world.exchange.answers.extend([Refused("no", -1013)])
        world.orders.send(world.buy())
        assert world.orders.refusals_in_row == 1
        world.bought()
        assert world.orders.refusals_in_row == 0

    def test_a_refused_list_is_one_refusal(self, world: OrderWorld) -> None:
        entry = world.bought()
        target, stop = pair(world, entry)
        world.exchange.answers.append(Refused("no", -2010))
        records = world.orders.send_oco(target, stop)
        assert [item.state for item in records] == [IntentState.REFUSED] * 2
        assert world.orders.refusals_in_row == 1

    @pytest.mark.parametrize("code", [-2014, -2015])
    def test_a_refused_key_reduces(self, world: OrderWorld, code: int) -> None:
        world.exchange.answers.append(Refused("Invalid API-key", code))
        world.orders.send(world.buy())
        control = world.store.control()
        assert (control.state, control.reason) == (ControlState.REDUCE_ONLY, f"key_refused: {code} Invalid API-key")

    def test_a_refused_key_loosens_no_halt(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.store.set_control(ControlState.HALTED, "kill_switch", "operator", world.clock.now())
        world.exchange.answers.append(Refused("Invalid API-key", -2015))
        world.orders.send(intent)
        assert world.store.control().state is ControlState.HALTED

    def test_what_the_gate_refuses_leaves_nothing_on_disk(self, world: OrderWorld) -> None:
        with pytest.raises(LimitReached, match="max_symbol_exposure"):
            world.buy("too-much", "15.1")
        assert world.store.intent("too-much") is None
        assert events(world, "OrderSent") == 0
        assert world.orders.open_intents() == ()

    def test_a_list_is_committed_whole_or_not_at_all(self, world: OrderWorld) -> None:
        entry = world.bought()
        target = world.a_sale(entry, "2", Purpose.TARGET, list_id="l-1")
        stop = world.a_sale(entry, "2.001", list_id="l-1")
        with pytest.raises(LimitReached, match="insufficient_balance"):
            world.orders.commit(target, stop)
        assert world.orders.open_intents() == ()

    def test_a_process_that_does_not_own_the_book_commits_nothing(self, world: OrderWorld) -> None:
        world.store.start_epoch(world.clock.now(), "another")
        with pytest.raises(StateError, match="owned by epoch"):
            world.buy()


def pair(world: OrderWorld, entry: OrderIntent) -> tuple[OrderIntent, OrderIntent]:
    target = world.a_sale(entry, "1", Purpose.TARGET, list_id="l-1")
    stop = world.a_sale(entry, "1", list_id="l-1")
    world.orders.commit(target, stop)
    return target, stop


class TestTrades:
    def test_one_of_an_order_without_any_price_shows_no_slippage(self, world: OrderWorld) -> None:
        entry = world.bought()
        sale = replace(world.a_sale(entry, "1", Purpose.EXIT), type=OrderType.MARKET, limit_price=None)
        world.orders.commit(sale)
        world.exchange.answers.append(done(sale, a_trade(sale, "7", "1", "9")))
        world.orders.send(sale)
        (row,) = world.store.session.rows("SELECT extra_json FROM trades WHERE side = 'SELL'")
        assert json.loads(row["extra_json"])["slippage_pct"] == 0


class TestUnknown:
    def test_the_deadline_is_the_receive_window_and_three_seconds(self, tmp_path: Path) -> None:
        settings = Settings.from_mapping({"base_quote": "USDC", "exchange": {"recv_window_ms": 2000}})
        world = order_world(tmp_path, settings)
        intent = world.buy()
        record = world.store.intent(intent.client_id)
        assert record is not None
        assert record.deadline == intent.created_at + timedelta(seconds=5)
        world.store.close()

    def test_an_order_that_protects_has_a_short_one(self, world: OrderWorld) -> None:
        stop = world.sale(world.bought(), "2")
        record = world.store.intent(stop.client_id)
        assert record is not None
        assert record.deadline == stop.created_at + timedelta(seconds=1 + 3)

    def test_a_quick_look_asks_for_what_is_in_doubt_and_for_nothing_else(self, world: OrderWorld) -> None:
        entry = world.bought()
        stops = [world.sale(entry, "1") for _ in range(2)]
        world.exchange.answers.extend([resting(stops[0]), OutcomeUnknown("reset")])
        for stop in stops:
            world.orders.send(stop)
        world.exchange.failing = Transient("the list of open orders is not read")
        world.exchange.known[stops[1].client_id] = resting(stops[1])
        world.orders.refresh_doubtful()
        assert world.exchange.asked == [stops[1].client_id]
        assert world.orders.unknown_symbols() == frozenset()

    @pytest.mark.parametrize("error", [OutcomeUnknown("reset"), Transient("503"), Unreachable("away")])
    def test_anything_unclear_is_unknown_and_never_sent_again(self, world: OrderWorld, error: Exception) -> None:
        intent = world.buy()
        world.exchange.answers.append(error)
        assert world.orders.send(intent).state is IntentState.UNKNOWN
        assert world.orders.unknown_symbols() == {intent.symbol}
        world.orders.refresh()
        assert world.exchange.answers == world.exchange.answers.__class__()

    @pytest.mark.parametrize(("seconds", "expected"), [(7.9, "UNKNOWN"), (8, "UNKNOWN"), (8.001, "NEVER_ACCEPTED")])
    def test_absence_proves_something_only_past_the_deadline(
        self, world: OrderWorld, seconds: float, expected: str
    ) -> None:
        intent = world.buy()
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send(intent)
        wait(world, seconds)
        world.orders.refresh()
        assert state(world, intent.client_id).value == expected

    def test_a_failed_query_proves_nothing_however_late(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send(intent)
        world.exchange.known[intent.client_id] = Transient("503")
        wait(world, 3600)
        with pytest.raises(Transient):
            world.orders.refresh()
        assert state(world, intent.client_id) is IntentState.UNKNOWN

    def test_one_that_is_found_is_booked(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send(intent)
        world.exchange.known[intent.client_id] = done(intent, a_trade(intent, "1", "2"))
        world.orders.refresh()
        assert state(world, intent.client_id) is IntentState.FILLED
        assert len(world.orders.positions.open_positions()) == 1

    def test_an_order_that_cannot_be_asked_for_holds_up_no_other(self, world: OrderWorld) -> None:
        entry = world.bought()
        stops = [world.sale(entry, "1") for _ in range(2)]
        for stop in stops:
            world.exchange.answers.append(resting(stop))
            world.orders.send(stop)
        world.exchange.known = {stops[0].client_id: Transient("503"), stops[1].client_id: ended(stops[1])}
        with pytest.raises(Transient, match="503"):
            world.orders.refresh()
        assert [state(world, stop.client_id) for stop in stops] == [IntentState.OPEN, IntentState.CANCELED]

    def test_an_exchange_that_is_away_is_not_asked_for_every_order(self, world: OrderWorld) -> None:
        entry = world.bought()
        for _ in range(2):
            stop = world.sale(entry, "1")
            world.exchange.answers.append(resting(stop))
            world.orders.send(stop)
            world.exchange.known[stop.client_id] = Unreachable("banned")
        with pytest.raises(Unreachable):
            world.orders.refresh()
        assert len(world.exchange.asked) == 1

    def test_a_leg_whose_other_leg_was_shown_exists_too(self, world: OrderWorld) -> None:
        entry = world.bought()
        target, stop = pair(world, entry)
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send_oco(target, stop)
        world.exchange.known[target.client_id] = resting(target)
        wait(world, 60)
        world.orders.refresh()
        assert state(world, stop.client_id) is IntentState.UNKNOWN
        world.exchange.known[stop.client_id] = resting(stop)
        world.orders.refresh()
        assert state(world, stop.client_id) is IntentState.OPEN

    def test_a_list_none_of_whose_legs_is_found_was_never_accepted(self, world: OrderWorld) -> None:
        entry = world.bought()
        target, stop = pair(world, entry)
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send_oco(target, stop)
        wait(world, 9)
        world.orders.refresh()
        assert [state(world, leg.client_id) for leg in (target, stop)] == [IntentState.NEVER_ACCEPTED] * 2


class TestContradictions:
    @pytest.mark.parametrize(
        ("status", "executed", "traded"),
        [
            (OrderStatus.FILLED, "2", None),
            (OrderStatus.FILLED, "2", "1.999"),
            (OrderStatus.FILLED, "1.5", "1.5"),
            (OrderStatus.FILLED, "0", None),
            (OrderStatus.CANCELED, "1", None),
            (OrderStatus.CANCELED, "0", "1"),
            (OrderStatus.EXPIRED, "1", "0.5"),
        ],
    )
    def test_an_end_whose_trades_do_not_add_up_is_no_end(
        self, world: OrderWorld, status: OrderStatus, executed: str, traded: str | None
    ) -> None:
        intent = world.buy()
        trades = () if traded is None else (a_trade(intent, "1", traded),)
        world.exchange.answers.append(report(intent, status, *trades, executed=executed))
        record = world.orders.send(intent)
        assert record.state is IntentState.UNKNOWN
        assert record.filled_quantity == D(traded or 0), "what is known to have traded is booked"

    def test_the_same_contradiction_is_told_once_and_ends_with_the_trades(self, world: OrderWorld) -> None:
        intent = world.buy()
        unclear = report(intent, OrderStatus.FILLED, executed="2")
        world.exchange.answers.append(unclear)
        world.orders.send(intent)
        world.exchange.known[intent.client_id] = unclear
        for _ in range(3):
            wait(world, 60)
            world.orders.refresh()
        assert events(world, "OrderOutcomeUnknown") == 1
        world.exchange.known[intent.client_id] = done(intent, a_trade(intent, "1", "0.5"), a_trade(intent, "2", "1.5"))
        world.orders.refresh()
        assert state(world, intent.client_id) is IntentState.FILLED
        assert events(world, "PositionOpened") == 1

    def test_another_doubt_of_the_same_order_is_told(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(OutcomeUnknown("reset"))
        world.orders.send(intent)
        world.exchange.known[intent.client_id] = report(intent, OrderStatus.FILLED, executed="2")
        world.orders.refresh()
        record = world.store.intent(intent.client_id)
        assert record is not None
        assert record.reason.startswith("FILLED with 2 of 2 executed, trades known of 0")
        assert record.exchange_id
        assert events(world, "OrderOutcomeUnknown") == 2

    def test_an_order_once_shown_is_never_taken_for_never_accepted(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(report(intent, OrderStatus.FILLED, executed="2"))
        world.orders.send(intent)
        wait(world, 60)
        world.orders.refresh()
        assert state(world, intent.client_id) is IntentState.UNKNOWN

    def test_more_than_was_asked_for_is_booked_and_halts(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(done(intent, a_trade(intent, "1", "2.5")))
        world.orders.send(intent)
        control = world.store.control()
        assert control.state is ControlState.HALTED
        assert control.reason.startswith("overfilled: ")
        assert world.orders.positions.open_positions()[0].remaining_quantity == D("2.5")
        assert world.store.ledger_balance("AAA") == D("2.5")
        assert overfilled(world) == [("2", "2.5")]

    def test_a_sale_of_more_than_is_held_is_booked_and_halts(self, world: OrderWorld) -> None:
        entry = world.bought()
        stop = world.sale(entry, "2")
        world.exchange.answers.append(done(stop, a_trade(stop, "7", "2.25", "9")))
        world.orders.send(stop)
        assert world.store.control().state is ControlState.HALTED
        position = world.store.position(entry.position_id)
        assert position is not None
        assert (position.status, position.dust_quantity) == (PositionStatus.CLOSED, D("-0.25"))
        assert world.store.ledger_balance("AAA") == dust(world.store)["AAA"] == D("-0.25")
        assert overfilled(world) == [("2", "2.25")]

    def test_a_sale_within_its_order_of_more_than_is_held_tells_the_excess(self, world: OrderWorld) -> None:
        entry = world.bought()
        first, second = world.sale(entry, "1.5"), world.sale(entry, "0.5")
        world.exchange.answers.append(done(first, a_trade(first, "7", "1.75", "9")))
        world.orders.send(first)
        world.exchange.answers.append(done(second, a_trade(second, "8", "0.5", "9")))
        world.orders.send(second)
        assert overfilled(world) == [("1.5", "1.75"), ("0.5", "0.75")]

    def test_trades_after_the_close_are_booked_as_they_are_and_halt(self, world: OrderWorld) -> None:
        entry = world.bought()
        stop = world.sale(entry, "2")
        world.exchange.answers.append(done(stop, a_trade(stop, "7", "2", "9")))
        world.orders.send(stop)
        assert world.store.control().state is ControlState.NORMAL
        assert world.orders.claim([a_trade(stop, "8", "0.5", "9"), a_trade(entry, "9", "0.75")]) == ()
        assert world.store.control().state is ControlState.HALTED
        position = world.store.position(entry.position_id)
        assert position is not None
        assert (position.status, position.dust_quantity) == (PositionStatus.CLOSED, D("0.25"))
        assert position.realized_quote == sum(leg.pnl_quote for leg in position.legs)
        assert world.store.ledger_balance("AAA") == dust(world.store)["AAA"] == D("0.25")

    def test_an_older_answer_takes_nothing_back(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(resting(intent, a_trade(intent, "1", "1")))
        world.orders.send(intent)
        world.orders.book(report(intent, OrderStatus.CANCELED, executed="0"))
        record = world.store.intent(intent.client_id)
        assert record is not None
        assert (record.state, record.filled_quantity) == (IntentState.UNKNOWN, 1)
        world.orders.book(ended(intent, a_trade(intent, "1", "1")))
        assert state(world, intent.client_id) is IntentState.CANCELED

    def test_a_finished_order_that_is_not_found_stays_as_it_is(self, world: OrderWorld) -> None:
        intent = world.bought()
        record = world.store.intent(intent.client_id)
        assert record is not None
        assert world.orders.resolve(record) == record

    def test_an_answer_about_an_order_that_was_never_meant_stops_the_bot(self, world: OrderWorld) -> None:
        stranger = replace(world.bought(), client_id="bnml-stranger")
        with pytest.raises(StateError, match="no intent bnml-stranger"):
            world.orders.book(resting(stranger))

    def test_a_sale_without_any_position_stops_the_bot(self, world: OrderWorld) -> None:
        stop = replace(world.a_sale(world.bought(), "1"), position_id="p-nobody")
        save_plan(world.store, EntryPlan("p-nobody", RULES, D(1), 0.003, 0.6, 8.0, 1, "test"), world.clock.now())
        world.store.add_intent(stop, world.store.control().owner)
        with pytest.raises(StateError, match="a sale without position"):
            world.orders.book(done(stop, a_trade(stop, "7", "1", "9")))
        assert not world.store.has_fill(stop.symbol, "7")


class TestCancels:
    def test_the_result_is_read_back_with_its_trades(self, world: OrderWorld) -> None:
        entry = world.bought()
        stop = world.sale(entry, "2")
        world.exchange.answers.extend([resting(stop), report(stop, OrderStatus.CANCELED, executed="1")])
        record = world.orders.send(stop)
        world.exchange.known[stop.client_id] = ended(stop, a_trade(stop, "7", "1", "9"))
        assert world.orders.cancel(record).state is IntentState.CANCELED
        assert world.orders.positions.open_positions()[0].remaining_quantity == 1

    def test_an_order_the_exchange_has_no_cancel_for_is_asked_for(self, world: OrderWorld) -> None:
        entry = world.bought()
        stop = world.sale(entry, "2")
        world.exchange.answers.extend([resting(stop), None])
        record = world.orders.send(stop)
        world.exchange.known[stop.client_id] = done(stop, a_trade(stop, "7", "2", "9"))
        assert world.orders.cancel(record).state is IntentState.FILLED
        assert world.orders.positions.open_positions() == ()

    @pytest.mark.parametrize("error", [OutcomeUnknown("reset"), Refused("no", -2011), Transient("503")])
    def test_an_unclear_cancel_leaves_the_order_as_it_was(self, world: OrderWorld, error: Exception) -> None:
        stop = world.sale(world.bought(), "2")
        world.exchange.answers.extend([resting(stop), error])
        assert world.orders.cancel(world.orders.send(stop)).state is IntentState.OPEN

    def test_the_other_leg_follows(self, world: OrderWorld) -> None:
        target, stop = pair(world, world.bought())
        world.exchange.answers.extend([(resting(target), resting(stop)), ended(target)])
        record, _ = world.orders.send_oco(target, stop)
        world.exchange.known[stop.client_id] = Transient("503")
        world.orders.cancel(record)
        assert state(world, stop.client_id) is IntentState.OPEN
        world.exchange.known[stop.client_id] = report(stop, OrderStatus.EXPIRED)
        world.orders.refresh()
        assert state(world, stop.client_id) is IntentState.EXPIRED


class TestReplacements:
    def replaced(self, world: OrderWorld, answer: object) -> tuple[IntentState, IntentState]:
        entry = world.bought()
        stop = world.sale(entry, "2")
        world.exchange.answers.append(resting(stop))
        old = world.orders.send(stop)
        new = world.sale(entry, "2", replaces=stop.client_id)
        world.exchange.answers.append(answer(stop, new) if callable(answer) else answer)
        world.orders.replace(old, new)
        return state(world, stop.client_id), state(world, new.client_id)

    def test_one_ends_and_the_other_rests(self, world: OrderWorld) -> None:
        both = self.replaced(world, lambda old, new: Replacement(ended(old), resting(new)))
        assert both == (IntentState.CANCELED, IntentState.OPEN)

    def test_a_half_done_one_ends_both(self, world: OrderWorld) -> None:
        both = self.replaced(world, lambda old, new: Replacement(ended(old), None, "Filter failure", -1013))
        assert both == (IntentState.CANCELED, IntentState.REFUSED)
        assert world.orders.refusals_in_row == 1

    def test_a_refused_one_leaves_the_old_order(self, world: OrderWorld) -> None:
        assert self.replaced(world, Refused("no", -2011)) == (IntentState.OPEN, IntentState.REFUSED)

    def test_an_unclear_one_is_asked_for(self, world: OrderWorld) -> None:
        assert self.replaced(world, OutcomeUnknown("reset")) == (IntentState.OPEN, IntentState.UNKNOWN)
        (old, new) = world.orders.open_intents()
        world.exchange.known = {old.intent.client_id: ended(old.intent), new.intent.client_id: resting(new.intent)}
        world.orders.refresh()
        assert (state(world, old.intent.client_id), state(world, new.intent.client_id)) == (
            IntentState.CANCELED,
            IntentState.OPEN,
        )


class TestLostOrders:
    @pytest.fixture
    def stop(self, world: OrderWorld) -> OrderIntent:
        stop = world.sale(world.bought(), "2")
        world.exchange.answers.append(resting(stop))
        world.orders.send(stop)
        return stop

    def look(self, world: OrderWorld, seconds: float) -> None:
        wait(world, seconds)
        world.orders.refresh()

    def test_one_missing_for_long_has_ended(self, world: OrderWorld, stop: OrderIntent) -> None:
        self.look(world, 0)
        self.look(world, 9.999)
        assert state(world, stop.client_id) is IntentState.OPEN
        self.look(world, 0.001)
        record = world.store.intent(stop.client_id)
        assert record is not None
        assert (record.state, record.reason) == (IntentState.CANCELED, "not at the exchange any more")

    def test_one_that_is_seen_in_between_is_waited_for_anew(self, world: OrderWorld, stop: OrderIntent) -> None:
        self.look(world, 0)
        world.exchange.resting = [resting(stop)]
        self.look(world, 6)
        world.exchange.resting = []
        self.look(world, 6)
        self.look(world, 9)
        assert state(world, stop.client_id) is IntentState.OPEN
        self.look(world, 2)
        assert state(world, stop.client_id) is IntentState.CANCELED

    def test_one_that_shows_up_by_its_id_is_open(self, world: OrderWorld, stop: OrderIntent) -> None:
        self.look(world, 0)
        world.exchange.known[stop.client_id] = resting(stop)
        self.look(world, 30)
        assert state(world, stop.client_id) is IntentState.OPEN

    def test_one_in_the_list_of_open_orders_is_not_lost(self, world: OrderWorld, stop: OrderIntent) -> None:
        record = world.orders.resolve(world.orders.open_intents()[0])
        wait(world, 30)
        world.exchange.resting = [resting(stop)]
        assert world.orders.resolve(record).state is IntentState.OPEN
        world.exchange.resting = []
        self.look(world, 0)
        self.look(world, 9)
        assert state(world, stop.client_id) is IntentState.OPEN, "waited for anew"

    @pytest.mark.parametrize("by_number", [True, False])
    @pytest.mark.parametrize(("quantity", "expected"), [("0.5", "CANCELED"), ("2", "FILLED")])
    def test_trades_it_made_are_booked(
        self, world: OrderWorld, stop: OrderIntent, quantity: str, expected: str, *, by_number: bool
    ) -> None:
        names = {"client_id": "", "order_id": f"x-{stop.client_id}"} if by_number else {}
        strange = a_trade(stop, "8", "1", "9", client_id="", order_id="x-other")
        world.exchange.made = [a_trade(stop, "7", quantity, "9", **names), strange]
        self.look(world, 0)
        self.look(world, 10)
        record = world.store.intent(stop.client_id)
        assert record is not None
        assert (record.state.value, record.filled_quantity) == (expected, D(quantity))
        assert record.reason == "not at the exchange any more"

    def test_while_the_exchange_is_away_nothing_is_lost(self, world: OrderWorld, stop: OrderIntent) -> None:
        self.look(world, 0)
        world.exchange.failing = Transient("503")
        wait(world, 60)
        with pytest.raises(Transient):
            world.orders.refresh()
        assert state(world, stop.client_id) is IntentState.OPEN


class TestTradesFoundBySymbol:
    def test_ours_are_booked_once_and_strange_ones_are_given_back(self, world: OrderWorld) -> None:
        intent = world.buy()
        world.exchange.answers.append(report(intent, OrderStatus.FILLED, executed="2", order_id="42"))
        world.orders.send(intent)
        ours = a_trade(intent, "1", "2", client_id="", order_id="42")
        strange = a_trade(intent, "2", "5", client_id="manual", order_id="43")
        assert world.orders.claim([ours, strange]) == (strange,)
        assert world.orders.claim([ours]) == ()
        assert world.store.ledger_balance("AAA") == 2
        world.exchange.known[intent.client_id] = report(intent, OrderStatus.FILLED, executed="2", order_id="42")
        world.orders.refresh()
        assert state(world, intent.client_id) is IntentState.FILLED
