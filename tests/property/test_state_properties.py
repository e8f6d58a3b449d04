"""Codecs lose nothing; the books equal the fills whatever the fills are."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.client_ids import base36, is_client_id, make_client_id
from bn_ml.codecs import from_json, from_units, round_to_units, to_json, to_units
from bn_ml.domain.account import AccountState
from bn_ml.domain.decisions import RiskDecision
from bn_ml.domain.market import MarketRules, Quote, Symbol
from bn_ml.domain.orders import Fill, IntentRecord, OrderIntent, OrderReport, OrderType, Purpose, Side
from bn_ml.domain.positions import Leg, Position, Tranche
from bn_ml.domain.signals import Action, MarketMood, Opportunity, Probabilities, Signal
from bn_ml.state_store import StateStore

AT = datetime(2023, 6, 10, tzinfo=timezone.utc)
SYMBOLS = st.sampled_from([Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("BNB/USDC")])
INSTANTS = st.datetimes(AT.replace(tzinfo=None), timezones=st.just(timezone.utc))
POSITIVE = st.decimals(min_value="0.00000001", max_value=10**9, allow_nan=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
UNITS = st.integers(1, 10**14)
PROBABILITIES = st.sampled_from([Probabilities(0.1, 0.2, 0.7), Probabilities(1.0, 0.0, 0.0)])

for kind, strategy in ((Symbol, SYMBOLS), (datetime, INSTANTS), (Decimal, POSITIVE), (float, FLOATS)):
    st.register_type_strategy(kind, strategy)
st.register_type_strategy(Probabilities, PROBABILITIES)

INTENTS = st.builds(OrderIntent, limit_price=st.none() | POSITIVE, tranche=st.text(max_size=5))
FILLS = st.builds(Fill)
REPORTS = st.builds(OrderReport, fills=st.lists(FILLS, max_size=2).map(tuple))
SIGNALS = st.builds(
    Signal,
    action=st.just(Action.HOLD),
    gates=st.just(()),
    members=st.dictionaries(st.text(), PROBABILITIES, max_size=2),
)
POSITIONS = st.builds(
    Position,
    initial_quantity=st.just(Decimal(10)),
    remaining_quantity=st.decimals(0, 10, places=8),
    tranches=st.lists(st.builds(Tranche, target_price=st.none() | POSITIVE), max_size=3).map(tuple),
    legs=st.lists(st.builds(Leg), max_size=3).map(tuple),
    protected_at=st.none() | INSTANTS,
    atr_frac=FLOATS,
)
VALUES = st.one_of(
    INTENTS,
    FILLS,
    REPORTS,
    SIGNALS,
    POSITIONS,
    st.builds(IntentRecord, intent=INTENTS),
    st.builds(MarketRules, listed_at=st.none() | INSTANTS),
    st.builds(Quote, bid=st.just(Decimal("1.10")), ask=st.just(Decimal("1.1000"))),
    st.builds(MarketMood),
    st.builds(AccountState, symbol_exposure=st.dictionaries(SYMBOLS, POSITIVE)),
    st.builds(RiskDecision, approved=st.just(False), reason=st.text()),
    st.builds(Opportunity, signal=SIGNALS, quote=st.none()),
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_every_domain_value_survives_the_round_trip_exactly(value: object) -> None:
    text = to_json(value)
    again = from_json(type(value), text)
    assert again == value
    assert to_json(again) == text


@given(st.integers(-(2**62), 2**62))
def test_units_survive_the_round_trip(units: int) -> None:
    assert to_units(from_units(units)) == units


@given(st.decimals(min_value=-(10**10), max_value=10**10, allow_nan=False))
def test_rounding_to_units_brackets_the_amount_within_one_unit(amount: Decimal) -> None:
    below, above = round_to_units(amount, up=False), round_to_units(amount, up=True)
    assert below <= amount <= above
    assert to_units(above) - to_units(below) in (0, 1)


@given(st.integers(1, 10**15))
def test_client_ids_are_legal_and_check_themselves(number: int) -> None:
    client_id = make_client_id("bnml", "abc123", number)
    assert len(client_id) <= 36
    assert is_client_id(client_id)
    assert int(base36(number), 36) == number


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_books_equal_the_fills(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = StateStore(Path(folder) / "bn_ml.db")
        try:
            _trade_at_random(store, data)
        finally:
            store.close()


def _trade_at_random(store: StateStore, data: st.DataObject) -> None:
    expected: defaultdict[str, Decimal] = defaultdict(Decimal)
    filled: defaultdict[str, Decimal] = defaultdict(Decimal)
    orders = [_sent(store, data.draw(SYMBOLS), data.draw(st.sampled_from(Side))) for _ in range(3)]
    for number in range(data.draw(st.integers(0, 12))):
        intent = data.draw(st.sampled_from(orders))
        fill = _fill(data, number, intent)
        assert store.add_fill(fill)
        assert not store.add_fill(fill)
        sign = 1 if fill.side is Side.BUY else -1
        expected[fill.symbol.base] += sign * fill.quantity
        expected[fill.symbol.quote] -= sign * fill.quote_quantity
        expected[fill.fee_asset] -= fill.fee
        filled[intent.client_id] += fill.quantity
    balances = store.ledger_balances()
    assert {asset: amount for asset, amount in balances.items() if amount} == {
        asset: amount for asset, amount in expected.items() if amount
    }
    for intent in orders:
        record = store.intent(intent.client_id)
        assert record is not None
        assert record.filled_quantity == filled[intent.client_id]


def _sent(store: StateStore, symbol: Symbol, side: Side) -> OrderIntent:
    purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
    client_id = store.next_client_id()
    intent = OrderIntent(client_id, symbol, side, OrderType.MARKET, Decimal(1), purpose, "p-1", AT)
    store.add_intent(intent, store.control().owner)
    return intent


def _fill(data: st.DataObject, number: int, intent: OrderIntent) -> Fill:
    return Fill(
        trade_id=str(number),
        client_id=intent.client_id,
        symbol=intent.symbol,
        side=intent.side,
        price=from_units(data.draw(UNITS)),
        quantity=from_units(data.draw(UNITS)),
        quote_quantity=from_units(data.draw(st.integers(0, 10**15))),
        fee=from_units(data.draw(st.integers(0, 10**12))),
        fee_asset=data.draw(st.sampled_from([intent.symbol.base, intent.symbol.quote, "BNB"])),
        at=AT + timedelta(milliseconds=number),
    )


@pytest.mark.parametrize("wrong", ["bnml-abc123-1", "other-abc123-1z", "bnml_abc123", "", "bnml-ABC-1z"])
def test_foreign_ids_are_not_ours(wrong: str) -> None:
    assert not is_client_id(wrong)
