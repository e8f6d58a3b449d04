"""What a refusal of the gate tells: the rule, what was measured and the limit it met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from test_gate import AT, BBB, CCC, RICH, a_book, a_buy, a_position, a_sale, commit, settings_with

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState, OrderIntent
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from trader.gate import LimitReached, Means, offered_quantity

D = Decimal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    book = a_book(tmp_path / "bn_ml.db")
    book.start_epoch(AT, "test")
    book.deposit("USDC", D(1000), AT, "capital")
    yield book
    book.close()


def told(
    store: StateStore, intent: OrderIntent, settings: Settings | None = None, means: Means = RICH
) -> tuple[str, Decimal, Decimal]:
    with pytest.raises(LimitReached) as caught:
        commit(store, intent, settings=settings or settings_with(), means=means)
    error = caught.value
    assert str(error).startswith(f"{error.rule}: ")
    return error.rule, error.value, error.limit


def test_a_state_that_forbids_it(store: StateStore) -> None:
    store.set_control(ControlState.REDUCE_ONLY, "tests", "tests", AT)
    assert told(store, a_buy()) == ("control_state", 1, 0)


def test_a_symbol_that_is_held_and_has_orders_counts_them_all(store: StateStore) -> None:
    store.save_position(a_position())
    commit(store, a_sale("s-1", "4"), a_sale("s-2", "5"), state=IntentState.OPEN)
    assert told(store, a_buy()) == ("already_open", 3, 0)


def test_orders_nobody_can_account_for_are_counted(store: StateStore) -> None:
    commit(store, a_buy("o-1", BBB), state=IntentState.UNKNOWN)
    assert told(store, a_buy()) == ("symbol_frozen", 1, 0)


def test_the_places_with_this_one_among_them(store: StateStore) -> None:
    commit(store, a_buy("o-1", BBB), state=IntentState.OPEN)
    assert told(store, a_buy(), settings_with(max_open_positions=1)) == ("max_open_positions", 2, 1)


def test_the_orders_of_the_minute_with_this_one_among_them(store: StateStore) -> None:
    for number in range(2):
        commit(store, a_buy(f"o-{number}", BBB, "10"), state=IntentState.EXPIRED)
    assert told(store, a_buy(), settings_with(max_orders_per_min=2)) == ("order_rate", 3, 2)
    later = a_buy(at=AT + timedelta(seconds=61))
    commit(store, later, settings=settings_with(max_orders_per_min=2))


def test_the_notional_of_the_day_with_this_one_added(store: StateStore) -> None:
    commit(store, a_buy("o-1", BBB, "60"), state=IntentState.OPEN)
    limit = settings_with(max_notional_per_day_usdt=100)
    assert told(store, a_buy(notional="50", reserved="55"), limit) == ("notional_per_day", 115, 100)


def test_what_is_claimed_against_the_cash_there_is(store: StateStore) -> None:
    commit(store, a_buy("o-1", BBB, "600", reserved="601"), state=IntentState.OPEN)
    assert told(store, a_buy(notional="400"), settings_with(max_notional_per_day_usdt=4000)) == (
        "insufficient_balance",
        1001,
        1000,
    )


def test_the_shares_of_the_capital(store: StateStore) -> None:
    store.save_position(a_position(CCC))
    commit(store, a_buy("o-1", BBB, "100"), state=IntentState.OPEN)
    means = Means(D(1000), {CCC: D(25)})
    shares = settings_with(max_exposure_pct=0.5, max_symbol_exposure_pct=0.2)
    assert told(store, a_buy(notional="151"), shares, means) == ("max_exposure", 250 + 100 + 151, 500)
    assert told(store, a_buy(notional="200.1"), settings_with(), replace(means, capital=D(1000))) in [
        ("max_symbol_exposure", D("200.1"), D(1000) * D(str(settings_with().risk.max_symbol_exposure_pct))),
        ("max_exposure", D("550.1"), D(500)),
    ]
    assert told(store, a_buy(notional="30"), settings_with(), Means(D(100), {CCC: D(1)})) == (
        "max_exposure",
        10 + 100 + 30,
        50,
    )


def test_a_sale_without_a_position_and_one_of_more_than_is_held(store: StateStore) -> None:
    assert told(store, a_sale("s-1", "3")) == ("long_only", 3, 0)
    store.save_position(a_position())
    commit(store, a_sale("s-1", "6"), state=IntentState.OPEN)
    assert told(store, a_sale("s-2", "5")) == ("insufficient_balance", 11, 10)


def test_an_entry_that_still_buys_offers_nothing(store: StateStore) -> None:
    buy = replace(a_buy(), position_id="p-1")
    commit(store, buy, state=IntentState.OPEN)
    store.save_position(a_position())
    assert offered_quantity(store.intents_of("p-1")) == 0
    commit(store, a_sale("s-1", "10"), state=IntentState.OPEN)
    assert offered_quantity(store.intents_of("p-1")) == 10
