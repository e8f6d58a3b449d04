"""Flat without a book: only what our own orders bought, noted beside the database, and never sold twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.client_ids import is_client_id
from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, OrderStatus, OrderType, Side
from bn_ml.errors import ExchangeError, Transient
from bn_ml.side_journal import SideJournal
from bn_ml.venue.venue import Venue
from tests.fakes.book_builders import AT, a_fill, an_intent
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, CCC, MoneyWorld
from tests.fakes.venue_world import request
from trader.emergency import Emergency, EmergencyParts, owned
from trader.flatten import NOT_TRADING, UNCLEAR

SYMBOLS = (AAA, BBB, CCC)


class VenueMemory:
    """What a venue remembers of orders under our ids, from an instant of its memory that may lie behind."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.hidden = 0
        self.is_down = False

    def fills(self, symbol: Symbol) -> Sequence[Fill]:
        if self.is_down:
            raise Transient("503")
        if symbol == CCC:
            raise ExchangeError("-1121 Invalid symbol.")
        trades = [item for item in self.venue.state.all_trades() if item.symbol == symbol]
        ours = [item for item in trades if is_client_id(item.client_id)]
        shown = ours[: len(ours) - self.hidden]
        return [
            Fill(
                str(item.trade_id),
                item.client_id,
                symbol,
                item.side,
                item.price,
                item.quantity,
                item.quote_quantity,
                item.fee,
                item.fee_asset,
                AT + timedelta(seconds=item.trade_id),
            )
            for item in shown
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MoneyWorld]:
    made = MoneyWorld(tmp_path)
    made.start()
    made.buy(AAA, BBB)
    made.look()
    made.bot.venue.deposit("AAA", Decimal(5))
    yield made
    made.close()


def parts(world: MoneyWorld) -> EmergencyParts:
    def rules(symbol: Symbol) -> MarketRules:
        return world.market.rules(symbol)

    return EmergencyParts(
        exchange=world.bot.desk.exchange,
        history=VenueMemory(world.bot.venue),
        rules=rules,
        clock=world.clock,
        notes=SideJournal(world.path),
        receive_window=timedelta(seconds=5),
    )


def begin(world: MoneyWorld, **changes: object) -> Emergency:
    return Emergency(replace(parts(world), **changes), SYMBOLS)  # type: ignore[arg-type]


def pause(world: MoneyWorld, seconds: float) -> None:
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=seconds))


def wallet(world: MoneyWorld, asset: str) -> Decimal:
    return world.bot.venue.balances()[asset].total


def test_the_plan_names_what_is_ours_and_touches_nothing(world: MoneyWorld) -> None:
    plan = begin(world).plan()
    assert [(item.symbol, item.left, item.why) for item in plan] == [
        (AAA, Decimal("0.997002"), "5 orders to cancel"),
        (BBB, Decimal("0.907092"), "5 orders to cancel"),
    ]
    assert len(world.bot.venue.open_orders()) == 10
    assert not SideJournal(world.path).path.exists()
    for record in world.bot.orders.open_intents():
        world.bot.orders.cancel(record)
    assert [item.why for item in begin(world).plan()] == ["0 orders to cancel"] * 2


def test_our_orders_end_and_only_what_they_bought_is_sold(world: MoneyWorld) -> None:
    world.bot.venue.place(
        request(Side.SELL, OrderType.LIMIT, "2", client_id="web_1", price="150", symbol=AAA), world.clock.now()
    )
    work = begin(world)
    assert work.run_pass()
    assert [order.client_id for order in world.bot.venue.open_orders()] == ["web_1"]
    assert (wallet(world, "AAA"), wallet(world, "BBB")) == (Decimal("5.000002"), Decimal("0.000092"))
    assert [(item.symbol, item.sold, item.left, item.dust) for item in work.results()] == [
        (AAA, Decimal("0.997"), 0, Decimal("0.000002")),
        (BBB, Decimal("0.907"), 0, Decimal("0.000092")),
    ]


def test_a_second_run_sells_nothing_more(world: MoneyWorld) -> None:
    begin(world).run_pass()
    again = begin(world)
    assert again.run_pass()
    assert [item.sold for item in again.results()] == [0, 0]
    assert wallet(world, "AAA") == Decimal("5.000002")


def test_a_sale_the_venue_does_not_remember_yet_is_known_from_the_notes(world: MoneyWorld) -> None:
    begin(world).run_pass()
    memory = VenueMemory(world.bot.venue)
    memory.hidden = 1
    again = begin(world, history=memory)
    assert again.run_pass()
    assert wallet(world, "AAA") == Decimal("5.000002")


def test_what_was_bought_at_the_last_moment_is_found_by_another_look(world: MoneyWorld) -> None:
    work = begin(world)
    assert work.run_pass()
    late = world.bot.store.next_client_id()
    order = request(Side.BUY, OrderType.MARKET, "0.5", client_id=late, symbol=AAA)
    world.bot.venue.place(order, world.clock.now())
    work.look_again()
    assert work.run_pass()
    assert [item.sold for item in work.results()] == [Decimal("1.496"), Decimal("0.907")]
    assert wallet(world, "AAA") < Decimal("5.001")
    work.look_again()
    assert work.run_pass()
    assert wallet(world, "AAA") > Decimal(5)


