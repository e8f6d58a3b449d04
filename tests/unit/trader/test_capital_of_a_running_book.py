"""A book that has traded follows changed settings, and only those: never more than is free, never what is reserved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, from_ms
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import an_intent
from trader.account_keeper import BOOK
from trader.accounting import AccountBook, new_book
from trader.live_capital import allot, note_started

NOW = from_ms(1_700_000_000_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    allot(opened, usdc("450"), configured(ceiling=100), NOW)
    note_started(opened, NOW)
    opened.put(BOOK, to_plain(new_book(Decimal(100), NOW)), NOW)
    yield opened
    opened.close()


def configured(capital: float | str = 1000, ceiling: float = 100) -> Settings:
    return Settings.from_mapping({"risk": {"capital_total": capital, "max_live_capital_usdt": ceiling}})


def usdc(free: str, locked: str = "0") -> dict[str, Balance]:
    return {"USDC": Balance("USDC", Decimal(free), Decimal(locked))}


def cash(store: StateStore) -> tuple[Decimal, Decimal]:
    return store.ledger_balances().get("USDC", ZERO), store.foreign_balances().get("USDC", ZERO)


def reserve(store: StateStore, quote: str) -> None:
    intent = replace(an_intent(store.next_client_id()), reserved_quote=Decimal(quote))
    store.add_intent(intent, store.control().owner)


def test_the_same_settings_move_nothing_whatever_lies_on_the_account(store: StateStore) -> None:
    before = store.ledger_entries()
    allot(store, usdc("9000"), configured(ceiling=100), NOW)
    allot(store, {}, configured(ceiling=100), NOW)
    assert store.ledger_entries() == before


@pytest.mark.parametrize(
    ("ceiling", "free", "expected"),
    [
        (250, "450", ("250", "200")),
        (450, "450", ("450", "0")),
        (451, "450", ("450", "0")),
        (250, "100", ("200", "250")),
        (250, "0", ("100", "350")),
    ],
)
def test_a_raised_ceiling_takes_what_is_foreign_and_free(
    store: StateStore, ceiling: float, free: str, expected: tuple[str, str]
) -> None:
    allot(store, usdc(free), configured(ceiling=ceiling), NOW)
    assert cash(store) == tuple(map(Decimal, expected))
    book = from_plain(AccountBook, store.get(BOOK))
    levels = (book.equity_peak, book.day.opening_equity, book.week.opening_equity)
    assert levels == (Decimal(expected[0]),) * 3


def test_no_foreign_amount_is_ever_taken_below_zero(store: StateStore) -> None:
    store.declare_foreign("USDC", Decimal(-400), NOW, "accepted")
    allot(store, usdc("450"), configured(ceiling=250), NOW)
    assert cash(store) == (100, -50)


@pytest.mark.parametrize(
    ("ceiling", "reserved", "expected"),
    [(80, "0", ("80", "370")), (80, "70", ("80", "370")), (80, "90", ("90", "360")), (80, "100", ("100", "350"))],
)
def test_a_lowered_ceiling_gives_back_what_is_neither_invested_nor_reserved(
    store: StateStore, ceiling: float, reserved: str, expected: tuple[str, str]
) -> None:
    if Decimal(reserved):
        reserve(store, reserved)
    allot(store, usdc("450"), configured(ceiling=ceiling), NOW)
    assert cash(store) == tuple(map(Decimal, expected))


def test_a_change_is_followed_once(store: StateStore) -> None:
    for _ in range(2):
        allot(store, usdc("450"), configured(ceiling=250), NOW)
    assert cash(store) == (250, 200)
    for _ in range(2):
        allot(store, usdc("450"), configured(ceiling=80), NOW)
    assert cash(store) == (80, 370)
    notes = [entry.note for entry in store.ledger_entries()]
    assert notes.count("capital of the settings changed") == 2


def test_a_book_without_accounts_yet_is_moved_all_the_same(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "other.db")
    try:
        allot(store, usdc("450"), configured(ceiling=100), NOW)
        note_started(store, NOW)
        allot(store, usdc("450"), configured(ceiling=120), NOW)
        assert cash(store) == (120, 330)
        assert store.get(BOOK) is None
    finally:
        store.close()


def test_a_book_that_has_ordered_is_no_new_book_even_when_no_start_was_noted(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "other.db")
    try:
        allot(store, usdc("450"), configured(ceiling=100), NOW)
        reserve(store, "10")
        allot(store, usdc("900"), configured(ceiling=100), NOW)
        assert cash(store) == (100, 350)
    finally:
        store.close()


def test_the_first_start_is_noted_once(store: StateStore) -> None:
    noted = store.get("live_started_at")
    note_started(store, from_ms(1_800_000_000_000))
    assert store.get("live_started_at") == noted


@pytest.mark.parametrize(("free", "capital"), [("49.99", "0"), ("50", "50"), ("50.01", "50.01")])
def test_a_book_opens_from_the_least_capital_on(tmp_path: Path, free: str, capital: str) -> None:
    store = StateStore(tmp_path / "other.db")
    try:
        allot(store, usdc(free), configured(ceiling=100), NOW)
        assert cash(store) == (Decimal(capital), Decimal(free) - Decimal(capital))
    finally:
        store.close()
