"""What a live book may trade with: never above the ceiling, everything else foreign, and books equal the account."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, from_ms
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import a_position
from trader.account_keeper import BOOK
from trader.accounting import AccountBook, new_book
from trader.live_capital import allot, note_started, planned_capital, wanted_capital

NOW = from_ms(1_700_000_000_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    yield opened
    opened.close()


def configured(capital: float | str = 1000, ceiling: float = 100) -> Settings:
    return Settings.from_mapping({"risk": {"capital_total": capital, "max_live_capital_usdt": ceiling}})


def account(**totals: str) -> dict[str, Balance]:
    return {asset: Balance(asset, Decimal(amount)) for asset, amount in totals.items()}


def explained(store: StateStore, balances: dict[str, Balance]) -> bool:
    ledger, foreign = store.ledger_balances(), store.foreign_balances()
    assets = {*ledger, *foreign, *balances}
    return all(
        ledger.get(asset, ZERO) + foreign.get(asset, ZERO) == (balances[asset].total if asset in balances else ZERO)
        for asset in assets
    )


@pytest.mark.parametrize(
    ("capital", "ceiling", "free", "wanted"),
    [
        ("auto", 100, "500", "100"),
        ("auto", 1000, "500", "500"),
        (300, 1000, "500", "300"),
        (300, 100, "500", "100"),
        (1000, 1000, "20", "20"),
    ],
)
def test_capital_is_the_least_of_settings_ceiling_and_free_quote(
    capital: float | str, ceiling: float, free: str, wanted: str
) -> None:
    settings = configured(capital, ceiling) if capital != 1000 else configured(1000, ceiling)
    assert wanted_capital(settings, Decimal(free)) == Decimal(wanted)


def test_a_first_start_declares_everything_else_foreign(store: StateStore) -> None:
    balances = {**account(BTC="0.5", BNB="1.25"), "USDC": Balance("USDC", Decimal(450), Decimal(50))}
    allot(store, balances, configured(), NOW)
    assert store.ledger_balances() == {"USDC": Decimal(100)}
    assert store.foreign_balances() == {"BNB": Decimal("1.25"), "BTC": Decimal("0.5"), "USDC": Decimal(400)}
    assert explained(store, balances)


def test_a_restart_with_the_same_settings_moves_nothing(store: StateStore) -> None:
    balances = account(USDC="450")
    allot(store, balances, configured(), NOW)
    before = store.ledger_entries()
    allot(store, account(USDC="900"), configured(), NOW)
    assert store.ledger_entries() == before


def test_a_raised_ceiling_takes_from_what_was_foreign_and_is_no_profit(store: StateStore) -> None:
    balances = account(USDC="450")
    allot(store, balances, configured(), NOW)
    store.put(BOOK, to_plain(new_book(Decimal(100), NOW)), NOW)
    allot(store, balances, configured(ceiling=250), NOW)
    assert store.ledger_balances() == {"USDC": Decimal(250)}
    book = from_plain(AccountBook, store.get(BOOK))
    assert (book.equity_peak, book.day.opening_equity, book.week.opening_equity) == (250, 250, 250)
    allot(store, balances, configured(ceiling=80), NOW)
    assert store.ledger_balances() == {"USDC": Decimal(80)}
    assert explained(store, balances)


def test_an_account_without_free_quote_opens_no_book(store: StateStore) -> None:
    allot(store, account(BTC="1"), configured(), NOW)
    assert store.ledger_balances() == {}
    assert planned_capital(store, configured(), ZERO) == 0
    allot(store, account(BTC="1", USDC="70"), configured(), NOW)
    assert store.ledger_balances() == {"USDC": Decimal(70)}


def test_too_little_leaves_the_book_without_capital_and_explains_the_account(store: StateStore) -> None:
    small = account(BTC="1", USDC="49.99")
    allot(store, small, configured(), NOW)
    assert store.ledger_balances() == {}
    assert explained(store, small)


def test_until_a_start_was_let_through_the_book_follows_the_account(store: StateStore) -> None:
    allot(store, account(USDC="450", BTC="1"), configured(), NOW)
    changed = account(USDC="90", ETH="2")
    allot(store, changed, configured(), NOW)
    assert store.ledger_balances() == {"USDC": Decimal(90)}
    assert explained(store, changed)
    note_started(store, NOW)
    allot(store, account(USDC="500", ETH="3"), configured(), NOW)
    assert explained(store, changed)


def test_capital_is_cash_and_what_positions_cost(store: StateStore) -> None:
    allot(store, account(USDC="450"), configured(), NOW)
    position = a_position()
    store.save_position(position)
    assert planned_capital(store, configured(), ZERO) == 100 + position.cost_open_quote


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.decimals(0, 2000, places=2),
    st.lists(st.tuples(st.sampled_from(["auto", 300, 1000]), st.integers(50, 1500)), min_size=1, max_size=5),
)
def test_whatever_the_settings_become_the_account_stays_explained_and_below_the_ceiling(
    tmp_path_factory: pytest.TempPathFactory, free: Decimal, changes: list[tuple[float | str, int]]
) -> None:
    store = StateStore(tmp_path_factory.mktemp("book") / "bn_ml.db")
    try:
        store.session.execute("PRAGMA synchronous = OFF")
        balances = account(USDC=str(free), ETH="2")
        for capital, ceiling in changes:
            settings = configured(capital, ceiling)
            allot(store, balances, settings, NOW)
            held = store.ledger_balances().get("USDC", ZERO)
            assert ZERO <= held <= min(free, Decimal(max(item[1] for item in changes)))
            if capital != "auto":
                assert held <= Decimal(ceiling)
            assert not store.ledger_balances() or explained(store, balances)
    finally:
        store.close()
