"""The gate: every limit just inside, at and just outside, and against many writers at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, IntentState, OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.domain.positions import Position, PositionStatus
from bn_ml.errors import Refused
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from trader.gate import Gate, LimitReached, Means, offered_quantity

D = Decimal
AT = datetime(2023, 6, 10, 12, tzinfo=timezone.utc)
AAA, BBB, CCC = Symbol("AAA/USDC"), Symbol("BBB/USDC"), Symbol("CCC/USDC")
SETTINGS = Settings.from_mapping({"base_quote": "USDC"})
RICH = Means(D(10_000))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    book = a_book(tmp_path / "bn_ml.db")
    book.start_epoch(AT, "test")
    book.deposit("USDC", D(1000), AT, "capital")
    yield book
    book.close()


def a_book(path: Path) -> StateStore:
    book = StateStore(path)
    book.session.execute("PRAGMA synchronous = OFF")
    return book


def settings_with(**changes: object) -> Settings:
    orders = {name: changes.pop(name) for name in tuple(changes) if name.startswith("max_") and name in ORDER_KEYS}
    return Settings.from_mapping({"base_quote": "USDC", "risk": changes, "exchange": {"orders": orders}})


ORDER_KEYS = ("max_orders_per_min", "max_notional_per_day_usdt")


def a_buy(
    name: str = "b-1", symbol: Symbol = AAA, notional: str = "100", at: datetime = AT, *, reserved: str | None = None
) -> OrderIntent:
    return OrderIntent(
        name,
        symbol,
        Side.BUY,
        OrderType.LIMIT,
        D(notional) / 10,
        Purpose.ENTRY,
        f"p-{name}",
        at,
        limit_price=D(10),
        time_in_force=TimeInForce.IOC,
        reserved_quote=D(reserved or notional),
    )


def a_sale(name: str, quantity: str, *, list_id: str | None = None, replaces: str = "") -> OrderIntent:
    return OrderIntent(
        name,
        AAA,
        Side.SELL,
        OrderType.STOP_LOSS,
        D(quantity),
        Purpose.STOP,
        "p-1",
        AT,
        stop_price=D(9),
        list_id=list_id,
        replaces=replaces,
    )


def a_position(symbol: Symbol = AAA, position_id: str = "p-1", *, quantity: str = "10", cost: str = "100") -> Position:
    return Position(
        position_id=position_id,
        symbol=symbol,
        status=PositionStatus.OPEN,
        opened_at=AT,
        entry_price=D(10),
        initial_quantity=D(quantity),
        remaining_quantity=D(quantity),
        cost_quote=D(cost),
        cost_open_quote=D(cost),
        stop=D(9),
        target_1=D(11),
        target_2=D(12),
        max_price_seen=D(10),
    )


def commit(
    store: StateStore,
    *intents: OrderIntent,
    settings: Settings = SETTINGS,
    means: Means | None = RICH,
    state: IntentState | None = None,
) -> None:
    gate = Gate(store, settings)
    with store.transaction():
        control = store.control()
        for intent in intents:
            gate.require_permitted(control, intent)
            store.add_intent(intent, control.owner)
            gate.require_room(intent, means)
    for intent in intents if state else ():
        assert state is not None
        store.update_intent(intent.client_id, state, exchange_id="7", at=intent.created_at)


def refusal(store: StateStore, *intents: OrderIntent, settings: Settings = SETTINGS, means: Means | None = RICH) -> str:
    with pytest.raises(LimitReached) as caught:
        commit(store, *intents, settings=settings, means=means)
    assert isinstance(caught.value, Refused)
    assert caught.value.code == 0
    assert str(caught.value).startswith(caught.value.rule)
    assert store.intent(intents[-1].client_id) is None, "a refused order leaves nothing behind"
    return caught.value.rule


class TestEntries:
    def test_one_within_all_limits_is_written(self, store: StateStore) -> None:
        commit(store, a_buy())
        assert [item.intent.client_id for item in store.open_intents()] == ["b-1"]

    @pytest.mark.parametrize("state", [ControlState.REDUCE_ONLY, ControlState.HALTED])
    def test_none_is_written_under_a_tightened_state(self, store: StateStore, state: ControlState) -> None:
        store.set_control(state, "because", "operator", AT)
        assert refusal(store, a_buy()) == "control_state"

    def test_a_symbol_that_is_held_takes_no_second_one(self, store: StateStore) -> None:
        store.save_position(a_position())
        assert refusal(store, a_buy()) == "already_open"
        commit(store, a_buy(symbol=BBB))

    @pytest.mark.parametrize("state", [None, IntentState.OPEN])
    def test_a_symbol_with_an_unfinished_order_takes_no_entry(
        self, store: StateStore, state: IntentState | None
    ) -> None:
        commit(store, a_buy(), state=state)
        assert refusal(store, a_buy("b-2")) == "already_open"

    def test_a_symbol_whose_sale_is_unfinished_takes_no_entry(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("s-1", "10"), state=IntentState.OPEN)
        closed = replace(
            a_position(), status=PositionStatus.CLOSED, remaining_quantity=D(0), cost_open_quote=D(0), closed_at=AT
        )
        store.save_position(closed)
        assert refusal(store, a_buy()) == "already_open"

    def test_places_count_positions_and_entries_in_flight(self, store: StateStore) -> None:
        settings = settings_with(max_open_positions=3)
        store.save_position(a_position())
        commit(store, a_buy("b-1", BBB), settings=settings)
        commit(store, a_buy("b-2", CCC), settings=settings)
        assert refusal(store, a_buy("b-3", Symbol("DDD/USDC")), settings=settings) == "max_open_positions"

    def test_a_finished_entry_gives_its_place_back(self, store: StateStore) -> None:
        settings = settings_with(max_open_positions=1)
        commit(store, a_buy("b-1", BBB), settings=settings, state=IntentState.EXPIRED)
        commit(store, a_buy("b-2", CCC), settings=settings)

    @pytest.mark.parametrize(
        ("state", "age", "blocks"),
        [
            (IntentState.UNKNOWN, 0, True),
            (IntentState.OPEN, 60, False),
            (None, 1, False),
            (None, 1.001, True),
        ],
    )
    def test_an_order_nobody_can_account_for_blocks_entries_on_every_symbol(
        self, store: StateStore, state: IntentState | None, age: float, *, blocks: bool
    ) -> None:
        store.save_position(a_position())
        commit(store, replace(a_sale("s-1", "1"), created_at=AT - timedelta(seconds=age)), state=state)
        if blocks:
            assert refusal(store, a_buy(symbol=BBB)) == "symbol_frozen"
        else:
            commit(store, a_buy(symbol=BBB))

    @pytest.mark.parametrize(("age", "blocks"), [(5, False), (5.001, True)])
    def test_an_entry_may_be_on_its_way_for_the_whole_receive_window(
        self, store: StateStore, age: float, *, blocks: bool
    ) -> None:
        commit(store, a_buy("b-1", BBB, at=AT - timedelta(seconds=age)), means=RICH)
        if blocks:
            assert refusal(store, a_buy("b-2")) == "symbol_frozen"
        else:
            commit(store, a_buy("b-2"))

    def test_the_tenth_order_of_a_minute_is_the_last(self, store: StateStore) -> None:
        settings = settings_with(max_open_positions=50, max_notional_per_day_usdt=100_000)
        for number in range(10):
            at = AT + timedelta(seconds=number)
            entry = a_buy(f"b-{number}", Symbol(f"A{number}/USDC"), "10", at)
            commit(store, entry, settings=settings, state=IntentState.OPEN)
        one_more = a_buy("x", BBB, "10", AT + timedelta(seconds=60))
        assert refusal(store, one_more, settings=settings) == "order_rate"
        commit(store, replace(one_more, created_at=AT + timedelta(seconds=60, milliseconds=1)), settings=settings)

    def test_a_lower_configured_order_rate_counts(self, store: StateStore) -> None:
        settings = settings_with(max_orders_per_min=1)
        commit(store, a_buy("b-1", AAA, "10"), settings=settings, state=IntentState.EXPIRED)
        assert refusal(store, a_buy("b-2", BBB, "10"), settings=settings) == "order_rate"
        commit(store, a_buy("b-3", BBB, "10", AT + timedelta(seconds=60, milliseconds=1)), settings=settings)

    def test_the_notional_of_a_utc_day_is_reached_but_not_passed(self, store: StateStore) -> None:
        settings = settings_with(max_notional_per_day_usdt=250)
        commit(store, a_buy("b-1", AAA), settings=settings, state=IntentState.OPEN)
        commit(store, a_buy("b-2", BBB, "150"), settings=settings, state=IntentState.OPEN)
        tiny = a_buy("b-3", CCC, "0.01")
        assert refusal(store, tiny, settings=settings) == "notional_per_day"
        commit(store, replace(tiny, created_at=AT + timedelta(hours=12)), settings=settings, means=Means(D(100_000)))

    def test_over_midnight_the_minute_goes_on_and_the_day_begins(self, store: StateStore) -> None:
        settings = settings_with(max_orders_per_min=2, max_notional_per_day_usdt=100)
        midnight = AT + timedelta(hours=12)
        before, after = midnight - timedelta(seconds=10), midnight + timedelta(seconds=10)
        commit(store, a_buy("b-1", AAA, at=before), settings=settings, state=IntentState.OPEN)
        commit(store, a_buy("b-2", BBB, "99", after), settings=settings, state=IntentState.OPEN)
        assert refusal(store, a_buy("b-3", CCC, "1", after), settings=settings) == "order_rate"
        commit(store, a_buy("b-3", CCC, "1", midnight + timedelta(seconds=51)), settings=settings)

    def test_only_what_a_finished_entry_bought_counts_for_the_day(self, store: StateStore) -> None:
        settings = settings_with(max_notional_per_day_usdt=100)
        commit(store, a_buy("b-1", AAA), settings=settings)
        store.add_fill(Fill("1", "b-1", AAA, Side.BUY, D(10), D(4), D(40), D(0), "USDC", AT))
        store.update_intent("b-1", IntentState.EXPIRED, at=AT)
        assert refusal(store, a_buy("b-2", BBB, "60.01"), settings=settings) == "notional_per_day"
        commit(store, a_buy("b-2", BBB, "60"), settings=settings)

    def test_free_quote_is_the_ledger_less_what_other_buys_have_reserved(self, store: StateStore) -> None:
        settings = settings_with(max_notional_per_day_usdt=100_000, max_exposure_pct=1.0, max_symbol_exposure_pct=1.0)
        commit(store, a_buy("b-1", AAA, "600", reserved="601"), settings=settings)
        over = a_buy("b-2", BBB, "398.60", reserved="399.00000001")
        assert refusal(store, over, settings=settings) == "insufficient_balance"
        commit(store, replace(over, reserved_quote=D(399)), settings=settings)

    @pytest.mark.parametrize(("notional", "passes"), [("149.99", True), ("150", True), ("150.01", False)])
    def test_one_symbol_takes_its_share_of_capital(self, store: StateStore, notional: str, *, passes: bool) -> None:
        means = Means(D(1000))
        if passes:
            commit(store, a_buy(notional=notional), means=means)
        else:
            assert refusal(store, a_buy(notional=notional), means=means) == "max_symbol_exposure"

    @pytest.mark.parametrize(("notional", "passes"), [("99.99", True), ("100", True), ("100.01", False)])
    def test_exposure_is_what_is_held_in_flight_and_asked_for(
        self, store: StateStore, notional: str, *, passes: bool
    ) -> None:
        store.save_position(a_position(AAA, cost="300"))
        commit(store, a_buy("b-1", BBB, "100"), means=RICH)
        means = Means(D(1000))
        if passes:
            commit(store, a_buy("b-2", CCC, notional), means=means)
        else:
            assert refusal(store, a_buy("b-2", CCC, notional), means=means) == "max_exposure"

    def test_a_position_counts_at_its_mark_where_there_is_one(self, store: StateStore) -> None:
        store.save_position(a_position(AAA, cost="300"))
        dear, cheap = Means(D(1000), {AAA: D(41)}), Means(D(1000), {AAA: D(40)})
        assert refusal(store, a_buy("b-1", BBB, "100"), means=dear) == "max_exposure"
        commit(store, a_buy("b-1", BBB, "100"), means=cheap)

    def test_without_means_the_shares_are_of_the_book_value(self, store: StateStore) -> None:
        store.save_position(a_position(BBB, cost="100"))
        assert refusal(store, a_buy(notional="165.01"), means=None) == "max_symbol_exposure"
        commit(store, a_buy(notional="165"), means=None)

    def test_an_order_at_market_counts_at_its_reference_price_or_its_reservation(self, store: StateStore) -> None:
        means = Means(D(1000))
        blind = replace(a_buy(reserved="151"), type=OrderType.MARKET, limit_price=None, time_in_force=None)
        assert refusal(store, blind, means=means) == "max_symbol_exposure"
        commit(store, replace(blind, reference_price=D(15)), means=means)


class TestSales:
    def test_a_sale_needs_its_open_position(self, store: StateStore) -> None:
        assert refusal(store, a_sale("s-1", "1")) == "long_only"

    @pytest.mark.parametrize(("quantity", "passes"), [("3.999", True), ("4", True), ("4.001", False)])
    def test_all_that_is_offered_fits_into_what_is_held(
        self, store: StateStore, quantity: str, *, passes: bool
    ) -> None:
        store.save_position(a_position())
        commit(store, a_sale("s-1", "6"), state=IntentState.OPEN)
        if passes:
            commit(store, a_sale("s-2", quantity))
        else:
            assert refusal(store, a_sale("s-2", quantity)) == "insufficient_balance"

    def test_the_legs_of_a_list_offer_once(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("t-1", "6", list_id="l"), a_sale("s-1", "6", list_id="l"))
        commit(store, a_sale("s-2", "4"))
        assert refusal(store, a_sale("s-3", "0.001")) == "insufficient_balance"

    def test_an_order_and_the_one_replacing_it_offer_once(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("t-1", "6", list_id="l"), a_sale("s-1", "6", list_id="l"), state=IntentState.OPEN)
        commit(store, a_sale("s-2", "4"), state=IntentState.OPEN)
        commit(store, a_sale("s-3", "4", replaces="s-2"), state=IntentState.UNKNOWN)
        commit(store, a_sale("s-4", "6", replaces="s-1"))
        assert refusal(store, a_sale("s-5", "0.001", replaces="s-9")) == "insufficient_balance"

    def test_a_replacement_of_a_finished_order_offers_for_itself(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("s-1", "10"), state=IntentState.CANCELED)
        commit(store, a_sale("s-2", "10", replaces="s-1"), state=IntentState.OPEN)
        assert refusal(store, a_sale("s-3", "1", replaces="s-1")) == "insufficient_balance"

    def test_what_one_leg_has_filled_the_other_offers_no_more(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("t-1", "6", list_id="l"), a_sale("s-1", "6", list_id="l"), state=IntentState.OPEN)
        store.add_fill(Fill("1", "t-1", AAA, Side.SELL, D(11), D(2), D(22), D(0), "USDC", AT))
        store.save_position(replace(a_position(), remaining_quantity=D(8)))
        assert offered_quantity(store.intents_of("p-1")) == 4
        commit(store, a_sale("s-2", "4"))

    def test_a_lone_order_offers_what_it_has_not_filled_itself(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("s-0", "1"), a_sale("s-1", "6"), state=IntentState.OPEN)
        store.add_fill(Fill("1", "s-0", AAA, Side.SELL, D(9), D(1), D(9), D(0), "USDC", AT))
        store.update_intent("s-0", IntentState.FILLED, at=AT)
        store.add_fill(Fill("2", "s-1", AAA, Side.SELL, D(9), D(2), D(18), D(0), "USDC", AT))
        store.save_position(replace(a_position(), remaining_quantity=D(7)))
        assert offered_quantity(store.intents_of("p-1")) == 4
        commit(store, a_sale("s-2", "3"))
        assert refusal(store, a_sale("s-3", "0.001")) == "insufficient_balance"

    def test_finished_sales_offer_nothing(self, store: StateStore) -> None:
        store.save_position(a_position())
        for number, state in enumerate((IntentState.FILLED, IntentState.CANCELED, IntentState.REFUSED)):
            commit(store, a_sale(f"s-{number}", "10"), state=state)
        commit(store, a_sale("s-9", "10"))

    def test_an_order_that_may_exist_offers(self, store: StateStore) -> None:
        store.save_position(a_position())
        commit(store, a_sale("s-1", "10"), state=IntentState.UNKNOWN)
        assert refusal(store, a_sale("s-2", "1")) == "insufficient_balance"


def test_eight_writers_at_once_never_pass_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "bn_ml.db"
    first = a_book(path)
    first.start_epoch(AT, "test")
    first.deposit("USDC", D(1000), AT, "capital")
    settings = settings_with(max_open_positions=4, max_orders_per_min=9, max_notional_per_day_usdt=100_000)
    start, problems = threading.Barrier(8), []

    def write(worker: int) -> None:
        book = a_book(path)
        try:
            start.wait()
            for turn in range(40):
                name, at = f"b-{worker}-{turn}", AT + timedelta(seconds=9 * turn)
                try:
                    commit(book, a_buy(name, Symbol(f"S{(worker + turn) % 6}/USDC"), "120", at), settings=settings)
                except LimitReached:
                    continue
                check(book)
                book.update_intent(name, IntentState.EXPIRED, at=at)
        finally:
            book.close()

    def check(book: StateStore) -> None:
        live = [item.intent for item in book.open_intents()]
        if len(live) > 4 or len({item.symbol for item in live}) != len(live):
            problems.append(live)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = first.entries_since(AT - timedelta(days=1))
    first.close()
    assert problems == []
    assert len(entries) >= 4