@pytest.mark.parametrize(("fault", "passes"), [(Fault.UNHEARD, 2), (Fault.LOST, 3)])
def test_an_unclear_sale_is_settled_before_another(world: MoneyWorld, fault: Fault, passes: int) -> None:
    work = begin(world)
    world.faults.next("create_order", fault)
    assert not work.run_pass()
    if fault is Fault.LOST:
        assert not work.run_pass()
        assert work.results()[0].why == UNCLEAR
        pause(world, 9)
    assert work.run_pass()
    assert wallet(world, "AAA") == Decimal("5.000002")
    assert world.never_sent_twice()


def test_an_unclear_sale_of_a_run_that_died_is_settled_by_the_next(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.UNHEARD)
    begin(world).run_pass()
    pause(world, 1)
    again = begin(world)
    assert again.run_pass()
    assert wallet(world, "AAA") == Decimal("5.000002")


def test_a_refused_sale_is_told_and_a_symbol_that_rests_keeps_its_stops(world: MoneyWorld) -> None:
    world.market.halted.add(BBB)
    world.faults.next("create_order", Fault.REFUSED)
    work = begin(world)
    assert not work.run_pass()
    by_symbol = {item.symbol: item for item in work.results()}
    assert "NOTIONAL" in by_symbol[AAA].why
    assert by_symbol[BBB].why == NOT_TRADING
    assert {order.symbol for order in world.bot.venue.open_orders()} == {BBB}
    world.market.halted.clear()
    world.market.rule_changes["min_notional"] = Decimal(60)
    world.faults.next("create_order", Fault.REFUSED)
    assert work.run_pass()
    assert {item.symbol: item.dust for item in work.results()} == {AAA: Decimal("0.997"), BBB: Decimal("0.000092")}


def test_an_order_that_is_neither_open_nor_ended_is_told(world: MoneyWorld) -> None:
    world.faults.next("order_status", Fault.LAG)
    exchange = world.bot.desk.exchange
    first = next(order for order in exchange.open_orders() if order.symbol == AAA)
    original = exchange.cancel_order
    exchange.cancel_order = (  # type: ignore[method-assign]
        lambda symbol, client_id: None if client_id == first.client_id else original(symbol, client_id)
    )
    work = begin(world)
    assert not work.run_pass()
    assert f"{first.client_id} is neither open nor ended" in work.results()[0].why


def test_a_sale_that_rests_is_waited_for(world: MoneyWorld) -> None:
    exchange = world.bot.desk.exchange
    original = exchange.create_order
    resting: list[str] = []

    def slow(intent: OrderIntent) -> OrderReport:
        report = original(intent)
        if resting:
            return report
        resting.append(intent.client_id)
        return replace(report, status=OrderStatus.NEW, fills=(), executed_quantity=Decimal(0))

    exchange.create_order = slow  # type: ignore[method-assign]
    work = begin(world)
    assert not work.run_pass()
    assert work.run_pass()
    assert wallet(world, "AAA") == Decimal("5.000002")
    assert world.never_sent_twice()


def test_a_cancel_without_answer_stops_only_its_symbol(world: MoneyWorld) -> None:
    world.faults.next("cancel_order", Fault.LOST)
    work = begin(world)
    assert not work.run_pass()
    assert {item.symbol: item.sold for item in work.results()} == {AAA: 0, BBB: Decimal("0.907")}
    assert work.run_pass()


def test_nothing_begins_while_the_venue_cannot_be_asked(world: MoneyWorld) -> None:
    memory = VenueMemory(world.bot.venue)
    memory.is_down = True
    with pytest.raises(Transient):
        begin(world, history=memory)


def test_a_symbol_the_exchange_does_not_know_is_passed_over_with_a_word(
    world: MoneyWorld, caplog: pytest.LogCaptureFixture
) -> None:
    assert begin(world).run_pass()
    assert "nothing is known of a symbol symbol=CCC/USDC" in caplog.text


def test_notes_that_cannot_be_read_do_not_stop_the_selling(world: MoneyWorld) -> None:
    SideJournal(world.path).path.write_bytes(b"\xff\xfe\x00")
    assert begin(world).run_pass()


def test_the_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    notes = SideJournal(tmp_path / "bn_ml.db")
    notes.note("begun")
    notes.intent(an_intent("bnml-1"))
    notes.intent(an_intent("bnml-2"))
    notes.fill(a_fill())
    notes.settled("bnml-1", "FILLED")
    with notes.path.open("a") as file:
        file.write('{"kind": "fil')
    story = SideJournal(tmp_path / "bn_ml.db").story()
    assert story.unsettled == (an_intent("bnml-2"),)
    assert story.fills == (a_fill(),)


def test_a_line_that_cannot_be_noted_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SideJournal(tmp_path / "nowhere" / "bn_ml.db").note("begun")
    assert "not noted" in caplog.text


@given(
    st.lists(st.tuples(st.sampled_from([Side.BUY, Side.SELL]), st.integers(1, 1000), st.integers(0, 1)), max_size=12)
)
def test_owned_is_never_negative_and_never_more_than_was_bought(trades: list[tuple[Side, int, int]]) -> None:
    fills = [
        replace(
            a_fill(str(number)), side=side, quantity=Decimal(quantity), fee=Decimal(fee), symbol=AAA, fee_asset="AAA"
        )
        for number, (side, quantity, fee) in enumerate(trades)
    ]
    bought = sum((fill.quantity - fill.fee for fill in fills if fill.side is Side.BUY), Decimal(0))
    assert 0 <= owned(fills, AAA) <= max(bought, Decimal(0))
