"""The one writer on a real file: control, intents, fills, ledger and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import CycleStarted
from bn_ml.domain.market import EPOCH
from bn_ml.domain.orders import IntentState, OrderType, Purpose, Side, TimeInForce
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, LATER, a_fill, an_intent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "state" / "bn_ml.db")
    store.start_epoch(AT, "test")
    yield store
    store.close()


def test_file_and_folder_are_private(store: StateStore) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_is_durable_and_checked(store: StateStore) -> None:
    pragmas = {name: store.session.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    assert [store.session.rows(f"PRAGMA {name}")[0][0] for name in ("foreign_keys", "trusted_schema")] == [1, 0]


def test_a_fresh_book_starts_normal_and_each_start_raises_the_epoch(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "x.db")
    assert (store.control().epoch, store.control().since) == (0, EPOCH)
    assert store.start_epoch(AT, "bot").state is ControlState.NORMAL
    store.set_control(ControlState.HALTED, "drawdown", "breaker", LATER)
    store.close()
    reopened = StateStore(tmp_path / "x.db")
    again = reopened.start_epoch(LATER + timedelta(hours=1), "bot")
    reopened.close()
    assert (again.epoch, again.state, again.reason, again.since) == (3, ControlState.HALTED, "drawdown", LATER)


def test_an_intent_survives_exactly(store: StateStore) -> None:
    intent = replace(
        an_intent(),
        type=OrderType.LIMIT,
        limit_price=Decimal("26000.01"),
        stop_price=Decimal("25000.5"),
        time_in_force=TimeInForce.GTC,
        list_id="bnml-l1",
        tranche="tp1",
        reason="note",
        reference_price=Decimal("26000.123456789"),
        reserved_quote=Decimal("13000.00000001"),
    )
    store.add_intent(intent, 1)
    record = store.intent("bnml-1")
    assert record is not None
    assert (record.intent, record.state, record.epoch) == (intent, IntentState.SENT, 1)


def test_a_reservation_is_rounded_up_to_a_unit(store: StateStore) -> None:
    store.add_intent(replace(an_intent(), reserved_quote=Decimal("1.000000001")), 1)
    record = store.intent("bnml-1")
    assert record is not None
    assert record.intent.reserved_quote == Decimal("1.00000001")


def test_intents_of_an_old_or_future_epoch_are_refused(store: StateStore) -> None:
    for epoch in (0, 2):
        with pytest.raises(StateError, match="epoch"):
            store.add_intent(an_intent(), epoch)
    assert store.intent("bnml-1") is None


@pytest.mark.parametrize("state", ControlState)
@pytest.mark.parametrize("purpose", Purpose)
def test_control_decides_which_purposes_may_be_sent(store: StateStore, state: ControlState, purpose: Purpose) -> None:
    control = store.set_control(state, "why", "test", AT)
    allowed = {
        ControlState.NORMAL: set(Purpose),
        ControlState.REDUCE_ONLY: {Purpose.STOP, Purpose.TARGET, Purpose.EXIT},
        ControlState.HALTED: {Purpose.EXIT},
    }[state]
    if purpose in allowed:
        store.add_intent(an_intent(purpose=purpose), control.owner)
    else:
        with pytest.raises(StateError, match="refused"):
            store.add_intent(an_intent(purpose=purpose), control.owner)
    assert (store.intent("bnml-1") is not None) == (purpose in allowed)


def test_the_same_client_id_is_refused_twice(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    with pytest.raises(StateError, match="UNIQUE"):
        store.add_intent(an_intent(), 1)


def test_terminal_intents_never_change(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    store.update_intent("bnml-1", IntentState.OPEN, exchange_id="77", at=LATER)
    store.update_intent("bnml-1", IntentState.CANCELED, reason="asked", at=LATER)
    store.update_intent("bnml-1", IntentState.CANCELED, reason="again", at=LATER)
    with pytest.raises(StateError, match="terminal"):
        store.update_intent("bnml-1", IntentState.OPEN, at=LATER)
    with pytest.raises(StateError, match="terminal"):
        store.session.execute("UPDATE intents SET reason = 'x'")
    with pytest.raises(StateError, match="never deleted"):
        store.session.execute("DELETE FROM intents")
    record = store.intent("bnml-1")
    assert record is not None
    assert (record.state, record.exchange_id, record.reason) == (IntentState.CANCELED, "77", "asked")


def test_impossible_steps_of_an_intent_are_refused(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    store.update_intent("bnml-1", IntentState.SENT, at=AT)
    store.update_intent("bnml-1", IntentState.UNKNOWN, at=AT)
    store.add_fill(a_fill())
    for state in (IntentState.SENT, IntentState.REFUSED, IntentState.NEVER_ACCEPTED):
        with pytest.raises(StateError, match="cannot become"):
            store.update_intent("bnml-1", state, at=LATER)
    with pytest.raises(StateError, match="no such intent"):
        store.update_intent("bnml-9", IntentState.OPEN, at=LATER)


def test_what_an_intent_asked_for_never_changes(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    with pytest.raises(StateError, match="never changes"):
        store.session.execute("UPDATE intents SET qty = 1")


def test_intents_are_listed_in_creation_order(store: StateStore) -> None:
    for name, position in (("b", "p-1"), ("a", "p-2"), ("c", "p-1")):
        store.add_intent(an_intent(name, position_id=position), 1)
    store.update_intent("a", IntentState.REFUSED, at=LATER)
    assert [record.intent.client_id for record in store.open_intents()] == ["b", "c"]
    assert [record.intent.client_id for record in store.intents_of("p-1")] == ["b", "c"]
    assert [record.intent.client_id for record in store.recent_intents(2)] == ["c", "a"]


def test_only_entries_count_from_their_instant_on(store: StateStore) -> None:
    store.add_intent(an_intent("a"), 1)
    store.add_intent(an_intent("b", purpose=Purpose.EXIT), 1)
    assert [record.intent.client_id for record in store.entries_since(AT)] == ["a"]
    assert store.entries_since(AT + timedelta(milliseconds=1)) == ()


def test_a_late_fill_of_a_canceled_order_is_booked(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    store.update_intent("bnml-1", IntentState.CANCELED, at=LATER)
    assert store.add_fill(a_fill())
    record = store.intent("bnml-1")
    assert record is not None
    assert (record.filled_quantity, record.filled_quote) == (Decimal("0.5"), Decimal(13000))


def test_a_buy_and_its_mirror_sell_leave_the_fees(store: StateStore) -> None:
    store.deposit("USDC", Decimal(20000), AT, "opening")
    store.add_intent(an_intent(), 1)
    store.add_intent(an_intent("bnml-2", purpose=Purpose.EXIT), 1)
    assert store.add_fill(a_fill())
    assert store.ledger_balances() == {"BTC": Decimal("0.4995"), "USDC": Decimal(7000)}
    assert store.add_fill(a_fill("2", "bnml-2", side=Side.SELL, fee="0"))
    assert store.ledger_balances() == {"BTC": Decimal("-0.0005"), "USDC": Decimal(20000)}
    assert [(entry.reason, entry.trade_id) for entry in store.ledger_entries()] == [
        ("deposit", None),
        ("fill_base", "1"),
        ("fill_quote", "1"),
        ("fee", "1"),
        ("fill_base", "2"),
        ("fill_quote", "2"),
    ]
    assert [fill.trade_id for fill in store.fills_of("bnml-1")] == ["1"]
    assert store.fills_of_position("p-1") == (a_fill(), a_fill("2", "bnml-2", side=Side.SELL, fee="0"))


def test_a_fill_told_twice_changes_nothing(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    assert store.add_fill(a_fill())
    assert not store.add_fill(replace(a_fill(), at=LATER))
    assert len(store.ledger_entries()) == 3


def test_fills_that_contradict_the_books_are_refused(store: StateStore) -> None:
    store.add_intent(an_intent(), 1)
    store.add_fill(a_fill())
    with pytest.raises(StateError, match="is booked as"):
        store.add_fill(replace(a_fill(), price=Decimal(1)))
    with pytest.raises(StateError, match="belongs to no intent"):
        store.add_fill(a_fill("2", "bnml-9"))
    with pytest.raises(StateError, match="the intent BUY"):
        store.add_fill(a_fill("2", side=Side.SELL))
    with pytest.raises(StateError, match="decimals"):
        store.add_fill(replace(a_fill("2"), quote_quantity=Decimal("0.000000001")))


def test_a_withdrawal_is_a_negative_deposit_and_nothing_is_refused(store: StateStore) -> None:
    store.deposit("USDC", Decimal(5), AT, "in")
    store.deposit("USDC", Decimal(-2), AT, "out")
    assert store.ledger_balances() == {"USDC": Decimal(3)}
    assert [entry.reason for entry in store.ledger_entries()] == ["deposit", "withdrawal"]
    with pytest.raises(StateError, match="CHECK"):
        store.deposit("USDC", Decimal(0), AT, "nothing")


@pytest.mark.parametrize("table", ["fills", "ledger", "control", "journal"])
def test_facts_are_append_only(store: StateStore, table: str) -> None:
    store.add_intent(an_intent(), 1)
    store.add_fill(a_fill())
    store.add_event(CycleStarted(AT, 1), 1)
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = 99"):
        with pytest.raises(StateError, match="append-only"):
            store.session.execute(statement)


def test_a_failed_block_leaves_nothing(store: StateStore) -> None:
    with pytest.raises(KeyError):
        _write_and_fail(store)
    assert store.intent("bnml-1") is None
    assert store.get("x") is None


def _write_and_fail(store: StateStore) -> None:
    with store.transaction():
        store.add_intent(an_intent(), 1)
        store.put("x", 1, AT)
        raise KeyError


def test_a_block_inside_another_commits_with_it(store: StateStore) -> None:
    told: list[str] = []
    with store.transaction():
        with store.transaction():
            store.put("x", 1, AT)
            store.on_commit(lambda: told.append("committed"))
        assert told == []
    assert told == ["committed"]
    store.on_commit(lambda: told.append("at once"))
    assert told == ["committed", "at once"]


def test_a_failed_inner_block_fails_the_outer_even_when_caught(store: StateStore) -> None:
    told: list[str] = []
    with pytest.raises(StateError, match="a part of it failed"):
        _write_and_forgive(store, told)
    assert store.get("x") is None
    assert told == []
    store.put("x", 2, AT)
    assert store.get("x") == 2


def _write_and_forgive(store: StateStore, told: list[str]) -> None:
    with store.transaction():
        store.put("x", 1, AT)
        store.on_commit(lambda: told.append("never"))
        with pytest.raises(StateError, match="epoch"):
            store.add_intent(an_intent(), 99)
